"""One attention layer as it was computed: its queries, keys and mask, and the weights they give."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from types import FunctionType
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

Weights = Float[Tensor, "batch head query key"]


def watched_copy(function: Callable[..., Any], **replaced: Any) -> Callable[..., Any]:
    """Copy a Python function so that the global names in `replaced` mean something else to the copy alone."""
    copy = FunctionType(
        function.__code__,
        {**function.__globals__, **replaced},
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )
    copy.__kwdefaults__ = function.__kwdefaults__
    return copy


class Shelf:
    """Where the weights of a pass are kept; with `reuse`, each layer's are written over those of the last pass.

    Fresh memory costs more than the arithmetic: the system hands it out page by page.
    """

    def __init__(self, reuse: bool) -> None:
        self.reuse = reuse
        self.buffers: list[Tensor] = []
        self.next = 0

    def rewind(self) -> None:
        """Begin the next pass."""
        self.next = 0

    def take(self, layer: "AttentionLayer") -> Tensor | None:
        """Return memory for the weights of the pass's next layer, or None for fresh memory."""
        if not self.reuse:
            return None
        query, size = layer.query, layer.weight_shape
        assert query is not None
        wanted = math.prod(size)
        if self.next == len(self.buffers):
            self.buffers.append(query.new_empty(wanted))
        elif self.buffers[self.next].numel() < wanted:
            self.buffers[self.next] = query.new_empty(wanted)
        self.next += 1
        return self.buffers[self.next - 1][:wanted].view(size)


@dataclass
class AttentionLayer:
    """What one call of an attention function was asked.

    Attributes
    ----------
    kind
        `self`, `cross` (as many queries as keys, or not), or `last`: self-attention computed for the last
        query alone.
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
    is_causal: bool = False  # the mask is the same for every sample
    sums_to_one: bool = False  # known of every row: softmax gives it, unless a mask may leave a row empty

    @classmethod
    def of_scores(cls, kind: str | None, scores: Tensor, heads: int) -> "AttentionLayer":
        """Keep the weights of masked scores (batch·head, query, key)."""
        scores = scores.unflatten(0, (-1, heads))
        blocked = scores.isneginf()
        allowed = ~blocked if bool(blocked.any()) else None
        kind = kind or _kind(scores.shape[-2], scores.shape[-1])
        return cls(kind, allowed, kept=scores.softmax(-1))

    @classmethod
    def of_product(
        cls,
        kind: str | None,
        keep: "Shelf | None",
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> "tuple[AttentionLayer, Tensor]":
        """Do what `F.scaled_dot_product_attention` does, and keep what it takes to know the weights."""
        options: dict[str, Any] = {
            "attn_mask": attn_mask, "dropout_p": dropout_p, "is_causal": is_causal,
            "scale": scale, "enable_gqa": enable_gqa,
        }  # fmt: skip
        if attn_mask is not None and is_causal:  # let torch say that both together are an error
            return cls("self", None), F.scaled_dot_product_attention(query, key, value, **options)
        layer = cls._asked(kind, query, key, attn_mask, is_causal, scale)
        if keep is not None and dropout_p == 0:
            layer.kept = layer._rows(layer._seen(), slice(None), keep.take(layer))
            layer.query = layer.key = layer.bias = None
            return layer, layer.product(value, query)
        # Dropout's random numbers must be those of the unwatched run, so torch computes the output itself.
        return layer, F.scaled_dot_product_attention(query, key, value, **options)

    @classmethod
    def _asked(
        cls,
        kind: str | None,
        query: Tensor,
        key: Tensor,
        mask: Tensor | None,
        is_causal: bool,
        scale: float | None,
    ) -> "AttentionLayer":
        length, length_key = query.shape[-2], key.shape[-2]
        allowed, bias = None, None
        if is_causal:  # torch aligns the triangle with the upper left corner
            allowed = torch.ones(length, length_key, dtype=torch.bool, device=query.device).tril()[None, None]
        elif mask is not None and mask.dtype == torch.bool:
            allowed = _four(mask.expand(*mask.shape[:-2], length, length_key))
        elif mask is not None:
            bias = _four(mask.expand(*mask.shape[:-2], length, length_key))
            blocked = bias <= torch.finfo(bias.dtype).min / 2  # -inf, or the large negative number used for it
            allowed = ~blocked if bool(blocked.any()) else None
        factor = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
        kind = kind or _kind(length, length_key)
        return cls(
            kind, allowed, _four(query), _four(key), factor, bias,
            is_causal=is_causal, sums_to_one=mask is None,
        )  # fmt: skip

    @property
    def queries(self) -> int:
        """How many queries were computed."""
        return self._seen().shape[-2]

    @property
    def keys(self) -> int:
        """How many keys there are."""
        return self._seen().shape[-1] if self.key is None else self.key.shape[-2]

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

    def rows(self, start: int, stop: int) -> Weights:
        """Return the weights of the queries from `start` to before `stop`."""
        part = slice(start, stop)
        if self.kept is not None:
            return self.kept[:, :, part]
        return self._rows(self._seen()[:, :, part], part)

    def _rows(self, query: Tensor, part: slice, into: Tensor | None = None) -> Tensor:
        assert self.key is not None
        if self.key.shape[1] != query.shape[1]:  # grouped queries: several heads read one key head
            self.key = self.key.repeat_interleave(query.shape[1] // self.key.shape[1], 1)
        scores = _scaled_product(query, self.key, self.scale, into)  # (batch, head, query, key)
        if self.bias is not None:
            scores = scores + self.bias[:, :, part]
        if self.allowed is None:
            return _softmax(scores)
        allowed = self.allowed[:, :, part]
        weights = _softmax(scores.masked_fill(~allowed, -torch.inf))
        return weights if self.is_causal else weights.masked_fill(~allowed.any(-1, keepdim=True), 0.0)

    def product(self, value: Tensor, query: Tensor) -> Tensor:
        """Return the weights applied to `value`, in the shape torch would return for `query`."""
        weights = self.weights()
        four = _four(value)
        if four.shape[1] != weights.shape[1]:
            four = four.repeat_interleave(weights.shape[1] // four.shape[1], 1)
        return (weights @ four).view(*query.shape[:-1], value.shape[-1])


def _kind(queries: int, keys: int) -> str:
    return "self" if queries == keys else "cross"


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
