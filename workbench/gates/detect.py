"""Tell a healthy snapshot from one of a model that goes wrong.

First the finite check, always; then what is unusual beside the snapshots of trainings that went well.
`RobustRules` says which signal of which layer, gate and unit; a forest and the nearest neighbours stand
beside it with one score for the whole.

Seen, by `benchmarks/gate_faults.py` on other seeds than those it was made with: dead units, saturated gates,
inputs in another unit or of another volatility, a frozen layer, a stale feature, weights that blow up, NaN, a
learning rate 30 times too large or too small.

**Not seen**, since the numbers inside look as ever: labels that were shuffled, windows that run backwards in
time, columns that were swapped before the scaling took its statistics; columns swapped later only where the
two differ in spread or course. Such faults in what the data mean are found in the data, or in what trading
earns; that nothing is found here is no proof of a sound model. Nor is a fault found that the healthy runs had
too.

>>> rules = RobustRules().calibrate(healthy)      # at least 20 snapshots of at least 3 runs
>>> for finding in rules.check(snapshot): print(finding)
"""

from collections.abc import Sequence
from os import PathLike
from typing import Protocol, runtime_checkable

from workbench.gates.calibrated import CalibratedDetector
from workbench.gates.features import snapshot_features
from workbench.gates.findings import Finding
from workbench.gates.finite import finite_findings
from workbench.gates.keeping import read_healthy
from workbench.gates.learned import IsolationForestDetector, NeighbourDetector
from workbench.gates.rules import RobustRules
from workbench.gates.snapshots import Snapshot

__all__ = [
    "DETECTORS",
    "Detector",
    "FiniteCheck",
    "IsolationForestDetector",
    "NeighbourDetector",
    "RobustRules",
    "finite_findings",
    "load_detector",
    "snapshot_features",
]

DETECTORS: dict[str, type[CalibratedDetector]] = {
    detector.__name__: detector for detector in (RobustRules, IsolationForestDetector, NeighbourDetector)
}


@runtime_checkable
class Detector(Protocol):
    """What a monitor asks of whoever looks at its snapshots."""

    def calibrate(self, healthy: Sequence[Snapshot]) -> "Detector":
        """Learn what is healthy, and return the detector."""
        ...

    def check(self, snapshot: Snapshot) -> list[Finding]:
        """Return what is wrong, the farthest first."""
        ...

    def score(self, snapshot: Snapshot) -> float:
        """Return how unusual a snapshot is, infinite if it is not finite."""
        ...

    def save(self, path: str | PathLike[str]) -> None:
        """Write the detector, whole or not at all."""
        ...


class FiniteCheck:
    """The finite check alone, which needs no healthy snapshot."""

    def calibrate(self, healthy: Sequence[Snapshot]) -> "FiniteCheck":
        """Learn nothing: what is finite needs no example."""
        return self

    def check(self, snapshot: Snapshot) -> list[Finding]:
        """Return a finding for every layer, parameter and feature that holds a NaN or an infinity."""
        return finite_findings(snapshot)

    def score(self, snapshot: Snapshot) -> float:
        """Return infinity if anything is not finite, else 0."""
        return float("inf") if self.check(snapshot) else 0.0

    def save(self, path: str | PathLike[str]) -> None:
        """Refuse: there is nothing to keep."""
        raise ValueError("A FiniteCheck knows nothing that a file could keep: make a new one.")


def load_detector(path: str | PathLike[str]) -> CalibratedDetector:
    """Read a detector that `save` wrote, of whichever kind.

    Raises
    ------
    ValueError
        The file is damaged, or of something else.
    """
    snapshots, told = read_healthy(path)
    kind = DETECTORS.get(told.get("detector", ""))
    if kind is None:
        raise ValueError(
            f"{path} is of no known detector, {told.get('detector')!r}. There are {', '.join(DETECTORS)}."
        )
    return kind.restored(snapshots, told)
