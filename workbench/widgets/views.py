"""What an Explorer is asked to show: the choices of a view, and how their values are checked."""

from dataclasses import dataclass, fields
from difflib import get_close_matches
from typing import Any

HEADS = ("mean", "max", "min")
FILLS = ("next_open", "next_close", "close")


@dataclass(frozen=True)
class View:
    """What to show, and the conventions it is shown by.

    Attributes
    ----------
    source, ticker
        Whose prices; None leaves it to the model: what it was trained on.
    run
        Which of the listed models, by its key; None takes one that was trained on the ticker.
    method, target
        How to explain, and which class ("" for the likeliest).
    date
        The decision shown, in ISO format; None for the last one whose outcome is known.
    layer, head, row
        What of the attention: a layer's number, "mean", "max", "min" or a head's number, and the query whose
        keys light up (−1 for none).
    confidence
        Least probability that takes a position; for forecasts every one does.
    cost_bps, fill
        Of the backtest; no fill chosen means the next open, or the next close of prices without opens.
    folder
        Where trained models are kept.
    read_only
        Serve a visitor: bundled prices and saved models only, no training, no download, no file.
    """

    source: str | None = None
    ticker: str | None = None
    run: str | None = None
    method: str = "rollout"
    target: str = ""
    date: str | None = None
    layer: int = 0
    head: str = "mean"
    row: int = -1
    confidence: float | int = 0.4
    cost_bps: float | int = 5.0
    fill: str | None = None
    folder: str = "runs/models"
    read_only: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.confidence <= 1:
            raise ValueError(f"confidence must be a probability in [0, 1]. Got {self.confidence}.")
        if not 0 <= self.cost_bps < 10_000:
            raise ValueError(f"cost_bps must be in [0, 10,000): 5 means 0.05 % a side. Got {self.cost_bps}.")
        if self.fill is not None and self.fill not in FILLS:
            raise ValueError(f"fill must be one of {', '.join(FILLS)}. Got {self.fill!r}.")

    @classmethod
    def of(cls, given: dict[str, Any]) -> "View":
        """Make a view from keyword arguments; an unknown one is refused with the list of those there are."""
        known = [field.name for field in fields(cls)]
        for name in given:
            if name not in known:
                near = get_close_matches(name, known, n=1)
                guess = f"Did you mean {near[0]!r}? " if near else ""
                raise TypeError(f"Explorer has no option {name!r}. {guess}There are: {', '.join(known)}.")
        chosen = dict(given)
        for name in ("date", "head"):  # a Timestamp, a number
            if chosen.get(name) is not None:
                chosen[name] = str(chosen[name])
        return cls(**chosen)
