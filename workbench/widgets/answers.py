"""What a model said of every window, what became of it, and the money made on the way."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float, Int, Int8, UInt8

from workbench.features.splits import timestamp
from workbench.features.windows import Windows
from workbench.trading.ledger import backtest
from workbench.trading.result import BacktestResult
from workbench.trading.signals import positions, positions_from_forecast
from workbench.training.history import History

UNKNOWN, TRAIN, VALID, TEST = 0, 1, 2, 3
START = 100.0  # what both accounts begin with, to be compared


@dataclass(frozen=True)
class Conventions:
    """How answers become positions, and positions money."""

    confidence: float | int
    cost_bps: float | int
    fill: str


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
        Accounts that start at 100; NaN outside the backtest.
    split
        0 unknown, 1 train, 2 valid, 3 test.
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
    money: BacktestResult | None,
    history: History | None,
) -> Answers:
    """Lay what the model said of one ticker's windows over the bars of its prices."""
    rows = rows_of(windows, prices)
    equity, benchmark = (np.full(len(prices), np.nan) for _ in range(2))
    position = np.full(len(windows), np.nan)
    if money is not None:
        bars = prices.index.get_indexer(money.equity.index)
        capital = money.conventions.initial_capital
        equity[bars] = money.equity.to_numpy(dtype=float) / capital * START
        benchmark[bars] = money.benchmark.to_numpy(dtype=float) / capital * START
        position = money.positions.iloc[:, 0].reindex(windows.dates).to_numpy(dtype=float)
    return Answers(
        rows=rows,
        outputs=predictions.to_numpy(dtype=float),
        happened=_happened(prices, rows, windows.horizon),
        moved=_moved(windows),
        position=position,
        equity=equity,
        benchmark=benchmark,
        split=splits_of(windows, history),
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


def money_of(predictions: pd.DataFrame, prices: pd.DataFrame, told: Conventions) -> BacktestResult:
    """Trade on every answer. ValueError where classes are not moves, or prices lack what a fill needs."""
    if list(predictions.columns) == ["forecast"]:
        decided = positions_from_forecast(predictions)
    else:
        decided = positions(predictions, threshold=told.confidence)
    return backtest(decided, prices, fill=told.fill, cost_bps=told.cost_bps)


def splits_of(windows: Windows, history: History | None) -> UInt8[np.ndarray, " w"]:
    """Tell which part of the training each decision date belongs to, by the dates of the model's history.

    A history that doesn't say where the test begins has it begin `horizon` windows after the last of valid,
    since as many are purged there. What lies between parts belongs to none. Dates count on other tickers
    too, for markets move together.
    """
    split = np.full(len(windows), UNKNOWN, dtype=np.uint8)
    if history is None or not {"train", "valid"} <= history.splits.keys():
        return split
    ends = []
    for part, number in {"train": TRAIN, "valid": VALID}.items():
        first, last = (_clock(history.splits[part][end], windows) for end in ("first", "last"))
        split[np.asarray((windows.dates >= first) & (windows.dates <= last))] = number
        ends.append(last)
    told = history.provenance.get("split")
    if told is None:
        split[np.flatnonzero(np.asarray(windows.dates > max(ends)))[windows.horizon :]] = TEST
    else:
        split[np.asarray(windows.dates >= _clock(told["test"], windows))] = TEST
    return split


def _clock(text: str, windows: Windows) -> pd.Timestamp:
    """Read a date of the history in the clock of these windows, daily or in UTC."""
    return timestamp(text, windows.dates.tz)


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
