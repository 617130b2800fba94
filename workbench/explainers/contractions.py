"""Which axes of attention weights an operation sums over, shares with the values, and keeps.

`softmax(QKᵀ)·V` is written in many ways: matmul, bmm, baddbmm, einsum, or a product summed afterwards. All of
them sum over the keys, go sample by sample and head by head through the axes that weights and values share,
and keep the queries.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

_MATMUL = frozenset({"matmul", "rmatmul", "linalg_matmul", "bmm", "mm", "mv"})
_ADDED = frozenset({"baddbmm", "addbmm", "addmm", "addmv"})  # the first argument is added to the product
_LAST = frozenset({"linear", "inner"})  # sum over the last axis of both factors
PRODUCTS = _MATMUL | _ADDED | _LAST | {"einsum", "tensordot"}


@dataclass(frozen=True)
class Roles:
    """What each axis of the weights is to a product with values.

    Attributes
    ----------
    batch, query
        Axes shared with the values; axes of the weights alone.
    key
        The axis summed over.
    values
        The other factor.
    spread
        Axes of the values alone, along which weights only repeat.
    """

    batch: tuple[int, ...]
    query: tuple[int, ...]
    key: int
    values: Tensor
    spread: tuple[int, ...] = ()

    def gather(self, weights: Tensor) -> Tensor:
        """Return weights, or what lies beside them, as (batch, head, query, key)."""
        order = (*self.batch, *self.query, self.key)
        if weights.ndim == 4 and order == (0, 1, 2, 3) and len(self.batch) == 2:
            return weights
        shape = weights.shape
        for axis in sorted(self.spread, reverse=True):
            weights = weights.select(axis, 0)
        weights = weights.permute(*self._without_spread(order))
        batch = [shape[axis] for axis in self.batch]
        heads = batch.pop() if len(batch) > 1 else 1
        queries = math.prod(shape[axis] for axis in self.query)
        return weights.reshape(math.prod(batch), heads, queries, shape[self.key])

    def scatter(self, weights: Tensor, shape: torch.Size) -> Tensor:
        """Return weights (batch, head, query, key) in the shape that `gather` was given."""
        order = (*self.batch, *self.query, self.key)
        weights = weights.reshape([shape[axis] for axis in order])
        places = self._without_spread(order)
        weights = weights.permute(*(places.index(i) for i in range(len(places))))
        for axis in sorted(self.spread):
            weights = weights.unsqueeze(axis)
        return weights.expand(shape)

    def _without_spread(self, order: tuple[int, ...]) -> list[int]:
        return [axis - sum(other < axis for other in self.spread) for axis in order]


def roles_of(
    name: str, args: tuple[Any, ...], kwargs: dict[str, Any], weights: Tensor, key: int
) -> Roles | None:
    """Return the roles of the axes of `weights` in a product, or None if it does not sum over `key`."""
    if name == "einsum":
        return _of_einsum(args, weights, key)
    if name == "tensordot":
        return _of_tensordot(args, kwargs, weights, key)
    if name in _LAST:
        return _of_last(args, kwargs, weights, key)
    operands = [*args, *(kwargs[word] for word in _FACTORS if word in kwargs)]
    operands = [operand for operand in operands if isinstance(operand, Tensor)][1 if name in _ADDED else 0 :]
    if len(operands) != 2:
        return None
    left, right = reversed(operands) if name == "rmatmul" else operands
    values, summed = (right, -1) if left is weights else (left, -2)
    if left is not weights and right is not weights:
        return None
    if weights.ndim == 1:
        return Roles((), (), 0, values)
    if key != summed % weights.ndim:
        return None
    return Roles(tuple(range(weights.ndim - 2)), ((-3 - summed) % weights.ndim,), key, values)


def roles_of_times(weights: Tensor, values: Tensor, key: int) -> Roles | None:
    """Return the roles in weights * values, as summed over `key` afterwards; None if values add no axis."""
    if values.ndim > weights.ndim:
        return None
    shape = (1,) * (weights.ndim - values.ndim) + tuple(values.shape)
    batch, query, spread = [], [], []
    for axis, (mine, other) in enumerate(zip(weights.shape, shape, strict=True)):
        last = axis == weights.ndim - 1
        if axis == key:
            continue
        if (mine == 1 and (other > 1 or (last and axis > 1))) or (mine > 1 and weights.stride(axis) == 0):
            spread.append(axis)
        elif mine > 1 and other == 1:
            query.append(axis)
        else:
            batch.append(axis)
    if not spread or shape[key] != weights.shape[key]:
        return None
    return Roles(tuple(batch), tuple(query), key, values, tuple(spread))


def _of_last(args: tuple[Any, ...], kwargs: dict[str, Any], weights: Tensor, key: int) -> Roles | None:
    given = [*args, *(kwargs[word] for word in ("input", "other", "weight") if word in kwargs)][:2]
    others = [factor for factor in given if factor is not weights]
    if len(given) != 2 or len(others) != 1 or weights.ndim < 2 or key != weights.ndim - 1:
        return None
    return Roles(tuple(range(weights.ndim - 2)), (weights.ndim - 2,), key, others[0])


_FACTORS = ("input", "mat1", "batch1", "other", "mat2", "batch2", "mat", "vec", "vec2", "tensor2")


def _of_einsum(args: tuple[Any, ...], weights: Tensor, key: int) -> Roles | None:
    if not isinstance(args[0], str):
        return None  # the form with lists of axes instead of letters
    operands: Sequence[Any] = args[1] if isinstance(args[1], list | tuple) else args[1:]
    letters, out = einsum_letters(args[0], operands)
    mine = next(i for i, operand in enumerate(operands) if operand is weights)
    letter = letters[mine][key]
    partners = [i for i, term in enumerate(letters) if i != mine and letter in term]
    if letter in out or not partners:
        return None
    rest = [axis for axis in range(weights.ndim) if axis != key]
    batch = [axis for axis in rest if letters[mine][axis] in letters[partners[0]]]
    query = [axis for axis in rest if axis not in batch]
    return Roles(tuple(batch), tuple(query), key, operands[partners[0]])


def einsum_letters(equation: str, operands: Sequence[Tensor]) -> tuple[list[str], str]:
    """Return a letter for each axis of each operand, and those of the result; "..." becomes digits."""
    left, arrow, out = equation.replace(" ", "").partition("->")
    letters = []
    for term, operand in zip(left.split(","), operands, strict=True):
        hidden = operand.ndim - len(term.replace("...", ""))
        letters.append(term.replace("...", "".join(chr(0x100 + hidden - i) for i in range(hidden))))
    if not arrow:  # without an arrow the letters that occur once are kept
        every = "".join(letters)
        return letters, "".join(sorted(letter for letter in set(every) if every.count(letter) == 1))
    dots = sorted({letter for term in letters for letter in term if ord(letter) > 0xFF}, reverse=True)
    return letters, out.replace("...", "".join(dots))


def _of_tensordot(args: tuple[Any, ...], kwargs: dict[str, Any], weights: Tensor, key: int) -> Roles | None:
    a, b = args[:2]
    dims = kwargs.get("dims", args[2] if len(args) > 2 else 2)
    if isinstance(dims, int):
        dims = (list(range(a.ndim - dims, a.ndim)), list(range(dims)))
    summed, values = (dims[0], b) if a is weights else (dims[1], a)
    summed = [summed] if isinstance(summed, int) else list(summed)
    if [axis % weights.ndim for axis in summed] != [key]:
        return None
    return Roles((), tuple(axis for axis in range(weights.ndim) if axis != key), key, values)
