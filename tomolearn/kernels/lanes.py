"""SIMD values inside numba: a short vector of floats that is loaded, computed with and stored.

An array of *lanes* is a one-dimensional array whose elements are short vectors: what one pixel
or one ray holds for every image of a batch (and every symmetric copy of it). One interpolation
weight then serves a whole vector. Arrays of lanes have a structured data type, see `lane_dtype`,
so that the number of lanes is part of the type and numba caches one compiled kernel for each.

The vectors are LLVM's own; no instruction set is named.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np
from llvmlite import ir
from llvmlite.binding import get_host_cpu_features
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, models, overload, register_model

from tomolearn._core.errors import TomolearnTypeError

BLOCK = 16
"""How many interpolation weights are computed at once."""


class LaneVector(types.Type):
    """Numba type of a vector of `lanes` elements."""

    def __init__(self, element: Any, lanes: int) -> None:
        self.element, self.lanes = element, lanes
        super().__init__(name=f"LaneVector({element}, {lanes})")

    def llvm(self) -> ir.VectorType:
        """Return the LLVM vector type."""
        if isinstance(self.element, types.Integer):
            return ir.VectorType(ir.IntType(self.element.bitwidth), self.lanes)
        scalar = ir.FloatType() if self.element.bitwidth == 32 else ir.DoubleType()
        return ir.VectorType(scalar, self.lanes)


@register_model(LaneVector)
class _LaneVectorModel(models.PrimitiveModel):
    def __init__(self, manager: Any, vector: LaneVector) -> None:
        super().__init__(manager, vector, vector.llvm())


@lru_cache(maxsize=256)
def lane_dtype(dtype: np.dtype | type, lanes: int) -> np.dtype:
    """Return the data type of an array whose elements are vectors of `lanes` floats."""
    return np.dtype([("lanes", dtype, (lanes,))])


@lru_cache(maxsize=1)
def widest_vector() -> int:
    """Return how many bytes of lanes are fastest: more outgrow the registers, or the cache."""
    return _widest_vector(get_host_cpu_features())


def _widest_vector(features: Mapping[str, bool]) -> int:
    # sixteen registers of 32 bytes in place of 32 of 64
    return 128 if features.get("avx2") and not features.get("avx512f") else 256


def aligned_empty(length: int, dtype: np.dtype, alignment: int = 64) -> np.ndarray:
    """Return an uninitialised 1-D array that starts on a cache line."""
    raw = np.empty(length * dtype.itemsize + alignment, np.uint8)
    start = -raw.ctypes.data % alignment
    return raw[start : start + length * dtype.itemsize].view(dtype)


def _element_vector(array: types.Array) -> LaneVector:
    nested = array.dtype.fields["lanes"].type
    return LaneVector(nested.dtype, nested.shape[0])


def _address(context: Any, builder: Any, signature: Any, args: Any, vector: LaneVector) -> Any:
    data = context.make_array(signature.args[0])(context, builder, args[0]).data
    element = builder.gep(data, [args[1]], inbounds=True)
    return builder.bitcast(element, vector.llvm().as_pointer())


def _loader(vector: LaneVector) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer = _address(context, builder, signature, args, vector)
        return builder.load(pointer, align=vector.element.bitwidth // 8)

    return codegen


def _storer(vector: LaneVector) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer = _address(context, builder, signature, args, vector)
        builder.store(args[2], pointer, align=vector.element.bitwidth // 8)
        return context.get_dummy_value()

    return codegen


@intrinsic
def load(_context: Any, array: Any, index: Any) -> Any:
    """Return element `index` of an array of lanes."""
    vector = _element_vector(array)
    return vector(array, types.intp), _loader(vector)


@intrinsic
def store(_context: Any, array: Any, index: Any, value: Any) -> Any:
    """Set element `index` of an array of lanes."""
    return types.void(array, types.intp, value), _storer(_element_vector(array))


@intrinsic
def load_block(_context: Any, array: Any, index: Any) -> Any:
    """Return ``array[index : index + BLOCK]`` of a plain array."""
    vector = LaneVector(array.dtype, BLOCK)
    return vector(array, types.intp), _loader(vector)


@intrinsic
def store_block(_context: Any, array: Any, index: Any, value: Any) -> Any:
    """Set ``array[index : index + BLOCK]`` of a plain array."""
    return types.void(array, types.intp, value), _storer(LaneVector(array.dtype, BLOCK))


@intrinsic
def load_eight(_context: Any, array: Any, index: Any) -> Any:
    """Return eight neighbouring elements of a plain array."""
    vector = LaneVector(array.dtype, 8)
    return vector(array, types.intp), _loader(vector)


@intrinsic
def store_eight(_context: Any, array: Any, index: Any, value: Any) -> Any:
    """Set eight neighbouring elements of a plain array."""
    return types.void(array, types.intp, value), _storer(LaneVector(array.dtype, 8))


def _shuffle(builder: Any, first: Any, second: Any, mask: list[int]) -> Any:
    index = ir.Constant(ir.VectorType(ir.IntType(32), len(mask)), mask)
    return builder.shuffle_vector(first, second, index)


@intrinsic
def reverse_eight(_context: Any, value: Any) -> Any:
    """Return the elements in reverse order."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _shuffle(builder, args[0], args[0], [7, 6, 5, 4, 3, 2, 1, 0])

    return value(value), codegen


@intrinsic
def transpose_eight(_context: Any, rows: Any) -> Any:
    """Return the columns of a tuple of eight vectors of eight elements, as such a tuple."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        values = [builder.extract_value(args[0], k) for k in range(8)]
        # neighbouring rows, then pairs of them, then halves: what SIMD registers do fast
        for low, high, distance in (
            ([0, 8, 1, 9, 4, 12, 5, 13], [2, 10, 3, 11, 6, 14, 7, 15], 1),
            ([0, 1, 8, 9, 4, 5, 12, 13], [2, 3, 10, 11, 6, 7, 14, 15], 2),
            ([0, 1, 2, 3, 8, 9, 10, 11], [4, 5, 6, 7, 12, 13, 14, 15], 4),
        ):
            mixed = list(values)
            for k in range(8):
                if not k & distance:
                    pair = values[k], values[k | distance]
                    mixed[k] = _shuffle(builder, *pair, low)
                    mixed[k | distance] = _shuffle(builder, *pair, high)
            values = mixed
        # the steps leave columns 1 and 2 exchanged, and 5 and 6
        columns = [values[k] for k in (0, 2, 1, 3, 4, 6, 5, 7)]
        return context.make_tuple(builder, signature.return_type, columns)

    return rows(rows), codegen


@intrinsic
def zero(_context: Any, array: Any) -> Any:
    """Return zeros of the kind of the elements of an array of lanes."""
    vector = _element_vector(array)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return ir.Constant(vector.llvm(), [0.0] * vector.lanes)

    return vector(array), codegen


@intrinsic
def iota(_context: Any, scalar: Any) -> Any:
    """Return 0, 1, ..., BLOCK - 1 in the type of `scalar`."""
    vector = LaneVector(scalar, BLOCK)
    number = int if isinstance(scalar, types.Integer) else float

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return ir.Constant(vector.llvm(), [number(k) for k in range(BLOCK)])

    return vector(scalar), codegen


def _broadcast(builder: Any, scalar: Any, vector: LaneVector) -> Any:
    undefined = ir.Constant(vector.llvm(), ir.Undefined)
    first = builder.insert_element(undefined, scalar, ir.Constant(ir.IntType(32), 0))
    index = ir.Constant(ir.VectorType(ir.IntType(32), vector.lanes), [0] * vector.lanes)
    return builder.shuffle_vector(first, undefined, index)


@intrinsic
def splat(_context: Any, scalar: Any) -> Any:
    """Return BLOCK copies of `scalar`."""
    vector = LaneVector(scalar, BLOCK)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _broadcast(builder, args[0], vector)

    return vector(scalar), codegen


def _call(builder: Any, name: str, vector: LaneVector, args: Any) -> Any:
    kind = vector.llvm()
    letter = "i" if isinstance(vector.element, types.Integer) else "f"
    name = f"llvm.{name}.v{vector.lanes}{letter}{vector.element.bitwidth}"
    function = cgutils.get_or_insert_function(
        builder.module, ir.FunctionType(kind, [kind] * len(args)), name
    )
    return builder.call(function, args)


@intrinsic
def floor(_context: Any, value: Any) -> Any:
    """Return the largest whole numbers not above `value`."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _call(builder, "floor", value, args)

    return value(value), codegen


@intrinsic
def square_root(_context: Any, value: Any) -> Any:
    """Return the square roots."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _call(builder, "sqrt", value, args)

    return value(value), codegen


def _select(symbol: str, name: str) -> Any:
    @intrinsic
    def choose(_context: Any, first: Any, second: Any) -> Any:
        integers = isinstance(first.element, types.Integer)

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            compare = builder.icmp_signed if integers else builder.fcmp_ordered
            return builder.select(compare(symbol, *args), *args)

        return first(first, second), codegen

    choose.__name__ = name
    return choose


maximum = _select(">", "maximum")
minimum = _select("<", "minimum")


@intrinsic
def to_int32(_context: Any, value: Any) -> Any:
    """Return whole numbers as 32-bit integers."""
    vector = LaneVector(types.int32, value.lanes)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.fptosi(args[0], vector.llvm())

    return vector(value), codegen


def _arithmetic(symbol: Any, float_name: str, integer_name: str | None) -> None:
    """Make ``vector o vector`` and ``vector o scalar`` work in compiled code."""

    def codegen_of(vector: LaneVector, scalar: bool) -> Any:
        name = integer_name if isinstance(vector.element, types.Integer) else float_name
        if name is None:
            raise TomolearnTypeError(f"{symbol.__name__}: expected floats, got {vector}")

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            second = _broadcast(builder, args[1], vector) if scalar else args[1]
            if name in ("fmul", "fadd", "fsub"):
                # products may fuse with sums: one rounding less, and half the instructions
                return getattr(builder, name)(args[0], second, flags=("contract",))
            return getattr(builder, name)(args[0], second)

        return codegen

    @intrinsic
    def with_vector(_context: Any, first: Any, second: Any) -> Any:
        return first(first, second), codegen_of(first, scalar=False)

    @intrinsic
    def with_scalar(_context: Any, first: Any, second: Any) -> Any:
        return first(first, first.element), codegen_of(first, scalar=True)

    @overload(symbol)
    def implementation(first, second):  # type: ignore[no-untyped-def] # numba compares names
        if not isinstance(first, LaneVector):
            return None
        if isinstance(second, LaneVector):
            return lambda first, second: with_vector(first, second)
        return lambda first, second: with_scalar(first, second)


_arithmetic(operator.add, "fadd", "add")
_arithmetic(operator.sub, "fsub", "sub")
_arithmetic(operator.mul, "fmul", "mul")
_arithmetic(operator.truediv, "fdiv", None)
