"""Attention Rollout: how far each output position draws on each input, through all layers at once.

Abnar & Zuidema 2020, "Quantifying Attention Flow in Transformers", section 3. With the fused attention A_l of
layer l and the residual weight α, each layer passes on Ã_l = (1 − α)·A_l + α·I, rows summing to one, and the
rollout is R = Ã_L · … · Ã_1, later layers from the left. One row of R needs no matrix product: r ← r·Ã_l from
the last layer to the first costs O(L·n²) instead of O(L·n³).
"""

from collections.abc import Sequence
from typing import TypedDict, Unpack

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.explainers.chains import BLOCK_BYTES, chain, one_hot
from workbench.explainers.joining import Fusion, RolloutOptions, fuse, passed_on
from workbench.explainers.maps import AttentionMaps
from workbench.explainers.options import check_position
from workbench.explainers.softmax import AttentionLayer
from workbench.explainers.stacks import stack_of, stack_position

__all__ = ["BLOCK_BYTES", "Discarding", "Fusion", "RolloutOptions", "chain", "fuse", "passed_on", "rollout"]


class Discarding(TypedDict, total=False):
    """What of the fused maps is dropped; see `rollout`."""

    discard: float | int
    discard_by: str


def rollout(
    maps: AttentionMaps | Sequence[Tensor],
    fusion: Fusion = "mean",
    residual: float | int = 0.5,
    start_layer: int = 0,
    position: int | None = None,
    **discarding: Unpack[Discarding],
) -> Float[Tensor, "batch query key"] | Float[Tensor, "batch key"]:
    """Roll the attention of all layers into one map from output positions to inputs.

    Parameters
    ----------
    maps
        Self-attention maps, each (batch, head, query, key), first layer first.
    fusion
        How heads are joined: `mean`, `max`, `min`, or weights of zero or more, scaled to sum to one: one a
        head, or a row of them for each layer, those below `start_layer` included. After `max` and `min` rows
        no longer sum to one; they are scaled back.
    residual
        α, the share of a position's input that the residual path hands on unchanged; 0.5 as published.
    start_layer
        The first layer counted; those below are left out.
    position
        The output position wanted, negative from the end. By default all of them.
    discard, discard_by
        Share of the weakest entries set to zero before the identity is added, and of what (0, "map").
        "map": of each sample's fused map of n² entries, the lowest `int(n² · discard)`. "row": of each of its
        rows, the lowest `int(n · discard)`. Masked entries count, and go first. Entries that equal the
        weakest one kept are kept, so that what goes does not hang on the order of the positions: even
        attention loses nothing. Rows are then scaled to sum to one.

    Returns
    -------
    Tensor
        (batch, query, key), or (batch, key) with a `position`. Rows sum to one. A position with nothing left
        to attend to (masked or discarded) draws on itself. Maps whose last layer holds the last query alone
        give (batch, 1, key).

    Raises
    ------
    TypeError
        If `maps` are something else.
    ValueError
        If a layer is cross-attention, lengths or batches differ between layers, or an option is out of range.

    Notes
    -----
    `stream_rollout(model, x)` gives the same rows of models and sequences too large for maps.

    Examples
    --------
    >>> even = torch.full((1, 1, 2, 2), 0.5)
    >>> rollout([even, even], position=-1)
    tensor([[0.4375, 0.5625]])
    """
    options = RolloutOptions(fusion, residual, start_layer=start_layer, **discarding)
    _check_maps(maps)
    layers = stack_of(maps, options.start_layer)
    check_ranked(layers, options)
    if position is None:
        return _matrix(layers, options)
    check_position(position)
    index = stack_position(position, layers[0].keys, layers[-1].kind)
    rows = one_hot([index], layers[0].keys, like=layers[0].weights(), batch=_batch(layers))
    return chain(layers, rows, options)[:, 0]


def _check_maps(maps: object) -> None:
    """Refuse what is no maps, or maps of different batches."""
    each = maps.layers if isinstance(maps, AttentionMaps) else maps
    if not isinstance(each, list | tuple) or not all(isinstance(one, Tensor) for one in each):
        kinds = sorted({type(one).__name__ for one in each}) if isinstance(each, list | tuple) else []
        told = f"a {type(each).__name__}{' of ' * bool(kinds)}{' and '.join(kinds)}"
        raise TypeError(
            "maps are what attention_maps(model, x) returns, or a list of one tensor (batch, head, query, "
            f"key) a layer; got {told}. Make tensors of arrays by torch.as_tensor, and list(maps) of one "
            "tensor that holds the layers"
        )
    batches = {len(one) for one in each if one.ndim} - {1}  # one sample may stand for all
    if len(batches) > 1:
        raise ValueError(
            f"all layers must be of the same samples; got batches of {sorted(batches)}. Take the maps of one "
            "pass"
        )


def check_ranked(layers: Sequence[AttentionLayer], options: RolloutOptions) -> None:
    """Refuse to rank the entries of a map that lacks most of its rows."""
    if options.ranks_maps and layers[-1].kind == "last":
        raise ValueError(
            "discard ranks every entry of a map, and the last map holds the last query only: "
            "capture with attention_maps(model, x, full=True), or discard by row"
        )


def _matrix(layers: Sequence[AttentionLayer], options: RolloutOptions) -> Tensor:
    first = layers[0].weights()
    rolled = torch.eye(layers[0].keys, dtype=first.dtype, device=first.device).expand(_batch(layers), -1, -1)
    for layer, own in zip(layers, options.by_layer(len(layers)), strict=True):
        diagonal = -1 if layer.kind == "last" else 0
        rolled = passed_on(fuse(layer.weights(), own), own.residual, diagonal) @ rolled
    return rolled


def _batch(layers: Sequence[AttentionLayer]) -> int:
    return max(layer.weight_shape[0] for layer in layers)
