"""Means over neighbouring bins, and the scans and grids that belong to them."""

from __future__ import annotations

from typing import Any

import numpy as np

from tomolearn._core.errors import TomolearnError
from tomolearn.geometry import ConeBeam, Grid, Scan, Views


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
    if axis == len(scan.detector_shape) - 1:
        # by the constructor, unlike with_columns: this is a detector that users see
        return type(scan).from_dict(scan.with_columns(count, factor, shift).to_dict())
    if isinstance(scan, Views):
        return _binned_views(scan, axis, count, factor, shift)
    if not isinstance(scan, ConeBeam):
        raise TomolearnError(
            f"scan: expected a ConeBeam or Views to choose or bin rows of, got "
            f"{type(scan).__name__}"
        )

    def changed(values: tuple[Any, ...], value: Any) -> list[Any]:
        return [value if k == axis else old for k, old in enumerate(values)]

    spacing, offset = scan.detector_spacing, scan.detector_offset
    return ConeBeam.from_dict(
        scan.to_dict()
        | {
            "detector_shape": changed(scan.detector_shape, count),
            "detector_spacing": changed(spacing, spacing[axis] * factor),
            "detector_offset": changed(offset, offset[axis] + shift * spacing[axis]),
        }
    )


def _binned_views(scan: Views, axis: int, count: int, factor: int, shift: float) -> Views:
    source, detector, steps = scan.vectors()
    shape, joined = list(scan.detector_shape), list(steps)
    shape[axis], joined[axis] = count, factor * steps[axis]
    start = {"direction" if scan.is_parallel else "source": source}
    return Views(shape, detector + shift * steps[axis], joined, **start)


def binned_grid(grid: Grid, n: int) -> Grid:
    """Return the grid of the same extent with pixels that are about `n` times as large."""
    shape = tuple(-(-count // n) for count in grid.shape)
    spacing = tuple(size / count for size, count in zip(grid.size, shape, strict=True))
    return Grid(shape, spacing, center=grid.center)
