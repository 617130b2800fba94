"""What does watching a training cost, and does the monitor know it?

    python benchmarks/gate_monitor.py

Each network is trained by `fit` on random windows, alone and under a `GateMonitor` with its budget of 2 %, in
turns. *Dearer* is the processor time of one thread with the monitor over that without, minus 1: the median of
the rounds, beside the ratio of the least of each, and *noise*, by how much two trainings alone differ, one
after the other. *Told* is what the monitor says of itself: `monitor.overhead` by the clock on the wall, by
which it keeps its budget, and the same blocks by processor time. Also: how many epochs and steps it looked
at, and bytes of log an epoch. Once the same without a budget: every epoch and every tenth step. Prints a
table and writes results/gate_monitor.json.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import record
import torch

from workbench.features.windows import Windows
from workbench.gates.budget import Budget
from workbench.gates.monitor import GateMonitor
from workbench.models.registry import build_model
from workbench.training.fitting import fit
from workbench.training.states import weights_of, weights_sha256

FEATURES = 8
MODELS = ("lstm", "gru", "alstm")


@dataclass(frozen=True)
class Size:
    """A network and its training."""

    hidden: int
    lookback: int
    layers: int
    windows: int
    epochs: int


SIZES = {
    "laptop": Size(hidden=16, lookback=20, layers=1, windows=1500, epochs=20),
    "published, 20 bars": Size(hidden=64, lookback=20, layers=2, windows=1500, epochs=12),
    "published, 60 bars": Size(hidden=128, lookback=60, layers=2, windows=500, epochs=6),
}


class TwoClocks(Budget):
    """A budget that also counts the processor time of what it times."""

    processor = 0.0

    @contextmanager
    def spending(self, kind: str) -> Iterator[None]:
        """Count the block by both clocks, unless it lies within another."""
        outermost, before = self._outer is None, time.process_time()
        with super().spending(kind):
            yield
        if outermost:
            self.processor += time.process_time() - before


@dataclass(frozen=True)
class Run:
    """One training: processor seconds, and what the monitor told."""

    seconds: float
    weights: str
    told_wall: float = 0.0
    told_processor: float = 0.0
    looked: int = 0
    sampled: float = 0.0
    bytes: float = 0.0


def random_windows(size: Size) -> tuple[Windows, Windows]:
    """Noise with classes; a fifth as many windows to validate on."""
    bars = size.windows + size.windows // 5 + size.lookback + 2
    rng = np.random.default_rng(0)
    dates = pd.bdate_range("1990-01-01", periods=bars, name="date")
    labels = pd.Series(rng.integers(0, 3, bars).astype(float), index=dates)
    labels.attrs = {"task": "classification", "horizon": 1, "classes": ["sell", "hold", "buy"]}
    features = pd.DataFrame(rng.normal(size=(bars, FEATURES)), dates, [f"f{i}" for i in range(FEATURES)])
    windows = Windows.of(features, labels, size.lookback)
    return windows[: size.windows], windows[size.windows + 1 :].labelled()


def trained(name: str, size: Size, parts: tuple[Windows, Windows], every: int | None, watch: bool) -> Run:
    """Train once, watched or not."""
    depth = {} if name == "alstm" and size.layers == 1 else {"n_layers": size.layers}
    model = build_model(name, parts[0], seed=0, hidden_size=size.hidden, **depth)
    options: dict[str, Any] = {"epochs": size.epochs, "patience": None, "progress": False}
    with tempfile.TemporaryDirectory() as folder:
        monitor = GateMonitor(parts[1], folder, every=every) if watch else None
        if monitor is not None:
            monitor.budget = TwoClocks(monitor.budget.share)
        began = time.process_time()
        fit(model, *parts, callbacks=[] if monitor is None else [monitor], **options)
        seconds, weights = time.process_time() - began, weights_sha256(weights_of(model))
        if monitor is None:
            return Run(seconds, weights)
        if monitor.errors:
            raise RuntimeError(f"watching failed: {monitor.errors[0].trace}")
        files = [path for path in Path(folder).iterdir() if path.stem.isdigit()]
        return Run(
            seconds,
            weights,
            monitor.overhead,
            monitor.budget.processor / (seconds - monitor.budget.processor),
            len(monitor.snapshots),
            float(monitor.record["sampled"].sum() / monitor.record["steps"].sum()),
            sum(path.stat().st_size for path in files) / len(monitor.snapshots),
        )


def measured(name: str, place: str, rounds: int, every: int | None) -> dict[str, Any]:
    """Measure one network, with and without, in turns."""
    size = SIZES[place]
    parts = random_windows(size)
    alone, watched = [], []
    for turn in range(rounds):
        for watch in (False, True) if turn % 2 else (True, False):
            (watched if watch else alone).append(trained(name, size, parts, every, watch))
    if len({run.weights for run in alone + watched}) != 1:
        raise RuntimeError(f"{name}: weights differ with and without the monitor")

    def median(field: str) -> float:
        return statistics.median(getattr(run, field) for run in watched)

    ratios = [w.seconds / a.seconds - 1 for a, w in zip(alone, watched, strict=True)]
    noise = [abs(b.seconds / a.seconds - 1) for a, b in pairwise(alone)]
    least = min(run.seconds for run in watched) / min(run.seconds for run in alone) - 1
    return {
        "network": name,
        **asdict(size),
        "size": place,
        "every": every,
        "seconds_alone": statistics.median(run.seconds for run in alone),
        "dearer": statistics.median(ratios),
        "dearer_quartiles": [float(q) for q in np.quantile(ratios, [0.25, 0.75])],
        "dearer_least": least,
        "noise": statistics.median(noise),
        "told_processor": median("told_processor"),
        "told_wall": median("told_wall"),
        "epochs_looked_at": median("looked"),
        "steps_measured": median("sampled"),
        "log_bytes_an_epoch": median("bytes"),
        "rounds": rounds,
    }


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--sizes", nargs="+", default=list(SIZES))
    asked = parser.parse_args()
    torch.set_num_threads(1)
    trained("lstm", Size(4, 4, 1, 100, 1), random_windows(Size(4, 4, 1, 100, 1)), 1, True)  # imports skorch
    contests: list[tuple[str, str, int | None]] = [(p, name, None) for name in MODELS for p in asked.sizes]
    contests.insert(len(asked.sizes), (asked.sizes[-1], MODELS[0], 10))
    rows: list[dict[str, Any]] = []
    for place, name, every in contests:
        rows.append(measured(name, place, asked.rounds, every))
        print(pd.Series(rows[-1]).to_string(), flush=True)
        record.write("gate_monitor", {"question": __doc__.splitlines()[0], "budget": 0.02, "rows": rows})
    shown = [
        "size",
        "network",
        "every",
        "dearer",
        "dearer_least",
        "noise",
        "told_processor",
        "told_wall",
        "epochs_looked_at",
    ]
    print(pd.DataFrame(rows)[[*shown, "steps_measured", "log_bytes_an_epoch"]].to_string(index=False))


if __name__ == "__main__":
    main()
