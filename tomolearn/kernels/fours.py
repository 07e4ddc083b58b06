"""Lines of four volumes at once, for `columns`: the four values of a voxel stand side by side.

Eight neighbouring floats are then two neighbouring voxels of all four volumes, which is what linear
interpolation takes: one vector, wherever it begins, times one vector of weights. Nothing has to be
permuted, and places and weights are computed once for four.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from llvmlite import ir
from numba import int32, types
from numba.extending import intrinsic

from tomolearn.kernels.compilation import compiled
from tomolearn.kernels.lanes import (
    LaneVector,
    _broadcast,
    _loader,
    _shuffle,
    _storer,
    maximum,
    minimum,
    store_eight,
    to_int32,
)
from tomolearn.kernels.windows import (
    FRONT,
    WIDTH,
    iota_eight,
    multiply_add,
    splat_eight,
    to_float,
)

_FUSED = ("contract",)
_FIRST = ir.Constant(ir.IntType(32), 0)


def _loaded(context: Any, builder: Any, kind: Any, array: Any, index: Any, count: int) -> Any:
    """Return the code of ``array[index : index + count]``."""
    load = _loader(LaneVector(kind.dtype, count))
    return load(context, builder, types.void(kind), [array, index])


def _weights(context: Any, builder: Any, signature: Any, args: Any) -> Iterator[tuple[Any, Any]]:
    """Yield for eight rows where their two voxels are in a line, and the code of the weights.

    The last arguments are `places` and `shares`, and where the rows begin there.
    """
    (of_places, of_shares, _), (places, shares, at) = signature.args[-3:], args[-3:]
    vector = LaneVector(of_shares.dtype, WIDTH)
    sign = ir.Constant(vector.llvm(), [-1.0] * 4 + [1.0] * 4)
    one = ir.Constant(vector.llvm(), [1.0] * 4 + [0.0] * 4)
    for row in range(WIDTH):
        index = builder.add(at, ir.Constant(at.type, row))
        place, share = (
            builder.extract_element(_loaded(context, builder, kind, array, index, 1), _FIRST)
            for kind, array in ((of_places, places), (of_shares, shares))
        )
        scaled = builder.fmul(_broadcast(builder, share, vector), sign, flags=_FUSED)
        yield builder.sext(place, at.type), builder.fadd(scaled, one, flags=_FUSED)


def _plus(builder: Any, first: Any, second: Any, third: Any) -> Any:
    """Return the code of ``first * second + third``."""
    return builder.fadd(builder.fmul(first, second, flags=_FUSED), third, flags=_FUSED)


@intrinsic
def _read(
    _context: Any, totals: Any, lines: Any, line: Any, places: Any, shares: Any, at: Any
) -> Any:
    """Return sums of eight rows, each plus its place of ``lines[line:]``."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        found = []
        for row, (place, weight) in enumerate(_weights(context, builder, signature, args)):
            index = builder.add(args[2], place)
            pair = _loaded(context, builder, lines, args[1], index, WIDTH)
            found.append(_plus(builder, weight, pair, builder.extract_value(args[0], row)))
        return context.make_tuple(builder, totals, found)

    return totals(totals, lines, types.intp, places, shares, types.intp), codegen


@intrinsic
def _write(
    _context: Any, values: Any, lines: Any, line: Any, places: Any, shares: Any, at: Any
) -> Any:
    """Add eight rows, each to its place of ``lines[line:]``."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        store = _storer(LaneVector(lines.dtype, WIDTH))
        for row, (place, weight) in enumerate(_weights(context, builder, signature, args)):
            index = builder.add(args[2], place)
            pair = _loaded(context, builder, lines, args[1], index, WIDTH)
            total = _plus(builder, weight, builder.extract_value(args[0], row), pair)
            store(context, builder, types.void(lines), [args[1], index, total])
        return context.get_dummy_value()

    return types.void(values, lines, types.intp, places, shares, types.intp), codegen


@intrinsic
def _rows(_context: Any, array: Any, at: Any, apart: Any) -> Any:
    """Return eight rows of four values each, twice: ``array[at + row * apart + (0, 1, 2, 3)]``."""
    made = types.UniTuple(LaneVector(array.dtype, WIDTH), WIDTH)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        found, at = [], args[1]
        for _ in range(WIDTH):
            four = _loaded(context, builder, array, args[0], at, 4)
            found.append(_shuffle(builder, four, four, [0, 1, 2, 3] * 2))
            at = builder.add(at, args[2])
        return context.make_tuple(builder, made, found)

    return made(array, types.intp, types.intp), codegen


@intrinsic
def _add_to_rows(_context: Any, totals: Any, array: Any, at: Any) -> Any:
    """Add both halves of eight sums to eight rows of four values each."""
    half = LaneVector(array.dtype, 4)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        for row in range(WIDTH):
            at = builder.add(args[2], ir.Constant(args[2].type, 4 * row))
            total = _loaded(context, builder, array, args[1], at, 4)
            eight = builder.extract_value(args[0], row)
            for part in ([0, 1, 2, 3], [4, 5, 6, 7]):
                total = builder.fadd(total, _shuffle(builder, eight, eight, part))
            _storer(half)(context, builder, types.void(array), [args[1], at, total])
        return context.get_dummy_value()

    return types.void(totals, array, types.intp), codegen


@intrinsic
def _zeros(_context: Any, array: Any) -> Any:
    """Return the sums of eight rows: zeros of the type of an array."""
    made = types.UniTuple(LaneVector(array.dtype, WIDTH), WIDTH)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return context.make_tuple(builder, made, [ir.Constant(made.dtype.llvm(), None)] * WIDTH)

    return made(array), codegen


@compiled
def room(count, like):  # type: ignore[no-untyped-def]
    """Return the working memory of `resample` and `scatter` for so many lines."""
    return np.empty(count * WIDTH, np.int32), np.empty(count * WIDTH, like.dtype)


@compiled
def _find(v, apart, length, count, starts, steps, room):  # type: ignore[no-untyped-def]
    """Find where in lines eight rows are, `v` the first, and their shares of the second voxel."""
    places, shares = room
    dtype = shares.dtype.type
    lanes, none = iota_eight(dtype(0)), splat_eight(dtype(0))
    # beside a line there are two zeros
    first, last = splat_eight(int32(-2)), splat_eight(int32(length))
    for k in range(count):
        step = apart * steps[k]
        place = starts[k] + v * steps[k]
        whole = np.floor(place)
        fraction, slope = splat_eight(dtype(place - whole)), splat_eight(dtype(step))
        index = to_int32(lanes * slope + fraction)
        # far from zero single precision would round too much
        share = multiply_add(lanes, slope, none - to_float(index, dtype(0)))
        share = share + (lanes * dtype(step - dtype(step)) + fraction)
        index = minimum(maximum(index + splat_eight(int32(whole)), first), last)
        store_eight(places, k * WIDTH, index * int32(4))
        store_eight(shares, k * WIDTH, share)


@compiled
def resample(  # type: ignore[no-untyped-def]
    sums, at, low, high, lines, pitch, length, count, starts, steps, room
):
    """Add `count` lines to the sums of rows, low <= v < high, read at ``starts + v * steps``.

    A line has `length` voxels of four volumes behind FRONT of zeros; `at` is where the sum of row 0
    is. Seven more rows may be added to.
    """
    places, shares = room
    for v in range(low, high, WIDTH):
        _find(v, 1, length, count, starts, steps, room)
        totals = _zeros(sums)
        for k in range(count):
            totals = _read(totals, lines, k * pitch + 4 * FRONT, places, shares, k * WIDTH)
        _add_to_rows(totals, sums, at + 4 * v)


@compiled
def scatter(  # type: ignore[no-untyped-def]
    values, at, rows, lines, pitch, length, count, starts, steps, room
):
    """Add rows of values to `count` lines, the transpose of `resample`.

    Behind the rows there are seven of zeros. What is beside a line is added to the zeros around it.
    """
    places, shares = room
    low, high = rows, 0
    for k in range(count):
        low = min(low, max(0, math.ceil((-1 - starts[k]) / steps[k])))
        high = max(high, min(rows, math.ceil((length - starts[k]) / steps[k])))
    # rows far apart: a neighbour's sum would still be on its way to the cache
    apart = (high - low + WIDTH - 1) // WIDTH
    for v in range(low, low + apart):
        _find(v, apart, length, count, starts, steps, room)
        some = _rows(values, at + 4 * v, 4 * apart)
        for k in range(count):
            _write(some, lines, k * pitch + 4 * FRONT, places, shares, k * WIDTH)
