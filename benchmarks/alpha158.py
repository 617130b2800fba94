"""How fast is Alpha158 over a panel, and how much memory does it take? Against pandas' rolling windows.

    python benchmarks/alpha158.py

500 stocks × 2,500 days, made up: a random walk each. The whole panel is made in a process of its own, whose
highest resident memory is read at the end, imports and prices in it. pandas is the plain `groupby` and
`rolling` of the tests, on 20 of the stocks; the ratio is of those 20, and what pandas would take for all is
that many times ours, not measured. The two agree before they are timed. Rounds are interleaved, seconds are
the process's CPU time, medians are reported. Prints what it found and writes results/alpha158.json.
"""

import argparse
import json
import resource
import runpy
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import record

from workbench.features.alpha158 import alpha158
from workbench.features.alpha360 import alpha360

ROOT = Path(__file__).resolve().parents[1]
PLAIN = ROOT / "tests" / "features" / "plain_alpha158.py"
STOCKS, DAYS, FEW, ROUNDS = 500, 2_500, 20, 7


def panel(stocks: int, days: int) -> pd.DataFrame:
    """Made-up bars, a random walk a stock."""
    rng = np.random.default_rng(0)
    dates = pd.bdate_range("2000-01-03", periods=days, name="date", unit="us")
    frames = {}
    for number in range(stocks):
        close = 50 * np.exp(np.cumsum(rng.normal(0, 0.02, days)))
        opening = close * np.exp(rng.normal(0, 0.005, days))
        high = np.maximum(opening, close) * np.exp(np.abs(rng.normal(0, 0.01, days)))
        low = np.minimum(opening, close) * np.exp(-np.abs(rng.normal(0, 0.01, days)))
        volume = np.round(np.exp(rng.normal(12, 0.5, days)))
        fields = {"open": opening, "high": high, "low": low, "close": close, "volume": volume}
        frames[f"S{number:03d}"] = pd.DataFrame(fields, index=dates)
    prices = pd.concat(frames, names=["ticker", "date"]).swaplevel().sort_index()
    prices.attrs["provenance"] = {"source": "made", "ticker": sorted(frames), "synthetic": True}
    return prices


def timed(make: Callable[[pd.DataFrame], pd.DataFrame], prices: pd.DataFrame) -> tuple[float, pd.DataFrame]:
    """CPU seconds of a call, and what it returned."""
    start = time.process_time()
    found = make(prices)
    return time.process_time() - start, found


def whole(name: str) -> dict[str, Any]:
    """Make all columns of the whole panel in this process; seconds and highest resident memory."""
    prices = panel(STOCKS, DAYS)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    seconds, found = timed({"alpha158": alpha158, "alpha360": alpha360}[name], prices)
    return {
        "rows": len(prices),
        "columns": found.shape[1],
        "cpu_seconds": seconds,
        "wall_seconds": time.perf_counter() - start,
        "peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
        "peak_before_gb": before / 1e6,
        "result_gb": found.to_numpy().nbytes / 1e9,
    }


def in_a_process_of_its_own(name: str) -> dict[str, Any]:
    """Measure the whole panel where nothing else has taken memory."""
    command = [sys.executable, __file__, "--whole", name]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def against_pandas() -> dict[str, Any]:
    """Median ratio of CPU seconds over interleaved rounds, after the results were seen to agree."""
    plain = runpy.run_path(str(PLAIN))["plain_alpha158"]
    prices = panel(FEW, DAYS)
    ours, theirs = alpha158(prices), plain(prices)
    error = float(np.nanmax(np.abs(ours[theirs.columns].to_numpy() - theirs.to_numpy())))
    if not np.allclose(ours[theirs.columns], theirs, rtol=2e-5, atol=2e-5, equal_nan=True):
        raise SystemExit(f"alpha158 and pandas differ by up to {error}: nothing was timed.")
    rounds = [(timed(alpha158, prices)[0], timed(plain, prices)[0]) for _ in range(ROUNDS)]
    return {
        "stocks": FEW,
        "rows": len(prices),
        "rounds": ROUNDS,
        "seconds": statistics.median(one for one, _ in rounds),
        "pandas_seconds": statistics.median(other for _, other in rounds),
        "pandas_ratio": statistics.median(other / one for one, other in rounds),
        "largest_difference": error,
    }


def main() -> None:
    """Measure, print and write."""
    asked = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    asked.add_argument("--whole", choices=("alpha158", "alpha360"), help=argparse.SUPPRESS)
    name = asked.parse_args().whole
    if name:
        print(json.dumps(whole(name)))
        return
    measured = {name: in_a_process_of_its_own(name) for name in ("alpha158", "alpha360")}
    few = against_pandas()
    for name, of in measured.items():
        print(
            f"{name}: {of['rows']:,} rows × {of['columns']} columns, {of['cpu_seconds']:.1f} s of one thread"
        )
        print(f"  peak {of['peak_gb']:.2f} GB, of which {of['result_gb']:.2f} GB are the result")
    print(f"pandas ÷ ours: {few['pandas_ratio']:.1f} on {FEW} stocks ({few['pandas_seconds']:.1f} s)")
    told = {"stocks": STOCKS, "days": DAYS, "prices": "made up, random walks"}
    record.write("alpha158", {**told, "whole": measured, "against_pandas": few}, ("numpy", "pandas"))


if __name__ == "__main__":
    main()
