"""The check that comes before every other: is each number a finite one?

It comes first because what looks for the unusual may not see it: scikit-learn's IsolationForest takes a NaN
for a missing value and calls a snapshot full of them normal.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from jaxtyping import Bool

from workbench.gates.features import LOSSES
from workbench.gates.findings import Finding
from workbench.gates.snapshots import Snapshot

RULE = "finite"
TABLES = ("units", "weights", "inputs", "lags")
SPARED = {"units": ("frozen",), "weights": (), "lags": ()}  # columns that may stand empty: not measured

Array = np.ndarray
Masks = Mapping[str, Bool[Array, "row signal"]]


def finite_findings(snapshot: Snapshot, always: Masks | None = None) -> list[Finding]:
    """Return a finding for every layer, parameter and feature that holds a NaN or an infinity.

    A whole column of NaN says that a signal does not apply, or was not measured at this epoch, and is
    no finding; unless it is of the hidden state or of the inputs, which always apply, or `always` says that
    it was a number while all was well.

    Parameters
    ----------
    snapshot
        What to look at. Losses count too.
    always
        By table, the cells that were numbers in every healthy snapshot.
    """
    found: list[Finding] = []
    for table in TABLES:
        found += _of_table(snapshot, table, None if always is None else always.get(table))
    for name, value in snapshot.figures.items():
        if np.isinf(value) or (np.isnan(value) and name in LOSSES):
            found.append(_finding(snapshot, name, "", float(value)))
    return found


def _of_table(snapshot: Snapshot, table: str, always: Bool[Array, "row signal"] | None) -> list[Finding]:
    frame: pd.DataFrame = getattr(snapshot, table)
    values = frame.to_numpy(float)
    wrong = np.isinf(values) | (np.isnan(values) & _due(table, frame, always))
    found: list[Finding] = []
    places = _places(table, frame)
    for place in dict.fromkeys(places[i] for i in np.flatnonzero(wrong.any(axis=1))):
        rows = np.flatnonzero([each == place for each in places])
        column = int(np.argmax(wrong[rows].sum(axis=0)))
        bad = rows[wrong[rows, column]]
        where, gate = place
        found.append(
            _finding(
                snapshot, str(frame.columns[column]), where, float(values[bad[0], column]), gate,
                _units(frame, bad) if table == "units" else (),
            )
        )  # fmt: skip
    return found + (_counted(snapshot, frame) if table == "weights" else [])


def _due(
    table: str, frame: pd.DataFrame, always: Bool[Array, "row signal"] | None
) -> Bool[Array, "row signal"]:
    """Mark the cells in which a number must stand."""
    there = frame.notna().to_numpy()
    due = np.broadcast_to(there.any(axis=0), there.shape).copy()
    if table == "units":
        layers = frame.index.get_level_values(0)
        for layer in dict.fromkeys(layers):  # a GRU beside an LSTM has no forget gate
            due[layers == layer] = there[layers == layer].any(axis=0)
        due[:, [str(name).startswith("hidden_") for name in frame.columns]] = True
    if table == "inputs":
        due[:, [str(name) in ("mean", "spread") for name in frame.columns]] = True
    if always is None:
        return due
    spared = [table in SPARED and (not SPARED[table] or name in SPARED[table]) for name in frame.columns]
    empty = ~there.any(axis=0) & np.array(spared, bool)
    return due | (always & ~empty)


def _places(table: str, frame: pd.DataFrame) -> list[tuple[str, str]]:
    if table == "units":
        return [(str(layer), "") for layer in frame.index.get_level_values(0)]
    if table == "weights":
        return [(str(parameter), str(gate)) for parameter, gate in frame.index]
    return [(str(name) if table == "inputs" else "", "") for name in frame.index]


def _units(frame: pd.DataFrame, rows: Array) -> tuple[int, ...]:
    layers = frame.index.get_level_values(0)
    if 1 < len(rows) == (layers == layers[rows[0]]).sum():
        return ()  # the layer as a whole
    return tuple(int(unit) for unit in frame.index.get_level_values(1)[rows])


def _counted(snapshot: Snapshot, weights: pd.DataFrame) -> list[Finding]:
    """Return what the count of entries that are no numbers says."""
    if "not_finite" not in weights:
        return []
    counts = weights["not_finite"].to_numpy(float)
    return [
        _finding(snapshot, "not_finite", str(parameter), float(count), str(gate))
        for (parameter, gate), count in zip(weights.index, counts, strict=True)
        if 0 < count < np.inf  # an infinite one is found already
    ]


def _finding(
    snapshot: Snapshot, signal: str, where: str, value: float, gate: str = "", units: tuple[int, ...] = ()
) -> Finding:
    alone = units[0] if len(units) == 1 else None
    return Finding(RULE, signal, where, gate, alone, value, float("nan"), float("inf"), snapshot.epoch, units)
