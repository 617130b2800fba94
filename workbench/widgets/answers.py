"""What a model said of every window, what became of it, and the money made on the way, as arrays."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float, Int, Int8, UInt8

from workbench.features.windows import Windows
from workbench.widgets.accounts import Account

START = 100.0  # what both accounts begin with, to be compared


@dataclass(frozen=True, eq=False)
class Answers:
    """Arrays over windows (w) and bars (n), as the browser gets them.

    Attributes
    ----------
    rows
        Bar of each decision.
    outputs
        Probabilities of the classes, or the forecast.
    happened
        Return over the horizon as a fraction; NaN where it is not known yet.
    moved
        Class of the move; −1 where it is not known, or the windows have no classes.
    position
        Position decided; NaN where there is none.
    equity, benchmark
        Accounts that start at 100 at the first decision traded on; NaN outside the backtest.
    split
        0 unknown, 1 train, 2 valid, 3 test, 4 purged between parts.
    """

    rows: Int[np.ndarray, " w"]
    outputs: Float[np.ndarray, "w output"]
    happened: Float[np.ndarray, " w"]
    moved: Int8[np.ndarray, " w"]
    position: Float[np.ndarray, " w"]
    equity: Float[np.ndarray, " n"]
    benchmark: Float[np.ndarray, " n"]
    split: UInt8[np.ndarray, " w"]


def answers_of(
    windows: Windows,
    prices: pd.DataFrame,
    predictions: pd.DataFrame,
    account: Account,
    split: UInt8[np.ndarray, " w"],
) -> Answers:
    """Lay what the model said of one ticker's windows over the bars of its prices."""
    rows = rows_of(windows, prices)
    equity, benchmark = (np.full(len(prices), np.nan) for _ in range(2))
    position = np.full(len(windows), np.nan)
    if account.positions is not None:
        position = account.positions.reindex(windows.dates).to_numpy(dtype=float)
    money = account.money
    if money is not None:
        bars = prices.index.get_indexer(money.equity.index)
        capital = money.conventions.initial_capital
        equity[bars] = money.equity.to_numpy(dtype=float) / capital * START
        benchmark[bars] = money.benchmark.to_numpy(dtype=float) / capital * START
    return Answers(
        rows=rows,
        outputs=predictions.to_numpy(dtype=float),
        happened=_happened(prices, rows, windows.horizon),
        moved=_moved(windows),
        position=position,
        equity=equity,
        benchmark=benchmark,
        split=split,
    )


def rows_of(windows: Windows, prices: pd.DataFrame) -> Int[np.ndarray, " w"]:
    """Return the bar of each decision.

    Raises
    ------
    ValueError
        The prices lack a bar of a window: they are not the windows' own.
    """
    rows = prices.index.get_indexer(windows.dates)
    oldest = windows.ends.numpy() - windows.lookback + 1
    begins = prices.index.get_indexer(windows.bar_index[oldest])
    apart = np.flatnonzero((rows < 0) | (begins < 0) | (rows - begins != windows.lookback - 1))
    if len(apart):
        first = windows.dates[int(apart[0])]
        raise ValueError(
            f"The prices must hold every bar of the windows. {len(apart)} of {len(windows)} don't fit, "
            f"the first decided on {first}; prices run {prices.index[0]} → {prices.index[-1]}. "
            "Pass the prices that the windows were made from."
        )
    return rows.astype(np.int64)


def _happened(prices: pd.DataFrame, rows: np.ndarray, horizon: int) -> Float[np.ndarray, " w"]:
    close = prices["close"].to_numpy(dtype=float)
    later = rows + horizon
    known = later < len(close)
    happened = np.full(len(rows), np.nan)
    happened[known] = close[later[known]] / close[rows[known]] - 1
    return happened


def _moved(windows: Windows) -> Int8[np.ndarray, " w"]:
    if windows.task != "classification":
        return np.full(len(windows), -1, dtype=np.int8)
    return windows.y.numpy().astype(np.int8)
