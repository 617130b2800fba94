"""Named rules: which signal, of which layer, gate and unit, is far from what it was while all was well."""

import numpy as np
from jaxtyping import Float

from workbench.gates.calibrated import CalibratedDetector, Seen
from workbench.gates.features import Key, gate_of, ruler
from workbench.gates.findings import Finding
from workbench.gates.healthy import robust_z
from workbench.gates.snapshots import Snapshot

LEAST = 4.0  # robust standard deviations that a limit may not be below, however calm the healthy runs were

Array = np.ndarray


class RobustRules(CalibratedDetector):
    """The largest robust z of any named feature, against healthy snapshots of the same phase.

    z = (x − m) / max(1.4826 · MAD, floor) with m and MAD of the 16 healthy snapshots nearest in `progress`
    (and of all that are as near), on the signal's ruler: norms and lengths by their logarithm, shares as they
    are. Every feature beyond the limit is a finding, up to `most`, the farthest of each place before the
    others; of a layer's signal it names the units that stand out from all healthy units of the layer, of a
    parameter the gate that does most.

    Parameters
    ----------
    specificity, most
        As of `CalibratedDetector`.
    """

    rule = "robust_z"

    def _scores(self, distances: Float[Array, "snapshot feature"]) -> Float[Array, " snapshot"]:
        return np.nanmax(np.abs(distances), axis=1, initial=0.0)

    def _limit(self, scores: Float[Array, " snapshot"]) -> float:
        return max(super()._limit(scores), LEAST)

    def _findings(self, seen: Seen) -> list[Finding]:
        size = np.nan_to_num(np.abs(seen.distances), nan=0.0, posinf=np.inf)
        beyond = [int(i) for i in np.argsort(-size, kind="stable") if size[i] > self.limit]
        worst: dict[str, int] = {}
        for i in beyond:  # of each place, which no other may hide
            worst.setdefault(self.healthy.keys[i][1], i)
        rest = [i for i in beyond if i not in worst.values()]
        chosen = {*worst.values(), *rest[: max(0, self.most - len(worst))]}
        return [self._finding(seen, i) for i in beyond if i in chosen]

    def _finding(self, seen: Seen, column: int) -> Finding:
        key, snapshot = self.healthy.keys[column], seen.snapshot
        part, where, signal, over = key
        value, deviation = float(seen.features[column]), float(seen.distances[column])
        usual = self.healthy.measured[self.healthy.near(snapshot.progress), column]
        expected = ruler(key).back(float(np.nanmedian(usual)))
        gate, units = "", ()
        name = f"{signal}_{over}" if part == "lags" else signal
        if part == "units":
            gate, name = gate_of(signal)
            units = self._units(snapshot, key, float(np.sign(deviation)))
        if part == "weights":
            gate = self._gate(snapshot, key, float(np.sign(deviation)))
        alone = units[0] if len(units) == 1 else None
        return Finding(self.rule, name, where, gate, alone, value, expected, deviation, snapshot.epoch, units)

    def _units(self, snapshot: Snapshot, key: Key, sign: float) -> tuple[int, ...]:
        """Return the units that are far out in the finding's direction, among all healthy ones."""
        _, layer, signal, _ = key
        scale = ruler(key)
        rows = snapshot.units.index.get_level_values(0) == layer
        values = scale.of(snapshot.units.loc[rows, signal].to_numpy(float))
        usual = scale.of(np.concatenate([
            self.healthy.snapshots[i].units.loc[rows, signal].to_numpy(float)
            for i in self.healthy.near(snapshot.progress)
        ]))  # fmt: skip
        far = sign * _against(values, usual, scale.floor) > self.limit
        if far.all() and len(far) > 1:
            return ()  # the layer as a whole
        units = snapshot.units.index.get_level_values(1).to_numpy()[rows]
        return tuple(int(unit) for unit in units[far])

    def _gate(self, snapshot: Snapshot, key: Key, sign: float) -> str:
        """Return the gate whose row block is farthest out, if it alone is; "" if others are too."""
        _, parameter, signal, _ = key
        scale = ruler(key)
        blocks = snapshot.weights.loc[[parameter], signal]
        near = [self.healthy.snapshots[i].weights for i in self.healthy.near(snapshot.progress)]
        usual = scale.of(np.stack([w.loc[[parameter], signal].to_numpy(float) for w in near]))
        floor = np.full(len(blocks), scale.floor)
        far = sign * robust_z(scale.of(blocks.to_numpy(float)), usual, floor) > self.limit
        gates = [str(gate) for _, gate in blocks.index]
        return gates[int(far.argmax())] if far.sum() == 1 else ""


def _against(
    values: Float[Array, " unit"], usual: Float[Array, " healthy"], floor: float
) -> Float[Array, " unit"]:
    """Return each value's robust z among healthy units, which have no identity."""
    spread = np.broadcast_to(usual[:, None], (len(usual), len(values)))
    return robust_z(values, spread, np.full(len(values), floor))
