"""What capture hands on: the attention maps of one pass."""

import fnmatch
from collections.abc import Sequence
from dataclasses import dataclass, replace

from jaxtyping import Bool, Float
from torch import Tensor

OFF = 0.05  # how far from one the sum of a row may be: bfloat16 misses it by hundredths


class NoAttentionFound(ValueError):
    """A model ran and no attention was seen; the message says why."""


@dataclass(frozen=True)
class AttentionMaps:
    """The attention weights of one pass of a model, layer by layer.

    Attributes
    ----------
    layers
        One tensor (batch, head, query, key) a layer, in the order computed; rows sum to one.
    names
        The path of each layer's module, such as `layers.0.attention`; where a module attends again, it is
        `layers.0.attention#2`.
    kinds
        `self`, `cross`, or `last` (self-attention of the last query alone), one a layer. Self-attention is
        that whose queries and keys are the same positions, known from what they were computed from; a query
        that is no position, as in additive attention over an LSTM, is `cross`.
    allowed
        True where the mask lets a query look at a key, broadcastable to the layer; None where all is allowed.
    output
        What the model returned.
    above
        The names of the layers that a layer's values draw on, one set a layer; None where that was not seen.
        Empty of maps from elsewhere.
    unseen
        Attention of the same pass that could not be watched, in words. Rollout refuses such maps; give it
        `list(maps.layers)` to go through what was seen alone.
    """

    layers: tuple[Float[Tensor, "_ _ _ _"], ...]
    names: tuple[str, ...]
    kinds: tuple[str, ...]
    allowed: tuple[Bool[Tensor, "..."] | None, ...]
    output: Tensor | tuple | object = None
    above: tuple[frozenset[str] | None, ...] = ()
    unseen: tuple[str, ...] = ()

    @classmethod
    def of(cls, layers: Sequence[Tensor]) -> "AttentionMaps":
        """Take weights (batch, head, query, key) of self-attention from elsewhere, first layer first.

        No entry is negative, and rows sum to one within a twentieth, or to zero where a query may look at
        nothing: else it is a ValueError. NaN passes, for what goes through the layers to find.
        """
        for i, layer in enumerate(layers):
            if layer.ndim != 4 or layer.shape[-1] != layer.shape[-2]:
                raise ValueError(
                    f"layer {i} must have shape (batch, head, query, key) with as many queries as keys; "
                    f"got {tuple(layer.shape)}"
                )
            _check_shares(i, layer.detach())
        if not layers:
            raise ValueError("there are no maps; attention_maps(model, x) gives them")
        names = tuple(f"layer {i}" for i in range(len(layers)))
        return cls(tuple(layers), names, ("self",) * len(layers), (None,) * len(layers))

    def __len__(self) -> int:
        return len(self.layers)

    @property
    def causal(self) -> bool:
        """Whether no self-attention layer lets a query look at a later key."""
        squares = [allowed for allowed, kind in zip(self.allowed, self.kinds, strict=True) if kind == "self"]
        return bool(squares) and all(
            allowed is not None and not bool(allowed.triu(1).any()) for allowed in squares
        )

    def select(self, pattern: str) -> "AttentionMaps":
        """Return the layers whose name, or kind, matches a pattern such as `encoder.*` or `self`."""
        chosen = [
            i
            for i, (name, kind) in enumerate(zip(self.names, self.kinds, strict=True))
            if fnmatch.fnmatch(name, pattern) or kind == pattern
        ]
        if not chosen:
            raise ValueError(f"no layer matches {pattern!r}; there are {', '.join(self.names)}")
        return replace(
            self,
            layers=tuple(self.layers[i] for i in chosen),
            names=tuple(self.names[i] for i in chosen),
            kinds=tuple(self.kinds[i] for i in chosen),
            allowed=tuple(self.allowed[i] for i in chosen),
            above=tuple(self.above[i] for i in chosen) if self.above else (),
        )

    def __repr__(self) -> str:
        shapes = sorted({tuple(layer.shape) for layer in self.layers})
        what = ", ".join("×".join(map(str, shape)) for shape in shapes)
        kinds = "/".join(dict.fromkeys(self.kinds))
        return f"AttentionMaps({len(self)} layers of {kinds}-attention, batch×head×query×key {what})"


def _check_shares(number: int, layer: Float[Tensor, "_ _ _ _"]) -> None:
    """Refuse scores, and other numbers that are no shares of what a query looks at."""
    if bool((layer < -1e-6).any()):  # arithmetic may leave a zero a little below it
        raise ValueError(
            f"layer {number} has negative entries, to {float(layer.min()):.3g}, and attention weights have "
            "none: these look like scores. Take scores.softmax(-1), or attention_maps(model, x)"
        )
    sums = layer.double().sum(-1)
    off = ((sums - 1).abs() > OFF) & (sums != 0)
    if bool(off.any()):
        raise ValueError(
            f"rows of layer {number} sum to {float(sums[off][0]):.3g}, and attention weights to one: take "
            "scores.softmax(-1) of scores, or divide weights, as those after dropout, by their sum(-1, True)"
        )
