"""Gate values as a browser gets them: means over the probe's windows, a byte a cell."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, UInt8

from workbench.gates.packing import low_of, quantised, restored
from workbench.gates.states import GATES, GateStates, LayerGates
from workbench.widgets.mapdata import MapLayer, shrunk

MOST_CELLS = 256  # a side: more than a panel has pixels for
MOST_EPOCH_BYTES = 125_000
SIDES = ("left", "right")


@dataclass(frozen=True, eq=False)
class LayerPanel:
    """What is shown of one layer at one epoch.

    Attributes
    ----------
    layer
        Its name.
    kind
        "lstm" or "gru".
    windows, units, steps
        How many windows the means are over, and how many units and steps there are.
    block
        Units and steps that a cell is the mean of, on either side.
    means
        Codes (gate, unit, time) of gate values averaged over the windows, gates in the order of `GATES`.
    saturation
        Codes (gate, side, unit) of the shares of values at the left and the right end; of the candidate the
        right holds both ends, and the left is missing.
    """

    layer: str
    kind: str
    windows: int
    units: int
    steps: int
    block: int
    means: UInt8[np.ndarray, "gate row column"]
    saturation: UInt8[np.ndarray, "gate side unit"]

    def facts(self) -> dict[str, Any]:
        """Return what is needed to read the bytes."""
        rows, columns = self.means.shape[1:]
        gates = [{"name": name, "low": low_of(name)} for name in GATES[self.kind]]
        facts = {"name": self.layer, "kind": self.kind, "gates": gates, "windows": self.windows}
        shape = {"units": self.units, "steps": self.steps, "rows": rows, "columns": columns}
        return {**facts, **shape, "block": self.block}

    def values(self, gate: str) -> Float[np.ndarray, "row column"]:
        """Return the means of a gate as they are shown; NaN where there was one."""
        return restored(self.means[GATES[self.kind].index(gate)], low_of(gate)).numpy()

    def shares(self, gate: str) -> Float[np.ndarray, "side unit"]:
        """Return the shares of a gate's values at the left and the right end, NaN where not known."""
        return restored(self.saturation[GATES[self.kind].index(gate)], 0.0).numpy()

    def tobytes(self) -> bytes:
        """Return the means, then the saturation."""
        return self.means.tobytes() + self.saturation.tobytes()


def panels_of(states: GateStates, units: pd.DataFrame) -> list[LayerPanel]:
    """Return a panel a layer; cells are means over blocks where there are too many of them.

    Parameters
    ----------
    states
        Of the probe.
    units
        `Snapshot.units`, for the saturation.
    """
    whole = []
    for layer in states.layers:
        means = np.stack([_mean(layer, gate) for gate in GATES[layer.kind]])
        whole.append(MapLayer(layer.name, layer.kind, means, (means.shape[1], means.shape[2])))
    small = shrunk(whole, MOST_CELLS, MOST_EPOCH_BYTES * np.dtype(np.float32).itemsize)
    return [_panel(layer, cells, units) for layer, cells in zip(states.layers, small, strict=True)]


def _panel(layer: LayerGates, cells: MapLayer, units: pd.DataFrame) -> LayerPanel:
    names = GATES[layer.kind]
    means = [quantised(torch.from_numpy(cells.weights[i]), low_of(name)) for i, name in enumerate(names)]
    count, steps = cells.bars
    shares = quantised(torch.from_numpy(_saturation(layer, units, count)), 0.0)
    return LayerPanel(
        layer.name, layer.kind, len(layer.mask), count, steps, cells.block, np.stack(means), shares
    )


def _mean(layer: LayerGates, gate: str) -> Float[np.ndarray, "unit time"]:
    """Average a gate over the windows that have the step; NaN where none has."""
    there = layer.mask[:, :, None]
    values = layer.gates[gate].detach().where(there, 0.0)
    return (values.sum(dim=0) / there.sum(dim=0)).T.float().cpu().numpy()


def _saturation(layer: LayerGates, units: pd.DataFrame, count: int) -> Float[np.ndarray, "gate side unit"]:
    """Take the shares of saturated values from the snapshot, NaN where it has none."""
    shares = np.full((len(GATES[layer.kind]), len(SIDES), count), np.nan)
    mine = units[units.index.get_level_values(0) == layer.name].droplevel(0).reindex(range(count))
    for i, gate in enumerate(GATES[layer.kind]):
        for j, side in enumerate(SIDES):
            name = f"{gate}_saturation_{side}"
            if side == "right" and f"{gate}_saturation" in mine:  # a tanh's, both ends together
                name = f"{gate}_saturation"
            if name in mine:
                shares[i, j] = np.asarray(mine[name], dtype=float)
    return shares
