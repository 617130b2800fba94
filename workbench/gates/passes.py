"""One pass of a model, in which its recurrent layers are watched from outside."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from workbench.gates.calls import Recurrent, RecurrentCall
from workbench.models.untouched import untouched
from workbench.training.prediction import evaluating, placement


def recurrent_layers(model: nn.Module) -> dict[str, Recurrent]:
    """Return every `nn.LSTM` and `nn.GRU` of a model by its path, "" for the model itself.

    Raises
    ------
    ValueError
        If there is none. The message names what there is instead.
    """
    found = {name: m for name, m in model.named_modules() if isinstance(m, nn.LSTM | nn.GRU)}
    if not found:
        raise ValueError(
            f"{type(model).__name__} has no nn.LSTM or nn.GRU, so there are no gates to look at. "
            + _instead(model)
        )
    return found


def _instead(model: nn.Module) -> str:
    """Say what a model without recurrent layers holds."""
    if any(isinstance(m, torch.jit.ScriptModule) for m in model.modules()):
        return "It is scripted or traced, which hides its layers; look at the module that it was made of."
    single = nn.LSTMCell | nn.GRUCell | nn.RNN | nn.RNNCell
    cells = {type(m).__name__: path for path, m in model.named_modules() if isinstance(m, single)}
    if cells:
        told = ", ".join(f"{kind} at {path or 'its top'!r}" for kind, path in cells.items())
        return f"It holds {told}, whose steps cannot be recovered; use nn.LSTM or nn.GRU there."
    kinds = dict.fromkeys(type(m).__name__ for m in model.modules() if m is not model)
    if not kinds:
        return (
            "It is a single module, with none inside it; give the model whose layers are nn.LSTM or nn.GRU."
        )
    return (
        f"It is made of {', '.join(kinds)}; a recurrence that a forward writes out itself, "
        "as SFM's, cannot be recovered."
    )


@contextmanager
def watching(module: nn.Module, tell: Callable[[str, RecurrentCall], Any]) -> Iterator[None]:
    """Tell of every run of a recurrent layer within the block; what `tell` returns, if anything, replaces
    what the layer answered. The module is in evaluation mode, and is left as it was.
    """

    def hook(path: str, layer: Recurrent, args: tuple[Any, ...], kwargs: dict[str, Any], answer: Any) -> Any:
        return tell(path, RecurrentCall.of(layer, args, kwargs, answer))

    with evaluating(module), untouched(module), in_full(placement(module)[0]), ExitStack() as stack:
        for path, layer in recurrent_layers(module).items():
            handle = layer.register_forward_hook(partial(hook, path), prepend=True, with_kwargs=True)
            stack.callback(handle.remove)
        yield


@contextmanager
def in_full(device: torch.device) -> Iterator[None]:
    """Compute in the precision that the numbers have, whatever the caller allowed."""
    with torch.autocast(device.type, enabled=False), ExitStack() as stack:
        if device.type == "cuda":  # whose recurrent kernels else round products to 11 bits
            enabled = torch.backends.cudnn.enabled
            stack.enter_context(torch.backends.cudnn.flags(enabled=enabled, allow_tf32=False))
        yield


def run_once(module: nn.Module, x: Tensor | PackedSequence, initial: Any = None) -> Any:
    """Run a module on its own device, on a copy that it may change."""
    check_readable(x)
    device = placement(module)[0]
    given = x.to(device).clone() if isinstance(x, Tensor) else x.to(device)  # pyright: ignore[reportCallIssue, reportArgumentType]
    more = () if initial is None else (_moved(initial, device),)
    return module(given, *more)


def check_readable(x: Any) -> None:
    """Raise TypeError unless a module can read it: a tensor, or a packed sequence."""
    if not isinstance(x, Tensor | PackedSequence):
        raise TypeError(
            f"x must be a tensor, or a PackedSequence, as the module reads it, got {type(x).__name__}. Of "
            "windows give windows.batch(rows), of one day day.x, of an array torch.from_numpy(x).float()."
        )


def _moved(state: Any, device: torch.device) -> Any:
    return state.to(device) if isinstance(state, Tensor) else tuple(one.to(device) for one in state)
