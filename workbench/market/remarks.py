"""What may be real and may be an error: bars to look at, not to remove."""

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float64

from workbench.market.adjustment import SPLITS
from workbench.market.calendars import missing_and_unexpected

EXTREME = 8.0  # robust standard deviations; of a normal law once in 10^12 years of daily bars
_MAD_TO_SIGMA = 1.4826  # of a normal law
_NEAR = 0.03  # of log price: how far the day's own move may carry a split's ratio

Price = Float64[np.ndarray, " bar"]
Flags = Bool[np.ndarray, " bar"]
Remark = tuple[pd.DatetimeIndex, np.ndarray] | str  # dates and a value of each, or why it wasn't looked for


def remarks(
    dates: pd.DatetimeIndex, columns: dict[str, np.ndarray], calendar: str | None, interval: str
) -> dict[str, Remark]:
    """Everything worth a look in one asset's bars, by check; see `check_prices`."""
    close = columns["close"]
    moves = log_moves(close, close)
    sigma = robust_sigma(moves)
    ratio = np.exp(moves)

    def at(flags: Flags, values: Price | None = None) -> Remark:
        shown = np.full(len(dates), np.nan) if values is None else values
        return dates[flags], shown[flags]

    missing, unexpected = _gaps(dates, calendar, interval)
    return {
        "zero volume": at(columns["volume"] == 0) if "volume" in columns else "no volume",
        "repeated closes": at(np.concatenate([[False], close[1:] == close[:-1]]), close),
        "missing bars": missing,
        "unexpected bars": unexpected,
        "extreme moves": at(extreme(moves), moves) if sigma > 0 else "most closes repeat",
        "suspected splits": at(split_like(close, columns.get("open")), ratio),
    }


def _gaps(dates: pd.DatetimeIndex, calendar: str | None, interval: str) -> tuple[Remark, Remark]:
    if calendar is None:
        return "no calendar known", "no calendar known"
    found = missing_and_unexpected(dates.unique().sort_values(), calendar, interval)
    if isinstance(found, str):
        return found, found
    missing, unexpected = found
    return (missing, np.full(len(missing), np.nan)), (unexpected, np.full(len(unexpected), np.nan))


def log_moves(price: Price, close: Price) -> Price:
    """log(price_t / close_{t−1}), (bar,); NaN on the first bar and where either is no positive number."""
    later = np.where(price > 0, price, np.nan)[1:]
    before = np.where(close > 0, close, np.nan)[:-1]
    return np.concatenate([[np.nan], np.log(later) - np.log(before)])


def robust_sigma(moves: Price) -> float:
    """Return 1.4826 × the median distance from the median: a normal law's standard deviation."""
    known = moves[np.isfinite(moves)]
    if len(known) == 0:
        return 0.0
    return float(_MAD_TO_SIGMA * np.median(np.abs(known - np.median(known))))


def extreme(moves: Price) -> Flags:
    """Moves that lie more than 8 robust standard deviations from their median."""
    centre = np.median(moves[np.isfinite(moves)])
    return np.abs(moves - centre) > EXTREME * robust_sigma(moves)


def split_like(close: Price, opening: Price | None) -> Flags:
    """Bars whose close, and open where known, lie near a usual split's ratio from the close before.

    Near is within 0.03 of log price. Size alone does not make a split: a fall by 52 % does not look like one.
    """
    flags = _near_split(log_moves(close, close))
    return flags if opening is None else flags & _near_split(log_moves(opening, close))


def _near_split(moves: Price) -> Flags:
    usual = np.log(np.array([float(split) for split in SPLITS]))
    distance = np.abs(moves[:, None] - usual)
    return distance.min(axis=1) < _NEAR
