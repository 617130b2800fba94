"""Attention maps weighed by what each look carries: value-weighted attention, and ALTI's contributions."""

from typing import Any

import torch
from torch import Tensor, nn

from workbench.explainers.blocks import Blocks, blocks_of
from workbench.explainers.capture import _moved, check_any, checked_module, told_unseen, watching
from workbench.explainers.contributions import Closeness, Measure, PartNorms, Parts, ValueNorms, shares
from workbench.explainers.maps import AttentionMaps
from workbench.explainers.products import Shelf
from workbench.explainers.reasons import check_window
from workbench.explainers.recorder import Recorder
from workbench.explainers.softmax import AttentionLayer
from workbench.training.prediction import placement


def value_weighted_maps(
    model: nn.Module, x: Tensor, *more: Any, inside: bool = False, full: bool = True, **arguments: Any
) -> AttentionMaps:
    """Run `model` once and return its attention weighed by the length of what it carries.

    Parameters
    ----------
    model
        A module whose attention is this package's, or that of `nn.TransformerEncoderLayer`.
    x
        Its input, (batch, time, feature) for the models of this package.
    *more, **arguments
        Whatever else the model's forward takes.
    inside
        Measure the residual, and the layer norm that follows it in a post-norm model, with the values. Then
        no share is left to add: `rollout(maps, residual=0)`.
    full
        Have this package's models compute every query of the last layer; see `attention_maps`.

    Returns
    -------
    AttentionMaps
        One head a layer: ‖Σ_h α_ij^h·v_j^h·W_O^h‖₂, or ‖T_ij‖₂ with `inside`, rows summing to one. `rollout`
        and `attention_flow` take them.

    Raises
    ------
    NoAttentionFound
        If nothing was seen.
    ValueError
        If a layer's weights are not known, or its parts don't add up to its output.

    Notes
    -----
    Kobayashi et al. 2020, "Attention is Not Only a Weight", section 3, and with `inside` Kobayashi et al.
    2021, "Incorporating Residual and Normalization Layers into Analysis of Masked Language Models", section
    3. The values hold their bias, as f(x) does there; the output's bias belongs to no position and is left
    out.

    Examples
    --------
    >>> layer = torch.nn.TransformerEncoderLayer(8, 2, batch_first=True)
    >>> value_weighted_maps(layer, torch.ones(1, 4, 8)).layers[0][0, 0, 0]
    tensor([0.2500, 0.2500, 0.2500, 0.2500])
    """
    measure = PartNorms if inside else ValueNorms
    return _maps("value_weighted_maps", measure, model, (x, *more), arguments, full)


def alti_maps(model: nn.Module, x: Tensor, *more: Any, full: bool = True, **arguments: Any) -> AttentionMaps:
    """Run `model` once and return how near each position's part is to each block's output.

    Parameters are those of `value_weighted_maps`.

    Returns
    -------
    AttentionMaps
        One head a layer: max(0, ‖y_i‖₁ − ‖y_i − T_ij‖₁), rows summing to one, the residual within: roll them
        with `rollout(maps, residual=0)`. The row of an output that no part is near to is zero.

    Raises
    ------
    NoAttentionFound
        If nothing was seen.
    ValueError
        If a layer's weights are not known, or its parts don't add up to its output.

    Notes
    -----
    Ferrando et al. 2022, "Measuring the Mixing of Contextual Information in the Transformer", section 4, for
    post-norm; for pre-norm as the authors' code has it: T_ij and y_i of the stream before the next norm. σ is
    the layer norm's own, where that code divides by the sample deviation.

    Examples
    --------
    >>> layer = torch.nn.TransformerEncoderLayer(8, 2, batch_first=True)
    >>> alti_maps(layer, torch.randn(1, 4, 8)).layers[0].shape
    torch.Size([1, 1, 4, 4])
    """
    return _maps("alti_maps", Closeness, model, (x, *more), arguments, full)


@torch.no_grad()
def _maps(
    asker: str,
    measure: type[Measure],
    model: nn.Module,
    inputs: tuple[Any, ...],
    arguments: dict[str, Any],
    full: bool,
) -> AttentionMaps:
    module = checked_module(model, inputs[0])
    check_window(module, inputs[0])
    device = placement(module)[0]
    keep = Shelf(reuse=False)
    with blocks_of(module) as blocks, watching(module, full, keep=keep) as recorder:
        named = {name: _moved(given, device, False) for name, given in arguments.items()}
        output = module(*(_moved(given, device, False) for given in inputs), **named)
    check_any(module, recorder)
    layers = []
    for layer, parts in zip(recorder.layers, parts_of(asker, module, recorder, blocks), strict=True):
        start = layer.keys - 1 if layer.kind == "last" else 0
        weights = layer.weights()
        summed = parts.summed(weights, start)
        parts.check(summed, start)
        layers.append(shares(measure(parts).rows(weights, summed, start))[:, None])
    return AttentionMaps(
        layers=tuple(layers),
        names=tuple(recorder.names),
        kinds=tuple(layer.kind for layer in recorder.layers),
        allowed=tuple(
            None if layer.allowed is None else layer.allowed.any(1, keepdim=True) for layer in recorder.layers
        ),
        output=output,
        above=tuple(layer.above for layer in recorder.layers),
        unseen=told_unseen(module, recorder),
    )


def parts_of(
    asker: str, module: nn.Module, recorder: Recorder, blocks: Blocks, start_layer: int = 0
) -> list[Parts]:
    """Return the parts of every layer from `start_layer` on, or refuse one whose weights are not known."""
    found = []
    for layer, name in list(zip(recorder.layers, recorder.names, strict=True))[start_layer:]:
        block = None if layer.kind == "cross" else blocks.of(name)
        if block is None:
            instead = (
                "a method that needs no attention, such as gradient_x_input or integrated_gradients"
                if layer.kind == "cross"
                else "rollout or flow, which need the attention alone"
            )
            raise ValueError(
                f"{asker} needs the weights that make values and outputs, and knows those of this package's "
                "MultiHeadAttention and of nn.MultiheadAttention in an nn.TransformerEncoderLayer, attending "
                f"to itself. {name} is {_told(module, name, layer)}: use {instead}"
            )
        if not bool(torch.isfinite(block.output).all()):
            raise ValueError(
                f"{name} answers with numbers that are not finite: look for NaN or infinity in the input or "
                "the model's weights, and for positions whose every key is masked"
            )
        found.append(Parts(block, name))
    return found


def _told(module: nn.Module, name: str, layer: AttentionLayer) -> str:
    """Say what a layer is whose weights are not known."""
    parts = {path.replace("._orig_mod", ""): part for path, part in module.named_modules()}
    part = parts.get(name.partition("#")[0])
    where = type(module).__name__
    if layer.kind == "cross":
        return f"cross-attention in {where}"
    return f"attention written out in {where}" if part is None else f"of {type(part).__name__}"
