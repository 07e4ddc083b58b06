"""Sinograms from numpy and HDF5 files."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tomolearn._core.errors import TomolearnError, TomolearnTypeError
from tomolearn._core.memory import check_fits
from tomolearn.data.arrays import opened_array


def read_sinogram(
    path: Path,
    name: str | None,
    shape: tuple[int, ...],
    weights: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """Read line integrals of shape (..., *shape), in float32, from a file of numpy or HDF5.

    `name` is the array's, where a ``.npz`` or HDF5 file has several. They need not be finite where
    weights of theirs are zero.
    """
    array = _read(path, name, shape, "line integrals as floating-point numbers", "f")
    return _finite(path, array, None if weights is None else weights == 0)


def read_weights(path: Path, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Read weights of measured values, or a mask, of shape (..., *shape), in float32."""
    return _finite(path, _read(path, None, shape, "weights as numbers, or a mask", "fbiu"), None)


def _read(
    path: Path, name: str | None, shape: tuple[int, ...], what: str, kinds: str
) -> NDArray[Any]:
    with opened_array(path, name, option="--dataset") as found:
        if found.dtype.kind not in kinds:
            raise TomolearnTypeError(f"{path}: expected {what}, got {found.dtype}")
        if 0 in found.shape or found.shape[-len(shape) :] != shape:
            wanted = ", ".join(map(str, shape))
            raise TomolearnError(
                f"{path}: expected shape (..., {wanted}) as in the scan, got {found.shape}"
            )
        check_fits(str(path), 2 * math.prod(found.shape) * found.dtype.itemsize)
        return np.asarray(found[()])


def _finite(path: Path, array: NDArray[Any], dead: NDArray[np.bool_] | None) -> NDArray[np.float32]:
    """Return an array in float32, if all values are finite, but for dead ones."""
    with np.errstate(over="ignore"):
        values = array.astype(np.float32)
    spoiled = ~np.isfinite(values)
    if dead is not None and dead.shape == values.shape[values.ndim - dead.ndim :]:
        spoiled &= ~dead
    bad = np.argwhere(spoiled)
    if len(bad):
        first = tuple(bad[0].tolist())
        raise TomolearnError(
            f"{path}: expected finite values, got {len(bad)} others, the first of them "
            f"{array[first]} at index {first}"
        )
    return values
