"""Where the tensors of a pass come from, so that self-attention can be told from cross-attention.

Every tensor has roots: the inputs of the model, and the results of attention, that it was computed from.
Projections, norms and residuals hand the roots on, so query and key of self-attention have the same, whatever
their shapes; a decoder's query and an encoder's key have not, even where both are equally long.
"""

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

from torch import Tensor, nn
from torch.utils.weak import WeakTensorKeyDictionary

from workbench.explainers.rows import NO_ROWS, RESHAPING, Rows

Roots = frozenset[Hashable]

NOWHERE: Roots = frozenset()
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
    """

    roots: Roots
    pair: tuple[Roots, Roots] | None = None
    rows: Rows = NO_ROWS


class Lineage:
    """The origins of a pass's tensors, kept as long as they live."""

    def __init__(self) -> None:
        self._known: Any = WeakTensorKeyDictionary()
        self._fresh = 0
        self._batch_first: bool | None = None  # how heads and batch were last joined

    def begin(self, inputs: object) -> None:
        """Give every tensor that the model is called with a root of its own."""
        for i, tensor in enumerate(tensors_in(inputs)):
            self._known[tensor] = Origin(frozenset({("input", i)}))

    def renew(self, outputs: object) -> None:
        """Give the result of attention a root of its own: it is a new view of the sequence."""
        self._fresh += 1
        for tensor in tensors_in(outputs):
            self._known[tensor] = Origin(frozenset({("attended", self._fresh)}))

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
        given = [(tensor, self._known.get(tensor)) for tensor in tensors_in((args, kwargs))]
        known = [(tensor, origin) for tensor, origin in given if origin is not None]
        if not known:
            return
        roots: Roots = frozenset().union(*(origin.roots for _, origin in known))
        if name in _MIXING:
            roots = frozenset({(name, roots)})
        pair = next((origin.pair for _, origin in known if origin.pair is not None), None)
        made = [args[0]] if name == "setitem" else list(tensors_in(result))
        if _pairs(name, known, made):
            pair = known[-2][1].roots, known[-1][1].roots
        cuts = _cuts(args[0], name, args, kwargs) if name in _CUTTING and args else None
        rows = next((origin.rows for _, origin in known if origin.rows is not NO_ROWS), NO_ROWS)
        if name in RESHAPING and made:
            rows = self._ordered(rows.after(known[0][0], made[0]))
        for i, tensor in enumerate(made):
            cut = cuts(i) if cuts else None
            mine = roots if cut is None else frozenset({(*cut, roots)})
            self._known[tensor] = Origin(mine, pair, rows)

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
        lineage.begin((args, kwargs))

    return begin
