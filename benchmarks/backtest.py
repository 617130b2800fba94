"""How fast is the ledger, and how much memory does it take? Against a plain loop over bars.

    python benchmarks/backtest.py

The whole of `backtest` is measured: laying positions over prices, the ledger, the same for buy and hold,
trades and figures. The loop, which is the tests' oracle, does the ledger's arithmetic alone. Rounds are
interleaved, seconds are the process's CPU time, medians are reported. Memory is the peak of what the call
allocates, measured in a round of its own. Prints a table and writes results/backtest.json.
"""

import runpy
import statistics
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import record

from workbench.trading.ledger import backtest

ROOT = Path(__file__).resolve().parents[1]
PLAIN_LEDGER = ROOT / "tests" / "trading" / "plain_ledger.py"
ROUNDS, COST_BPS = 9, 5.0
LEDGERS = ("on_change", "every_bar", "formula")
SIZES = ((2_520, 500), (1_000_000, 1))  # ten years of 500 stocks, two years of minutes
SMALL = ((2_520, 100), (100_000, 1))  # the loop takes minutes of rounds at the sizes above


@dataclass(frozen=True)
class Row:
    """One size and ledger: median seconds, the loop's over ours (median of the rounds' ratios), peak MB."""

    bars: int
    assets: int
    ledger: str
    seconds: float
    loop_seconds: float | None
    loop_ratio: float | None
    peak_mb: float
    input_mb: float


def market(bars: int, assets: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Random prices and positions held five bars on average."""
    rng = np.random.default_rng(0)
    closes = 100 * np.exp(np.cumsum(rng.normal(0, 1e-3, (bars, assets)), axis=0))
    opens = closes * np.exp(rng.normal(0, 3e-4, (bars, assets)))
    held = rng.integers(-1, 2, (bars, assets)).astype(float)
    keep = rng.random((bars, assets)) < 0.8
    keep[0] = False
    rows = np.maximum.accumulate(np.where(keep, 0, np.arange(bars)[:, None]), axis=0)
    dates = pd.date_range("2000-01-01", periods=bars, freq="1min", tz="UTC", name="date")
    if assets == 1:
        signal = pd.DataFrame({"asset": held[rows[:, 0], 0]}, dates)
        return signal, pd.DataFrame({"open": opens[:, 0], "close": closes[:, 0]}, dates)
    names = [f"A{i:03d}" for i in range(assets)]
    positions = pd.DataFrame(np.take_along_axis(held, rows, axis=0), dates, names)
    index = pd.MultiIndex.from_product([dates, names], names=["date", "ticker"])
    return positions, pd.DataFrame({"open": opens.ravel(), "close": closes.ravel()}, index)


def ours(positions: pd.DataFrame, prices: pd.DataFrame, ledger: str) -> float:
    """Run the backtest and return its last equity."""
    result = backtest(positions, prices, ledger=ledger, cost_bps=COST_BPS, periods_per_year=525_600)
    return float(result.equity.iloc[-1] / 100_000)


def lists_of(positions: pd.DataFrame, prices: pd.DataFrame) -> tuple[list, list, list]:
    """What the loop wants: target weights, opens and closes as lists of lists."""
    wanted = np.zeros(positions.shape)
    wanted[1:] = positions.to_numpy()[:-1] / positions.shape[1]
    opens, closes = (prices[name].to_numpy().reshape(positions.shape) for name in ("open", "close"))
    return wanted.tolist(), opens.tolist(), closes.tolist()


def timed(function: Callable[..., Any], *arguments: Any) -> tuple[float, Any]:
    """CPU seconds of a call, and what it returned."""
    start = time.process_time()
    found = function(*arguments)
    return time.process_time() - start, found


def peak_mb(positions: pd.DataFrame, prices: pd.DataFrame, ledger: str) -> float:
    """Most megabytes a call holds at once, beyond its inputs."""
    tracemalloc.start()
    ours(positions, prices, ledger)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / 1e6


def rows_of(bars: int, assets: int, against_loop: bool) -> list[Row]:
    """Measure every ledger at one size."""
    positions, prices = market(bars, assets)
    plain = runpy.run_path(str(PLAIN_LEDGER))["plain_ledger"] if against_loop else None
    lists = lists_of(positions, prices) if against_loop else ()
    seconds: dict[str, list[float]] = {ledger: [] for ledger in LEDGERS}
    loops: dict[str, list[float]] = {ledger: [] for ledger in LEDGERS}
    for _ in range(ROUNDS):
        for ledger in LEDGERS:
            spent, equity = timed(ours, positions, prices, ledger)
            seconds[ledger].append(spent)
            if plain is not None:
                spent, book = timed(plain, *lists, COST_BPS / 1e4, ledger)
                loops[ledger].append(spent)
                if abs(equity / book.equity[-1] - 1) > 1e-9:
                    raise AssertionError(f"{ledger}: {equity} is not the loop's {book.equity[-1]}")
    megabytes = (positions.memory_usage().sum() + prices.memory_usage().sum()) / 1e6
    rows = []
    for ledger in LEDGERS:
        ratios = [theirs / mine for mine, theirs in zip(seconds[ledger], loops[ledger], strict=against_loop)]
        row = Row(
            bars,
            assets,
            ledger,
            statistics.median(seconds[ledger]),
            statistics.median(loops[ledger]) if ratios else None,
            statistics.median(ratios) if ratios else None,
            peak_mb(positions, prices, ledger),
            float(megabytes),
        )
        rows.append(row)
    return rows


def main() -> None:
    """Measure, print, write."""
    rows = [row for size in SIZES for row in rows_of(*size, against_loop=False)]
    rows += [row for size in SMALL for row in rows_of(*size, against_loop=True)]
    table = pd.DataFrame([asdict(row) for row in rows])
    print(table.to_string(index=False, na_rep="", float_format="{:.3f}".format))
    measured = {
        "question": "seconds and peak memory of a backtest, against a plain loop over bars",
        "rounds": ROUNDS,
        "seconds": "CPU time of the process, median",
        "rows": [asdict(row) for row in rows],
    }
    record.write("backtest", measured, packages=("numpy", "pandas"))


if __name__ == "__main__":
    main()
