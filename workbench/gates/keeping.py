"""Healthy snapshots in a file: safetensors with JSON inside, never a pickle."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from os import PathLike, fspath
from typing import Any

import numpy as np
import pandas as pd

from workbench.files import replacing
from workbench.gates.finite import TABLES
from workbench.gates.snapshots import Snapshot

FORMAT = "attention-workbench gate detector 1"

Array = np.ndarray


def write_healthy(path: str | PathLike[str], snapshots: Sequence[Snapshot], told: Mapping[str, Any]) -> None:
    """Write snapshots of one model, and what else is told, as JSON can hold it; whole or not at all."""
    from safetensors.numpy import save_file

    arrays = {f"{i}/{t}": _values(getattr(s, t)) for i, s in enumerate(snapshots) for t in TABLES}
    plain = json.dumps({**told, "snapshots": [_plain(each) for each in snapshots]})
    metadata = {"format": FORMAT, "plain": plain, "sha256": _sha256(plain, arrays)}
    with replacing(path) as temporary:
        save_file(arrays, temporary, metadata=metadata)


def read_healthy(path: str | PathLike[str]) -> tuple[list[Snapshot], dict[str, Any]]:
    """Read what `write_healthy` wrote; anything else is refused with a ValueError."""
    from safetensors import SafetensorError, safe_open

    again = "Calibrate a detector anew and save it."
    try:
        with safe_open(fspath(path), framework="np") as file:
            metadata = file.metadata() or {}
            names = list(file.keys())
            arrays = {n: file.get_tensor(n) for n in names} if metadata.get("format") == FORMAT else {}
    except SafetensorError as error:
        raise ValueError(f"{path} is not a readable detector ({error}). {again}") from error
    if metadata.get("format") != FORMAT:
        raise ValueError(f"{path} is not a detector of this version, which says {FORMAT!r}. {again}")
    if metadata.get("sha256") != _sha256(metadata.get("plain", ""), arrays):
        raise ValueError(f"{path} was altered: it no longer has the sha256 that it names. {again}")
    told: dict[str, Any] = json.loads(metadata["plain"])
    kept = told.pop("snapshots")
    return [_snapshot(plain, arrays, i) for i, plain in enumerate(kept)], told


def _plain(snapshot: Snapshot) -> dict[str, Any]:
    """Return all of a snapshot but the values of its tables."""
    frames = {table: getattr(snapshot, table) for table in TABLES}
    return {
        "epoch": int(snapshot.epoch),
        "step": int(snapshot.step),
        "progress": float(snapshot.progress),
        "figures": {name: float(value) for name, value in snapshot.figures.items()},
        "columns": {table: [str(name) for name in frame.columns] for table, frame in frames.items()},
        "rows": {table: [_row(name) for name in frame.index] for table, frame in frames.items()},
        "levels": {table: list(frame.index.names) for table, frame in frames.items()},
    }


def _row(name: Any) -> Any:
    parts = [
        p.item() if isinstance(p, np.generic) else p for p in (name if isinstance(name, tuple) else (name,))
    ]
    return parts if isinstance(name, tuple) else parts[0]


def _snapshot(plain: dict[str, Any], arrays: dict[str, Array], number: int) -> Snapshot:
    frames: dict[str, Any] = {}
    for table in TABLES:
        rows, levels = plain["rows"][table], plain["levels"][table]
        if len(levels) > 1:
            columns = list(zip(*rows, strict=True)) if rows else [[] for _ in levels]
            index: pd.Index = pd.MultiIndex.from_arrays(columns, names=levels)
        else:
            index = pd.Index(rows, name=levels[0])
        frames[table] = pd.DataFrame(arrays[f"{number}/{table}"], index, plain["columns"][table])
    return Snapshot(plain["epoch"], plain["step"], plain["progress"], **frames, figures=plain["figures"])


def _values(frame: pd.DataFrame) -> Array:
    return np.ascontiguousarray(frame.to_numpy(float))


def _sha256(plain: str, arrays: Mapping[str, Array]) -> str:
    digest = hashlib.sha256(plain.encode())
    for name, values in sorted(arrays.items()):
        digest.update(f"{name} {values.shape} {values.dtype}".encode())
        digest.update(values.tobytes())
    return digest.hexdigest()
