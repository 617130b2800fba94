"""Layers that rollout can go through: one stack of self-attention, first layer first."""

from collections.abc import Sequence

import torch
from torch import Tensor

from workbench.explainers.maps import AttentionMaps
from workbench.explainers.softmax import AttentionLayer


def stack_position(position: int, length: int, last_kind: str) -> int:
    """Return an output position counted from 0, or say why there is none."""
    if not -length <= position < length:
        raise ValueError(f"position {position} is outside the {length} positions of these maps")
    index = position % length
    if last_kind == "last" and index != length - 1:
        raise ValueError(
            f"position {position} was not computed: these maps hold the last query only. "
            "Capture them with attention_maps(model, x, full=True)"
        )
    return index


def stack_of(
    maps: AttentionMaps | Sequence[Tensor], start_layer: int, method: str = "rollout"
) -> list[AttentionLayer]:
    """Return the layers from `start_layer` on, or say why they are no stack that `method` goes through."""
    if not isinstance(maps, AttentionMaps):
        maps = AttentionMaps.of(maps)
    if maps.unseen:
        raise ValueError(
            f"these maps are a part of the model alone, which also attends by {maps.unseen[0]}. To have "
            f"{method} go through what was seen, give it list(maps.layers)"
        )
    for weights, name in zip(maps.layers, maps.names, strict=True):
        if not bool(torch.isfinite(weights).all()):
            raise ValueError(
                f"{name} holds attention that is not finite: look for NaN in the input or the weights"
            )
    above = maps.above or (None,) * len(maps)
    layers = [
        AttentionLayer(kind, allowed, kept=weights, above=below)
        for kind, allowed, weights, below in zip(maps.kinds, maps.allowed, maps.layers, above, strict=True)
    ]
    check_stack(layers, maps.names, start_layer, method)
    return layers[start_layer:]


def check_stack(
    layers: Sequence[AttentionLayer], names: Sequence[str], start_layer: int, method: str = "rollout"
) -> None:
    """Refuse layers that are not one stack of self-attention holding `start_layer`, first layer first."""
    if not 0 <= start_layer < len(layers):
        raise ValueError(f"start_layer {start_layer} is not one of the {len(layers)} layers, counted from 0")
    for layer, name in zip(layers, names, strict=True):
        if layer.kind == "cross" and layer.queries == 1:
            raise ValueError(
                f"{name} gathers {layer.keys} positions for one query that is none of them, which "
                f"{method} does not follow. Its weights say what it looked at: the method 'attention' and "
                "maps.layers show them. Or choose the self-attention of one stack, as in "
                "maps.select('encoder*')"
            )
        if layer.kind == "cross":
            raise ValueError(
                f"{name} is cross-attention ({layer.queries} queries, {layer.keys} keys), which {method} "
                "does not follow. Choose the self-attention of one stack, as in maps.select('encoder*')"
            )
        if layer.kind == "self" and layer.queries != layer.keys:
            raise ValueError(
                f"{name} has {layer.queries} queries and {layer.keys} keys: keys were added that are no "
                f"position, which {method} does not follow"
            )
        if layer.keys != layers[0].keys:
            raise ValueError(
                f"{name} attends over {layer.keys} positions and the first layer over {layers[0].keys}: "
                "these are two stacks. Choose one of them, as in maps.select('encoder*')"
            )
    for layer, name in zip(layers[:-1], names, strict=False):
        if layer.kind == "last":
            raise ValueError(
                f"{name} holds the last query only, yet layers follow it: "
                "capture with attention_maps(model, x, full=True)"
            )
    _check_order(layers[start_layer:], names[start_layer:], method)


def _check_order(layers: Sequence[AttentionLayer], names: Sequence[str], method: str) -> None:
    """Refuse layers that are known not to be one on top of the other."""
    for i, layer in enumerate(layers[1:], 1):
        if layer.above is not None and names[i - 1] not in layer.above:
            raise ValueError(
                f"{names[i - 1]} and {names[i]} run side by side: what the second gathers is not computed "
                f"from what the first gave, so {method} has no way through both. If they are heads of one "
                "layer, join them, as in rollout([torch.cat(maps.layers[:2], 1)]); else choose the layers "
                f"of one stack, as in maps.select({names[i]!r})"
            )
