"""Which faults of a training do the detectors see, and how often do they cry at nothing?

    python benchmarks/gate_faults.py            # about ten minutes; goes on where it was killed
    python benchmarks/gate_faults.py --small    # one model and few seeds, to try it; nothing is written
    python benchmarks/gate_faults.py --design   # the seeds that rulers, floors and limits were chosen on

Small trainings of an LSTM, a GRU and an ALSTM on bundled prices of Apple: each seed has its own stretch of
days, initial weights and batches. Detectors are calibrated, limit and all, on the healthy runs of the
calibration seeds; the faults are those of `gate_injections.py`; all figures are of other seeds, which no
choice was made on. Every run is a file under --cells, so a killed run goes on. Prints a table and writes
results/gate_faults.json.
"""

import argparse
import hashlib
import statistics
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import record
import torch
from gate_injections import FAULTS, ONSET, Fault, Striking
from sklearn.metrics import roc_auc_score

from workbench.features.indicators import make_features
from workbench.features.labels import label_moves
from workbench.features.windows import Windows
from workbench.gates.calibrated import CalibratedDetector
from workbench.gates.detect import IsolationForestDetector, NeighbourDetector, RobustRules
from workbench.gates.features import Key
from workbench.gates.keeping import read_healthy, write_healthy
from workbench.gates.monitor import GateMonitor
from workbench.gates.snapshots import Snapshot
from workbench.market.loading import load_prices
from workbench.models.registry import build_model
from workbench.training.fitting import fit

MODELS = {"lstm": {}, "gru": {}, "alstm": {"rnn": "lstm"}}
SIZE = {"hidden_size": 16, "n_layers": 1, "dropout": 0.1}
TRAIN, VALID, LOOKBACK, EPOCHS, LR = 448, 128, 20, 10, 3e-3
HEALTHY = "healthy"
CALIBRATED_ON = (3, 4, 6, 8, 12, 24)  # healthy runs
SOURCES = (
    "signals.py", "measures.py", "readings.py", "weights.py", "recover.py", "gradients.py", "probes.py",
    "snapshots.py", "watch.py",
)  # fmt: skip


@dataclass(frozen=True)
class Seeds:
    """Runs: those to calibrate with, healthy ones to be judged, and faulty ones, of each fault."""

    calibration: range
    healthy: range
    faulty: range


EVALUATION = Seeds(range(24), range(1000, 1024), range(1000, 1012))
DESIGN = Seeds(range(24), range(300, 312), range(300, 304))
SMALL = Seeds(range(4), range(300, 302), range(300, 301))


@dataclass(frozen=True)
class Cell:
    """One training."""

    model: str
    seed: int
    fault: str


@dataclass(frozen=True)
class Row:
    """One fault by one detector, over the models: snapshots after it struck, against healthy ones as old.

    `detected` and `runs` are the shares of snapshots, and of runs by at least one snapshot, beyond the limit.
    """

    detector: str
    fault: str
    auroc: float
    detected: float
    runs: float
    snapshots: int


@dataclass(frozen=True)
class Alarms:
    """False alarms of one detector: shares of healthy snapshots and runs, and how many those are."""

    detector: str
    snapshots: float
    runs: float
    of_snapshots: int
    of_runs: int


def classic_four(snapshot: Snapshot) -> dict[Key, float]:
    """Mean activation, gradient variance (log₁₀), zero crossings and entropy, over the model."""
    units, norms = snapshot.units, snapshot.weights["gradient_norm"].to_numpy(float)
    told = {
        "mean_activation": float(units["hidden_mean"].mean()),
        "gradient_variance": float(np.log10(max(float(np.square(norms).mean()), 1e-24))),
        "zero_crossings": float(units["hidden_crossings"].mean()),
        "entropy": float(units["hidden_entropy"].mean()),
    }
    return {("classic", "", name, ""): value for name, value in told.items()}


class ClassicForest(IsolationForestDetector):
    """The forest over four features that are often taken; healthy and checked like the others."""

    describe = staticmethod(classic_four)


DETECTORS: dict[str, type[CalibratedDetector]] = {
    "rules": RobustRules,
    "forest": IsolationForestDetector,
    "neighbours": NeighbourDetector,
    "forest of four": ClassicForest,
}


def all_windows() -> Windows:
    """Every window of Apple."""
    prices = load_prices("AAPL")
    return Windows.of(make_features(prices), label_moves(prices, scale="volatility"), LOOKBACK).labelled()


def train_once(cell: Cell, windows: Windows) -> list[Snapshot]:
    """Train a cell's model and return what the monitor saw."""
    rng = np.random.default_rng([cell.seed, 1])
    fault = FAULTS.get(cell.fault, Fault("nothing"))
    first = int(np.random.default_rng(cell.seed).integers(len(windows) - TRAIN - VALID - 2))
    own = replace(windows, bars=windows.bars.clone())  # that a fault may change
    parts = own[first : first + TRAIN], own[first + TRAIN + 2 : first + TRAIN + 2 + VALID]
    train, valid = parts if fault.sets is None else (fault.sets(p, _alike(cell, 2)) for p in parts)
    model = build_model(cell.model, train, seed=cell.seed, **SIZE, **MODELS[cell.model])
    monitor = GateMonitor(valid, budget=1e6, every=3)
    try:
        fit(
            model, train, valid, seed=cell.seed, epochs=EPOCHS, patience=None, lr=LR * fault.lr,
            progress=False, callbacks=[Striking(fault, own.bars, rng), monitor],
        )  # fmt: skip
    except FloatingPointError:
        if cell.fault != "NaN":
            raise
    if len(monitor.errors):
        raise RuntimeError(f"{cell}: {monitor.errors}")
    return monitor.snapshots


def _alike(cell: Cell, number: int) -> np.random.Generator:
    """The same random numbers for training and validation windows."""
    return np.random.default_rng([cell.seed, number])


def cells(seeds: Seeds, models: Sequence[str]) -> Iterator[Cell]:
    """Yield every training that is needed."""
    for model in models:
        yield from (Cell(model, seed, HEALTHY) for seed in (*seeds.calibration, *seeds.healthy))
        yield from (Cell(model, seed, fault) for fault in FAULTS for seed in seeds.faulty)


def snapshots_of(cell: Cell, folder: Path, windows: Windows) -> list[Snapshot]:
    """Return a cell's snapshots, from its file if it was trained before."""
    path = folder / f"{cell.model}-{cell.seed}-{cell.fault.replace(' ', '_')}.safetensors"
    if not path.exists():
        write_healthy(path, train_once(cell, windows), asdict(cell))
    return read_healthy(path)[0]


Runs = dict[Cell, list[Snapshot]]


def judged(runs: Runs, seeds: Seeds, models: Sequence[str]) -> tuple[list[Row], list[Alarms]]:
    """Calibrate each detector for each model, and judge it on the seeds that it was not calibrated on."""
    rows: list[Row] = []
    alarms: list[Alarms] = []
    for name, kind in DETECTORS.items():
        of_models = []
        for model in models:
            known = [s for seed in seeds.calibration for s in runs[Cell(model, seed, HEALTHY)]]
            of_models.append(_scored(kind().calibrate(known), model, runs, seeds))
        alarms.append(_alarms(name, of_models))
        rows += [_row(name, fault, of_models) for fault in FAULTS]
    return rows, alarms


@dataclass(frozen=True, eq=False)
class Scored:
    """One detector of one model: its limit, and scores by fault, one list a run, each (epoch, score)."""

    limit: float
    scores: dict[str, list[list[tuple[int, float]]]]

    def flat(self, fault: str, begins: int) -> np.ndarray:
        """Return the scores from an epoch on."""
        kept = [score for run in self.scores[fault] for epoch, score in run if epoch >= begins]
        return np.array(kept)

    def runs(self, fault: str, begins: int) -> list[bool]:
        """Tell of each run whether any snapshot from an epoch on is beyond the limit."""
        return [any(s > self.limit for epoch, s in run if epoch >= begins) for run in self.scores[fault]]


def _scored(detector: CalibratedDetector, model: str, runs: Runs, seeds: Seeds) -> Scored:
    def of(fault: str, chosen: range) -> list[list[tuple[int, float]]]:
        of_fault = [runs[Cell(model, seed, fault)] for seed in chosen]
        told = iter(detector.scores([s for run in of_fault for s in run]).tolist())
        return [[(s.epoch, next(told)) for s in run] for run in of_fault]

    scores = {HEALTHY: of(HEALTHY, seeds.healthy)} | {fault: of(fault, seeds.faulty) for fault in FAULTS}
    return Scored(detector.limit, scores)


def _row(name: str, fault: str, of_models: Sequence[Scored]) -> Row:
    begins = FAULTS[fault].begins
    areas, hits, run_hits = [], [], []
    for scored in of_models:
        bad, good = scored.flat(fault, begins), scored.flat(HEALTHY, begins)
        truth = np.r_[np.ones(len(bad)), np.zeros(len(good))]
        areas.append(float(roc_auc_score(truth, np.minimum(np.r_[bad, good], 1e300))))
        hits += (bad > scored.limit).tolist()
        run_hits += scored.runs(fault, begins)
    return Row(
        name, fault, statistics.mean(areas), statistics.mean(hits), statistics.mean(run_hits), len(hits)
    )


def _alarms(name: str, of_models: Sequence[Scored]) -> Alarms:
    flags = [bool(s > scored.limit) for scored in of_models for s in scored.flat(HEALTHY, 1)]
    runs = [flag for scored in of_models for flag in scored.runs(HEALTHY, 1)]
    return Alarms(name, statistics.mean(flags), statistics.mean(runs), len(flags), len(runs))


def alarms_by_runs(runs: Runs, seeds: Seeds, models: Sequence[str]) -> dict[int, Alarms]:
    """Return the false alarms of the rules, by how many healthy runs they were calibrated on."""
    found: dict[int, Alarms] = {}
    for count in [n for n in CALIBRATED_ON if n <= len(seeds.calibration)]:
        of_models = []
        for model in models:
            known = [s for seed in seeds.calibration[:count] for s in runs[Cell(model, seed, HEALTHY)]]
            rules = RobustRules().calibrate(known)
            told = [[(s.epoch, rules.score(s)) for s in runs[Cell(model, n, HEALTHY)]] for n in seeds.healthy]
            of_models.append(Scored(rules.limit, {HEALTHY: told}))
        found[count] = _alarms("rules", of_models)
    return found


def table(rows: Sequence[Row], alarms: Sequence[Alarms]) -> str:
    """AUROC / share of snapshots / share of runs, by fault and detector, in Markdown."""
    lines = ["| fault | " + " | ".join(DETECTORS) + " |", "|---" * (len(DETECTORS) + 1) + "|"]
    for fault in FAULTS:
        mine = [row for row in rows if row.fault == fault]
        lines.append(
            f"| {fault} | "
            + " | ".join(f"{r.auroc:.2f} / {r.detected:.2f} / {r.runs:.2f}" for r in mine)
            + " |"
        )
    told = " | ".join(f"{a.snapshots:.3f} / {a.runs:.2f}" for a in alarms)
    return "\n".join([*lines, f"| none: false alarms, snapshots / runs | {told} |"])


def _folder(root: Path) -> Path:
    """Return the folder of cells that were trained and measured by this very code."""
    gates = Path(__file__).resolve().parents[1] / "workbench" / "gates"
    files = [Path(__file__).with_name("gate_injections.py"), *(gates / name for name in SOURCES)]
    settings = repr((MODELS, SIZE, TRAIN, VALID, LOOKBACK, EPOCHS, LR, ONSET)).encode()
    digest = hashlib.sha256(settings + b"".join(file.read_bytes() for file in files))
    return root / digest.hexdigest()[:12]


def main() -> None:
    """Train what was not trained yet, judge, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--design", action="store_true")
    parser.add_argument("--cells", type=Path, default=Path("runs/gate_faults"))
    asked = parser.parse_args()
    torch.set_num_threads(1)
    warnings.filterwarnings("error", category=RuntimeWarning)
    seeds = SMALL if asked.small else DESIGN if asked.design else EVALUATION
    models = ("lstm",) if asked.small else tuple(MODELS)
    windows, folder = all_windows(), _folder(asked.cells)
    began, runs = time.process_time(), Runs()
    for cell in cells(seeds, models):
        runs[cell] = snapshots_of(cell, folder, windows)
    trained = time.process_time() - began
    rows, alarms = judged(runs, seeds, models)
    print(table(rows, alarms))
    by_runs = alarms_by_runs(runs, seeds, models)
    for count, told in by_runs.items():
        print(f"rules calibrated on {count} runs: false alarms {told.snapshots:.3f} / {told.runs:.2f}")
    spent = {"training": trained, "judging": time.process_time() - began - trained}
    told_spent = ", ".join(f"{name} {seconds:.0f}" for name, seconds in spent.items())
    print(f"{len(runs)} runs; CPU seconds now: {told_spent}")
    if not asked.small and not asked.design:
        result: dict[str, Any] = {
            "what": "AUROC; shares of snapshots and runs beyond a limit from other seeds (99 % specificity)",
            "faults": {name: fault.says for name, fault in FAULTS.items()},
            "seeds": {name: [part.start, part.stop] for name, part in asdict(seeds).items()},
            "rows": [asdict(row) for row in rows],
            "false_alarms": [asdict(each) for each in alarms],
            "false_alarms_by_runs_calibrated_on": {str(n): asdict(each) for n, each in by_runs.items()},
        }
        record.write("gate_faults", result, ("numpy", "torch", "scikit-learn"))


if __name__ == "__main__":
    main()
