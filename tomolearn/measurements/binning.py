"""Means over neighbouring bins, and the scans and grids that belong to them."""

from __future__ import annotations

import numpy as np

from tomolearn._core.errors import TomolearnError
from tomolearn.geometry import Grid, Scan


def binned_array(array: np.ndarray, factors: tuple[int, ...]) -> np.ndarray:
    """Return means over blocks of so many bins along the last axes, what is left over dropped.

    Parameters
    ----------
    array : numpy.ndarray, shape (..., *bins)
    factors : tuple of int
        One per axis, for the last ones.

    Raises
    ------
    ValueError
        If there are fewer bins than a block has.
    """
    for axis, factor in zip(range(-len(factors), 0), factors, strict=True):
        count = array.shape[axis] // factor
        if count == 0:
            raise TomolearnError(
                f"n: expected at most the {array.shape[axis]} bins of the detector, got {factor}"
            )
        if factor > 1:
            moved = np.moveaxis(array, axis, -1)[..., : count * factor]
            means = moved.reshape(*moved.shape[:-1], count, factor).mean(-1)
            array = np.moveaxis(means, -1, axis)
    return array


def binned_scan(scan: Scan, *, axis: int, count: int, factor: int, shift: float) -> Scan:
    """Return the scan with `count` bins of `factor` old ones along a detector axis.

    Parameters
    ----------
    scan : Scan
    axis : int
        Detector axis: 0 is the rows of a cone beam.
    count, factor : int
        Number of the new bins, and how many old ones each is.
    shift : float
        How many old bins the middle of the detector is moved.

    Raises
    ------
    ValueError
        If these are rows of a scan that has none.
    """
    last = axis == len(scan.detector_shape) - 1
    changed = (scan.with_columns if last else scan.with_rows)(count, factor, shift)
    # by the constructor, unlike these: this is a detector that users see
    return type(scan).from_dict(changed.to_dict())


def binned_grid(grid: Grid, n: int) -> Grid:
    """Return the grid of the same extent with pixels that are about `n` times as large."""
    shape = tuple(-(-count // n) for count in grid.shape)
    spacing = tuple(size / count for size, count in zip(grid.size, shape, strict=True))
    return Grid(shape, spacing, center=grid.center)
