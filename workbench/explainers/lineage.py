"""Where the tensors of a pass come from, so that self-attention can be told from cross-attention.

Every tensor has roots: the inputs of the model, and the results of attention, that it was computed from.
Projections, norms and residuals hand the roots on, so query and key of self-attention have the same, whatever
their shapes; a decoder's query and an encoder's key have not, even where both are equally long.

Beside the roots goes which layers a tensor draws on, through whatever lies between, so that layers that run
side by side are told from layers one on top of the other.
"""

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.weak import WeakTensorKeyDictionary

from workbench.explainers.rows import NO_ROWS, RESHAPING, Rows

Roots = frozenset[Hashable]
Layers = frozenset[int]

NOWHERE: Roots = frozenset()
NO_LAYERS: Layers = frozenset()
_LEAVING = frozenset({"numpy", "array", "tolist", "dlpack"})  # what is computed of these is out of sight
_MIXING = frozenset({"conv1d", "conv2d", "lstm", "gru", "rnn_tanh", "rnn_relu"})  # of neighbouring positions
_CUTTING = frozenset({"getitem", "narrow", "split", "chunk", "tensor_split"})
_PAIRING = frozenset(
    {"matmul", "rmatmul", "linalg_matmul", "bmm", "mm", "baddbmm", "einsum", "tensordot", "cdist"}
)
_OUTER = frozenset({"add", "sub", "mul"})


@dataclass(frozen=True)
class Origin:
    """Where a tensor comes from.

    Attributes
    ----------
    roots
        The inputs, and results of attention, that it was computed from.
    pair
        The roots of query and key, if it may be scores of them.
    rows
        How its channels were divided into heads, and these joined with the batch.
    layers
        The numbers of the layers it draws on; None where it was not seen what it was computed from.
    """

    roots: Roots
    pair: tuple[Roots, Roots] | None = None
    rows: Rows = NO_ROWS
    layers: Layers | None = NO_LAYERS


CONSTANT = Origin(NOWHERE)


class Lineage:
    """The origins of a pass's tensors, kept as long as they live."""

    def __init__(self) -> None:
        self._known: Any = WeakTensorKeyDictionary()
        self._fresh = 0
        self._batch_first: bool | None = None  # how heads and batch were last joined
        self._left = False  # whether numbers that attention gave left what is seen
        self._begun = False

    def begin(self, inputs: object, constants: Iterable[Tensor] = ()) -> None:
        """Give every tensor that the model is called with a root of its own; `constants` have none."""
        self._left = False
        for tensor in () if self._begun else constants:
            self._known[tensor] = CONSTANT
        self._begun = True
        for i, tensor in enumerate(tensors_in(inputs)):
            self._known[tensor] = Origin(frozenset({("input", i)}))

    def renew(self, outputs: object, layers: Layers | None = None) -> None:
        """Give the result of attention a root of its own: it is a new view of the sequence.

        `layers` are those that it draws on, the one that gave it among them.
        """
        self._fresh += 1
        for tensor in tensors_in(outputs):
            self._known[tensor] = Origin(frozenset({("attended", self._fresh)}), layers=layers)

    def layers(self, *tensors: Tensor) -> Layers | None:
        """Return the layers that any of `tensors` draws on, None where that is not known of one of them."""
        return None if self._left else _united(self._origin(tensor) for tensor in tensors)

    def _origin(self, tensor: Tensor) -> Origin | None:
        origin = self._known.get(tensor)
        return CONSTANT if origin is None and isinstance(tensor, nn.Parameter) else origin

    def roots(self, tensor: Tensor) -> Roots:
        """Return what `tensor` was computed from; weights and constants come from nowhere."""
        origin = self._known.get(tensor)
        return NOWHERE if origin is None else origin.roots

    def rows(self, tensor: Tensor) -> Rows:
        """Return how the rows of `tensor` are batch and heads."""
        origin = self._known.get(tensor)
        return NO_ROWS if origin is None else origin.rows

    def pair(self, tensor: Tensor) -> tuple[Roots, Roots] | None:
        """Return the roots of query and key if `tensor` is computed from their product, else None."""
        origin = self._known.get(tensor)
        return None if origin is None else origin.pair

    def follow(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], result: object) -> None:
        """Hand on the origins of an operation's operands to its result."""
        given = [(tensor, self._origin(tensor)) for tensor in tensors_in((args, kwargs))]
        layers = _united(origin for _, origin in given)
        known = [(tensor, origin) for tensor, origin in given if origin is not None and origin.roots]
        if not known:
            for tensor in tensors_in(result) if layers is not None else ():
                self._known[tensor] = CONSTANT
            return
        if name in _LEAVING and layers:
            self._left = True
        roots: Roots = frozenset().union(*(origin.roots for _, origin in known))
        if name in _MIXING:
            roots = frozenset({(name, roots)})
        pair = next((origin.pair for _, origin in known if origin.pair is not None), None)
        made = [args[0]] if name == "setitem" else list(tensors_in(result))
        if layers:
            self._written(given, made, layers)
        if _pairs(name, known, made):
            pair = known[-2][1].roots, known[-1][1].roots
        cuts = _cuts(args[0], name, args, kwargs) if name in _CUTTING and args else None
        rows = next((origin.rows for _, origin in known if origin.rows is not NO_ROWS), NO_ROWS)
        if name in RESHAPING and made:
            rows = self._ordered(rows.after(known[0][0], made[0]))
        for i, tensor in enumerate(made):
            cut = cuts(i) if cuts else None
            mine = roots if cut is None else frozenset({(*cut, roots)})
            self._known[tensor] = Origin(mine, pair, rows, layers)

    def _written(
        self, given: Sequence[tuple[Tensor, Origin | None]], made: Sequence[Tensor], layers: Layers
    ) -> None:
        """Let all that shares the memory of what was written over draw on `layers` too."""
        for tensor in made:
            before = next((origin for one, origin in given if one is tensor), None)
            if before is None or before.layers == layers:
                continue  # made anew, or handed on as it was
            place = _place(tensor)
            for other, origin in list(self._known.items()):
                if origin.layers is not None and place is not None and _place(other) == place:
                    self._known[other] = replace(origin, layers=origin.layers | layers)

    def _ordered(self, rows: Rows) -> Rows:
        """Let a batch of as many samples as heads be joined as the batches before it were."""
        if rows.batch is None:
            return rows
        if rows.batch_first is None:
            return replace(rows, batch_first=self._batch_first)
        self._batch_first = rows.batch_first
        return rows


def tensors_in(thing: object) -> Iterator[Tensor]:
    """Yield the tensors in nested tuples, lists, mappings and dataclasses."""
    if isinstance(thing, Tensor):
        yield thing
    elif isinstance(thing, Mapping):
        yield from _all(thing.values())
    elif isinstance(thing, tuple | list):
        yield from _all(thing)
    elif is_dataclass(thing) and not isinstance(thing, type):
        yield from _all(getattr(thing, field.name) for field in fields(thing))


def _all(things: Iterable[object]) -> Iterator[Tensor]:
    for thing in things:
        yield from tensors_in(thing)


def _united(origins: Iterable[Origin | None]) -> Layers | None:
    """Return the layers of all origins; None where one is not known."""
    united: Layers = NO_LAYERS
    for origin in origins:
        if origin is None or origin.layers is None:
            return None
        united = united | origin.layers
    return united


def _place(tensor: Tensor) -> int | None:
    """Return where a tensor's memory begins, None if it has none of its own."""
    return tensor.untyped_storage().data_ptr() if tensor.layout == torch.strided else None


def _pairs(name: str, known: Sequence[tuple[Tensor, Origin]], made: Sequence[Tensor]) -> bool:
    """Whether an operation sets every query against every key."""
    if len(known) < 2:
        return False
    if name in _OUTER and len(made) == 1:
        return made[0].numel() > max(known[-2][0].numel(), known[-1][0].numel())
    return name in _PAIRING


def _cuts(
    tensor: object, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Callable[[int], tuple[Any, ...] | None] | None:
    """Return which part of a sequence each result is, where an operation cuts it; None where it does not.

    Only (batch, time, channel) is read so: with more axes, and along the channels, a cut takes the heads or
    the query of one projection apart, which leaves every position where it is.
    """
    if not isinstance(tensor, Tensor) or tensor.ndim > 3:
        return None
    last = tensor.ndim - 1
    if name == "getitem":
        part = _slice_of(tensor, args[1])
        return None if part is None or part[0] == last else lambda i: part
    dim = kwargs.get("dim", args[1 if name == "narrow" else 2] if len(args) > 2 else 0) % tensor.ndim
    if dim == last:
        return None
    what = (*args[2:], *kwargs.items()) if name == "narrow" else ()
    return lambda i: (name, dim, i, what)


def _slice_of(tensor: Tensor, index: object) -> tuple[Any, ...] | None:
    """Return (axis, start, stop, step) of the last slice in an index that leaves something out."""
    entries = index if isinstance(index, tuple) else (index,)
    if not all(entry is None or entry is Ellipsis or isinstance(entry, int | slice) for entry in entries):
        return None
    consumed = sum(entry is not None and entry is not Ellipsis for entry in entries)
    axis, found = 0, None
    for entry in entries:
        if entry is Ellipsis:
            axis += tensor.ndim - consumed
        elif entry is not None:
            if isinstance(entry, slice):
                part = entry.indices(tensor.shape[axis])
                found = found if part == (0, tensor.shape[axis], 1) else (axis, *part)
            axis += 1
    return found


def module_inputs(lineage: Lineage) -> Callable[[nn.Module, tuple[Any, ...], dict[str, Any]], None]:
    """Return the hook that begins a lineage with what a module is called with."""

    def begin(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        lineage.begin((args, kwargs), _held(module))

    return begin


def _held(module: nn.Module) -> Iterator[Tensor]:
    """Yield the buffers of a module, and what its parts hold beside their parameters."""
    yield from module.buffers()
    for part in module.modules():
        yield from (held for held in vars(part).values() if isinstance(held, Tensor))
