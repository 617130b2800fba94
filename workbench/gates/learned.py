"""Detectors that learn what is healthy as a whole, and cannot say which signal is not."""

import math
from typing import Any

import numpy as np
from jaxtyping import Float

from workbench.gates.calibrated import CalibratedDetector, Seen
from workbench.gates.findings import Finding
from workbench.gates.healthy import NORMAL, Healthy

FARTHEST = 20.0  # robust standard deviations beyond which one feature counts no more

Array = np.ndarray


class _Whole(CalibratedDetector):
    """One score of all features together, as robust z within the phase of training."""

    def _know(self, healthy: Healthy) -> None:
        super()._know(healthy)
        self._table = np.stack([
            _bounded(healthy.distances(row, float(progress)))
            for row, progress in zip(healthy.features, healthy.progress, strict=True)
        ])  # fmt: skip
        self._learn(self._table)

    def _learn(self, table: Float[Array, "snapshot feature"]) -> None:
        raise NotImplementedError

    def _usual(self) -> tuple[float, float]:
        """Return median and robust standard deviation of the healthy snapshots' own scores."""
        scores = self._scores(self._table)
        middle = float(np.median(scores))
        return middle, float(NORMAL * np.median(np.abs(scores - middle)))

    def _findings(self, seen: Seen) -> list[Finding]:
        score = float(self._scores(seen.distances[None])[0])
        if score <= self.limit:
            return []
        middle, scale = self._usual()
        far = (score - middle) / scale if scale > 0 else math.inf
        return [Finding(self.rule, "anomaly_score", "", "", None, score, middle, far, seen.snapshot.epoch)]


class IsolationForestDetector(_Whole):
    """An isolation forest over the named features, as robust z (Liu, Ting & Zhou 2008; scikit-learn's).

    The score is 2^(−E[path length] / c(n)), from 0 to 1. Trees split on one feature at random, so what a
    single one of a hundred shows is easily missed; the finding says no signal. It keeps the healthy snapshots
    and the seed and is grown again when loaded.

    Parameters
    ----------
    specificity, most
        As of `CalibratedDetector`.
    trees, seed
        Number of trees, and the seed of their splits.
    """

    rule = "isolation_forest"

    def __init__(self, specificity: float = 0.99, most: int = 20, trees: int = 200, seed: int = 0):
        super().__init__(specificity, most)
        if trees < 1:
            raise ValueError(f"trees must be at least 1, got {trees}.")
        self.trees, self.seed = trees, seed

    def options(self) -> dict[str, Any]:
        """Return what it was made with."""
        return {**super().options(), "trees": self.trees, "seed": self.seed}

    def _learn(self, table: Float[Array, "snapshot feature"]) -> None:
        from sklearn.ensemble import IsolationForest  # slow to import

        self._forest = IsolationForest(n_estimators=self.trees, random_state=self.seed).fit(table)

    def _scores(self, distances: Float[Array, "snapshot feature"]) -> Float[Array, " snapshot"]:
        return -self._forest.score_samples(_bounded(distances))


class NeighbourDetector(_Whole):
    """The mean distance to the nearest healthy snapshots, over the named features as robust z.

    Distances are Euclidean, over the root of the number of features. It says no signal.

    Parameters
    ----------
    specificity, most
        As of `CalibratedDetector`.
    neighbours
        How many healthy snapshots count.
    """

    rule = "neighbours"

    def __init__(self, specificity: float = 0.99, most: int = 20, neighbours: int = 5):
        super().__init__(specificity, most)
        if not 1 <= neighbours <= 10:
            raise ValueError(f"neighbours must be from 1 to 10, got {neighbours}.")
        self.neighbours = neighbours

    def options(self) -> dict[str, Any]:
        """Return what it was made with."""
        return {**super().options(), "neighbours": self.neighbours}

    def _learn(self, table: Float[Array, "snapshot feature"]) -> None:
        from sklearn.neighbors import NearestNeighbors  # slow to import

        self._index = NearestNeighbors(n_neighbors=self.neighbours, algorithm="brute").fit(table)

    def _scores(self, distances: Float[Array, "snapshot feature"]) -> Float[Array, " snapshot"]:
        found, _ = self._index.kneighbors(_bounded(distances))
        return found.mean(axis=1) / math.sqrt(distances.shape[1])


def _bounded(distances: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Return robust z of which none outweighs all others; 0 where a feature does not apply."""
    return np.clip(np.nan_to_num(distances, nan=0.0), -FARTHEST, FARTHEST)
