"""One attention layer as it was computed: its queries, keys and mask, and the weights they give."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from workbench.explainers.products import Product, Shelf

BLOCKING = 1000.0  # a score this far below its row's largest has no weight in any float: it was masked

Weights = Float[Tensor, "batch head query key"]


@dataclass
class AttentionLayer:
    """What one call of an attention function was asked.

    Attributes
    ----------
    kind
        `self`, `cross` (as many queries as keys, or not), or `last`: self-attention computed for the last
        query alone. One query that is no position, as in additive attention, is `cross`.
    allowed
        True where a query may look at a key, broadcastable to the weights; None where everything is allowed.
    """

    kind: str
    allowed: Bool[Tensor, "#batch #head query key"] | None
    query: Tensor | None = None  # (batch, head, query, channel)
    key: Tensor | None = None  # (batch, head, key, channel)
    scale: float = 1.0
    bias: Tensor | None = None  # added to the scores: a float mask
    kept: Weights | None = None
    same_mask: bool = False  # no mask, or the causal one: known to be the same for every sample
    sums_to_one: bool = False  # known of every row: softmax gives it, unless a mask may leave a row empty

    @classmethod
    def of_scores(cls, kind: str, scores: Tensor, heads: int, same_mask: bool) -> "AttentionLayer":
        """Keep the weights of masked scores (batch·head, query, key)."""
        scores = _precise(scores.unflatten(0, (-1, heads)))
        return cls(kind, unblocked(scores), kept=scores.softmax(-1), same_mask=same_mask)

    @classmethod
    def of_product(cls, kind: str | None, asked: Product) -> "AttentionLayer":
        """Keep what it takes to know the weights of a scaled dot product."""
        query, key, mask = asked.broadcast()
        length, length_key = query.shape[-2], key.shape[-2]
        bias, allowed = None, None
        past = None
        if asked.is_causal:  # torch aligns the triangle with the upper left corner
            past = torch.ones(length, length_key, dtype=torch.bool, device=query.device).tril()
        if mask is None:
            allowed = None if past is None else past[None, None]
        elif mask.dtype == torch.bool:
            allowed = _four(mask if past is None else mask & past)
        else:
            bias = _precise(_four(mask if past is None else mask.masked_fill(~past, -torch.inf)))
            allowed = unblocked(bias)
        return cls(
            kind or ("self" if length == length_key else "cross"),
            allowed,
            _precise(_four(query)),
            _precise(_four(key)),
            1 / math.sqrt(query.shape[-1]) if asked.scale is None else asked.scale,
            bias,
            same_mask=mask is None,
            sums_to_one=mask is None,
        )

    def keep(self, shelf: Shelf) -> None:
        """Compute the weights now, and let go of queries and keys."""
        self.kept = self._rows(self._seen(), slice(None), shelf.take(self.weight_shape, self._seen()))
        self.query = self.key = self.bias = None

    def differentiate(self) -> None:
        """Let gradients be taken by the weights, also of a model whose own numbers take none."""
        if self.kept is not None and not self.kept.requires_grad:
            self.kept.requires_grad_()

    def heads_from_queries(self) -> "AttentionLayer":
        """Return the layer of one query whose heads were asked as the queries of one attention."""
        allowed = None if self.allowed is None else self.allowed.transpose(1, 2)
        weights = self.weights().transpose(1, 2)  # (batch, head, 1, key)
        return AttentionLayer(self.kind, allowed, kept=weights, sums_to_one=self.sums_to_one)

    @property
    def queries(self) -> int:
        """How many queries were computed."""
        return self._seen().shape[-2]

    @property
    def keys(self) -> int:
        """How many keys there are."""
        return self._seen().shape[-1] if self.key is None else self.key.shape[-2]

    @property
    def dtype(self) -> torch.dtype:
        """The numbers of the weights: float32 or float64."""
        return self._seen().dtype

    @property
    def weight_shape(self) -> tuple[int, int, int, int]:
        """(batch, head, query, key) of the weights."""
        seen = self._seen()
        return seen.shape[0], seen.shape[1], self.queries, self.keys

    def block(self, size_bytes: int) -> int:
        """Return how many queries to handle at once, so that what must be computed fits into `size_bytes`."""
        if self.kept is not None:
            return self.queries
        return max(1, min(self.queries, size_bytes // (len(self._seen()) * self.query_bytes)))

    @property
    def query_bytes(self) -> int:
        """The size of one query's weights, of all heads, in bytes."""
        seen = self._seen()
        return seen.shape[1] * self.keys * seen.element_size()

    def _seen(self) -> Tensor:
        seen = self.kept if self.query is None else self.query
        if seen is None:
            raise RuntimeError("an attention layer keeps its weights or its queries; this one has neither")
        return seen

    def weights(self) -> Weights:
        """Return softmax(QKᵀ·scale + mask), rows that may look at nothing being zero."""
        if self.kept is not None:
            return self.kept
        return self._rows(self._seen(), slice(None))

    def rows(self, start: int, stop: int, scratch: Tensor | None = None) -> Weights:
        """Return the weights of the queries from `start` to before `stop`, perhaps written to `scratch`."""
        part = slice(start, stop)
        if self.kept is not None:
            return self.kept[:, :, part]
        query = self._seen()[:, :, part]
        shape = (*query.shape[:-1], self.keys)
        into = None if scratch is None else scratch[: math.prod(shape)].view(shape)
        return self._rows(query, part, into)

    def scratch(self, block: int) -> Tensor | None:
        """Return memory for the weights of `block` queries, or None where they are kept.

        Reused, it costs less than the fresh pages that the system would hand out for every block.
        """
        if self.kept is not None:
            return None
        seen = self._seen()
        self.key = self._per_head().contiguous()  # laid out once, not once a block
        return seen.new_empty(seen.shape[0] * seen.shape[1] * block * self.keys)

    def _rows(self, query: Tensor, part: slice, into: Tensor | None = None) -> Tensor:
        scores = _scaled_product(query, self._per_head(), self.scale, into)  # (batch, head, query, key)
        if self.bias is not None:
            scores += self.bias[:, :, part]
        elif self.allowed is not None:
            scores.masked_fill_(~self.allowed[:, :, part], -torch.inf)
        if self.sums_to_one:
            return _softmax(scores)
        empty = scores.isneginf().all(-1, keepdim=True)  # torch lets such a query gather nothing
        return _softmax(scores).masked_fill(empty, 0.0)

    def _per_head(self) -> Tensor:
        """Return the keys, once a query head: with grouped queries several heads read one key head."""
        key, heads = self.key, self._seen().shape[1]
        assert key is not None
        return key if key.shape[1] == heads else key.repeat_interleave(heads // key.shape[1], 1)

    def product(self, value: Tensor, query: Tensor) -> Tensor:
        """Return the weights applied to `value`, in the shape torch would return for `query`."""
        weights = self.weights()
        four = _four(value)
        if four.shape[1] != weights.shape[1]:
            four = four.repeat_interleave(weights.shape[1] // four.shape[1], 1)
        return (weights @ four).view(*query.shape[:-1], value.shape[-1])

    def applied(self, asked: Product) -> Tensor:
        """Return what torch answers, computed from the weights, with dropout and every shape torch takes."""
        leading = asked.broadcast()[0].shape[:-2]
        weights = self.weights().view(*leading, *self.weight_shape[-2:]).to(asked.value.dtype)
        value = asked.value
        if asked.enable_gqa:
            value = value.repeat_interleave(leading[-1] // value.shape[-3], -3)
        return F.dropout(weights, asked.dropout_p, training=asked.dropout_p > 0) @ value


def unblocked(scores: Tensor, axis: int = -1) -> Tensor | None:
    """Return where a float mask lets a query look at the keys along `axis`, None if everywhere.

    Masks block by −inf or by some large negative number; both lie far below the row's largest score.
    """
    blocked = scores.isneginf() | (scores <= scores.amax(axis, keepdim=True) - BLOCKING)
    return ~blocked if bool(blocked.any()) else None


def _precise(tensor: Tensor) -> Tensor:
    """Return half-precision numbers as float32, so that rows sum to one; others as they are."""
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


def _scaled_product(query: Tensor, key: Tensor, scale: float, into: Tensor | None) -> Tensor:
    """Return scale·QKᵀ (batch, head, query, key) without a scaled copy of Q, written to `into` if given."""
    shape = (*query.shape[:-1], key.shape[-2])
    key = key.expand(*query.shape[:2], -1, -1).flatten(0, 1)
    blank = query.new_empty(()).expand(shape[0] * shape[1], *shape[2:])
    out = None if into is None else into.flatten(0, 1)
    product = torch.baddbmm(blank, query.flatten(0, 1), key.transpose(1, 2), beta=0, alpha=scale, out=out)
    return product.view(shape)


def _softmax(scores: Tensor) -> Tensor:
    """Return the softmax over keys, in place where no gradient is asked for."""
    if torch.is_grad_enabled() and scores.requires_grad:
        return scores.softmax(-1)
    return torch.softmax(scores, -1, out=scores)


def _four(tensor: Tensor) -> Tensor:
    """Give a tensor the axes (batch, head, ·, ·)."""
    if tensor.ndim == 2:
        return tensor[None, None]
    if tensor.ndim == 3:
        return tensor[:, None]
    return tensor.flatten(0, tensor.ndim - 4)
