"""Attention Rollout: how far each output position draws on each input, through all layers at once.

Abnar & Zuidema 2020, "Quantifying Attention Flow in Transformers", section 3. With the fused attention A_l of
layer l and the residual weight α, each layer passes on Ã_l = (1 − α)·A_l + α·I, rows summing to one, and the
rollout is R = Ã_L · … · Ã_1, later layers from the left. One row of R needs no matrix product: r ← r·Ã_l from
the last layer to the first costs O(L·n²) instead of O(L·n³).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.explainers.maps import AttentionMaps
from workbench.explainers.softmax import AttentionLayer
from workbench.explainers.stacks import stack_of, stack_position

Fusion = str | Sequence[float | int]
BLOCK_BYTES = 4 * 2**20  # weights computed again at once: what stays in a core's caches


@dataclass(frozen=True)
class RolloutOptions:
    """How heads and layers are joined. See `rollout`."""

    fusion: Fusion = "mean"
    residual: float | int = 0.5
    discard: float | int = 0.0
    start_layer: int = 0

    def __post_init__(self) -> None:
        if isinstance(self.fusion, str) and self.fusion not in ("mean", "max", "min"):
            raise ValueError(f"fusion is 'mean', 'max', 'min' or one weight a head; got {self.fusion!r}")
        if not 0 <= self.residual <= 1:
            raise ValueError(f"residual is a share between 0 and 1 (0.5 as published); got {self.residual}")
        if not 0 <= self.discard < 1:
            raise ValueError(
                f"discard is the share of entries dropped, at least 0 and below 1; got {self.discard}"
            )


def rollout(
    maps: AttentionMaps | Sequence[Tensor],
    fusion: Fusion = "mean",
    residual: float | int = 0.5,
    discard: float | int = 0.0,
    start_layer: int = 0,
    position: int | None = None,
) -> Float[Tensor, "batch query key"] | Float[Tensor, "batch key"]:
    """Roll the attention of all layers into one map from output positions to inputs.

    Parameters
    ----------
    maps
        Self-attention maps, each (batch, head, query, key), first layer first.
    fusion
        How heads are joined: `mean`, `max`, `min`, or one weight a head (scaled to sum to one). After `max`
        and `min` rows no longer sum to one; they are scaled back.
    residual
        α, the share of a position's input that the residual path hands on unchanged; 0.5 as published.
    discard
        Share of the weakest entries of each fused map set to zero, `int(n² · discard)` of them per sample
        over the whole map, before the identity is added and rows are scaled to sum to one.
    start_layer
        The first layer counted; those below are left out.
    position
        The output position wanted, negative from the end. By default all of them.

    Returns
    -------
    Tensor
        (batch, query, key), or (batch, key) with a `position`. Rows sum to one. A position with nothing left
        to attend to (masked or discarded) draws on itself. Maps whose last layer holds the last query alone
        give (batch, 1, key).

    Raises
    ------
    ValueError
        If a layer is cross-attention, lengths differ between layers, or an option is out of range.

    Examples
    --------
    >>> even = torch.full((1, 1, 2, 2), 0.5)
    >>> rollout([even, even], position=-1)
    tensor([[0.4375, 0.5625]])
    """
    options = RolloutOptions(fusion, residual, discard, start_layer)
    layers = stack_of(maps, options.start_layer)
    if options.discard and layers[-1].kind == "last":
        raise ValueError(
            "discard ranks every entry of a map, and the last map holds the last query only: "
            "capture with attention_maps(model, x, full=True)"
        )
    if position is None:
        return _matrix(layers, options)
    length = layers[0].keys
    row = one_hot(
        stack_position(position, length, layers[-1].kind),
        length,
        like=layers[0].weights(),
        batch=_batch(layers),
    )
    return chain(layers, row, options)


def one_hot(index: int, length: int, like: Tensor, batch: int) -> Float[Tensor, "batch key"]:
    """Return the row at the top of a chain: all of it on one output position."""
    row = like.new_zeros(batch, length)
    row[:, index] = 1
    return row


def chain(
    layers: Sequence[AttentionLayer], row: Float[Tensor, "batch key"], options: RolloutOptions
) -> Float[Tensor, "batch key"]:
    """Carry one row of the rollout down through `layers`, given first layer first.

    The row at the top says which output position is asked for. Layers that did not keep their weights are
    computed again in blocks of queries, so that no (query, key) matrix is held.
    """
    for layer in reversed(layers):
        row = _step(row, layer, options)
    return row


def _step(row: Tensor, layer: AttentionLayer, options: RolloutOptions) -> Tensor:
    """Return row · Ã for one layer."""
    if layer.kind == "last":  # the only query computed is the one the row stands on
        return _passed(fuse(layer.weights(), options), options, diagonal=-1)[:, 0].expand_as(row)
    # What is weakest over the whole map is known only when the whole map is.
    block = layer.keys if options.discard else layer.block(BLOCK_BYTES)
    out, scratch = torch.zeros_like(row), layer.scratch(block)
    for start in range(0, layer.keys, block):
        here = slice(start, start + block)
        part = layer.rows(start, start + block, scratch)  # (batch, head, block, key)
        if options.fusion != "mean" or options.discard:
            part = fuse(part, options)[:, None]
        known = layer.sums_to_one and options.fusion == "mean" and not options.discard
        attended, kept = _descend(row[:, here], part, options.residual, known)
        out += attended
        out[:, here] += kept
    return out


def _descend(row: Tensor, weights: Tensor, residual: float | int, sums_to_one: bool) -> tuple[Tensor, Tensor]:
    """Split what a block of the row (batch, query) hands down: to the keys (batch, key), and to itself.

    The mean over heads is never written: r·(ΣA_h) is one long product over (head, query).
    """
    heads, queries, keys = weights.shape[1:]
    share, itself = row, residual * row
    if not sums_to_one:
        scale = weights.sum((1, 3)) * ((1 - residual) / heads) + residual  # row sums of (1 − α)A + αI
        empty = scale == 0
        share = row / scale.masked_fill(empty, 1)
        itself = torch.where(empty, row, residual * share)
    spread = share[:, None].expand(-1, heads, -1).reshape(len(row), 1, heads * queries)
    flat = weights.reshape(-1, heads * queries, keys).expand(len(row), -1, -1)
    return (spread @ flat)[:, 0] * ((1 - residual) / heads), itself


def fuse(
    weights: Float[Tensor, "batch head query key"], options: RolloutOptions
) -> Float[Tensor, "batch query key"]:
    """Join the heads of one layer and drop its weakest entries."""
    fused = _joined(weights, options.fusion)
    dropped = int(fused.shape[-2] * fused.shape[-1] * options.discard)
    if dropped == 0:
        return fused
    flat = fused.flatten(1)
    weakest = flat.topk(dropped, dim=1, largest=False).indices
    return flat.scatter(1, weakest, 0.0).view_as(fused)


def _joined(weights: Tensor, fusion: Fusion) -> Tensor:
    if fusion == "mean":
        return weights.mean(1)
    if fusion == "max":
        return weights.amax(1)
    if fusion == "min":
        return weights.amin(1)
    shares = torch.as_tensor(list(fusion), dtype=weights.dtype, device=weights.device)
    heads = weights.shape[1]
    if shares.shape != (heads,) or bool((shares < 0).any()) or not float(shares.sum()) > 0:
        raise ValueError(
            f"head weights are {heads} numbers of zero or more, one a head, not all zero; got {list(fusion)}"
        )
    return torch.einsum("h,bhqk->bqk", shares / shares.sum(), weights)


def _matrix(layers: Sequence[AttentionLayer], options: RolloutOptions) -> Tensor:
    first = layers[0].weights()
    rolled = torch.eye(layers[0].keys, dtype=first.dtype, device=first.device).expand(_batch(layers), -1, -1)
    for layer in layers:
        diagonal = -1 if layer.kind == "last" else 0
        rolled = _passed(fuse(layer.weights(), options), options, diagonal) @ rolled
    return rolled


def _passed(fused: Tensor, options: RolloutOptions, diagonal: int) -> Tensor:
    """Return Ã: the residual added and rows scaled to sum to one; an empty row draws on itself.

    With `diagonal=-1` the map is one row, that of the last position.
    """
    passed = (1 - options.residual) * fused
    own = passed[..., -1] if diagonal else passed.diagonal(dim1=-2, dim2=-1)
    own += options.residual
    own += (passed.sum(-1) == 0).to(passed.dtype)
    return passed / passed.sum(-1, keepdim=True)


def _batch(layers: Sequence[AttentionLayer]) -> int:
    return max(len(layer.weights()) for layer in layers)
