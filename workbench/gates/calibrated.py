"""What every detector has in common: calibration on healthy snapshots, the finite check, a limit, a file."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float

from workbench.gates.features import Key, named_features
from workbench.gates.findings import Finding
from workbench.gates.finite import finite_findings
from workbench.gates.healthy import Healthy, check_like
from workbench.gates.keeping import read_healthy, write_healthy
from workbench.gates.snapshots import Snapshot

Array = np.ndarray
MARGIN = 1.25  # over the held-out limit, as few healthy runs know little of the next one's extremes


@dataclass(frozen=True, eq=False)
class Seen:
    """A snapshot, its features, and their robust z within the phase."""

    snapshot: Snapshot
    features: Float[Array, " feature"]
    distances: Float[Array, " feature"]


class CalibratedDetector(ABC):
    """A detector that knows the healthy snapshots of one model and compares others with them.

    Parameters
    ----------
    specificity
        Share of healthy snapshots that is to pass. The limit follows from it while calibrating: each eighth
        of the runs is scored by what the others are like, and the limit is that quantile of all scores, and
        a quarter of its distance from their median more.
    most
        Findings that a snapshot may have at most, the farthest first. The farthest of each place, such as a
        layer or a feature, is said however many places those are.
    """

    rule: ClassVar[str]
    describe: ClassVar[Callable[[Snapshot], dict[Key, float]]] = staticmethod(named_features)

    def __init__(self, specificity: float = 0.99, most: int = 20):
        if not 0.5 <= specificity < 1:
            raise ValueError(f"specificity must be from 0.5 to below 1, got {specificity}.")
        if most < 1:
            raise ValueError(f"most must be at least 1, got {most}.")
        self.specificity, self.most = specificity, most
        self.limit = math.nan
        self._healthy: Healthy | None = None

    @property
    def healthy(self) -> Healthy:
        """What it was calibrated on; ValueError before that."""
        if self._healthy is None:
            raise ValueError(
                f"This {type(self).__name__} knows no healthy snapshot yet: call calibrate(healthy) with "
                "those of trainings that went well, or load(path)."
            )
        return self._healthy

    def calibrate(self, healthy: Sequence[Snapshot]) -> "CalibratedDetector":
        """Learn what is healthy from snapshots of trainings that went well, and return the detector.

        Parameters
        ----------
        healthy
            At least 20 snapshots of at least 3 runs of the same model with other seeds, run after run, each
            in the order of its epochs; or of a model in use, on other days. Better of 8 runs and more, and on
            the windows that are to be watched: on other days inputs differ, and a detector that knows few
            stretches of days takes a new one for a fault (`benchmarks/README.md` has how often).

        Raises
        ------
        ValueError
            Too few of them, not run after run, of different models, some in training and some not, or one
            that is not finite.

        Warns
        -----
        UserWarning
            They are of fewer than 8 trainings.
        """
        known = Healthy.of(healthy, type(self).describe)
        known.warn_of_few_runs()
        scores = np.concatenate([self._held_out(known, part) for part in known.folds()])
        self._know(known)
        self.limit = self._limit(scores)
        return self

    def check(self, snapshot: Snapshot) -> list[Finding]:
        """Return what is wrong with a snapshot, the farthest first; nothing if all is well.

        What is not finite is said first, whatever else there is: also by a detector that is not calibrated,
        and of a snapshot that it would refuse.

        Raises
        ------
        ValueError
            The detector is not calibrated, or the snapshot is of another model.
        """
        wrong = self._not_finite(snapshot)
        return wrong[: self.most] if wrong else self._findings(self._seen(snapshot))

    def score(self, snapshot: Snapshot) -> float:
        """Return how unusual a snapshot is, to be compared with `limit`; infinite if it is not finite."""
        return float(self.scores([snapshot])[0])

    def scores(self, snapshots: Sequence[Snapshot]) -> Float[Array, " snapshot"]:
        """Return the scores of many, which is quicker."""
        finite = np.array([not self._not_finite(snapshot) for snapshot in snapshots], bool)
        found = np.full(len(snapshots), math.inf)
        seen = [self._seen(s).distances for s, fine in zip(snapshots, finite, strict=True) if fine]
        if seen:
            found[finite] = self._scores(np.stack(seen))
        return found

    def save(self, path: str | PathLike[str]) -> None:
        """Write the healthy snapshots, the options and the limit, whole or not at all; nothing is pickled."""
        told = {"detector": type(self).__name__, "options": self.options(), "limit": self.limit}
        write_healthy(path, self.healthy.snapshots, told)

    @classmethod
    def load(cls, path: str | PathLike[str]) -> "CalibratedDetector":
        """Read what `save` wrote. Scores are the same to the last bit, given the same scikit-learn.

        Raises
        ------
        ValueError
            The file is damaged, of something else, or of another kind of detector.
        """
        snapshots, told = read_healthy(path)
        if told.get("detector") != cls.__name__:
            raise ValueError(
                f"{path} is of a {told.get('detector')}, not of a {cls.__name__}: load it by "
                "load_detector(path)."
            )
        return cls.restored(snapshots, told)

    @classmethod
    def restored(cls, snapshots: Sequence[Snapshot], told: dict[str, Any]) -> "CalibratedDetector":
        """Make the detector again from what a file told."""
        detector = cls(**told["options"])
        detector._know(Healthy.of(snapshots, cls.describe))
        detector.limit = float(told["limit"])
        return detector

    def options(self) -> dict[str, Any]:
        """Return what it was made with."""
        return {"specificity": self.specificity, "most": self.most}

    def __repr__(self) -> str:
        if self._healthy is None:
            return f"{type(self).__name__}(not calibrated)"
        known = self._healthy
        told = f"{len(known.snapshots)} healthy snapshots of {known.count} runs, limit {self.limit:.3g}"
        return f"{type(self).__name__}({told})"

    @abstractmethod
    def _scores(self, distances: Float[Array, "snapshot feature"]) -> Float[Array, " snapshot"]:
        """Return how unusual these robust z are."""

    @abstractmethod
    def _findings(self, seen: Seen) -> list[Finding]:
        """Return what is said of a finite snapshot."""

    def _know(self, healthy: Healthy) -> None:
        """Take over the healthy snapshots."""
        self._healthy = healthy

    def _not_finite(self, snapshot: Snapshot) -> list[Finding]:
        """Return what is not finite, before anything is computed or refused."""
        found = finite_findings(snapshot)
        if found:
            return found
        check_like(self.healthy.snapshots[0], snapshot)
        return finite_findings(snapshot, self.healthy.always)  # a whole column may have been lost

    def _seen(self, snapshot: Snapshot) -> Seen:
        """Return a finite snapshot beside the healthy ones."""
        features = self.healthy.described(snapshot)
        return Seen(snapshot, features, self.healthy.distances(features, snapshot.progress))

    def _held_out(self, known: Healthy, part: Array) -> Float[Array, " snapshot"]:
        """Return the scores of a part of the runs by what the others are like."""
        self._know(known.without(part))
        rows = zip(known.features[part], known.progress[part], strict=True)
        return self._scores(
            np.stack([self.healthy.distances(row, float(progress)) for row, progress in rows])
        )

    def _limit(self, scores: Float[Array, " snapshot"]) -> float:
        high = float(np.quantile(scores, self.specificity, method="higher"))
        middle = float(np.median(scores))
        return middle + MARGIN * (high - middle)
