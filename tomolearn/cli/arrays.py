"""Sinograms from numpy and HDF5 files."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tomolearn._core.errors import TomolearnError, TomolearnTypeError
from tomolearn._core.memory import check_fits
from tomolearn.data.arrays import opened_array


def read_sinogram(path: Path, name: str | None, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Read line integrals of shape (..., *shape), in float32, from a file of numpy or HDF5.

    `name` is the array's, where a ``.npz`` or HDF5 file has several.
    """
    with opened_array(path, name, option="--dataset") as found:
        if found.dtype.kind != "f":
            raise TomolearnTypeError(
                f"{path}: expected line integrals as floating-point numbers, got {found.dtype}"
            )
        if 0 in found.shape or found.shape[-len(shape) :] != shape:
            wanted = ", ".join(map(str, shape))
            raise TomolearnError(
                f"{path}: expected shape (..., {wanted}) as in the scan, got {found.shape}"
            )
        check_fits(str(path), 2 * math.prod(found.shape) * found.dtype.itemsize)
        array = np.asarray(found[()])
    with np.errstate(over="ignore"):
        values = array.astype(np.float32)
    bad = np.argwhere(~np.isfinite(values))
    if len(bad):
        first = tuple(bad[0].tolist())
        raise TomolearnError(
            f"{path}: expected finite values, got {len(bad)} others, the first of them "
            f"{array[first]} at index {first}"
        )
    return values
