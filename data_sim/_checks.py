"""Argument checks: every error names the argument, what was expected and what came."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tomolearn._core.errors import TomolearnError, TomolearnTypeError


def check_generator(rng: Any) -> None:
    """Raise TypeError unless ``rng`` is a `numpy.random.Generator`."""
    if not isinstance(rng, np.random.Generator):
        raise TomolearnTypeError(
            "rng: expected a numpy.random.Generator, e.g. numpy.random.default_rng(0), "
            f"got {type(rng).__name__}"
        )


def check_count(name: str, value: Any, minimum: int) -> int:
    """Return ``value`` as an int of at least ``minimum``."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TomolearnTypeError(
            f"{name}: expected an integer, got {value!r} ({type(value).__name__})"
        )
    if value < minimum:
        raise TomolearnError(f"{name}: expected an integer >= {minimum}, got {value}")
    return int(value)


def check_shape(shape: Any) -> tuple[int, int]:
    """Return ``shape`` as (rows, columns) with both at least 1."""
    if isinstance(shape, str) or not isinstance(shape, Sequence):
        raise TomolearnTypeError(
            f"shape: expected a pair (rows, columns), got {type(shape).__name__}"
        )
    if len(shape) != 2:
        raise TomolearnError(f"shape: expected a pair (rows, columns), got {len(shape)} entries")
    return check_count("shape[0]", shape[0], 1), check_count("shape[1]", shape[1], 1)


def check_number(
    name: str, value: Any, *, minimum: float = -math.inf, exclusive: bool = False
) -> float:
    """Return ``value`` as a finite float not below (or, exclusive, above) ``minimum``."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TomolearnTypeError(
            f"{name}: expected a real number, got {value!r} ({type(value).__name__})"
        )
    number = float(value)
    if not math.isfinite(number) or number < minimum or (exclusive and number == minimum):
        bound = "" if minimum == -math.inf else f" {'>' if exclusive else '>='} {minimum:g}"
        raise TomolearnError(f"{name}: expected a finite number{bound}, got {value}")
    return number


def real_array(name: str, value: ArrayLike) -> NDArray[np.float64]:
    """Return ``value`` as a new float64 array of finite numbers."""
    raw = np.asarray(value)
    if raw.dtype.kind not in "iuf":
        raise TomolearnTypeError(f"{name}: expected real numbers, got dtype {raw.dtype}")
    array = np.array(raw, dtype=np.float64)
    if not np.isfinite(array).all():
        raise TomolearnError(
            f"{name}: expected finite numbers, got {np.sum(~np.isfinite(array))} others"
        )
    return array


def check_sinogram(name: str, value: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return ``value`` if it is a finite float32 or float64 array (..., angles, detectors)."""
    array = np.asarray(value)
    if array.dtype not in (np.float32, np.float64):
        raise TomolearnTypeError(
            f"{name}: expected a float32 or float64 array, got dtype {array.dtype}"
        )
    if array.ndim < 2 or array.size == 0:
        raise TomolearnError(
            f"{name}: expected a non-empty array of shape (..., angles, detectors), "
            f"got shape {array.shape}"
        )
    if not np.isfinite(array).all():
        raise TomolearnError(
            f"{name}: expected finite numbers, got {np.sum(~np.isfinite(array))} others"
        )
    return array
