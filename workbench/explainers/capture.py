"""Attention weights of any PyTorch model, seen from outside while it runs.

A torch function mode watches `F.scaled_dot_product_attention` and `F.multi_head_attention_forward`, the two
functions through which `nn.MultiheadAttention`, `nn.TransformerEncoder` and most written-out models attend.
The model is not changed, and nothing stays behind after the pass, an exception included.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from workbench.explainers.maps import AttentionMaps, NoAttentionFound
from workbench.explainers.products import Shelf
from workbench.explainers.recorder import Recorder, followed
from workbench.training.prediction import placement

_RECURRENT = (nn.LSTM, nn.GRU, nn.RNN)


def attention_maps(
    model: nn.Module,
    x: Tensor,
    *more: Any,
    full: bool = True,
    training: bool = False,
    **arguments: Any,
) -> AttentionMaps:
    """Run `model` once and keep the attention weights of every layer.

    Parameters
    ----------
    model
        Any module that attends through `nn.MultiheadAttention`, `nn.TransformerEncoder` or
        `F.scaled_dot_product_attention`.
    x
        Its input, (batch, time, feature) for the models of this package. It is moved to the model's device.
    *more, **arguments
        Whatever else the model's forward takes.
    full
        Have this package's models compute every query of the last layer, which they skip in use since only
        the last bar is read out. False keeps the short cut: the last map then has one row.
    training
        Run in training mode, dropout on. By default the pass is in evaluation mode, and the mode is restored.
        The weights kept are those before dropout.

    Returns
    -------
    AttentionMaps
        One tensor (batch, head, query, key) a layer, in the order the model computed them, and the output.

    Raises
    ------
    NoAttentionFound
        If nothing was seen. The message says what the model holds and what cannot be watched.
    TypeError
        If `model` or `x` is not of the type above.

    Examples
    --------
    >>> maps = attention_maps(torch.nn.TransformerEncoderLayer(8, 2, batch_first=True), torch.zeros(1, 5, 8))
    >>> maps.layers[0].shape
    torch.Size([1, 2, 5, 5])
    """
    module = checked_module(model, x)
    with torch.no_grad(), watching(module, full, training, Shelf(reuse=False)) as recorder:
        output = module(x.to(placement(module)[0]), *more, **arguments)
    check_seen(module, recorder)
    return AttentionMaps(
        layers=tuple(layer.weights() for layer in recorder.layers),
        names=tuple(recorder.names),
        kinds=tuple(layer.kind for layer in recorder.layers),
        allowed=tuple(layer.allowed for layer in recorder.layers),
        output=output,
    )


@contextmanager
def watching(
    module: nn.Module,
    full: bool = True,
    training: bool = False,
    keep: Shelf | None = None,
    named: bool = True,
) -> Iterator[Recorder]:
    """Yield a `Recorder` that sees every pass of `module` inside the block; `attention_maps` is one pass.

    Without a shelf in `keep` the model's own fused attention runs, and a layer's weights are computed when
    asked for, so that memory stays small. With `named=False` only the modules that mark their attention are
    followed, which is quicker, and layers go by number.
    """
    recorder = Recorder(keep)
    with ExitStack() as stack:
        stack.enter_context(_in_mode(module, training))
        if full:
            stack.enter_context(_unpruned(module))
        stack.enter_context(followed(module, recorder, named))
        stack.enter_context(recorder)
        yield recorder


def check_seen(module: nn.Module, recorder: Recorder) -> None:
    """Raise NoAttentionFound, saying why, if `recorder` saw nothing."""
    if not recorder.layers:
        raise NoAttentionFound(_why_nothing(module))


def checked_module(model: nn.Module, x: Tensor) -> nn.Module:
    """Return the module to run and watch, or say why it or its input will not do."""
    if not isinstance(model, nn.Module):
        raise TypeError(f"expected a torch.nn.Module, got {type(model).__name__}: pass the model itself")
    if not isinstance(x, Tensor):
        raise TypeError(
            f"expected a tensor (batch, time, feature), got {type(x).__name__}: "
            "pass windows.x, or torch.as_tensor(values, dtype=torch.float32)"
        )
    if x.ndim and len(x) == 0:
        raise ValueError(f"the batch is empty: x has shape {tuple(x.shape)}; pass at least one window")
    module = getattr(model, "_orig_mod", model)  # torch.compile wraps the module that we can watch
    scripted = [name or "the model" for name, part in module.named_modules() if _is_scripted(part)]
    if scripted:
        raise NoAttentionFound(
            f"{scripted[0]} is TorchScript, which runs outside Python and cannot be watched: "
            "pass the module it was scripted from"
        )
    return module


def _is_scripted(module: nn.Module) -> bool:
    return isinstance(module, torch.jit.ScriptModule)


@contextmanager
def _in_mode(module: nn.Module, training: bool) -> Iterator[None]:
    before = {part: part.training for part in module.modules()}
    module.train(training)
    try:
        yield
    finally:
        for part, mode in before.items():
            part.training = mode


@contextmanager
def _unpruned(module: nn.Module) -> Iterator[None]:
    """Let models that read out the last bar only compute every query of their last layer."""
    pruned: list[Any] = [part for part in module.modules() if _prunes(part)]
    for part in pruned:
        part.prune = False
    try:
        yield
    finally:
        for part in pruned:
            part.prune = True


def _prunes(module: nn.Module) -> bool:
    marked = any(hasattr(part, "last_query_only") for part in module.modules())
    return getattr(module, "prune", None) is True and marked


def _why_nothing(module: nn.Module) -> str:
    kinds = sorted({type(part).__name__ for part in module.modules() if not list(part.children())})
    recurrent = any(isinstance(part, _RECURRENT) for part in module.modules())
    attends = any(isinstance(part, nn.MultiheadAttention) for part in module.modules())
    if attends:
        reason = "it holds nn.MultiheadAttention, but this input never reached it"
    elif recurrent:
        reason = "it is recurrent: use an attribution method, or watch its gates"
    else:
        reason = (
            "attention written by hand (exp and sum, softmax of a product), flex_attention, "
            "and attention run in other threads are not seen"
        )
    return f"no attention found in {type(module).__name__} (its layers: {', '.join(kinds)}), because {reason}"
