"""Which part of a grid a scan sees."""

from __future__ import annotations

import numpy as np

from tomolearn.geometry.fan import FanBeam
from tomolearn.geometry.grid import Grid
from tomolearn.geometry.parallel import ParallelBeam
from tomolearn.geometry.scan import Scan, plane_axes

__all__ = ["CoverageWarning", "coverage_gap", "field_of_view"]


class CoverageWarning(UserWarning):
    """The detector does not see all that lies in the circle that fits into the grid."""


def detector_position(scan: Scan, x: np.ndarray, y: np.ndarray, angle: float) -> np.ndarray:
    """Return where on the detector, in mm, the ray through each point arrives."""
    (cos, sin), (dx, dy) = (v[0] for v in plane_axes(np.array([angle])))
    across = x * cos + y * sin
    if isinstance(scan, ParallelBeam):
        return across
    if not isinstance(scan, FanBeam):
        raise TypeError(
            f"scan: expected ParallelBeam or FanBeam, got {type(scan).__name__}; for a cone "
            "beam ask its central FanBeam"
        )
    along = x * dx + y * dy + scan.source_to_isocenter
    if scan.detector == "curved":
        return scan.source_to_detector * np.arctan2(across, along)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(along > 0, scan.source_to_detector * across / along, np.inf)


def field_of_view(grid: Grid, scan: Scan) -> np.ndarray:
    """Return which pixels every view sees.

    Parameters
    ----------
    grid : Grid
        Two-dimensional grid.
    scan : ParallelBeam or FanBeam
        The scan.

    Returns
    -------
    numpy.ndarray of bool, shape of the grid
        True where the pixel's centre is projected onto the detector in all views.

    Raises
    ------
    TypeError
        If the scan is not a two-dimensional one.
    ValueError
        If the grid is not two-dimensional.
    """
    if grid.ndim != 2:
        raise ValueError(f"grid: expected a 2-D grid, got shape {grid.shape}")
    rows, columns = grid.coordinates()
    x, y = rows[:, None], columns[None, :]
    mask = np.ones(grid.shape, dtype=bool)
    low, high = _detector_edges(scan)
    for angle in scan.view_angles:
        position = detector_position(scan, x, y, angle)
        mask &= (position >= low) & (position <= high)
    return mask


def coverage_gap(grid: Grid, scan: Scan) -> float:
    """Return by how many mm the detector falls short of the circle that fits into the grid.

    The corners outside of that circle (an ellipse on a rectangular grid) do not count:
    clinical scans do not see them. Zero or less means that the detector is wide enough.

    Parameters
    ----------
    grid : Grid
        Two-dimensional grid.
    scan : ParallelBeam or FanBeam
        The scan.
    """
    turn = np.linspace(0, 2 * np.pi, 180, endpoint=False)
    x = grid.center[0] + grid.size[0] / 2 * np.cos(turn)
    y = grid.center[1] + grid.size[1] / 2 * np.sin(turn)
    low, high = _detector_edges(scan)
    # a few dozen views show the gap; their number must not make the check cost time
    angles = scan.view_angles[:: max(1, scan.n_angles // 64)]
    seen = np.concatenate([detector_position(scan, x, y, angle) for angle in angles])
    return float(max(low - seen.min(), seen.max() - high))


def _detector_edges(scan: Scan) -> tuple[float, float]:
    if not isinstance(scan, (ParallelBeam, FanBeam)):
        raise TypeError(f"scan: expected ParallelBeam or FanBeam, got {type(scan).__name__}")
    half = scan.n_detectors * scan.detector_spacing / 2
    return scan.detector_offset - half, scan.detector_offset + half
