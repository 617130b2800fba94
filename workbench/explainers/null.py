"""What an indifferent model would show: rollout of attention spread evenly over whatever the masks allow.

Causal rollout piles up on early bars even then, the more the deeper the model, so a rollout says something
about a model only where it differs from this one.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from workbench.explainers.chains import BLOCK_BYTES, chain, descend
from workbench.explainers.joining import RolloutOptions
from workbench.explainers.maps import AttentionMaps
from workbench.explainers.softmax import AttentionLayer


def uniform_maps(maps: AttentionMaps) -> AttentionMaps:
    """Return the maps of the same model attending evenly to every key its masks allow.

    Parameters
    ----------
    maps
        As captured; what their masks allow is known from the capture, not guessed from the weights.

    Returns
    -------
    AttentionMaps
        One head, and one sample, stands for all where the mask is the same for all.

    Examples
    --------
    >>> maps = AttentionMaps.of([torch.eye(2)[None, None]])
    >>> uniform_maps(maps).layers[0]
    tensor([[[[0.5000, 0.5000],
              [0.5000, 0.5000]]]])
    """
    pairs = zip(maps.layers, maps.allowed, strict=True)
    return replace(maps, layers=tuple(_even(layer[:1, :1], allowed) for layer, allowed in pairs), output=None)


def uniform_layer(layer: AttentionLayer) -> AttentionLayer:
    """Return a layer that attends evenly to every key the mask of `layer` allows."""
    blank = layer.key if layer.kept is None else layer.kept
    assert blank is not None
    shape = blank.new_empty(1, 1, 1, 1).expand(1, 1, layer.queries, layer.keys)
    return AttentionLayer(layer.kind, None, kept=_even(shape, layer.allowed))


def null_row(
    layers: Sequence[AttentionLayer], row: Float[Tensor, "batch key"], residual: float | int
) -> Float[Tensor, "batch key"]:
    """Carry one row of the null down through `layers`, as `chain` does, in O(n) where no mask but time's is.

    Masks of a model's own are read in blocks of queries, so that no (query, key) matrix is made beside them.
    """
    options = RolloutOptions("mean", residual)
    for layer in reversed(layers):
        if layer.kind == "last" or layer.kept is not None:
            row = chain([uniform_layer(layer)], row, options)
        elif layer.mask is None and layer.bias is None:
            row = residual * row + (1 - residual) * _spread(row, layer.causal)
        else:
            row = _through(layer, row, options)
    return row


def _spread(row: Tensor, causal: bool) -> Tensor:
    """Return r·A where every position attends evenly to all, or to itself and those before it."""
    if not causal:
        return (row.sum(-1, keepdim=True) / row.shape[-1]).expand_as(row)
    shares = row / torch.arange(1, row.shape[-1] + 1, device=row.device)
    return shares.flip(-1).cumsum(-1).flip(-1)


def _through(layer: AttentionLayer, row: Tensor, options: RolloutOptions) -> Tensor:
    out, some = torch.zeros_like(row), layer.block(BLOCK_BYTES)
    for start in range(0, layer.queries, some):
        stop = min(start + some, layer.queries)
        allowed = layer.allowed_rows(start, stop)
        even = _even(row.new_empty(1, 1, 1, 1).expand(1, 1, stop - start, layer.keys), allowed)
        descend(row[:, None, start:stop], even, options, False, out[:, None], start)
    return out


def _even(like: Float[Tensor, "1 1 query key"], allowed: Bool[Tensor, "..."] | None) -> Tensor:
    if allowed is None:
        return torch.full_like(like, 1 / like.shape[-1], memory_format=torch.contiguous_format)
    even = allowed.to(like.dtype)
    return even / even.sum(-1, keepdim=True).clamp_min(torch.finfo(like.dtype).tiny)
