"""Relevance: attention weighted by its gradient, followed through all layers for one answer.

Chefer, Gur & Wolf 2021, "Generic Attention-model Explainability for Interpreting Bi-Modal and
Encoder-Decoder Transformers", section 3; numbers in brackets are its equations. A layer's weights count where
more of them would raise the answer: Ā = E_h[(∇A ⊙ A)⁺], the mean over heads (5). Relevance begins as the
identity (1), and self-attention adds Ā·R to it (6): R = (I + Ā_L) · … · (I + Ā_1), later layers left.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatch

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.explainers.maps import AttentionMaps
from workbench.explainers.stacks import stack_of

Matrix = Float[Tensor, "batch _ _"]  # of one layer, or between all positions


@dataclass(frozen=True)
class CrossRelevance:
    """Relevance in an encoder–decoder model.

    Attributes
    ----------
    cross
        (batch, query, key): what the decoder's positions draw on of the encoder's; the paper's R^{sq}.
    decoder
        (batch, query, query): what they draw on of each other, identity included; R^{ss}.
    encoder
        (batch, key, key): what the encoder's positions draw on of each other, identity included; R^{qq}.
    """

    cross: Float[Tensor, "batch query key"]
    decoder: Float[Tensor, "batch query query"]
    encoder: Float[Tensor, "batch key key"]


def relevance(
    maps: AttentionMaps, answers: Float[Tensor, " batch"], start_layer: int = 0
) -> Float[Tensor, "batch query key"]:
    """Follow gradient-weighted self-attention through all layers, for one answer of each sample.

    Parameters
    ----------
    maps
        Captured by `attention_maps(model, x, gradients=True)`, self-attention of one stack.
    answers
        What is explained, one number a sample, computed from `maps.output`: `maps.output[:, 2]` for a class,
        `maps.output[:, 2] - maps.output[:, 0]` for the lead of one over another. A sample's answer must draw
        on that sample alone.
    start_layer
        The first layer counted.

    Returns
    -------
    Tensor
        R: row i says what position i has gathered that speaks for the answer, the identity it began with
        included. Read the row of the position that the answer is read at (the paper: that of the class
        token). No entry is negative and rows sum to one or more; sizes hang on the answer's own scale.

    Raises
    ------
    ValueError
        If the maps were captured without gradients, no gradient of the answers reaches a layer (as with the
        weights that `nn.MultiheadAttention` returns), or the layers are no stack of self-attention, or hold
        the last query alone.

    Notes
    -----
    ∇A is the gradient of the model as it is written, weights times values with their bias in them. What only
    comes to the same because weights sum to one has another gradient by them: so this package's short cut for
    the last query, which adds the bias after the sum, is not used here.

    Examples
    --------
    >>> layer = torch.nn.TransformerEncoderLayer(4, 1, 8, batch_first=True)
    >>> maps = attention_maps(layer, torch.ones(1, 3, 4), gradients=True)  # doctest: +SKIP
    >>> relevance(maps, maps.output[:, -1, 0]).shape  # doctest: +SKIP
    torch.Size([1, 3, 3])
    """
    layers = stack_of(maps, start_layer, "relevance")
    if layers[-1].kind == "last":
        raise ValueError(
            f"{maps.names[-1]} was computed for the last query alone by a short cut whose gradient by the "
            "weights is another: capture with attention_maps(model, x, full=True, gradients=True)"
        )
    weights, names = [layer.weights() for layer in layers], maps.names[start_layer:]
    weighted = gradient_weighted(weights, gradients_of(weights, names, answers, keep_graph=True))
    rolled = _identity(layers[0].keys, weights[0])
    for each in weighted:
        rolled = rolled + each @ rolled  # (6)
    return rolled


def cross_relevance(
    maps: AttentionMaps, answers: Float[Tensor, " batch"], encoder: str | None = None
) -> CrossRelevance:
    """Follow gradient-weighted attention through an encoder and the decoder that looks at it.

    Self-attention of the encoder and of the decoder follow (6), and what the decoder holds of the encoder is
    mixed along (7). Cross-attention adds (R̄^{ss})ᵀ·Ā·R̄^{qq} to it (10), R̄ being R with what it gathered
    beyond the identity scaled to rows that sum to one (8, 9); a row that gathered nothing stays the identity.
    The encoder never looks at the decoder, so R^{qs} is zero, and (11) adds nothing.

    Parameters
    ----------
    maps
        Captured by `attention_maps(model, x, gradients=True)`: one encoder, one decoder.
    answers
        One number a sample, as for `relevance`.
    encoder
        A pattern that the names of the encoder's layers match, such as `encoder.*`. By default they are told
        by their length, which needs the encoder to be longer or shorter than the decoder.

    Returns
    -------
    CrossRelevance
        Read the row of `cross` of the query that the answer is read at.

    Raises
    ------
    ValueError
        As `relevance`, or if there is no cross-attention, or encoder and decoder cannot be told apart.
    """
    roles = _roles(maps, encoder)
    check_known(maps)
    gradients = gradients_of(maps.layers, maps.names, answers, keep_graph=True)
    weighted = gradient_weighted(maps.layers, gradients)
    first = weighted[roles.index("cross")]  # (batch, query, key)
    batch, queries, keys = first.shape
    # R − I of both: small relevances beside ones would lose their digits.
    encoded, decoded = first.new_zeros(batch, keys, keys), first.new_zeros(batch, queries, queries)
    crossed = torch.zeros_like(first)
    for role, each in zip(roles, weighted, strict=True):
        if role == "encoder":
            encoded = encoded + each + each @ encoded  # (6)
        elif role == "decoder":
            decoded, crossed = decoded + each + each @ decoded, crossed + each @ crossed  # (6), (7)
        else:
            crossed = crossed + _normalised(decoded).mT @ each @ _normalised(encoded)  # (10)
    return CrossRelevance(crossed, decoded + _identity(queries, first), encoded + _identity(keys, first))


def check_known(maps: AttentionMaps) -> None:
    """Refuse maps that hold NaN or infinity."""
    for name, weights in zip(maps.names, maps.layers, strict=True):
        if not bool(torch.isfinite(weights).all()):
            raise ValueError(
                f"{name} holds attention that is not finite: look for NaN in the input or the weights"
            )


def gradients_of(
    weights: Sequence[Tensor],
    names: Sequence[str],
    answers: Float[Tensor, " batch"],
    keep_graph: bool = False,
) -> list[Tensor]:
    """Return the gradient of each sample's answer by the weights of each layer, or say what it misses."""
    batch = max(len(each) for each in weights)
    if len(answers) != batch:
        raise ValueError(f"expected one answer a sample, {batch} of them; got {len(answers)}")
    reached = [each.requires_grad for each in weights]
    if not (answers.requires_grad and all(reached)):
        what = "the answers" if all(reached) else f"the weights of {names[reached.index(False)]}"
        raise ValueError(
            f"{what} have no gradient: capture with attention_maps(model, x, gradients=True), and compute "
            "the answers from maps.output"
        )
    # The sum's gradient is each sample's own: an answer draws on no other sample of its batch.
    found = torch.autograd.grad(answers.sum(), weights, retain_graph=keep_graph, allow_unused=True)
    missed = [name for name, gradient in zip(names, found, strict=True) if gradient is None]
    if missed:
        raise ValueError(
            f"no gradient of the answers reaches the attention of {', '.join(missed)}: the answers are not "
            "computed from these weights. Capture with attention_maps(model, x, gradients=True), since what "
            "nn.MultiheadAttention returns are copies; or look for detach and NumPy in the model"
        )
    return [gradient for gradient in found if gradient is not None]


def gradient_weighted(weights: Sequence[Tensor], gradients: Sequence[Tensor]) -> list[Matrix]:
    """Return Ā of each layer (5): weights where more of them would raise the answer, mean over heads."""
    pairs = zip(weights, gradients, strict=True)
    return [(weight.detach() * gradient).clamp_min(0).mean(1) for weight, gradient in pairs]


def gathered(weighted: Sequence[Matrix], row: Float[Tensor, "batch key"]) -> Float[Tensor, "batch key"]:
    """Return row · (R − I): what the positions of `row` gathered, without the identity they began with.

    One row goes down the layers, at O(L·n²). The identity is never added and taken off again, which would
    cost the digits of relevances far below one.
    """
    found = torch.zeros_like(row)
    for each in reversed(weighted):
        found = found + ((row + found)[:, None] @ each)[:, 0]
    return found


def _identity(size: int, like: Tensor) -> Matrix:
    return torch.eye(size, dtype=like.dtype, device=like.device)[None]


def _normalised(beyond: Matrix) -> Matrix:
    """Return R̄ of R − I: its rows scaled to sum to one (8), the identity added again (9)."""
    total = beyond.sum(-1, keepdim=True)
    return beyond / total.masked_fill(total == 0, 1) + _identity(beyond.shape[-1], beyond)


def _roles(maps: AttentionMaps, encoder: str | None) -> list[str]:
    """Return which of encoder, decoder and cross each layer belongs to."""
    shapes = {
        tuple(layer.shape[-2:])
        for layer, kind in zip(maps.layers, maps.kinds, strict=True)
        if kind == "cross"
    }
    if len(shapes) != 1:
        there = f"there is none; there are {', '.join(maps.names)}" if not shapes else f"got shapes {shapes}"
        raise ValueError(
            f"expected cross-attention between one decoder and one encoder, {there}. "
            "For self-attention alone use relevance(maps, answers)"
        )
    queries, keys = shapes.pop()
    return [
        "cross" if kind == "cross" else _side(name, tuple(layer.shape[-2:]), (queries, keys), encoder)
        for layer, name, kind in zip(maps.layers, maps.names, maps.kinds, strict=True)
    ]


def _side(name: str, shape: tuple[int, ...], lengths: tuple[int, int], encoder: str | None) -> str:
    queries, keys = lengths
    if encoder is None and queries == keys:
        raise ValueError(
            f"encoder and decoder are both {keys} long, so that {name} may be of either: "
            "say which layers are the encoder's, as in encoder='encoder.*'"
        )
    side = "encoder" if (fnmatch(name, encoder) if encoder is not None else shape[1] == keys) else "decoder"
    size = keys if side == "encoder" else queries
    if shape != (size, size):
        raise ValueError(
            f"{name} has {shape[0]} queries and {shape[1]} keys, and is taken for self-attention of the "
            f"{side}, which is {size} long: capture with full=True, or say which layers are the encoder's"
        )
    return side
