"""How often does `before_drawdowns` find what is not there, and how often what is?

    python benchmarks/drawdown_chance.py            # three minutes
    python benchmarks/drawdown_chance.py --few      # 20 histories each, to try it; nothing is written

Made-up histories of 500 dates: an account that wanders, its six worst drawdowns, and eight signals that
have nothing to do with it, and a memory: the correlation of neighbouring dates. Then to one of the signals
is added, in the ten decisions before each peak, the difference that the report calls `detectable`. Prints a
table and writes results/drawdown_chance.json.
"""

import argparse
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd
import record
from scipy.signal import lfilter

from workbench.gates.regimes import before_drawdowns
from workbench.trading.drawdowns import worst_drawdowns

HISTORIES, DATES, SIGNALS, DRAWDOWNS, BARS = 400, 500, 8, 6, 10
MEMORIES = (0.0, 0.8, 0.9, 0.97, 1.0)  # 1: a random walk
LEVEL = 0.05
FIRST = ("before", "signal 0")
WARM = 400  # dates before the first, so that a signal has forgotten where it began


@dataclass(frozen=True)
class Row:
    """Signals of one memory.

    `before` and `fall` are the shares of p ≤ 0.05 of a phase's signals, `family` that of histories in which
    the least family-wise p is; `detectable` the median of what a report says it takes before the peaks, in a
    signal's standard deviations, `found` how often that much was found.
    """

    memory: float
    histories: int
    before: float
    fall: float
    family: float
    detectable: float
    found: float


def signals(rng: np.random.Generator, memory: float, dates: pd.DatetimeIndex) -> pd.DataFrame:
    """Eight series of a memory."""
    noise = rng.normal(size=(WARM + len(dates), SIGNALS))
    values = np.asarray(lfilter([1.0], [1.0, -memory], noise, axis=0))[WARM:]
    return pd.DataFrame(values, dates, columns=[f"signal {i}" for i in range(SIGNALS)])


def judged(seed: int, memory: float) -> tuple[pd.DataFrame, bool] | None:
    """A history's table, and whether an effect added to a signal is found; None where there is no rest."""
    rng = np.random.default_rng([seed, round(1000 * memory)])
    dates = pd.bdate_range("2010-01-01", periods=DATES, name="date")
    equity = pd.Series(100 * np.exp(np.cumsum(0.01 * rng.normal(size=DATES))), dates)
    drawdowns = worst_drawdowns(equity, DRAWDOWNS, nested=True)
    daily = signals(rng, memory, dates)
    try:
        table = before_drawdowns(daily, drawdowns, BARS).table
    except ValueError:
        return None
    if FIRST not in table.index:
        return None
    effect = float(table.loc[[FIRST], "detectable"].iloc[0])
    if not np.isfinite(effect):
        return table, False
    daily[FIRST[1]] += effect * before(dates, drawdowns)
    planted = before_drawdowns(daily, drawdowns, BARS).table
    return table, float(planted.loc[[FIRST], "family_p_value"].iloc[0]) <= LEVEL


def before(dates: pd.DatetimeIndex, drawdowns: pd.DataFrame) -> np.ndarray:
    """1 in the decisions before the peaks that have enough of them, else 0 (date,)."""
    marked = np.zeros(len(dates))
    for last in dates.searchsorted(drawdowns["peak"].to_numpy(), side="right"):
        if last >= BARS:
            marked[last - BARS : last] = 1
    return marked


def measured(memory: float, histories: int) -> Row:
    """Judge histories whose signals have a memory."""
    pairs = [pair for pair in (judged(seed, memory) for seed in range(histories)) if pair is not None]
    tables = [table for table, _ in pairs]
    shares = {
        phase: float(np.mean([(t.loc[phase, "p_value"] <= LEVEL).mean() for t in tables if phase in t.index]))
        for phase in ("before", "fall")
    }
    return Row(
        memory=memory,
        histories=len(pairs),
        before=shares["before"],
        fall=shares["fall"],
        family=float(np.mean([t["family_p_value"].min() <= LEVEL for t in tables])),
        detectable=float(
            np.median(
                np.concatenate([(t["detectable"] / t["spread"]).loc["before"].to_numpy() for t in tables])
            )
        ),
        found=float(np.mean([found for _, found in pairs])),
    )


def main() -> None:
    """Print the table and write it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--few", action="store_true")
    few = parser.parse_args().few
    rows = [measured(memory, 20 if few else HISTORIES) for memory in MEMORIES]
    print(pd.DataFrame(map(asdict, rows)).round(3).to_string(index=False))
    if not few:
        record.write("drawdown_chance", {"rows": [asdict(row) for row in rows]}, ("numpy", "pandas", "scipy"))


if __name__ == "__main__":
    main()
