"""Arrays and frames as the messages that the browser reads: small content, little-endian buffers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from workbench.market.frame import COLUMNS
from workbench.widgets.answers import Answers
from workbench.widgets.mapdata import milliseconds


@dataclass(frozen=True, eq=False)
class Message:
    """What is sent: the content, and the buffers beside it."""

    content: dict[str, Any]
    buffers: list[bytes]


@dataclass(frozen=True, eq=False)
class Scores:
    """Explained windows, ready to be sent.

    Attributes
    ----------
    windows
        Numbers of the windows.
    scores
        (window, time) or (window, time, feature).
    null
        None, (time,), or (window, time).
    answered
        What was explained of each window, such as "buy".
    trust
        What was measured of it, in words; None where it was not.
    signed
        Whether the scores have a sign.
    """

    windows: list[int]
    scores: np.ndarray
    null: np.ndarray | None
    answered: list[str]
    trust: str | None
    signed: bool


def bars_message(version: int, prices: pd.DataFrame) -> Message:
    """Return the bars: dates, open, high, low, close, volume, float64, NaN where the source has none."""
    columns = [
        prices[name].to_numpy(dtype="<f8") if name in prices.columns else np.full(len(prices), np.nan)
        for name in COLUMNS
    ]
    buffers = [milliseconds(pd.DatetimeIndex(prices.index)), *columns]
    return Message(
        {"kind": "bars", "version": version, "n": len(prices)}, [_bytes(b, "<f8") for b in buffers]
    )


def answers_message(version: int, answers: Answers) -> Message:
    """Return what the model said of every window, what became of it, and the money on the way."""
    windows, outputs = answers.outputs.shape
    buffers = [
        _bytes(answers.rows, "<i4"),
        _bytes(answers.outputs, "<f4"),
        _bytes(answers.happened, "<f8"),
        _bytes(answers.moved, "i1"),
        _bytes(answers.position, "<f4"),
        _bytes(answers.equity, "<f8"),
        _bytes(answers.benchmark, "<f8"),
        _bytes(answers.split, "u1"),
    ]
    content = {"kind": "answers", "version": version, "windows": windows, "outputs": outputs}
    return Message(content, buffers)


def maps_message(version: int, window: int, layers: Sequence[np.ndarray]) -> Message:
    """Return one window's attention: a float32 buffer (head, query, key) a layer."""
    return Message({"kind": "maps", "version": version, "window": window}, [_bytes(x, "<f4") for x in layers])


def scores_message(version: int, ask: dict[str, Any], found: Scores) -> Message:
    """Return the scores of explained windows, with their null if there is one."""
    content = {
        "kind": "scores",
        "version": version,
        "method": ask["method"],
        "target": ask["target"],
        "windows": list(found.windows),
        "time": found.scores.shape[1],
        "features": found.scores.shape[2] if found.scores.ndim == 3 else 0,
        "signed": found.signed,
        "null": 0 if found.null is None else found.null.ndim,
        "trust": found.trust,
        "answered": found.answered[0] if len(set(found.answered)) == 1 else found.answered,
    }
    buffers = [_bytes(found.scores, "<f4")]
    return Message(content, buffers if found.null is None else [*buffers, _bytes(found.null, "<f4")])


def failed_message(ask: object, error: str) -> Message:
    """Return why an ask cannot be met, with the version that was asked about: a page of another drops it."""
    version = ask.get("version") if isinstance(ask, dict) else None
    return Message({"kind": "failed", "version": version, "ask": ask, "error": error}, [])


def _bytes(values: np.ndarray, kind: str) -> bytes:
    return np.ascontiguousarray(values, dtype=kind).tobytes()
