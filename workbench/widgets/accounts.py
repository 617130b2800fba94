"""What trading on a model's answers would have earned, on the days that the model was not made by."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import UInt8

from workbench.features.splits import timestamp
from workbench.features.windows import Windows
from workbench.trading.ledger import backtest
from workbench.trading.result import BacktestResult
from workbench.trading.signals import positions, positions_from_forecast
from workbench.training.history import History
from workbench.widgets.mapdata import intraday

UNKNOWN, TRAIN, VALID, TEST, PURGED = 0, 1, 2, 3, 4  # purged: left out between two parts on purpose
EVERY_DAY = "all days: training dates unknown"
NO_RETURN = (
    "The model forecasts something other than the return, whose sign would say what to buy. "
    "Label with forward_return to trade on a forecast."
)


@dataclass(frozen=True)
class Conventions:
    """How answers become positions, and positions money."""

    confidence: float | int
    cost_bps: float | int
    fill: str


@dataclass(frozen=True, eq=False)
class Account:
    """Positions and the money they made.

    Attributes
    ----------
    positions
        Decided on every window; None where answers can't be traded.
    money
        The backtest of the test windows where it is known which they are, else of all; None if there is none.
    why_none
        Why there is no backtest, or nothing.
    traded
        Which windows were traded, in words.
    """

    positions: pd.Series | None = None
    money: BacktestResult | None = None
    why_none: str = ""
    traded: str = ""


def account_of(
    windows: Windows,
    prices: pd.DataFrame,
    predictions: pd.DataFrame,
    told: Conventions,
    history: History | None,
) -> Account:
    """Trade on what a model said; where it is known which days it was made by, on those after them alone."""
    if unit_of(windows) == "value":
        return Account(why_none=NO_RETURN)
    try:
        decided = _decided(predictions, told)
    except ValueError as error:  # classes that are not moves: the view says so
        return Account(why_none=str(error))
    known, tested = _parts_known(history), windows.dates[splits_of(windows, history) == TEST]
    if known and len(tested) == 0:
        return Account(decided, why_none=_too_early(windows, history))
    try:
        money = backtest(
            decided.reindex(tested) if known else decided, prices, fill=told.fill, cost_bps=told.cost_bps
        )
    except ValueError as error:  # prices without opens: the view says so
        return Account(decided, why_none=str(error))
    return Account(decided, money, "", f"test days, from {_text(tested)[0]}" if known else EVERY_DAY)


def unit_of(windows: Windows) -> str:
    """Return "value" where a forecast isn't known to be of a return, from which positions follow by sign."""
    kind = windows.provenance.get("labels", {}).get("kind")
    return "value" if windows.task == "regression" and kind != "forward_return" else "return"


def splits_of(windows: Windows, history: History | None) -> UInt8[np.ndarray, " w"]:
    """Tell which part of the training each decision date belongs to, by the dates of the model's history.

    A history that doesn't say where the test begins has it begin `horizon` windows after the last of valid,
    since as many are purged there. What lies between parts was purged; what is older than all of them is
    unknown. Dates count on other tickers too, for markets move together.
    """
    split = np.full(len(windows), UNKNOWN, dtype=np.uint8)
    if history is None or not _parts_known(history):
        return split
    begins, ends = [], []
    for part, number in {"train": TRAIN, "valid": VALID}.items():
        first, last = (_clock(history.splits[part][end], windows) for end in ("first", "last"))
        split[np.asarray((windows.dates >= first) & (windows.dates <= last))] = number
        begins.append(first)
        ends.append(last)
    told = history.provenance.get("split")
    if told is None:
        split[np.flatnonzero(np.asarray(windows.dates > max(ends)))[windows.horizon :]] = TEST
    else:
        split[np.asarray(windows.dates >= _clock(told["test"], windows))] = TEST
    split[(split == UNKNOWN) & np.asarray(windows.dates > min(begins))] = PURGED
    return split


def _decided(predictions: pd.DataFrame, told: Conventions) -> pd.Series:
    if list(predictions.columns) == ["forecast"]:
        decided = positions_from_forecast(predictions)
    else:
        decided = positions(predictions, threshold=told.confidence)
    assert isinstance(decided, pd.Series)  # of one ticker
    return decided


def _parts_known(history: History | None) -> bool:
    return history is not None and {"train", "valid"} <= history.splits.keys()


def _too_early(windows: Windows, history: History | None) -> str:
    assert history is not None
    return (
        "None of these days come after the training: with its validation it took all up to "
        f"{history.splits['valid']['last'][:10]}, and these days end on {_text(windows.dates)[-1]}. "
        "Choose prices that go on later, or a model that learnt from earlier days."
    )


def _text(dates: pd.DatetimeIndex) -> list[str]:
    return dates.strftime("%Y-%m-%d %H:%M" if intraday(dates) else "%Y-%m-%d").tolist()


def _clock(text: str, windows: Windows) -> pd.Timestamp:
    """Read a date of the history in the clock of these windows, daily or in UTC."""
    return timestamp(text, windows.dates.tz)
