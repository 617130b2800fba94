"""A network as one forward shows it: its modules in the order they ran, shapes, parameters, operations."""

import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from workbench.models.counting import Tally, WeightMap
from workbench.models.untouched import untouched

__all__ = ["Block", "Summary", "summarize"]


@dataclass(frozen=True)
class Block:
    """One module as it ran.

    Attributes
    ----------
    name, path, kind
        Its own name, the names from the model down joined by dots ("" for the model), and its class.
    inputs, output
        Shapes of the first tensor that went in and that came out at the first call; None if it never ran.
    parameters, trainable
        Numbers in it and in the modules inside it; those that training may change.
    own
        Numbers that it holds itself, not in a module inside it.
    flops
        Operations of the whole forward, in it and inside it.
    turn, calls
        Its place in the order in which modules first ran, from 1, and how often it ran. 0 for a plain
        container, and for a module that the forward never calls.
    blocks
        The modules inside it in the order in which they first ran, those that never ran last.
    """

    name: str
    path: str
    kind: str
    inputs: tuple[int, ...] | None
    output: tuple[int, ...] | None
    parameters: int
    trainable: int
    own: int
    flops: int
    turn: int
    calls: int
    blocks: tuple["Block", ...] = ()

    @property
    def ran(self) -> bool:
        """Whether it, or a module inside it, took part in the forward."""
        return self.calls > 0 or any(block.ran for block in self.blocks)

    def walk(self) -> Iterator["Block"]:
        """Yield this block and all inside it, outer ones first."""
        yield self
        for block in self.blocks:
            yield from block.walk()


@dataclass(frozen=True)
class Summary:
    """What one forward of a batch shows of a network.

    Attributes
    ----------
    root
        The model and, inside it, its modules.
    parameters, trainable
        Numbers in all of it, shared ones counted once.
    batch
        Windows of the batch.
    flops
        Operations of the forward: twice the multiplications of matrix products, convolutions, attention and
        recurrent layers.
    elementwise
        Numbers written by elementwise operations outside recurrent layers; no part of `flops`.
    maps
        Weights of attention and of other softmaxes.
    receptive_field
        Bars that the answer can depend on, as the model's own property of that name says; None without one.
    """

    root: Block
    parameters: int
    trainable: int
    batch: int
    flops: int
    elementwise: int
    maps: tuple[WeightMap, ...]
    receptive_field: int | None

    @property
    def map_bytes(self) -> int:
        """Bytes of all the maps of the batch, if every one were held."""
        return sum(found.bytes for found in self.maps)

    @property
    def layers(self) -> pd.DataFrame:
        """One row for each module that holds weights itself, or computes outside the modules inside it."""
        rows = []
        for block in self.root.walk():
            flops = block.flops - sum(inner.flops for inner in block.blocks)
            if block.own or flops:
                shape = "not called" if block.output is None else _times(block.output)
                rows.append([block.path or "(the model itself)", block.kind, shape, block.own, flops])
        return pd.DataFrame(rows, columns=["module", *LAYER_COLUMNS]).set_index("module")


LAYER_COLUMNS = ("kind", "output", "parameters", "FLOPs")


@dataclass
class _Seen:
    inputs: tuple[int, ...] | None = None
    output: tuple[int, ...] | None = None
    calls: int = 0
    turn: int = 0


def summarize(model: nn.Module, x: Float[Tensor, "batch time feature"]) -> Summary:
    """Run one forward in eval mode and say what happened in it.

    Parameters
    ----------
    model
        Any module from (batch, time, feature) to (batch, output). Left as it was.
    x
        A batch of windows, on the model's device and of its kind of number.

    Returns
    -------
    Summary

    Notes
    -----
    Operations are counted as torch.utils.flop_counter does, but by formula in nn.LSTM, nn.GRU and nn.RNN,
    whose fused kernels that counter passes over, and with attention on the CPU, which it passes over too.
    """
    tally, seen = Tally(), {module: _Seen() for module in model.modules()}
    with untouched(model), torch.no_grad(), _unfused(), _watching(model, tally, seen):
        model.eval()
        with tally:
            model(x)
    parameters = list(model.parameters())
    field = getattr(model, "receptive_field", None)
    return Summary(
        root=_block("", "", model, tally, seen),
        parameters=sum(p.numel() for p in parameters),
        trainable=sum(p.numel() for p in parameters if p.requires_grad),
        batch=len(x),
        flops=sum(tally.flops.values()),
        elementwise=tally.elementwise,
        maps=tuple(tally.maps),
        receptive_field=field if isinstance(field, int) else None,
    )


@contextmanager
def _unfused() -> Iterator[None]:
    """Have nn.TransformerEncoderLayer and nn.MultiheadAttention call the modules inside them."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


@contextmanager
def _watching(model: nn.Module, tally: Tally, seen: dict[nn.Module, _Seen]) -> Iterator[None]:
    paths = {module: path for path, module in model.named_modules()}
    turns = iter(range(1, 1 << 30))

    def before(module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
        found = seen[module]
        if not found.calls:
            found.inputs, found.turn = _shape((inputs, list(named.values()))), next(turns)
        found.calls += 1
        tally.enter(paths[module], module)

    def after(module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any], out: Any) -> None:
        tally.leave(inputs or tuple(named.values()))
        if seen[module].calls == 1:
            seen[module].output = _shape(out)

    with ExitStack() as stack:
        for module in paths:
            handles: list[RemovableHandle] = [
                module.register_forward_pre_hook(before, with_kwargs=True),
                module.register_forward_hook(after, with_kwargs=True),
            ]
            for handle in handles:
                stack.callback(handle.remove)
        yield


def _block(name: str, path: str, module: nn.Module, tally: Tally, seen: dict[nn.Module, _Seen]) -> Block:
    children = list(module.named_children())
    first = {name: _first_turn(child, seen) for name, child in children}
    inside = [
        _block(child_name, f"{path}.{child_name}".lstrip("."), child, tally, seen)
        for child_name, child in sorted(children, key=lambda named: first[named[0]])
    ]
    found, own = seen[module], list(module.parameters())
    return Block(
        name=name or type(module).__name__,
        path=path,
        kind=type(module).__name__,
        inputs=found.inputs,
        output=found.output,
        parameters=sum(p.numel() for p in own),
        trainable=sum(p.numel() for p in own if p.requires_grad),
        own=sum(p.numel() for p in module.parameters(recurse=False)),
        flops=tally.flops[path] + sum(block.flops for block in inside),
        turn=found.turn,
        calls=found.calls,
        blocks=tuple(inside),
    )


def _first_turn(module: nn.Module, seen: dict[nn.Module, _Seen]) -> float | int:
    """When a module, or the first one inside it, ran; those that never did come last, in their order."""
    return min((seen[inner].turn for inner in module.modules() if seen[inner].turn), default=math.inf)


def _shape(found: Any) -> tuple[int, ...] | None:
    """Return the shape of the first tensor in nested tuples, lists and dicts."""
    if isinstance(found, nn.utils.rnn.PackedSequence):
        return tuple(found.data.shape)
    if isinstance(found, Tensor):
        return tuple(found.shape)
    parts = found.values() if isinstance(found, dict) else found if isinstance(found, list | tuple) else ()
    return next((shape for shape in map(_shape, parts) if shape is not None), None)


def _times(shape: tuple[int, ...]) -> str:
    return " × ".join(map(str, shape)) or "1"
