"""Attention weights of any PyTorch model, seen from outside while it runs.

A torch function mode watches `F.scaled_dot_product_attention` and `F.multi_head_attention_forward`, the two
functions through which `nn.MultiheadAttention`, `nn.TransformerEncoder` and most written-out models attend.
The model is not changed, and nothing stays behind after the pass, an exception included.
"""

import inspect
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from workbench.explainers.maps import AttentionMaps, NoAttentionFound
from workbench.explainers.softmax import AttentionLayer, Product, Shelf, watched_copy
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
) -> "Iterator[Recorder]":
    """Yield a `Recorder` that sees every pass of `module` inside the block; `attention_maps` is one pass.

    Without a shelf in `keep` the model's own fused attention runs, and a layer's weights are computed when
    asked for, so that memory stays small. With `named=False` only the modules that
    mark their attention are followed, which is quicker, and layers go by number.
    """
    recorder = Recorder(keep)
    with ExitStack() as stack:
        stack.enter_context(_in_mode(module, training))
        if full:
            stack.enter_context(_unpruned(module))
        stack.enter_context(_module_path(module, recorder, named))
        stack.enter_context(recorder)
        yield recorder


def check_seen(module: nn.Module, recorder: "Recorder") -> None:
    """Raise NoAttentionFound, saying why, if `recorder` saw nothing."""
    if not recorder.layers:
        raise NoAttentionFound(_why_nothing(module))


class Recorder(TorchFunctionMode):
    """A torch function mode that keeps what the attention functions are asked and answer.

    Attributes
    ----------
    layers
        The attention layers seen, in order.
    names
        The path of the module that attended, such as `layers.0.attention`.
    """

    def __init__(self, keep: Shelf | None) -> None:
        super().__init__()
        self.keep = keep
        self.layers: list[AttentionLayer] = []
        self.names: list[str] = []
        self.path: list[tuple[str, nn.Module]] = []

    def clear(self) -> None:
        """Forget the passes seen so far, before the next one."""
        self.layers, self.names = [], []
        if self.keep is not None:
            self.keep.rewind()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is F.scaled_dot_product_attention:
            return self._product(*args, **kwargs)
        if func is F.multi_head_attention_forward:
            return self._multi_head(args, kwargs)
        return func(*args, **kwargs)

    def _product(self, *args: Any, **kwargs: Any) -> Tensor:
        asked = Product(*args, **kwargs)
        output = None if asked.by_hand and self.keep is not None else asked.by_torch()
        layer = AttentionLayer.of_product(self._kind(), asked)
        if layer.kind != "last" and output is None and self.keep is not None:
            layer.keep(self.keep)
        if output is None:
            output = layer.product(asked.value, asked.query)
        self._add(layer.heads_from_queries() if layer.kind == "last" else layer)
        return output

    def _multi_head(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        # Within a mode's handler the mode is off, so the function's own calls would go unseen: run a copy
        # of it whose softmax and product are ours. Nothing of torch is patched.
        bound = inspect.signature(F.multi_head_attention_forward).bind(*args, **kwargs)
        heads = bound.arguments["num_heads"]

        def softmax(scores: Tensor, dim: int) -> Tensor:
            layer = AttentionLayer.of_scores(self._kind(), scores, heads)
            self._add(layer)
            return layer.weights().view(scores.shape)

        watched = watched_copy(
            F.multi_head_attention_forward, softmax=softmax, scaled_dot_product_attention=self._product
        )
        return watched(*args, **kwargs)

    def _kind(self) -> str | None:
        innermost = self.path[-1][1] if self.path else None
        return "last" if getattr(innermost, "last_query_only", False) is True else None

    def _add(self, layer: AttentionLayer) -> None:
        self.layers.append(layer)
        self.names.append(
            self.path[-1][0] if self.path and self.path[-1][0] else f"attention {len(self.layers)}"
        )


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


@contextmanager
def _module_path(module: nn.Module, recorder: Recorder, named: bool) -> Iterator[None]:
    """Keep `recorder.path` at the modules now running, innermost last."""

    def enter(name: str) -> Any:
        return lambda part, inputs: recorder.path.append((name, part))

    def leave(part: nn.Module, inputs: Any, output: Any) -> None:
        recorder.path.pop()

    with ExitStack() as stack:
        for name, part in module.named_modules():
            if not (named or hasattr(part, "last_query_only")):
                continue
            stack.callback(part.register_forward_pre_hook(enter(name)).remove)
            stack.callback(part.register_forward_hook(leave, always_call=True).remove)
        yield


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
