"""A model's attention as a screen can show it: layer by layer, averaged where there is too much of it."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from workbench.explainers.capture import check_any, checked_module, watching
from workbench.explainers.maps import NoAttentionFound
from workbench.explainers.softmax import AttentionLayer
from workbench.features.windows import Windows
from workbench.training.prediction import placement

MOST_CELLS = 512  # a side of a map: more than a screen shows
MOST_BYTES = 8_000_000  # all maps of one window
HELD_BYTES = 2**25  # weights computed at once
SAMPLED_WINDOWS, SAMPLED_CELLS = 16, 4_000_000  # what the end of the colour scale is measured on
TOP = 0.998


@dataclass(frozen=True)
class Layer:
    """One layer of attention as it is shown: cells of `block` × `block` bars; a side of one bar stays one."""

    name: str
    kind: str
    heads: int
    queries: int
    keys: int
    block: int

    @property
    def bytes(self) -> int:
        """Size of one window's map."""
        return 4 * self.heads * self.queries * self.keys


@dataclass(frozen=True)
class Lens:
    """How a model's attention is looked at.

    Attributes
    ----------
    layers
        The layers that attend over the bars; none where there is nothing to see.
    chosen
        Their numbers among all that the model computes.
    why_none
        Why there are none.
    """

    layers: tuple[Layer, ...] = ()
    chosen: tuple[int, ...] = ()
    why_none: str = ""


def lens_of(model: nn.Module, windows: Windows) -> Lens:
    """Watch one window pass and choose how far to average so that its maps can be sent."""
    try:
        seen = _watched(model, windows, [0])
    except NoAttentionFound as error:
        return Lens(why_none=str(error))
    shapes = [layer.weight_shape for _, layer in seen]
    fits = [i for i, shape in enumerate(shapes) if _over_bars(shape, windows.lookback)]
    if not fits:
        batch, _, queries, keys = shapes[0]
        return Lens(
            why_none=f"the model attends in {batch} rows of {queries} queries × {keys} keys for one window "
            f"of {windows.lookback} bars, so its attention does not say which bar it looked at"
        )
    block = _block([shapes[i] for i in fits])
    layers = [_layer(seen[i][0], seen[i][1], block) for i in fits]
    return Lens(tuple(layers), tuple(fits))


def maps_of(model: nn.Module, windows: Windows, lens: Lens, rows: list[int]) -> list[list[np.ndarray]]:
    """Return the maps (head, query, key) of some windows, a list of layers each."""
    each = max(sum(layer.bytes * layer.block**2 for layer in lens.layers), 1)
    step = max(1, HELD_BYTES // each)
    maps: list[list[np.ndarray]] = []
    for start in range(0, len(rows), step):
        asked = rows[start : start + step]
        seen = _watched(model, windows, asked)
        stacks = [
            _averaged(seen[i][1], layer.block) for i, layer in zip(lens.chosen, lens.layers, strict=True)
        ]
        maps += [[stack[row] for stack in stacks] for row in range(len(asked))]
    return maps


def top_of(model: nn.Module, windows: Windows, lens: Lens) -> float:
    """Return where the colour scale of all maps ends: the 99.8th percentile over windows of all times."""
    if not lens.layers:
        return 1.0
    cells = sum(layer.bytes for layer in lens.layers) // 4
    count = max(1, min(SAMPLED_WINDOWS, SAMPLED_CELLS // cells, len(windows)))
    rows = np.unique(np.linspace(0, len(windows) - 1, count).round().astype(int)).tolist()
    values = np.concatenate([m.ravel() for layers in maps_of(model, windows, lens, rows) for m in layers])
    top = float(np.quantile(values[np.isfinite(values)], TOP)) if np.isfinite(values).any() else 1.0
    return top if top > 0 else 1.0


def _watched(model: nn.Module, windows: Windows, rows: list[int]) -> list[tuple[str, AttentionLayer]]:
    """Run some windows and return name and layer of all attention seen, weights not yet computed."""
    x = windows.batch(rows)
    module = checked_module(model, x)
    with torch.no_grad(), watching(module) as recorder:
        module(x.to(*placement(module)))
    check_any(module, recorder)
    return list(zip(recorder.names, recorder.layers, strict=True))


def _over_bars(shape: tuple[int, ...], lookback: int) -> bool:
    batch, _, queries, keys = shape
    return batch == 1 and keys == lookback and queries in (1, lookback)


def _block(shapes: list[tuple[int, int, int, int]]) -> int:
    """Return the least number of bars a cell's side with which no map is too large, nor all together."""
    longest = max(max(shape[2:]) for shape in shapes)
    block = math.ceil(longest / MOST_CELLS)
    while block < longest and sum(_size(shape, block) for shape in shapes) > MOST_BYTES:
        block += 1
    return block


def _size(shape: tuple[int, int, int, int], block: int) -> int:
    _, heads, queries, keys = shape
    return 4 * heads * math.ceil(queries / block) * math.ceil(keys / block)


def _layer(name: str, layer: AttentionLayer, block: int) -> Layer:
    _, heads, queries, keys = layer.weight_shape
    return Layer(name, layer.kind, heads, math.ceil(queries / block), math.ceil(keys / block), block)


def _averaged(layer: AttentionLayer, block: int) -> np.ndarray:
    """Return the weights (window, head, query, key), averaged; a large map goes by in bands of queries."""
    if layer.queries == 1:
        return _pooled(layer.weights(), 1, block)
    step = max(block, layer.block(HELD_BYTES) // block * block)
    bands = [
        _pooled(layer.rows(start, min(start + step, layer.queries)), block, block)
        for start in range(0, layer.queries, step)
    ]
    return np.concatenate(bands, axis=2)


def _pooled(weights: Tensor, tall: int, wide: int) -> np.ndarray:
    if wide > 1:
        size = (min(tall, weights.shape[2]), min(wide, weights.shape[3]))
        weights = F.avg_pool2d(weights, size, stride=(tall, wide), ceil_mode=True)
    return weights.float().cpu().numpy()


def facts_of(lens: Lens) -> dict[str, Any]:
    """Return what the browser needs to read the maps."""
    layers = [{**vars(layer)} for layer in lens.layers]
    return {"layers": layers, **({} if layers else {"no_attention": lens.why_none})}
