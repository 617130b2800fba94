"""One pass of a model, in which its recurrent layers are watched from outside."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from workbench.gates.calls import Recurrent, RecurrentCall, recurrent_layers
from workbench.models.untouched import untouched
from workbench.training.prediction import evaluating, placement


@contextmanager
def watching(module: nn.Module, tell: Callable[[str, RecurrentCall], Any]) -> Iterator[None]:
    """Tell of every run of a recurrent layer within the block; what `tell` returns, if anything, replaces
    what the layer answered. The module is in evaluation mode, and is left as it was.
    """

    def hook(path: str, layer: Recurrent, args: tuple[Any, ...], kwargs: dict[str, Any], answer: Any) -> Any:
        return tell(path, RecurrentCall.of(layer, args, kwargs, answer))

    with evaluating(module), untouched(module), ExitStack() as stack:
        for path, layer in recurrent_layers(module).items():
            handle = layer.register_forward_hook(partial(hook, path), prepend=True, with_kwargs=True)
            stack.callback(handle.remove)
        yield


def run_once(module: nn.Module, x: Tensor | PackedSequence, initial: Any = None) -> Any:
    """Run a module on its own device, on a copy that it may change."""
    device = placement(module)[0]
    given = x.to(device).clone() if isinstance(x, Tensor) else x.to(device=device)
    more = () if initial is None else (_moved(initial, device),)
    return module(given, *more)


def _moved(state: Any, device: torch.device) -> Any:
    return state.to(device) if isinstance(state, Tensor) else tuple(one.to(device) for one in state)
