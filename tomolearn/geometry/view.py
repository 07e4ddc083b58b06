"""Which part of a grid a scan sees."""

from __future__ import annotations

import math

import numpy as np

from tomolearn._core.errors import TomolearnTypeError
from tomolearn.geometry.cone import ConeBeam
from tomolearn.geometry.fan import FanBeam
from tomolearn.geometry.grid import Grid, check_grid
from tomolearn.geometry.parallel import ParallelBeam
from tomolearn.geometry.scan import Scan, plane_axes

__all__ = ["CoverageWarning", "coverage_gap", "field_of_view"]


class CoverageWarning(UserWarning):
    """The detector does not see all that lies in the circle that fits into the grid."""


def field_of_view(grid: Grid, scan: Scan) -> np.ndarray:
    """Return which pixels every view sees.

    Parameters
    ----------
    grid : Grid
        The grid.
    scan : ParallelBeam, FanBeam or ConeBeam
        The scan, of the same dimension as the grid. On a helix hardly a voxel is in all views.

    Returns
    -------
    numpy.ndarray of bool, shape of the grid
        True where the pixel's centre is projected onto the detector in all views.

    Raises
    ------
    TypeError
        If an argument is not a grid or not a scan.
    ValueError
        If grid and scan differ in dimension.
    """
    limits = _detector_limits(scan)
    check_grid(grid, scan.ndim)
    *slices, rows, columns = grid.coordinates()
    mask = np.ones(grid.shape, dtype=bool)
    for angle in scan.view_angles:
        across, magnification = _shadow(scan, rows[:, None], columns[None, :], angle)
        mask &= _within(across, limits[-1])
        if isinstance(scan, ConeBeam):
            heights = slices[0][:, None, None] - _source_height(scan, angle)
            mask &= _within(heights * magnification, limits[0])
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
    scan : ParallelBeam, FanBeam or ConeBeam
        The scan, of the same dimension as the grid.

    Returns
    -------
    float
        In mm on the detector. Zero or less means that the detector is large enough, infinity
        that the source does not stay outside.

    Raises
    ------
    TypeError
        If an argument is not a grid or not a scan.
    ValueError
        If grid and scan differ in dimension.
    """
    limits = _detector_limits(scan)
    check_grid(grid, scan.ndim)
    (x0, y0), (height, width) = grid.center[-2:], grid.size[-2:]
    turn = np.linspace(0, 2 * np.pi, 180, endpoint=False)
    x, y = x0 + height / 2 * np.cos(turn), y0 + width / 2 * np.sin(turn)
    gap = -math.inf
    # a few dozen views show the gap; their number must not make the check cost time
    for angle in scan.view_angles[:: max(1, scan.n_angles // 64)]:
        gap = max(gap, _beyond(_shadow(scan, x, y, angle)[0], limits[-1]))
        if isinstance(scan, ConeBeam) and scan.pitch == 0:
            magnification = _shadow(scan, np.array(x0), np.array(y0), angle)[1]
            ends = np.array([grid.lower[0], grid.upper[0]]) - scan.start_z
            gap = max(gap, _beyond(ends * magnification, limits[0]))
    return gap


def _shadow(
    scan: Scan, x: np.ndarray, y: np.ndarray, angle: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return where across the detector, in mm, points are projected, and how much magnified."""
    (cos, sin), (dx, dy) = (v[0] for v in plane_axes(np.array([angle])))
    across = x * cos + y * sin
    if not isinstance(scan, (FanBeam, ConeBeam)):
        return across, np.ones_like(across)
    along = x * dx + y * dy + scan.source_to_isocenter
    with np.errstate(divide="ignore", invalid="ignore"):
        magnification = scan.source_to_detector / along
        if isinstance(scan, FanBeam) and scan.detector == "curved":
            position = scan.source_to_detector * np.arctan2(across, along)
        else:
            position = across * magnification
    # what is beside or behind the source is not projected
    return np.where(along > 0, position, np.inf), magnification


def _source_height(scan: ConeBeam, angle: float) -> float:
    return scan.start_z + scan.pitch * angle / (2 * math.pi)


def _within(position: np.ndarray, limits: tuple[float, float]) -> np.ndarray:
    return (position >= limits[0]) & (position <= limits[1])


def _beyond(positions: np.ndarray, limits: tuple[float, float]) -> float:
    return float(max(limits[0] - positions.min(), positions.max() - limits[1]))


def _detector_limits(scan: Scan) -> list[tuple[float, float]]:
    """Return where the detector begins and ends in mm, along each of its axes."""
    if not isinstance(scan, (ParallelBeam, FanBeam, ConeBeam)):
        raise TomolearnTypeError(
            f"scan: expected ParallelBeam, FanBeam or ConeBeam, got {type(scan).__name__}"
        )
    spacings, offsets = np.atleast_1d(scan.detector_spacing), np.atleast_1d(scan.detector_offset)
    halves = np.array(scan.detector_shape) * spacings / 2
    return [(float(o - half), float(o + half)) for o, half in zip(offsets, halves, strict=True)]
