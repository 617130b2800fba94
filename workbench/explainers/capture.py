"""Attention weights of any PyTorch model, seen from outside while it runs.

A torch function mode watches `F.scaled_dot_product_attention` and `F.multi_head_attention_forward`, through
which `nn.MultiheadAttention`, `nn.TransformerEncoder` and most libraries' models attend, and every softmax
that a model multiplies with values. The model is not changed, and nothing stays behind after the pass, an
exception included.
"""

import sys
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import torch
from torch import Tensor, nn

from workbench.explainers.lineage import module_inputs
from workbench.explainers.maps import AttentionMaps, NoAttentionFound
from workbench.explainers.padding import padding_as_in_use
from workbench.explainers.products import Shelf
from workbench.explainers.reasons import check_window, why_nothing
from workbench.explainers.recorder import Recorder, followed
from workbench.training.prediction import placement
from workbench.training.turns import turn


def attention_maps(
    model: nn.Module,
    x: Tensor | None = None,
    *more: Any,
    full: bool = True,
    training: bool = False,
    gradients: bool = False,
    **arguments: Any,
) -> AttentionMaps:
    """Run `model` once and keep the attention weights of every layer.

    Parameters
    ----------
    model
        Any module that attends through `F.scaled_dot_product_attention`, `nn.MultiheadAttention` or what is
        built of them, or by a softmax that it multiplies with values: softmax(QKᵀ)·V by matmul or einsum, or
        scores over the time steps of a recurrent network.
    x
        Its input, (batch, time, feature) for the models of this package. It is moved to the model's device,
        as are other tensors. A forward that takes it by name is called so: `attention_maps(model, inputs=x)`.
    *more, **arguments
        Whatever else the model's forward takes.
    full
        Have this package's models compute every query of the last layer, which they skip in use since only
        the last bar is read out. False keeps the short cut: the last map then has one row.
    training
        Run in training mode, dropout on. By default the pass is in evaluation mode, and the mode is restored.
        The weights kept are those before dropout.
    gradients
        Keep the graph: the output is computed from the weights kept, so that
        `torch.autograd.grad(score, maps.layers)` gives the gradient by every weight.

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
    ValueError
        If the batch is empty, or gradients are asked for and the model turns them off.
    RuntimeError
        If gradients are asked for and the model checkpoints its activations.

    Warns
    -----
    UserWarning
        If the model also attends where it cannot be watched, naming where: the maps are then a part of it.

    Notes
    -----
    A softmax counts as attention when its result, through dropout, masks and changes of shape, is multiplied
    with values that depend on the input and summed over the axis it sums to one along. Its weights are those
    the model multiplies with, before dropout, after masks and renormalisation.

    Examples
    --------
    >>> maps = attention_maps(torch.nn.TransformerEncoderLayer(8, 2, batch_first=True), torch.zeros(1, 5, 8))
    >>> maps.layers[0].shape
    torch.Size([1, 2, 5, 5])
    """
    given = [tensor for tensor in arguments.values() if isinstance(tensor, Tensor)]
    module = checked_module(model, x if x is not None or not given else given[0])
    if x is not None:
        check_window(module, x)
    device = placement(module)[0]
    with (
        _grad_mode(gradients),
        watching(module, full, training, Shelf(reuse=False), gradients=gradients) as recorder,
    ):
        by_place = () if x is None and not more else (x, *more)
        inputs = [_moved(given, device, gradients) for given in by_place]
        named = {name: _moved(given, device, gradients) for name, given in arguments.items()}
        output = module(*inputs, **named)
    check_any(module, recorder)
    return AttentionMaps(
        layers=tuple(layer.weights() for layer in recorder.layers),
        names=tuple(recorder.names),
        kinds=tuple(layer.kind for layer in recorder.layers),
        allowed=tuple(layer.allowed for layer in recorder.layers),
        output=output,
        above=tuple(layer.above for layer in recorder.layers),
        unseen=told_unseen(module, recorder),
    )


@contextmanager
def watching(
    module: nn.Module,
    full: bool = True,
    training: bool = False,
    keep: Shelf | None = None,
    named: bool = True,
    gradients: bool = False,
) -> Iterator[Recorder]:
    """Yield a `Recorder` that sees every pass of `module` inside the block; `attention_maps` is one pass.

    Without a shelf in `keep` the model's own fused attention runs, and a layer's weights are computed when
    asked for, so that memory stays small. With `named=False` only the modules that mark their attention are
    followed, which is quicker, and layers go by number. With `gradients` the model's result is computed from
    the weights kept; turning gradients on is the caller's.
    """
    recorder = Recorder(keep, gradients)
    with ExitStack() as stack:
        stack.enter_context(turn(module))
        stack.enter_context(_uncompiled())
        stack.enter_context(_in_mode(module, training))
        stack.enter_context(padding_as_in_use(module))
        if full:
            stack.enter_context(_unpruned(module))
        begin = module_inputs(recorder.lineage)
        stack.callback(module.register_forward_pre_hook(begin, with_kwargs=True).remove)
        stack.enter_context(followed(module, recorder, named))
        stack.enter_context(recorder)
        yield recorder


def check_any(module: nn.Module, recorder: Recorder) -> None:
    """Raise NoAttentionFound, saying why, if `recorder` saw nothing."""
    if not recorder.layers:
        raise NoAttentionFound(why_nothing(module, recorder))


def check_seen(module: nn.Module, recorder: Recorder) -> None:
    """Refuse to follow attention that was not all seen, or that is not the way from the bars to the answer.

    A model says the latter of itself: its `mixes_bars` tells where bars are mixed but by attention.

    Raises
    ------
    NoAttentionFound
        If nothing was seen, or not all that surely attended.
    ValueError
        If the model mixes bars beside its attention.
    """
    check_any(module, recorder)
    mixes = getattr(module, "mixes_bars", None)
    if isinstance(mixes, str):
        raise ValueError(
            f"the attention of {type(module).__name__} does not say which bars its answer draws on, because "
            f"{mixes}. The method 'attention' shows one layer's weights as they are; 'occlusion' or "
            "'integrated_gradients' what the answer hangs on"
        )
    if recorder.unseen:
        raise NoAttentionFound(
            f"{type(module).__name__} attends by {recorder.unseen[0]}. What was seen is not the whole way"
        )


def told_unseen(module: nn.Module, recorder: Recorder) -> tuple[str, ...]:
    """Warn of attention that was not seen, and return what it was."""
    if recorder.unseen:
        warnings.warn(
            f"these maps are not all attention of {type(module).__name__}: it attends by "
            f"{'; and by '.join(map(str, recorder.unseen))}",
            stacklevel=3,
        )
    return tuple(map(str, recorder.unseen))


def checked_module(model: nn.Module, x: Tensor | None) -> nn.Module:
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
    module = unwrapped(model)
    scripted = [name or "the model" for name, part in module.named_modules() if _is_scripted(part)]
    if scripted:
        raise NoAttentionFound(
            f"{scripted[0]} is TorchScript, which runs outside Python and cannot be watched: "
            "pass the module it was scripted from"
        )
    return module


def unwrapped(model: nn.Module) -> nn.Module:
    """Return the module within what torch.compile and DataParallel wrap, which can be watched."""
    while True:
        # Within DataParallel it would run in other threads, and compiled, out of sight.
        parallel = isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel)
        inner = model.module if parallel else getattr(model, "_orig_mod", None)
        if not isinstance(inner, nn.Module):
            return model
        model = inner


def _is_scripted(module: nn.Module) -> bool:
    return isinstance(module, torch.jit.ScriptModule)


def _moved(given: Any, device: torch.device, gradients: bool) -> Any:
    if not isinstance(given, Tensor):
        return given
    # What torch.inference_mode made takes part in no graph; a copy does.
    return given.to(device, copy=gradients and given.is_inference())


@contextmanager
def _grad_mode(gradients: bool) -> Iterator[None]:
    if not gradients:
        with torch.no_grad():
            yield
        return
    # cuDNN differentiates recurrent networks in training mode only; PyTorch's own kernels do so in any.
    cudnn = torch.backends.cudnn.flags(enabled=False)
    unhooked = torch.autograd.graph.disable_saved_tensors_hooks(
        "checkpointing computes attention again where it cannot be watched: turn it off to ask for gradients"
    )
    with torch.inference_mode(False), torch.enable_grad(), cudnn, unhooked:
        yield


@contextmanager
def _uncompiled() -> Iterator[None]:
    """Run compiled parts of a model as they were written: what is compiled cannot be watched."""
    if not {"torch._dynamo", "torch.nn.attention.flex_attention"} & sys.modules.keys():
        yield  # nothing is compiled, and finding out more would cost a second
        return
    with torch.compiler.set_stance("force_eager"):
        yield


@contextmanager
def _in_mode(module: nn.Module, training: bool) -> Iterator[None]:
    before = {part: part.training for part in module.modules()}
    with suppress(NotImplementedError):  # an exported program has one mode, that in which it was exported
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
