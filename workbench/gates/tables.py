"""A snapshot's tables as one Parquet file, and back."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from workbench.files import replacing
from workbench.gates.findings import Finding
from workbench.gates.snapshots import Snapshot

INDEX = {  # table → names of its index
    "units": ("layer", "unit"),
    "weights": ("parameter", "gate"),
    "inputs": ("feature",),
    "lags": ("lag",),
}
NUMBERED = ("unit", "lag")  # those that are whole numbers; the others are names
ABOUT = b"snapshot"  # the file's metadata under this name are JSON


def write_tables(path: Path, snapshot: Snapshot, more: Mapping[str, Any]) -> None:
    """Write the four tables, whole or not at all, with the rest as JSON in the metadata.

    A row holds one number: `table`, `name` (layer, parameter or feature), `gate` or `number` (unit or lag),
    `signal`, `value`. They stand table by table, row by row.
    """
    parts = [_long(table, getattr(snapshot, table)) for table in INDEX]
    frames = {name: getattr(snapshot, name) for name in INDEX}
    about = {
        "epoch": snapshot.epoch,
        "step": snapshot.step,
        "progress": snapshot.progress,
        "figures": dict(snapshot.figures),
        "columns": {name: [str(column) for column in frame.columns] for name, frame in frames.items()},
        **more,
    }
    table = pa.concat_tables(parts).unify_dictionaries()
    with replacing(path) as temporary:
        told = table.replace_schema_metadata({ABOUT: json.dumps(about).encode()})
        pq.write_table(told, temporary, compression="zstd", write_statistics=False)


def read_about(path: Path) -> dict[str, Any]:
    """Return the JSON of the metadata, which is read without the tables."""
    return json.loads(pq.read_schema(path).metadata[ABOUT])


def read_snapshot(path: Path) -> Snapshot:
    """Return the snapshot that `write_tables` wrote."""
    table = pq.read_table(path)
    about = json.loads(table.schema.metadata[ABOUT])
    tables = np.asarray(table["table"].to_pylist())
    frames = {
        name: _frame(table.filter(pa.array(tables == name)), name, about["columns"][name]) for name in INDEX
    }
    return Snapshot(about["epoch"], about["step"], about["progress"], **frames, figures=about["figures"])


def finding_of(plain: Mapping[str, Any]) -> Finding:
    """Return the finding of `Finding.to_dict`, as JSON brings it back."""
    return Finding(**{**plain, "units": tuple(plain["units"])})


def number(value: object) -> float:
    """Return a figure as a float; NaN where it is none."""
    return float(value) if isinstance(value, int | float) else math.nan


def _long(table: str, frame: pd.DataFrame) -> pa.Table:
    """Return a frame as rows of one number each."""
    rows, width = frame.shape
    places: dict[str, pa.Array] = {
        "name": _repeated([""], np.zeros(rows, int), width),
        "gate": _repeated([""], np.zeros(rows, int), width),
    }
    numbers = np.full(rows, -1)
    for at, name in enumerate(INDEX[table]):
        keys = frame.index.get_level_values(at)
        if name in NUMBERED:
            numbers = keys.to_numpy(int)
        else:
            codes, values = keys.factorize()
            places["gate" if name == "gate" else "name"] = _repeated(values.tolist(), codes, width)
    signals = np.tile(np.arange(width, dtype=np.int32), rows)
    columns = {
        "table": _repeated([table], np.zeros(rows, int), width),
        **places,
        "number": pa.array(np.repeat(numbers, width).astype(np.int32)),
        "signal": pa.DictionaryArray.from_arrays(signals, [str(name) for name in frame.columns]),
        "value": pa.array(frame.to_numpy(float).ravel()),
    }
    return pa.table(columns)


def _repeated(values: list[str], codes: np.ndarray, times: int) -> pa.Array:
    indices = np.repeat(codes, times).astype(np.int32)
    return pa.DictionaryArray.from_arrays(indices, pa.array(values, pa.string()))


def _frame(rows: pa.Table, table: str, columns: list[str]) -> pd.DataFrame:
    values = rows["value"].to_numpy().reshape(-1, len(columns))
    places = []
    for name in INDEX[table]:
        column = "number" if name in NUMBERED else "gate" if name == "gate" else "name"
        places.append(rows[column].to_pylist()[:: len(columns)])
    names = list(INDEX[table])
    if len(places) > 1:
        index: pd.Index = pd.MultiIndex.from_arrays(places, names=names)
    else:
        index = pd.Index(places[0], name=names[0])
    return pd.DataFrame(values, index=index, columns=columns)
