"""One attention layer as it was computed: its queries, keys and mask, and the weights they give."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from workbench.explainers.masks import past, unblocked
from workbench.explainers.products import Product, Shelf, own_memory, scaled_product, softmax_of

Recall = Callable[[], tuple[Tensor, Tensor]]
Weights = Float[Tensor, "batch head query key"]


@dataclass
class AttentionLayer:
    """What one call of an attention function was asked.

    Attributes
    ----------
    kind
        `self`, `cross` (as many queries as keys, or not), or `last`: self-attention computed for the last
        query alone. One query that is no position, as in additive attention, is `cross`.
    mask
        True where a query may look at a key, broadcastable to the weights; None where everything is allowed.
    bias
        A mask of numbers, added to the scores.
    causal
        No query looks at a later key; known without a (query, key) matrix.
    recall, blank
        Computes queries and keys, where something smaller than them is held; whether these are blanks now.
    """

    kind: str
    mask: Bool[Tensor, "#batch #head query key"] | None
    query: Tensor | None = None  # (batch, head, query, channel)
    key: Tensor | None = None  # (batch, head, key, channel)
    scale: float = 1.0
    bias: Tensor | None = None
    causal: bool = False
    kept: Weights | None = None
    recall: Recall | None = None
    blank: bool = False
    same_mask: bool = False  # no mask, or the causal one: known to be the same for every sample
    sums_to_one: bool = False  # known of every row: softmax gives it, unless a mask may leave a row empty
    above: frozenset[str] | None = None  # names of the layers that its values draw on; None if not known

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
        told = None if mask is None or mask.dtype != torch.bool else _four(mask)
        bias = None if mask is None or told is not None else _precise(_four(mask))
        return cls(
            kind or ("self" if length == length_key else "cross"),
            told,
            _precise(_four(query)),
            _precise(_four(key)),
            1 / math.sqrt(query.shape[-1]) if asked.scale is None else asked.scale,
            bias,
            asked.is_causal,
            same_mask=mask is None,
            sums_to_one=mask is None,
        )

    def keep(self, shelf: Shelf) -> None:
        """Compute the weights now, and let go of queries and keys."""
        self.kept = self._rows(self._seen(), 0, self.keys, shelf.take(self.weight_shape, self._seen()))
        self.query = self.key = None

    def keep_mean(self, mean: Float[Tensor, "batch query key"]) -> None:
        """Keep the mean of the heads' weights as the one head of this layer, and let go of the rest."""
        self.kept = mean[:, None]
        self.query = self.key = None

    def compact(self, recall: Recall | None) -> None:
        """Let go of queries and keys, to be recalled when asked for, or of what shares their memory."""
        self.recall = recall
        self.query, self.key = own_memory(self.query), own_memory(self.key)
        self.release()

    def release(self) -> None:
        """Let go of queries and keys that can be recalled."""
        if self.recall is not None and self.query is not None and self.key is not None:
            self.query, self.key = (one.new_empty(1).expand(one.shape) for one in (self.query, self.key))
            self.blank = True

    def _recalled(self) -> None:
        if self.blank and self.recall is not None:
            with torch.no_grad():
                self.query, self.key = (_precise(_four(one)) for one in self.recall())
            self.blank = False

    def differentiate(self) -> None:
        """Let gradients be taken by the weights, also of a model whose own numbers take none."""
        if self.kept is not None and not self.kept.requires_grad:
            self.kept.requires_grad_()

    def heads_from_queries(self) -> "AttentionLayer":
        """Return the layer of one query whose heads were asked as the queries of one attention."""
        allowed = self.allowed
        allowed = None if allowed is None else allowed.transpose(1, 2)
        weights = self.weights().transpose(1, 2)  # (batch, head, 1, key)
        return AttentionLayer(
            self.kind, allowed, kept=weights, same_mask=self.same_mask, sums_to_one=self.sums_to_one
        )

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
    def device(self) -> torch.device:
        """Where the weights are."""
        return self._seen().device

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
        self._recalled()
        return self._rows(self._seen(), 0, self.keys)

    @property
    def allowed(self) -> Bool[Tensor, "#batch #head query key"] | None:
        """True where a query may look at a key; None where everything is allowed."""
        return self.allowed_rows(0, self.queries)

    def allowed_rows(self, start: int, stop: int) -> Bool[Tensor, "#batch #head _ key"] | None:
        """Return `allowed` of the queries from `start` to before `stop`."""
        before = past(start, stop, self.keys, self.device) if self.causal else None
        if self.bias is not None:
            bias = self.bias[:, :, start:stop]
            return unblocked(bias if before is None else bias.masked_fill(~before, -torch.inf))
        if self.mask is None:
            return None if before is None else before[None, None]
        mask = self.mask[:, :, start:stop]
        return mask if before is None else mask & before

    def reach(self, stop: int) -> int:
        """Return how many keys the queries before `stop` may look at, where that is known."""
        return min(stop, self.keys) if self.causal else self.keys

    def rows(self, start: int, stop: int, scratch: Tensor | None = None, reach: int | None = None) -> Weights:
        """Return the weights of the queries from `start` to before `stop`, perhaps written to `scratch`.

        With `reach` they are those of the first so many keys; no later key may have any weight.
        """
        reach = self.keys if reach is None else reach
        if self.kept is not None:
            return self.kept[:, :, start:stop, :reach]
        self._recalled()
        query = self._seen()[:, :, start:stop]
        shape = (*query.shape[:-1], reach)
        into = None if scratch is None else scratch[: math.prod(shape)].view(shape)
        return self._rows(query, start, reach, into)

    def scratch(self, block: int) -> Tensor | None:
        """Return memory for the weights of `block` queries, or None where they are kept.

        Reused, it costs less than the fresh pages that the system would hand out for every block.
        """
        if self.kept is not None:
            return None
        self._recalled()
        seen = self._seen()
        self.key = self._per_head().contiguous()  # laid out once, not once a block
        return seen.new_empty(seen.shape[0] * seen.shape[1] * block * self.keys)

    def _rows(self, query: Tensor, start: int, reach: int, into: Tensor | None = None) -> Tensor:
        stop, key = start + query.shape[-2], self._per_head()[:, :, :reach]
        scores = scaled_product(query, key, self.scale, into)  # (batch, head, query, key)
        if self.bias is not None:
            scores += self.bias[:, :, start:stop, :reach]
        if self.mask is not None:
            scores.masked_fill_(~self.mask[:, :, start:stop, :reach], -torch.inf)
        if self.causal:  # every query sees the keys up to the first one
            later = ~past(0, stop - start, max(reach - start, 0), scores.device)
            scores[..., start:].masked_fill_(later, -torch.inf)
        if self.sums_to_one:
            return softmax_of(scores)
        empty = scores.isneginf().all(-1, keepdim=True)  # torch lets such a query gather nothing
        return softmax_of(scores).masked_fill(empty, 0.0)

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


def _precise(tensor: Tensor) -> Tensor:
    """Return half-precision numbers as float32, so that rows sum to one; others as they are."""
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


def _four(tensor: Tensor) -> Tensor:
    """Give a tensor the axes (batch, head, ·, ·)."""
    if tensor.ndim == 2:
        return tensor[None, None]
    if tensor.ndim == 3:
        return tensor[:, None]
    return tensor.flatten(0, tensor.ndim - 4)
