"""Which of the saved models suits the prices wished for."""

from dataclasses import dataclass

import pandas as pd

from workbench.training.reopening import UnreadablePrices
from workbench.widgets.catalogue import SavedModel
from workbench.widgets.subject import Subject

NAMED = 4  # columns in a message


@dataclass(frozen=True)
class Wish:
    """What the selectors ask for; without a run, whichever model suits the ticker."""

    source: str
    ticker: str
    run: str | None = None


def knows(model: SavedModel, wish: Wish) -> bool:
    """Tell whether a model was trained on what is wished for."""
    return wish.ticker in model.tickers and wish.source == model.source


def at_home(models: list[SavedModel], wish: Wish, now: Subject | None) -> list[SavedModel]:
    """Return the models trained on the ticker and of the kind shown, the most alike first."""
    if now is None:
        mine = [model for model in models if knows(model, wish)]
        return sorted(mine, key=lambda model: model.kind != "transformer")  # with attention to look at
    mine = [model for model in models if knows(model, wish) and model.kind == now.kind]
    return sorted(mine, key=lambda model: model.lookback != now.windows.lookback)  # stable: newest first


def in_turn(
    models: list[SavedModel], wish: Wish, now: Subject | None, prices: pd.DataFrame
) -> list[SavedModel]:
    """Return the models for bars as long as these, in the order in which they may be tried on the prices."""
    run, kind = (None, "transformer") if now is None else (now.run, now.kind)
    interval = prices.attrs["provenance"]["interval"]

    def apart(model: SavedModel) -> tuple[bool, ...]:
        return (not knows(model, wish), model.source != wish.source, model.key != run, model.kind != kind)

    return sorted((model for model in models if model.interval == interval), key=apart)


def instead(model: SavedModel, error: UnreadablePrices) -> str:
    """Say that another model was taken, and why."""
    return f"{model.label} was taken: the model tried first reads {_columns(error)}, which these prices lack"


def unreadable(wish: Wish, error: UnreadablePrices, last: ValueError) -> ValueError:
    """Return the error that none of the saved models can show the prices, and what can be done."""
    more = "" if isinstance(last, UnreadablePrices) else f" Another failed: {last}"
    return ValueError(
        f"No saved model can read the prices of {wish.ticker} from {wish.source}: they lack "
        f"what each of them reads, such as {_columns(error)}.{more} Choose another ticker or source, or "
        "train a model on windows of these prices in a notebook with wb.ensure_model: it is then listed here."
    )


def _columns(error: UnreadablePrices) -> str:
    named, more = ", ".join(error.columns[:NAMED]), len(error.columns) - NAMED
    return f"{named} and {more} more" if more > 0 else named
