"""Rollout of long sequences: a few rows of it, straight from a model, without any (query, key) matrix."""

from collections.abc import Sequence
from typing import TypedDict, Unpack

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from workbench.explainers.capture import check_seen, checked_module, watching
from workbench.explainers.chains import chain, one_hot
from workbench.explainers.joining import Fusion, RolloutOptions
from workbench.explainers.options import check_position
from workbench.explainers.reasons import check_window
from workbench.explainers.rollouts import check_ranked
from workbench.explainers.stacks import check_stack, stack_position
from workbench.training.prediction import placement


class Joining(TypedDict, total=False):
    """How heads and layers are joined, as `rollout` has it."""

    fusion: Fusion
    residual: float | int
    discard: float | int
    discard_by: str
    start_layer: int


def stream_rollout(
    model: nn.Module,
    x: Tensor,
    *more: object,
    position: int | np.integer | Sequence[int] = -1,
    **joining: Unpack[Joining],
) -> Float[Tensor, "batch key"] | Float[Tensor, "batch row key"]:
    """Return one row of the rollout, or some, of sequences too long for attention maps.

    The model runs once, attending as it does in use, and every layer's queries and keys are kept, 8·n·d_model
    bytes a sample and layer in float32, or half of that, the layer's input, of this package's transformer.
    Weights are computed again from them in blocks of queries, and the rows carried down, so that memory grows
    with n, and time with n². The rows are those of `rollout(attention_maps(model, x))`, for every option:
    nothing is approximated.

    Parameters
    ----------
    model, x, *more
        Any module that `attention_maps` can watch, its input and whatever else its forward takes.
    position
        The output position wanted, negative from the end, or several.
    fusion, residual, discard, discard_by, start_layer
        As for `rollout`. Discarding by row costs about twice as much, by map about five times: all weights
        are computed three times over, twice to rank them, and those of the last layer's every query too.

    Returns
    -------
    Tensor
        (batch, key), or (batch, position, key) of several positions. Rows sum to one.

    Raises
    ------
    NoAttentionFound
        If nothing was seen. The message says what the model holds and what cannot be watched.
    ValueError
        If a layer is cross-attention, lengths differ between layers, an option is out of range, or the
        result is not finite.

    Notes
    -----
    Memory stays small where the model attends through `F.scaled_dot_product_attention`, which
    `nn.MultiheadAttention` does with `need_weights=False`, and `nn.TransformerEncoder` always. `explain` goes
    the same way from windows of 1,024 bars on. A model that
    writes out its softmax, or asks for weights, makes (query, key) matrices itself; these are used as they
    are. So are masks of that shape: `is_causal=True` needs none.

    Examples
    --------
    >>> encoder = torch.nn.TransformerEncoderLayer(8, 2, batch_first=True)
    >>> stream_rollout(encoder, torch.zeros(1, 5, 8), position=[0, -1]).shape
    torch.Size([1, 2, 5])
    """
    options = RolloutOptions(**joining)
    module = checked_module(model, x)
    check_window(module, x)
    given = position if isinstance(position, Sequence) else [position]
    for one in given:
        check_position(one)
    positions = [int(one) for one in given]
    length = x.shape[1] if x.ndim > 1 else 0
    # The last position alone needs no other query of the last layer, unless all are ranked.
    full = options.ranks_maps or any(one not in (-1, length - 1) for one in positions)
    device = placement(module)[0]
    inputs = [one.to(device) if isinstance(one, Tensor) else one for one in (x, *more)]
    with torch.no_grad(), watching(module, full=full) as recorder:
        module(*inputs)
    check_seen(module, recorder)
    check_stack(recorder.layers, recorder.names, options.start_layer)
    layers = recorder.layers[options.start_layer :]
    check_ranked(layers, options)
    with torch.no_grad():
        chosen = [stack_position(one, layers[0].keys, layers[-1].kind) for one in positions]
        batch = max(layer.weight_shape[0] for layer in layers)
        like = torch.empty(0, dtype=layers[0].dtype, device=layers[0].device)
        rows = chain(layers, one_hot(chosen, layers[0].keys, like, batch), options)
    if not bool(torch.isfinite(rows).all()):
        raise ValueError("the attention is not finite: look for NaN in the input or the weights")
    return rows if isinstance(position, Sequence) else rows[:, 0]
