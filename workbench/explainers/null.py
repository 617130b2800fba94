"""What an indifferent model would show: rollout of attention spread evenly over whatever the masks allow.

Causal rollout piles up on early bars even then, the more the deeper the model, so a rollout says something
about a model only where it differs from this one.
"""

from dataclasses import replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

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


def _even(like: Float[Tensor, "1 1 query key"], allowed: Bool[Tensor, "..."] | None) -> Tensor:
    if allowed is None:
        return torch.full_like(like, 1 / like.shape[-1], memory_format=torch.contiguous_format)
    even = allowed.to(like.dtype)
    return even / even.sum(-1, keepdim=True).clamp_min(torch.finfo(like.dtype).tiny)
