"""Attention maps as a browser gets them: float32 numbers in a row, averaged where they are too many."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

MOST_CELLS = 512  # a side: more than a screen has room for
MOST_BYTES = 24_000_000


@dataclass(frozen=True, eq=False)
class MapLayer:
    """The attention of one layer and one window.

    Attributes
    ----------
    name, kind
        As in AttentionMaps; the kind is "self", "cross" or "last".
    weights
        (head, query, key) shares, in cells of `block` × `block` bars.
    bars
        How many queries and keys there were before averaging.
    block
        Bars a cell's side; a side of one bar stays one.
    """

    name: str
    kind: str
    weights: Float[np.ndarray, "head query key"]
    bars: tuple[int, int]
    block: int = 1

    def facts(self) -> dict[str, Any]:
        """Return what the browser needs to read the numbers."""
        heads, queries, keys = self.weights.shape
        facts = {"name": self.name, "kind": self.kind, "heads": heads, "queries": queries, "keys": keys}
        return {**facts, "query_bars": self.bars[0], "key_bars": self.bars[1], "block": self.block}


def layers_of(maps: Any) -> list[MapLayer]:
    """Take the layers of AttentionMaps of one window, or of a list of arrays (head, query, key).

    Raises
    ------
    ValueError
        There is no layer, there are several windows, or a layer has other axes.
    """
    arrays, names, kinds = _parts(maps)
    if not arrays:
        raise ValueError("there are no maps; attention_maps(model, x) gives them")
    layers = []
    for array, name, kind in zip(arrays, names, kinds, strict=True):
        weights = _one_window(array, name)
        layers.append(MapLayer(name, kind, weights, weights.shape[1:]))
    return layers


def _parts(maps: Any) -> tuple[list[Any], list[str], list[str]]:
    if hasattr(maps, "layers"):
        return list(maps.layers), [str(name) for name in maps.names], [str(kind) for kind in maps.kinds]
    shape = getattr(maps, "shape", None)
    if isinstance(maps, str) or shape is not None or not isinstance(maps, Sequence):
        what = type(maps).__name__ + ("" if shape is None else f" of shape {tuple(shape)}")
        raise ValueError(
            "maps must be AttentionMaps or a list of arrays (head, query, key), one a layer. Got "
            f"{what}. Put a single layer into a list: [weights]."
        )
    arrays = list(maps)
    return arrays, [f"layer {i}" for i in range(len(arrays))], ["self"] * len(arrays)


def _one_window(array: Any, name: str) -> Float[np.ndarray, "head query key"]:
    if hasattr(array, "detach"):
        array = array.detach().cpu().float()
    weights = np.asarray(array, dtype=np.float32)
    if weights.ndim == 4 and len(weights) == 1:
        weights = weights[0]
    if weights.ndim == 4:
        raise ValueError(
            f"the maps must be of one window; {name} holds {len(weights)}. "
            "Pick one: attention_maps(model, x[i : i + 1])."
        )
    if weights.ndim != 3 or 0 in weights.shape:
        raise ValueError(f"{name} must have shape (head, query, key). Got {weights.shape}.")
    return weights


def shrunk(layers: list[MapLayer], cells: int = MOST_CELLS, size: int = MOST_BYTES) -> list[MapLayer]:
    """Average cells until no side has more than `cells` and all layers together take at most `size` bytes."""
    least = 1
    while True:
        averaged = [_averaged(layer, max(least, ceil(max(layer.bars) / cells))) for layer in layers]
        total = sum(layer.weights.nbytes for layer in averaged)
        if total <= size:
            return averaged
        # Bytes fall with the square of the block, so this is seldom more than two rounds.
        most = max(layer.block for layer in averaged)
        least = max(least + 1, ceil(0.9 * most * (total / size) ** 0.5))


def _averaged(layer: MapLayer, block: int) -> MapLayer:
    if block == 1:
        return layer
    weights = layer.weights
    for axis in (1, 2):
        starts = np.arange(0, weights.shape[axis], block)
        counts = np.diff(np.append(starts, weights.shape[axis])).astype(np.float32)
        shape = [-1 if i == axis else 1 for i in range(3)]
        weights = np.add.reduceat(weights, starts, axis=axis) / counts.reshape(shape)
    return MapLayer(layer.name, layer.kind, weights.astype(np.float32), layer.bars, block)


def colour_top(layers: Sequence[MapLayer]) -> float:
    """Return the end of one colour scale for all layers and heads, which starts at 0.

    It is the largest share, or the 98th percentile where the largest is more than twice that: a diagonal
    would leave everything else in the dark.
    """
    values = np.concatenate([layer.weights.ravel() for layer in layers])
    values = values[np.isfinite(values)]
    if not len(values):
        return 1.0
    most, high = float(values.max()), float(np.percentile(values, 98))
    top = high if 0 < 2 * high < most else most
    return top if top > 0 else 1.0


def fused(weights: Float[np.ndarray, "head query key"], head: str) -> Float[np.ndarray, "query key"]:
    """Return one head, or the mean, max or min over heads."""
    if head in ("mean", "max", "min"):
        return getattr(weights, head)(axis=0)
    return weights[int(head)]


def milliseconds(dates: pd.DatetimeIndex) -> Float[np.ndarray, " bar"]:
    """Return dates as JavaScript counts time: milliseconds since 1970 in UTC, float64."""
    plain = dates.tz_convert("UTC").tz_localize(None) if dates.tz is not None else dates
    return plain.as_unit("ms").asi8.astype(np.float64)


def intraday(dates: pd.DatetimeIndex) -> bool:
    """Whether any of the dates has a time of day."""
    plain = dates.tz_localize(None)
    return bool((plain != plain.normalize()).any())
