"""Are Alpha158 and Alpha360 those of qlib itself, and what does qlib take for them?

    python -m venv /tmp/qlib && /tmp/qlib/bin/python -m pip install -e . pyqlib
    PYTHONPATH=. /tmp/qlib/bin/python benchmarks/alpha158_qlib.py

The five bundled stocks since 2009 are written as a qlib folder, (h + l + c) / 3 as their vwap. qlib
computes its columns of it, `load_qlib` reads the same float32 prices and we compute ours; every number is
compared, and where one has none the other must have none. Differences are relative to the larger of 1 and
qlib's number: qlib takes logarithms of volumes in float32. Then 20 made-up stocks of 2,500 days are timed,
qlib's reading and caching included, in interleaved rounds of the process's CPU time; qlib's cache in memory
is emptied before each. Prints what it found and writes results/alpha158_qlib.json.
"""

import argparse
import importlib.util
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import record
from alpha158 import panel

from workbench.features.alpha158 import alpha158
from workbench.features.alpha360 import alpha360
from workbench.market.loading import load_panel
from workbench.market.qlib import load_qlib

STOCKS, DAYS, ROUNDS = 20, 2_500, 7
OURS = {"Alpha158": alpha158, "Alpha360": alpha360}
SETTING = {  # of qlib's Alpha158 handler
    "kbar": {},
    "price": {"windows": [0], "feature": ["OPEN", "HIGH", "LOW", "VWAP"]},
    "rolling": {},
}


def write_folder(prices: pd.DataFrame, folder: Path) -> None:
    """Write a panel as a qlib folder of daily data."""
    calendar = prices.index.get_level_values("date").unique().sort_values()
    for name in ("calendars", "instruments"):
        (folder / name).mkdir(parents=True)
    (folder / "calendars" / "day.txt").write_text("\n".join(calendar.strftime("%Y-%m-%d")) + "\n")
    lines = []
    for ticker, bars in prices.groupby(level="ticker"):
        bars = bars.droplevel("ticker")
        begin, end = (calendar.get_loc(bars.index[place]) for place in (0, -1))
        whole = bars.assign(vwap=(bars["high"] + bars["low"] + bars["close"]) / 3, factor=1.0)
        whole = whole.reindex(calendar[begin : end + 1])
        place = folder / "features" / str(ticker).lower()
        place.mkdir(parents=True)
        for field in whole:
            np.concatenate([[begin], whole[field]]).astype("<f4").tofile(place / f"{field}.day.bin")
        lines.append(f"{ticker}\t{bars.index[0]:%Y-%m-%d}\t{bars.index[-1]:%Y-%m-%d}")
    (folder / "instruments" / "all.txt").write_text("\n".join(lines) + "\n")


def use(folder: Path) -> None:
    """Point qlib at a folder, in this process alone."""
    import qlib

    qlib.init(provider_uri=str(folder), region="us", kernels=1, joblib_backend="sequential", logging_level=40)


def theirs(name: str) -> pd.DataFrame:
    """Return qlib's columns of all instruments, by (date, ticker)."""
    from qlib.contrib.data.loader import Alpha158DL, Alpha360DL
    from qlib.data import D
    from qlib.data.cache import H

    H.clear()
    loader = Alpha158DL.get_feature_config(SETTING) if name == "Alpha158" else Alpha360DL.get_feature_config()
    formulas, names = loader
    found = D.features(D.instruments("all"), formulas, freq="day")
    found.columns = names
    return found.swaplevel().sort_index()


def compared(name: str, prices: pd.DataFrame) -> dict[str, Any]:
    """Return the largest difference and the numbers that only one has."""
    ours, other = OURS[name](prices), theirs(name)
    if list(ours.columns) != list(other.columns) or len(ours) != len(other):
        raise SystemExit(f"{name}: columns or rows differ, nothing was compared.")
    a, b = ours.to_numpy(dtype="float64"), other.to_numpy(dtype="float64")
    off = np.nan_to_num(np.abs(a - b) / np.maximum(1, np.abs(b))).max(axis=0)
    return {
        "rows": len(ours),
        "columns": ours.shape[1],
        "largest_difference": float(off.max()),
        "in_column": str(ours.columns[int(off.argmax())]),
        "columns_within_1e-6": int((off <= 1e-6).sum()),
        "only_one_has": int((np.isnan(a) != np.isnan(b)).sum()),
    }


def timed(work: Callable[[], object]) -> float:
    """CPU seconds of a call."""
    start = time.process_time()
    work()
    return time.process_time() - start


def times(name: str, folder: Path) -> dict[str, Any]:
    """Return median seconds of both, reading included, and the median of the rounds' ratios."""

    def ours() -> pd.DataFrame:
        return OURS[name](load_qlib(folder, extra=["vwap"]))

    if len(ours()) != len(theirs(name)):  # a round that warms up, too
        raise SystemExit(f"{name}: not the same rows, nothing was timed.")
    rounds = [(timed(ours), timed(lambda: theirs(name))) for _ in range(ROUNDS)]
    return {
        "seconds": statistics.median(one for one, _ in rounds),
        "qlib_seconds": statistics.median(other for _, other in rounds),
        "qlib_ratio": statistics.median(other / one for one, other in rounds),
    }


def main() -> None:
    """Compare, time, print and write."""
    asked = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    asked.parse_args()
    if importlib.util.find_spec("qlib") is None:
        asked.error("pyqlib is not installed here, and nothing stands in for it: see the top of this file")
    told: dict[str, Any] = {"real": {}, "made": {"stocks": STOCKS, "days": DAYS, "rounds": ROUNDS}}
    with tempfile.TemporaryDirectory() as place:
        real, made = Path(place) / "real", Path(place) / "made"
        write_folder(load_panel(["AAPL", "FB", "GOOG", "IBM", "MSFT"], start="2009"), real)
        write_folder(panel(STOCKS, DAYS), made)
        use(real)
        for name in OURS:
            told["real"][name] = compared(name, load_qlib(real, extra=["vwap"]))
            print(name, told["real"][name])
        use(made)
        for name in OURS:
            told["made"][name] = times(name, made)
            print(name, told["made"][name])
    record.write("alpha158_qlib", told, ("numpy", "pandas", "pyqlib"))


if __name__ == "__main__":
    main()
