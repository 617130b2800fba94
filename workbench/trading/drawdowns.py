"""The falls of an account: from which peak, to which trough, and when made good."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float

from workbench.trading.result import BacktestResult

_STILL = 1e-12  # a fall this small relative to the peak is rounding, not a loss


def worst_drawdowns(money: BacktestResult | pd.Series, count: int = 5, nested: bool = False) -> pd.DataFrame:
    """List the deepest falls of an equity curve, the deepest first.

    A fall begins after the last bar at which the equity stood at its highest so far, the peak, and is over
    at the first bar that reaches the peak again. So falls never overlap, and one within a deeper one is a
    part of it: a long one hides all that happens until it is made good.

    Parameters
    ----------
    money
        A backtest's result, or money at each close. The result's curve starts from the initial capital: where
        that was never exceeded, the peak is the first bar, and the depth is counted from the capital.
    count
        How many at most.
    nested
        Cut out the deepest, from peak to trough, and look for the next in each stretch that is left as if it
        were the whole. So falls on the way back to an earlier peak are found too.

    Returns
    -------
    DataFrame
        A row a fall, counted from 1 (`drawdown`): `peak`, `trough` (the first bar at the lowest) and
        `recovery` (NaT: not by the end), dates; `depth`, trough over peak less one, a negative fraction;
        `bars`, from peak to trough.

    Raises
    ------
    ValueError
        If there is no bar, the equity is not finite or starts at nothing, or dates do not increase.
    """
    if count < 1:
        raise ValueError(f"count must be at least 1. Got {count}.")
    equity, initial = _curve(money)
    dates, values = pd.DatetimeIndex(equity.index), equity.to_numpy(dtype=np.float64)
    found = _cut_out(values, initial, count) if nested else _falls(values, initial)
    found = sorted(found, key=lambda fall: (fall.depth, fall.peak))[:count]
    table = pd.DataFrame(
        {
            "peak": dates[[fall.peak for fall in found]],
            "trough": dates[[fall.trough for fall in found]],
            "recovery": pd.Series([_recovery(values, dates, fall) for fall in found], dtype=dates.dtype),
            "depth": np.array([fall.depth for fall in found], dtype=np.float64),
            "bars": np.array([fall.trough - fall.peak for fall in found], dtype=np.int64),
        }
    )
    table.index = pd.RangeIndex(1, len(table) + 1, name="drawdown")
    return table


@dataclass(frozen=True)
class _Fall:
    """Bars of peak and trough; money at the peak, from which the depth is counted."""

    peak: int
    trough: int
    highest: float
    depth: float


def _falls(values: Float[np.ndarray, " bar"], initial: float, first: int = 0) -> list[_Fall]:
    """Return every stretch below the highest value so far, `initial` included; bars count from `first`."""
    highest = np.maximum(np.maximum.accumulate(values), initial)
    under = np.concatenate([[0], values < highest * (1 - _STILL), [0]]).astype(np.int8)
    begins, ends = np.flatnonzero(np.diff(under) == 1), np.flatnonzero(np.diff(under) == -1)
    falls = []
    for begin, end in zip(begins.tolist(), ends.tolist(), strict=True):
        trough = begin + int(np.argmin(values[begin:end]))
        top = float(highest[begin])
        falls.append(_Fall(first + max(begin - 1, 0), first + trough, top, float(values[trough]) / top - 1))
    return falls


def _cut_out(values: Float[np.ndarray, " bar"], initial: float, count: int) -> list[_Fall]:
    """Return the deepest falls, each the deepest of a stretch between those already found."""
    found: list[_Fall] = []
    stretches = [(0, len(values), initial)]  # first bar, end, what the stretch starts from
    while stretches and len(found) < count:
        deepest = [
            (min(falls, key=lambda fall: (fall.depth, fall.peak)), stretch)
            for stretch in stretches
            if (falls := _falls(values[stretch[0] : stretch[1]], stretch[2], stretch[0]))
        ]
        if not deepest:
            break
        fall, stretch = min(deepest, key=lambda pair: (pair[0].depth, pair[0].peak))
        found.append(fall)
        stretches.remove(stretch)
        begin, end, start = stretch
        stretches += [(begin, fall.peak + 1, start), (fall.trough, end, float(values[fall.trough]))]
    return found


def _recovery(values: Float[np.ndarray, " bar"], dates: pd.DatetimeIndex, fall: _Fall) -> object:
    back = np.flatnonzero(values[fall.trough :] >= fall.highest * (1 - _STILL))
    return dates[fall.trough + int(back[0])] if len(back) else pd.NaT


def _curve(money: BacktestResult | pd.Series) -> tuple[pd.Series, float]:
    """Return the equity, and what it starts from."""
    equity = money if isinstance(money, pd.Series) else money.equity
    if not isinstance(equity.index, pd.DatetimeIndex) or not equity.index.is_monotonic_increasing:
        raise ValueError("equity must have increasing dates. Sort it: equity.sort_index().")
    if len(equity) == 0 or not np.isfinite(equity.to_numpy(dtype=np.float64)).all() or equity.iloc[0] <= 0:
        raise ValueError(
            f"equity must be finite money at each close and start above 0. Got {len(equity)} bars, of which "
            f"{int(equity.isna().sum())} unknown: hand over a backtest's result, or its equity."
        )
    first = float(equity.iloc[0])
    return equity, first if isinstance(money, pd.Series) else float(money.conventions.initial_capital)
