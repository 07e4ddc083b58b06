"""Eight neighbouring values as a SIMD vector, taken from a window of neighbours by a permutation.

`take` is written as a chain of extractions and insertions with variable indices, which LLVM turns
into one permutation of a register where there is one (AVX2, AVX-512, NEON), into scalar code
elsewhere. Vectors are those of `lanes`.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from tomolearn.kernels.lanes import LaneVector, _broadcast, _call, _loader

WIDTH = 8

FRONT, BACK = 24, 40
"""Zeros before and behind what windows are taken from."""

_INT32 = ir.IntType(32)


def _constant(value: int) -> Any:
    return ir.Constant(ir.VectorType(_INT32, WIDTH), [value] * WIDTH)


@intrinsic
def iota_eight(_context: Any, scalar: Any) -> Any:
    """Return 0, 1, ..., 7 in the type of the float `scalar`."""
    vector = LaneVector(scalar, WIDTH)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return ir.Constant(vector.llvm(), [float(k) for k in range(WIDTH)])

    return vector(scalar), codegen


@intrinsic
def splat_eight(_context: Any, scalar: Any) -> Any:
    """Return eight copies of `scalar`."""
    vector = LaneVector(scalar, WIDTH)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _broadcast(builder, args[0], vector)

    return vector(scalar), codegen


@intrinsic
def to_float(_context: Any, index: Any, scalar: Any) -> Any:
    """Return integers as floats of the type of `scalar`."""
    vector = LaneVector(scalar, index.lanes)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.sitofp(args[0], vector.llvm())

    return vector(index, scalar), codegen


@intrinsic
def multiply_add(_context: Any, first: Any, second: Any, third: Any) -> Any:
    """Return ``first * second + third``, rounded once."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _call(builder, "fma", first, args)

    return first(first, second, third), codegen


def _permuted(builder: Any, vector: LaneVector, window: Any, index: Any) -> Any:
    taken = ir.Constant(vector.llvm(), ir.Undefined)
    for lane in range(WIDTH):
        at = ir.Constant(_INT32, lane)
        value = builder.extract_element(window, builder.extract_element(index, at))
        taken = builder.insert_element(taken, value, at)
    return taken


@intrinsic
def take(_context: Any, window: Any, index: Any) -> Any:
    """Return ``window[index]``, 0 <= index < 8."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        # the mask tells LLVM that no index is out of range
        index = builder.and_(args[1], _constant(WIDTH - 1))
        return _permuted(builder, window, args[0], index)

    return window(window, index), codegen


@intrinsic
def load_windows(_context: Any, array: Any, start: Any, shifts: Any) -> Any:
    """Return ``array[start + shift : start + shift + 8]`` for each of a tuple of shifts."""
    vector = LaneVector(array.dtype, WIDTH)
    made = types.UniTuple(vector, len(shifts))

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        loaded = []
        for k in range(len(shifts)):
            at = builder.add(args[1], builder.extract_value(args[2], k))
            loaded.append(_loader(vector)(context, builder, signature, [args[0], at]))
        return context.make_tuple(builder, made, loaded)

    return made(array, types.intp, types.UniTuple(types.intp, len(shifts))), codegen


@intrinsic
def take_of_many(_context: Any, windows: Any, index: Any) -> Any:
    """Return elements of a tuple of neighbouring windows, 0 <= index < 8 len(windows)."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        within = builder.and_(args[1], _constant(WIDTH - 1))
        taken = None
        for k in range(len(windows)):
            window = builder.extract_value(args[0], k)
            found = _permuted(builder, windows.dtype, window, within)
            if taken is not None:
                behind = builder.icmp_signed(">", args[1], _constant(WIDTH * k - 1))
                found = builder.select(behind, found, taken)
            taken = found
        return taken

    return windows.dtype(windows, index), codegen


@intrinsic
def gather_eight(_context: Any, array: Any, start: Any, index: Any) -> Any:
    """Return ``array[start + index]`` of a plain array."""
    vector = LaneVector(array.dtype, WIDTH)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        first = builder.gep(data, [args[1]], inbounds=True)
        taken = ir.Constant(vector.llvm(), ir.Undefined)
        for lane in range(WIDTH):
            at = ir.Constant(_INT32, lane)
            value = builder.load(builder.gep(first, [builder.extract_element(args[2], at)]))
            taken = builder.insert_element(taken, value, at)
        return taken

    return vector(array, types.intp, index), codegen
