"""Which lines a network is drawn by: its modules in the order they ran, those that are alike as one."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Protocol, runtime_checkable

_UNDRAWN = ("Dropout", "Identity")
_CONTAINERS = ("ModuleList", "ModuleDict")


@runtime_checkable
class Block(Protocol):
    """What is read of a module: `workbench.models.summary.Block` is one."""

    @property
    def name(self) -> str:
        """Its own name."""
        ...

    @property
    def kind(self) -> str:
        """Its class."""
        ...

    @property
    def inputs(self) -> tuple[int, ...] | None:
        """Shape of what went in."""
        ...

    @property
    def output(self) -> tuple[int, ...] | None:
        """Shape of what came out; None if it was not called."""
        ...

    @property
    def parameters(self) -> int:
        """Numbers in it and inside it."""
        ...

    @property
    def flops(self) -> int:
        """Operations in it and inside it."""
        ...

    @property
    def turn(self) -> int:
        """Its place in the order in which modules ran, 0 if it was not called."""
        ...

    @property
    def blocks(self) -> Sequence["Block"]:
        """The modules inside it."""
        ...


@dataclass(frozen=True)
class Row:
    """One line: a module, or several alike. `inside` counts the rows of what it encloses."""

    block: Block
    label: str
    depth: int
    times: int
    inside: int


def rows_of(block: Block, deepest: int) -> list[Row]:
    """Return the lines of a network, opened down to so many levels."""
    return [row for group in _groups(block) for row in _lines(group, 0, 1, deepest)]


def _lines(group: list[tuple[str, Block]], depth: int, times: int, deepest: int) -> Iterator[Row]:
    """Yield the row of modules that are alike, and the rows inside the first of them."""
    (first, block), count = group[0], len(group)
    label = first if count == 1 else f"{first} … {group[-1][0].rpartition('.')[2]}"
    within = depth + 1 < deepest
    inside = (
        [row for g in _groups(block) for row in _lines(g, depth + 1, times * count, deepest)]
        if within
        else []
    )
    yield Row(block, label, depth, times * count, len(inside))
    yield from inside


def _groups(block: Block) -> list[list[tuple[str, Block]]]:
    """Return the modules inside a block in the order they ran, neighbours that are alike together."""
    inside = sorted(_opened(block), key=lambda found: _turn(found[1]))
    return [list(group) for _, group in groupby(inside, key=_likeness)]


def _likeness(found: tuple[str, Block]) -> tuple[Any, ...]:
    """What numbered modules share if one can stand for them all; other names stand for themselves."""
    label, block = found
    before, _, last = label.rpartition(".")
    return (before, _signature(block)) if last.isdecimal() else (label,)


def _opened(block: Block, before: str = "") -> Iterator[tuple[str, Block]]:
    """Yield the modules inside, those of lists and dicts in the place of these, without dropout."""
    for inner in block.blocks:
        if inner.kind in _CONTAINERS:
            yield from _opened(inner, f"{before}{inner.name}.")
        elif inner.kind not in _UNDRAWN:
            yield f"{before}{inner.name}", inner


def _turn(block: Block) -> float | int:
    return min([block.turn or math.inf, *map(_turn, block.blocks)])


def _signature(block: Block) -> tuple[Any, ...]:
    inside = tuple((name, _signature(inner)) for name, inner in _opened(block))
    return block.kind, block.inputs, block.output, block.parameters, block.flops, inside
