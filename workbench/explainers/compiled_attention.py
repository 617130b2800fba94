"""Self-attention that also gives the mean of its heads, compiled: sixteen queries at a time.

Scores of sixteen queries to every key stay in a core's nearest cache while they become weights, gather the
values and are added to the mean; no head's weights are ever written to memory. Importing this module needs
numba, and compiles the first time.

An array (row, lane) holds a number for each of sixteen queries in a row, and is read a row at a time.
"""

from collections.abc import Callable
from typing import Any, no_type_check

import numpy as np
import torch
from jaxtyping import Float
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic, models, register_model
from torch import Tensor

from workbench.explainers.products import Product, Shelf

LANES = 16
SIGNATURE = "void({0}, {0}, {0}, float32, boolean, {0}, float32[:, :, ::1])".format("float32[:, :, :, :]")

_FLOATS, _WHOLES = (ir.VectorType(kind, LANES) for kind in (ir.FloatType(), ir.IntType(32)))
_ROUNDING = 1.5 * 2**23  # added to a float32, rounds it to a whole number, found in the lowest bits
_LOWEST = -87.0  # e to less than this is no normal float32
_SERIES = (1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 0.5, 1.0, 1.0)
_NONE, _ONE, _MASKED = np.float32(0), np.float32(1), np.float32(-np.inf)


def attend(
    asked: Product, shelf: Shelf
) -> tuple[Float[Tensor, "batch head query channel"], Float[Tensor, "batch query key"]] | None:
    """Return what torch answers, and the mean over heads of softmax(QKᵀ·scale), in memory of the shelf.

    Returns
    -------
    tuple of Tensor, or None
        None where this is no self-attention in float32, unmasked or causal, on the processor.
    """
    if not _takes(asked):
        return None
    batch, heads, queries, channels = asked.query.shape
    scale = channels**-0.5 if asked.scale is None else asked.scale
    lanes = -(-queries // LANES) * LANES
    mean = shelf.take((batch, queries, lanes), asked.query)  # (batch, key, query)
    mean = asked.query.new_empty(batch, queries, lanes) if mean is None else mean
    answer = asked.query.new_empty(batch, queries, heads, channels).transpose(1, 2)  # as torch lays it out
    given = (part.numpy(force=True) for part in (asked.query, asked.key, asked.value))
    _attend(*given, np.float32(scale), asked.is_causal, answer.numpy(), mean.numpy())
    return answer, mean[..., :queries].transpose(1, 2)


def _takes(asked: Product) -> bool:
    parts = asked.query, asked.key, asked.value
    return (
        asked.attn_mask is None
        and not torch.is_autocast_enabled("cpu")
        and asked.query.ndim == 4
        and all(part.shape == asked.query.shape for part in parts)
        and all(part.dtype == torch.float32 and part.device.type == "cpu" for part in parts)
        and all(part.stride(-1) == 1 for part in parts)  # else torch lays out its answer in another way
    )


class Lanes(types.Type):
    """The type, to numba, of sixteen float32, on which a processor works at once."""

    def __init__(self) -> None:
        super().__init__(name="Lanes")


@register_model(Lanes)
class LanesModel(models.PrimitiveModel):
    """How numba holds them: as a vector of LLVM's."""

    def __init__(self, manager: Any, held: Any) -> None:
        super().__init__(manager, held, _FLOATS)


_lanes = Lanes()


@no_type_check
def _place(context, builder, signature, args):
    array = context.make_array(signature.args[0])(context, builder, args[0])
    start = builder.mul(args[1], ir.Constant(args[1].type, LANES))
    return builder.bitcast(builder.gep(array.data, [start]), _FLOATS.as_pointer())


@intrinsic
@no_type_check
def _load(typing, array, row):
    """Return a row of a C-contiguous array whose rows are lanes."""

    def generate(context, builder, signature, args):
        loaded = builder.load(_place(context, builder, signature, args))
        loaded.align = 4
        return loaded

    return _lanes(array, types.intp), generate


@intrinsic
@no_type_check
def _store(typing, array, row, given):
    """Write a row of a C-contiguous array whose rows are lanes."""

    def generate(context, builder, signature, args):
        builder.store(args[2], _place(context, builder, signature, args)).align = 4
        return context.get_dummy_value()

    return types.void(array, types.intp, _lanes), generate


@intrinsic
@no_type_check
def _every(typing, number):
    """Return one number in all lanes."""

    def generate(context, builder, signature, args):
        first = ir.Constant(ir.IntType(32), 0)
        one = builder.insert_element(ir.Constant(_FLOATS, ir.Undefined), args[0], first)
        return builder.shuffle_vector(one, one, ir.Constant(_WHOLES, [0] * LANES))

    return _lanes(types.float32), generate


def _of_two(build: Callable[..., Any]) -> Any:
    """Return a function of two lanes each, by the instructions that `build` gives."""

    @intrinsic
    @no_type_check
    def operation(typing, one, other):
        def generate(context, builder, signature, args):
            return build(builder, *args)

        return _lanes(_lanes, _lanes), generate

    return operation


@no_type_check
def _multiplied(builder, one, other, more):
    kind = ir.FunctionType(_FLOATS, [_FLOATS] * 3)
    name = f"llvm.fmuladd.v{LANES}f32"
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), [one, other, more])


@intrinsic
@no_type_check
def _multiply_add(typing, one, other, more):
    """Return one · other + more."""

    def generate(context, builder, signature, args):
        return _multiplied(builder, *args)

    return _lanes(_lanes, _lanes, _lanes), generate


@no_type_check
def _exponential(builder, given, largest):
    """Return exp(given − largest), NaN if either is: 2ᵏ·eᶠ, f at most half of log 2 (as in Cephes)."""

    def every(number):
        return ir.Constant(_FLOATS, [float(np.float32(number))] * LANES)

    def whole(number):
        return ir.Constant(_WHOLES, [number] * LANES)

    x = builder.fsub(given, largest)
    low = builder.fcmp_ordered("<", x, every(_LOWEST))
    x = builder.select(low, every(_LOWEST), x)
    rounded = _multiplied(builder, x, every(np.log2(np.e)), every(_ROUNDING))
    k = builder.fsub(rounded, every(_ROUNDING))
    f = _multiplied(builder, k, every(-0.693359375), x)  # log 2, in two parts
    f = _multiplied(builder, k, every(2.12194440e-4), f)
    power = every(_SERIES[0])
    for term in _SERIES[1:]:
        power = _multiplied(builder, power, f, every(term))
    exponent = builder.shl(builder.bitcast(rounded, _WHOLES), whole(23))
    two_to_k = builder.bitcast(builder.add(exponent, whole(127 << 23)), _FLOATS)
    return builder.select(low, every(0), builder.fmul(power, two_to_k))


_add = _of_two(lambda builder, one, other: builder.fadd(one, other))
_divide = _of_two(lambda builder, one, other: builder.fdiv(one, other))
_larger = _of_two(lambda b, one, other: b.select(b.fcmp_ordered(">", one, other), one, other))
_exp_less = _of_two(_exponential)


@njit(nogil=True)
@no_type_check
def _product(matrix, lanes, out):
    """Write matrix (row, inner) times lanes (inner, lane): four rows at a time, sums kept in registers."""
    nothing = _every(_NONE)
    rows, inner = matrix.shape
    row = 0
    while row + 4 <= rows:
        a, b, c, d = matrix[row], matrix[row + 1], matrix[row + 2], matrix[row + 3]
        sum_a = sum_b = sum_c = sum_d = nothing
        for i in range(inner):
            here = _load(lanes, i)
            sum_a = _multiply_add(_every(a[i]), here, sum_a)
            sum_b = _multiply_add(_every(b[i]), here, sum_b)
            sum_c = _multiply_add(_every(c[i]), here, sum_c)
            sum_d = _multiply_add(_every(d[i]), here, sum_d)
        _store(out, row, sum_a)
        _store(out, row + 1, sum_b)
        _store(out, row + 2, sum_c)
        _store(out, row + 3, sum_d)
        row += 4
    while row < rows:
        a, sum_a = matrix[row], nothing
        for i in range(inner):
            sum_a = _multiply_add(_every(a[i]), _load(lanes, i), sum_a)
        _store(out, row, sum_a)
        row += 1


@njit(nogil=True)
@no_type_check
def _exponentials(scores, keys):
    """Write exp(score − the query's largest) over the scores of the first keys; return their sums."""
    largest = _load(scores, 0)
    for key in range(1, keys):
        largest = _larger(_load(scores, key), largest)
    total = _every(_NONE)
    for key in range(keys):
        power = _exp_less(_load(scores, key), largest)
        _store(scores, key, power)
        total = _add(total, power)
    return total


@njit(nogil=True)
@no_type_check
def _transposed(rows, factor, lanes):
    """Write the first rows (lane, channel), times a factor, into lanes (channel, lane)."""
    for lane in range(len(rows)):
        row = rows[lane]
        for channel in range(len(row)):
            lanes[channel, lane] = row[channel] * factor


@njit(nogil=True)
@no_type_check
def _untransposed(lanes, factors, rows):
    """Write lanes (channel, lane), times a factor a lane, into rows (lane, channel)."""
    for lane in range(len(rows)):
        row = rows[lane]
        for channel in range(len(row)):
            row[channel] = lanes[channel, lane] * factors[0, lane]


@no_type_check
def _written(query, key, value, scale, causal, answer, mean):
    batch, heads, queries, channels = query.shape
    asked, gathered = np.zeros((channels, LANES), np.float32), np.zeros((channels, LANES), np.float32)
    scores, joined = np.zeros((queries, LANES), np.float32), np.zeros((queries, LANES), np.float32)
    shares = np.zeros((1, LANES), np.float32)
    for sample in range(batch):
        for start in range(0, queries, LANES):
            stop = min(start + LANES, queries)
            keys = stop if causal else queries
            for i in range(keys):
                _store(joined, i, _every(_NONE))
            for head in range(heads):
                _transposed(query[sample, head, start:stop], scale, asked)
                _product(key[sample, head, :keys], asked, scores)
                if causal:
                    for later in range(1, stop - start):
                        for lane in range(later):
                            scores[start + later, lane] = _MASKED
                total = _exponentials(scores, keys)
                _product(value[sample, head, :keys].T, scores, gathered)
                _store(shares, 0, _divide(_every(_ONE), total))
                _untransposed(gathered, shares, answer[sample, head, start:stop])
                share = _divide(_every(np.float32(1 / heads)), total)
                for i in range(keys):
                    _store(joined, i, _multiply_add(_load(scores, i), share, _load(joined, i)))
            for i in range(queries):
                row = (sample * queries + i) * (mean.shape[2] // LANES) + start // LANES
                _store(mean, row, _load(joined, i) if i < keys else _every(_NONE))


try:
    _attend: Any = njit(SIGNATURE, nogil=True, cache=True)(_written)
except RuntimeError:  # no folder for the machine code can be written to: compile anew in each process
    _attend = njit(SIGNATURE, nogil=True)(_written)
