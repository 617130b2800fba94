"""Rows of a rollout, carried down the layers without any (query, key) matrix.

r ← r·Ã_l from the last layer to the first: O(L·n²) for a row instead of O(L·n³) for them all. The weights of
layers that kept none are computed again in blocks of queries.
"""

from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.explainers.joining import RolloutOptions, fuse, head_shares, joined, weakest_kept, without
from workbench.explainers.ranks import entry_of_rank
from workbench.explainers.softmax import AttentionLayer

BLOCK_BYTES = 8 * 2**20  # weights computed again at once: what stays in a core's caches
GPU_BLOCK_BYTES = 256 * 2**20  # on a graphics card: enough for each call to fill it


def chain(
    layers: Sequence[AttentionLayer], rows: Float[Tensor, "batch *row key"], options: RolloutOptions
) -> Float[Tensor, "batch *row key"]:
    """Carry rows of the rollout down through `layers`, given first layer first.

    The rows at the top say which output positions are asked for: one (batch, key), or some (batch, row, key).
    """
    carried = rows if rows.ndim == 3 else rows[:, None]
    for layer, own in zip(reversed(layers), reversed(options.by_layer(len(layers))), strict=True):
        carried = _step(carried, layer, own)
        layer.release()
    return carried if rows.ndim == 3 else carried[:, 0]


def one_hot(
    positions: Sequence[int], length: int, like: Tensor, batch: int
) -> Float[Tensor, "batch row key"]:
    """Return the rows at the top of a chain: each all of it on one output position."""
    rows = like.new_zeros(batch, len(positions), length)
    rows[:, range(len(positions)), list(positions)] = 1
    return rows


def _step(rows: Tensor, layer: AttentionLayer, options: RolloutOptions) -> Tensor:
    """Return r·Ã for one layer, r being (batch, row, key)."""
    if layer.kind == "last":  # the only query computed is the one the rows stand on
        out = torch.zeros_like(rows)
        descend(rows[..., -1:], fuse(layer.weights(), options)[:, None], options, False, out, layer.keys - 1)
        return out
    least = _least(layer, options) if options.ranks_maps else None
    shares = not options.discard and options.fusion not in ("max", "min")
    out = torch.zeros_like(rows)
    for start, part in _blocks(layer, *_used(rows)):  # (batch, head, query, key)
        if not shares:
            part = joined(part, options.fusion)[:, None]
        if least is not None:
            part = without(part[:, 0], least)[:, None]
        elif options.discard:
            part = _rows_without(part[:, 0], layer.keys, options.discard)[:, None]
        here = rows[..., start : start + part.shape[-2]]
        descend(here, part, options, shares and layer.sums_to_one, out, start)
    return out


def _used(rows: Tensor) -> tuple[int, int]:
    """Return from which to before which position the rows stand on any."""
    used = (rows != 0).flatten(0, 1).any(0).nonzero().flatten().tolist()
    return (used[0], used[-1] + 1) if used else (0, 0)


def _blocks(layer: AttentionLayer, first: int, last: int) -> Iterator[tuple[int, Tensor]]:
    """Yield the weights of queries from `first` to before `last`, some at a time, and which the first is.

    Of a layer known to be causal, keys after the last of the queries are left out.
    """
    some = layer.block(BLOCK_BYTES if layer.device.type == "cpu" else GPU_BLOCK_BYTES)
    scratch = layer.scratch(some)
    for start in range(first, last, some):
        stop = min(start + some, last)
        yield start, layer.rows(start, stop, scratch, layer.reach(stop))


def descend(
    rows: Tensor, weights: Tensor, options: RolloutOptions, known: bool, out: Tensor, start: int
) -> None:
    """Add what some queries, the first being `start`, hand down from `rows` (batch, row, query) to `out`.

    The mean over heads, or another weighted sum, is never written: r·(Σ w_h·A_h) is one long product over
    (head, query). With `known`, rows of `weights` (batch, head, query, key) sum to one.
    """
    heads, queries, keys = weights.shape[1:]
    split = weights.new_ones(1) if heads == 1 else head_shares(options.fusion, weights)
    assert split is not None
    share, itself = rows, options.residual * rows
    if not known:  # row sums of (1 − α)·A + α·I
        scale = torch.einsum("h,bhq->bq", split, weights.sum(-1))[:, None] * (1 - options.residual)
        scale += options.residual
        empty = scale == 0  # such a query draws on itself
        share = rows / scale.masked_fill(empty, 1)
        itself = torch.where(empty, rows, options.residual * share)
    spread = (share[:, :, None] * split[:, None]).flatten(2)  # (batch, row, head·query)
    flat = weights.reshape(-1, heads * queries, keys).expand(len(rows), -1, -1)
    out[..., :keys] += (spread @ flat) * (1 - options.residual)
    out[..., start : start + queries] += itself


def _least(layer: AttentionLayer, options: RolloutOptions) -> Float[Tensor, "batch 1 1"]:
    """Return the smallest entry of each sample's map that stays when the weakest are dropped."""
    if layer.kept is not None or layer.block(BLOCK_BYTES) == layer.queries:
        return weakest_kept(joined(layer.weights(), options.fusion).flatten(1)[:, None], options.discard)
    assert layer.query is not None
    entries = layer.queries * layer.keys
    found = entry_of_rank(
        lambda: (joined(part, options.fusion) for _, part in _blocks(layer, 0, layer.queries)),
        int(entries * options.discard),
        entries,
        like=layer.query.new_empty(layer.weight_shape[0]),
    )
    return found[:, None, None]


def _rows_without(fused: Tensor, keys: int, share: float | int) -> Tensor:
    """Drop the weakest of every row, of which (batch, query, some keys) may lack keys of no weight."""
    lacking = keys - fused.shape[-1]
    rank = int(keys * share) - lacking
    if rank <= 0:  # none but those of no weight
        return fused
    return without(fused, fused.kthvalue(rank + 1, dim=-1, keepdim=True).values)
