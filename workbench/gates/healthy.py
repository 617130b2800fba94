"""What a model looked like while all was well, by phase of its training."""

import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int

from workbench.gates.features import DRIFT, FACTOR, Key, ruler
from workbench.gates.finite import TABLES, finite_findings
from workbench.gates.snapshots import Snapshot

FEWEST, FEWEST_RUNS = 20, 3  # healthy snapshots to calibrate with, and trainings they are of
ENOUGH_RUNS = 8  # trainings below which a new one is often taken for a fault
PHASE = 16  # healthy snapshots that one is compared with
NORMAL = 1.482602218505602  # 1 / Φ⁻¹(3/4): makes the MAD of normal values their standard deviation
MOST_SAID = 5

Array = np.ndarray
Describe = Callable[[Snapshot], dict[Key, float]]


def robust_z(
    value: Float[Array, " feature"],
    healthy: Float[Array, "snapshot feature"],
    floor: Float[Array, " feature"],
) -> Float[Array, " feature"]:
    """Return how far values are from the healthy ones, in robust standard deviations.

    z = (x − m) / max(1.4826 · median|x_s − m|, floor), m the median of x_s. NaN where x is or where fewer
    than four healthy values are numbers; 0 / 0 is 0.

    Source: Iglewicz & Hoaglin (1993), How to detect and handle outliers, with a floor for the scale.
    """
    known = np.isfinite(healthy)
    if known.all():
        centre = np.median(healthy, axis=0)
        scale = NORMAL * np.median(np.abs(healthy - centre), axis=0)
    else:
        centre, scale = _with_gaps(healthy, known)
    off, scale = value - centre, np.maximum(scale, floor)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(off == 0, 0.0, off / scale)


def _with_gaps(
    healthy: Float[Array, "snapshot feature"], known: Bool[Array, "snapshot feature"]
) -> tuple[Float[Array, " feature"], Float[Array, " feature"]]:
    enough = known.sum(axis=0) >= 4
    filled = np.where(known, healthy, np.nan)
    filled = np.where(enough, filled, 0.0)  # so that no median is of nothing
    centre = np.nanmedian(filled, axis=0)
    scale = NORMAL * np.nanmedian(np.abs(filled - centre), axis=0)
    return np.where(enough, centre, np.nan), scale


@dataclass(frozen=True, eq=False)
class Healthy:
    """Snapshots of healthy trainings, described by the same features.

    Attributes
    ----------
    snapshots
        Run after run, each in the order of its epochs.
    describe
        Makes the features of a snapshot.
    features
        In their own units.
    keys
        Their names.
    """

    snapshots: tuple[Snapshot, ...]
    describe: Describe
    features: Float[Array, "snapshot feature"]
    keys: list[Key]

    @classmethod
    def of(cls, snapshots: Sequence[Snapshot], describe: Describe) -> "Healthy":
        """Describe snapshots that can be calibrated with; ValueError says what is lacking."""
        _check(snapshots)
        rows = [describe(each) for each in snapshots]
        features = np.array([list(row.values()) for row in rows])
        return cls(tuple(snapshots), describe, features, list(rows[0]))

    @cached_property
    def measured(self) -> Float[Array, "snapshot feature"]:
        """Features on their rulers."""
        return self.on_rulers(self.features)

    @cached_property
    def logarithmic(self) -> Bool[Array, " feature"]:
        """Mark the features whose ruler is logarithmic."""
        return np.array([ruler(key).logarithmic for key in self.keys], bool)

    @cached_property
    def floors(self) -> Float[Array, " feature"]:
        """Smallest scale of each feature; of an input's mean a share of that input's spread."""
        floors = np.array([ruler(key).floor for key in self.keys])
        for i, (part, where, signal, over) in enumerate(self.keys):
            if (part, signal) == ("inputs", "mean") and (part, where, "spread", over) in self.keys:
                spread = self.features[:, self.keys.index((part, where, "spread", over))]
                floors[i] = DRIFT * float(np.median(spread))
        return floors

    @cached_property
    def progress(self) -> Float[Array, " snapshot"]:
        """Share of the run that was over."""
        return np.array([each.progress for each in self.snapshots], float)

    @cached_property
    def runs(self) -> Int[Array, " snapshot"]:
        """Number of the run of each snapshot: one begins where the epoch does not rise."""
        return _runs(self.snapshots)

    @property
    def count(self) -> int:
        """How many runs they are of."""
        return int(self.runs[-1]) + 1

    def warn_of_few_runs(self) -> None:
        """Warn where they are of so few trainings that healthy ones will often seem faulty."""
        if self.count < ENOUGH_RUNS and not np.isnan(self.progress).any():
            warnings.warn(
                f"This detector is calibrated on {self.count} healthy runs. After 3 to 6, detectors took "
                "17 to 24 % of healthy runs for faults, after 8 to 12 a tenth, after 24 none "
                f"(benchmarks/gate_faults.py): take {ENOUGH_RUNS} or more.",
                UserWarning,
                stacklevel=3,
            )

    @cached_property
    def always(self) -> dict[str, Bool[Array, "row signal"]]:
        """By table, the cells that are numbers in every snapshot."""
        return {
            table: np.all([getattr(s, table).notna().to_numpy() for s in self.snapshots], axis=0)
            for table in TABLES
            if table != "lags"  # windows may be of other lengths
        }

    def on_rulers(self, values: Float[Array, "*snapshot feature"]) -> Float[Array, "*snapshot feature"]:
        """Return features as they are compared."""
        measured = values.copy()
        measured[..., self.logarithmic] = FACTOR.of(values[..., self.logarithmic])
        return measured

    def near(self, progress: float) -> Int[Array, " near"]:
        """Return the rows of the same phase: the nearest in progress, with all as near as the last."""
        if np.isnan(progress):  # a model in use has no phases
            return np.arange(len(self.snapshots))
        distance = np.round(np.abs(self.progress - progress), 9)
        last = np.sort(distance)[min(PHASE, len(distance)) - 1]
        return np.flatnonzero(distance <= last)

    def distances(self, features: Float[Array, " feature"], progress: float) -> Float[Array, " feature"]:
        """Return robust z of each feature within the phase; NaN where one does not apply."""
        rows = self.near(progress)
        return robust_z(self.on_rulers(features), self.measured[rows], self.floors)

    def described(self, snapshot: Snapshot) -> Float[Array, " feature"]:
        """Return the features of a snapshot of the same model, in the order of `keys`."""
        return np.array(list(self.describe(snapshot).values()))

    def without(self, rows: Bool[Array, " snapshot"]) -> "Healthy":
        """Return the others."""
        others = tuple(s for s, out in zip(self.snapshots, rows, strict=True) if not out)
        return Healthy(others, self.describe, self.features[~rows], self.keys)

    def folds(self, most: int = 8) -> list[Bool[Array, " snapshot"]]:
        """Return disjoint parts, each of whole runs, to be held out one after the other."""
        parts = np.array_split(np.arange(self.runs[-1] + 1), min(most, self.runs[-1] + 1))
        return [np.isin(self.runs, part) for part in parts]


def check_like(first: Snapshot, snapshot: Snapshot) -> None:
    """Raise ValueError, in words, where two snapshots are not of one model in the same kind of moment."""
    if np.isnan(snapshot.progress) != np.isnan(first.progress):
        kinds = ("trainings whose length is known", "models in use, or trainings of unknown length")
        mine, its = (kinds[int(np.isnan(s.progress))] for s in (first, snapshot))
        raise ValueError(
            f"This detector was calibrated on {mine} (progress {first.progress}), and the snapshot is of "
            f"{its} (progress {snapshot.progress}): calibrate one on such; or, in a loop of your own, "
            "say how long training is by begin(model, optimizer, Course(epochs=…))."
        )
    for table in TABLES:
        if table == "lags":
            continue  # they count back from the last bar, whatever the window's length
        ours, its = getattr(first, table), getattr(snapshot, table)
        for what, one, other in (("rows", ours.index, its.index), ("signals", ours.columns, its.columns)):
            if not one.equals(other):
                raise ValueError(_unlike(table, what, one, other))


def _check(snapshots: Sequence[Snapshot]) -> None:
    runs = int(_runs(snapshots)[-1]) + 1 if snapshots else 0
    if len(snapshots) < FEWEST or runs < FEWEST_RUNS:
        raise ValueError(
            f"To know what is healthy takes at least {FEWEST} snapshots of at least {FEWEST_RUNS} runs, one "
            f"run after the other, got {len(snapshots)} of {runs}. Train with other seeds and hand over "
            "their snapshots too."
        )
    in_use = sum(bool(np.isnan(each.progress)) for each in snapshots)
    if 0 < in_use < len(snapshots):
        raise ValueError(
            f"{in_use} of {len(snapshots)} snapshots have no progress, being of a model in use or of a "
            "training of unknown length, and the others have: they differ by nature. Calibrate one detector "
            "for each, or say how long a training is by begin(model, optimizer, Course(epochs=…))."
        )
    if not in_use:
        _check_order(snapshots, runs)
    for snapshot in snapshots:
        check_like(snapshots[0], snapshot)
        wrong = finite_findings(snapshot)
        if wrong:
            raise ValueError(
                f"A healthy snapshot must be finite. That of epoch {snapshot.epoch}: {wrong[0]}."
            )


def _check_order(snapshots: Sequence[Snapshot], runs: int) -> None:
    """Refuse snapshots that stand in another order than run after run.

    Of a training that a monitor watched the first epoch is always there, and none twice; so there are no more
    runs than snapshots of one epoch.
    """
    most = max(Counter(each.epoch for each in snapshots).values())
    if runs > most:
        raise ValueError(
            f"The snapshots are not in order: read as runs, each with rising epochs, they are {runs} runs, "
            f"but no epoch is there more than {most} times. Hand over run after run, each in the order of "
            "its epochs: [seen for monitor in monitors for seen in monitor.snapshots]."
        )


def _runs(snapshots: Sequence[Snapshot]) -> Int[Array, " snapshot"]:
    epochs = np.array([each.epoch for each in snapshots])
    return np.cumsum(np.diff(epochs, prepend=epochs[:1]) <= 0) - 1


def _unlike(table: str, what: str, ours: pd.Index, its: pd.Index) -> str:
    lacking, more = _said(ours.difference(its, sort=False)), _said(its.difference(ours, sort=False))
    differ = "; ".join(
        text for text in (lacking and f"it lacks {lacking}", more and f"it has {more}") if text
    )
    return (
        f"The snapshot is of another model than this detector was calibrated on: the {what} of its {table} "
        f"differ ({differ or 'they stand in another order'}). Calibrate one on healthy snapshots of this "
        "model."
    )


def _said(names: pd.Index) -> str:
    texts = ["/".join(map(str, name)) if isinstance(name, tuple) else str(name) for name in names]
    return ", ".join(texts[:MOST_SAID]) + (
        f" and {len(texts) - MOST_SAID} more" if len(texts) > MOST_SAID else ""
    )
