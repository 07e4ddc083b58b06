"""Which part of a grid a scan sees."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tomolearn.geometry.grid import Grid, check_grid
from tomolearn.geometry.scan import Scan, check_scan


class CoverageWarning(UserWarning):
    """The detector does not see all that lies in the circle that fits into the grid."""


def field_of_view(grid: Grid, scan: Scan) -> np.ndarray:
    """Return which pixels every view sees.

    Parameters
    ----------
    grid : Grid
        The grid.
    scan : Scan
        The scan, of the same dimension as the grid. On a helix hardly a voxel is in all views.

    Returns
    -------
    numpy.ndarray of bool, shape of the grid
        True where the pixel's centre is projected onto the detector in all views.

    Raises
    ------
    TypeError, ValueError
        If an argument is not a grid or not a scan, or they differ in dimension.
    """
    check_scan(scan)
    check_grid(grid, scan.ndim)
    mask = np.ones(grid.shape, dtype=bool)
    for seen in scan.project_points(*np.ix_(*grid.coordinates())):
        for bins, count in zip(seen.bins, scan.detector_shape, strict=True):
            mask &= (bins >= -0.5) & (bins <= count - 0.5)
    return mask


def coverage_gap(grid: Grid, scan: Scan) -> float:
    """Return by how many mm the detector falls short of the circle that fits into the grid.

    The corners outside of that circle (an ellipse on a rectangular grid) do not count:
    clinical scans do not see them. Nor do, in a cone beam, the ends of the volume nearer to the
    source than its middle, and on a helix the ends at all.

    Parameters
    ----------
    grid : Grid
        The grid.
    scan : Scan
        The scan, of the same dimension as the grid.

    Returns
    -------
    float
        In mm on the detector. Zero or less means that the detector is large enough, infinity
        that the source does not stay outside.

    Raises
    ------
    TypeError, ValueError
        If an argument is not a grid or not a scan, or they differ in dimension.
    """
    check_scan(scan)
    check_grid(grid, scan.ndim)
    (x0, y0), (height, width) = grid.center[-2:], grid.size[-2:]
    turn = np.linspace(0, 2 * np.pi, 180, endpoint=False)
    x, y = x0 + height / 2 * np.cos(turn), y0 + width / 2 * np.sin(turn)
    # a few dozen views show the gap; their number must not make the check cost time
    views = scan.subset(slice(None, None, max(1, scan.n_angles // 64)))
    gap = max(_beyond(views, -1, *grid.center[:-2], x, y))
    if scan.ndim == 3 and np.ptp(scan.vectors().source[:, 0]) <= 1e-6 * grid.size[0]:
        ends = np.array([grid.lower[0], grid.upper[0]])
        gap = max(gap, *_beyond(views, 0, ends, np.array(x0), np.array(y0)))
    return gap


def sources_inside(grid: Grid, scan: Scan) -> bool:
    """Return whether in some view the source lies within the grid, so that rays begin there."""
    sources = scan.sources()
    if sources is None:
        return False
    inside = (sources > np.array(grid.lower)) & (sources < np.array(grid.upper))
    return bool(inside.all(axis=1).any())


def _beyond(scan: Scan, axis: int, *points: np.ndarray | float) -> Iterator[float]:
    """Yield per view how many mm beyond the detector's ends points are seen along an axis."""
    count, size = scan.detector_shape[axis], scan.bin_sizes[axis]
    for seen in scan.project_points(*map(np.asarray, points)):
        bins = seen.bins[axis]
        yield float(max(-0.5 - bins.min(), bins.max() - (count - 0.5))) * size
