"""What a MonitorWidget keeps of a training: curves of all epochs, and panels of as many as the page holds."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from workbench.gates.snapshots import Snapshot
from workbench.gates.states import GateStates
from workbench.widgets.panelbytes import LayerPanel, panels_of

MOST_BYTES = 1_000_000  # of panels in one page, and so, in base 64, in a saved notebook: 1.3 MB
SLOTS = 64
RECENT = 32  # rows that are sent anew with each epoch; older ones are sent once every so many epochs
_PARAMETER = re.compile(r"^(?P<module>.*?)(?:weight|bias)_(?:ih|hh|hr)_(?P<layer>l\d+)(?P<back>_reverse)?$")


def layer_of(parameter: str) -> str:
    """Return the name of the layer that a parameter is of; "" if it is of no recurrent one.

    Examples
    --------
    >>> layer_of("lstm.weight_hh_l1_reverse")
    'lstm.l1.reverse'
    """
    found = _PARAMETER.match(parameter)
    if found is None:
        return ""
    return f"{found['module']}{found['layer']}{'.reverse' if found['back'] else ''}"


def gate_norms(snapshot: Snapshot) -> dict[tuple[str, str], float]:
    """Return by (layer, gate) the Euclidean norm of the gradient of all its parameters' row blocks."""
    squares: dict[tuple[str, str], float] = {}
    if "gradient_norm" not in snapshot.weights:
        return {}
    norms = snapshot.weights["gradient_norm"]
    for (parameter, gate), norm in zip(norms.index, norms.to_numpy(), strict=True):
        layer = layer_of(parameter)
        if layer and gate:
            squares[layer, gate] = squares.get((layer, gate), 0.0) + float(norm) ** 2
    return {key: float(np.sqrt(square)) for key, square in squares.items()}


class Places:
    """Which epochs' panels are kept, and where: all of them, or evenly spaced ones and the newest.

    Parameters
    ----------
    capacity
        How many there is room for, at least 2.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.stride = 1
        self.kept: dict[int, int] = {}  # number of the epoch, counted from 0 → slot

    def wants(self, number: int, count: int) -> bool:
        """Whether an epoch would still be kept once there are `count` of them."""
        stride = self.stride
        while -(-(count - 1) // stride) >= self.capacity:
            stride *= 2
        return number % stride == 0 or number == count - 1

    def put(self, number: int) -> int:
        """Return the slot for the newest epoch, or that epoch again; older ones may lose theirs."""
        self.kept.pop(number, None)
        self._keep_every()
        while len(self.kept) >= self.capacity:
            self.stride *= 2
            self._keep_every()
        taken = set(self.kept.values())
        self.kept[number] = next(i for i in range(self.capacity) if i not in taken)
        return self.kept[number]

    def _keep_every(self) -> None:
        self.kept = {number: slot for number, slot in self.kept.items() if number % self.stride == 0}


class Story:
    """All that is shown of one training, ready to be sent.

    Attributes
    ----------
    columns
        Of the curves: "epoch", "taken" (1 where the gates were looked at), losses, and "norm|layer|gate".
    rows
        By epoch.
    looked
        Epochs whose gates were looked at, ascending.
    layers
        Facts of the layers' panels, the same at every epoch.
    panels
        By epoch, what is kept.
    last
        The newest snapshot.
    """

    def __init__(self) -> None:
        self._slots: dict[int, bytes] = {}  # what changed since it was last taken
        self._begin()

    def _begin(self) -> None:
        self.columns: list[str] = ["epoch", "taken"]
        self.rows: dict[int, dict[str, float]] = {}
        self.looked: list[int] = []
        self.layers: list[dict[str, Any]] = []
        self.panels: dict[int, list[LayerPanel]] = {}
        self.places = Places(SLOTS)
        self.last: Snapshot | None = None
        self._settled: tuple[tuple[int, int], bytes] = ((0, 0), b"")  # rows and columns, and their bytes

    def forget(self) -> None:
        """Begin anew."""
        self._empty_slots()
        self._begin()

    def add(self, snapshot: Snapshot, states: GateStates | None) -> None:
        """Take in an epoch that was looked at, the newest or that one again, with or without its panels."""
        if self.looked[-1:] == [snapshot.epoch]:
            self.looked.pop()
        norms = {f"norm|{layer}|{gate}": norm for (layer, gate), norm in gate_norms(snapshot).items()}
        self._row(snapshot.epoch, 1.0, {**losses_of(snapshot.figures), **norms})
        self.looked.append(snapshot.epoch)
        self.last = snapshot
        if states is not None:
            self._add_panels(panels_of(states, snapshot.units))

    def add_passed(self, record: pd.DataFrame) -> None:
        """Take in the epochs of a monitor's record that were not looked at."""
        passed = record.index[~record["taken"].to_numpy(dtype=bool)]
        for epoch in passed.difference(list(self.rows)):
            self._row(int(epoch), 0.0, losses_of(record.loc[epoch]))

    def curves(self) -> tuple[bytes, bytes]:
        """Return the rows as float64 (epoch, column), NaN where not known: the settled ones, and the rest."""
        epochs = sorted(self.rows)
        cut = (
            max(0, len(epochs) - 1) // RECENT * RECENT
        )  # the newest, which may be told again, is not settled
        about = cut, len(self.columns)
        if about != self._settled[0]:
            self._settled = about, self._table(epochs[:cut])
        return self._settled[1], self._table(epochs[cut:])

    def _table(self, epochs: Sequence[int]) -> bytes:
        rows = [[self.rows[epoch].get(name, np.nan) for name in self.columns] for epoch in epochs]
        return np.array(rows, "<f8").tobytes()

    def taken_slots(self) -> dict[int, bytes]:
        """Return what changed in the slots since this was last asked."""
        changed, self._slots = self._slots, {}
        return changed

    def nearest(self, epoch: int) -> int | None:
        """Return the kept epoch nearest to one, the newest for 0; None where none is kept."""
        if epoch == 0:
            return max(self.panels, default=None)
        return min(self.panels, key=lambda kept: (abs(kept - epoch), kept), default=None)

    def _row(self, epoch: int, taken: float, figures: Mapping[str, float]) -> None:
        self.rows[epoch] = {"epoch": float(epoch), "taken": taken, **figures}
        self.columns += [name for name in figures if name not in self.columns]

    def _add_panels(self, panels: list[LayerPanel]) -> None:
        number, layers = len(self.looked) - 1, [panel.facts() for panel in panels]
        packed = _packed(self.looked[-1], panels)
        if layers != self.layers:  # the first epoch, or the probe became another
            self._empty_slots()
            self.layers, self.panels, self.places = layers, {}, Places(capacity_for(len(packed)))
        before = set(self.places.kept.values())
        slot = self.places.put(number)
        self._slots |= dict.fromkeys(before - set(self.places.kept.values()), b"")
        self._slots[slot] = packed
        self.panels[self.looked[-1]] = panels
        kept = {self.looked[number] for number in self.places.kept}
        self.panels = {epoch: held for epoch, held in self.panels.items() if epoch in kept}

    def _empty_slots(self) -> None:
        self._slots |= dict.fromkeys(self.places.kept.values(), b"")


def losses_of(figures: Mapping[str, Any] | pd.Series) -> dict[str, float]:
    """Return the losses among an epoch's figures."""
    return {str(name): float(value) for name, value in figures.items() if str(name).endswith("loss")}


def capacity_for(size: int) -> int:
    """Return how many epochs of so many bytes are kept."""
    return max(2, min(SLOTS, MOST_BYTES // size))


def _packed(epoch: int, panels: Sequence[LayerPanel]) -> bytes:
    return np.array(epoch, "<i4").tobytes() + b"".join(panel.tobytes() for panel in panels)
