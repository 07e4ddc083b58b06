"""Which part of a grid a scan sees."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from tomolearn._core.errors import TomolearnError
from tomolearn._core.memory import check_fits
from tomolearn.geometry.grid import Grid, check_grid
from tomolearn.geometry.redundancy import TURN, detector_sides, open_edges, view_circle
from tomolearn.geometry.rotation import RotationScan
from tomolearn.geometry.scan import Scan, check_scan

# Bins on the shorter side of the central ray below which weights cannot change smoothly there.
_OVERLAP = 2.0

# Lines in this outermost part of the field may be seen by one side of the detector only.
_RIM = 0.05


class CoverageWarning(UserWarning):
    """The scan does not see all that lies in the circle that fits into the grid."""


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
    check_fits("grid", math.prod(grid.shape) * np.float64().itemsize)
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
    x, y = _inscribed_circle(grid)
    # a few dozen views show the gap; their number must not make the check cost time
    views = scan.subset(slice(None, None, max(1, scan.n_angles // 64)))
    gap = max(_beyond(views, -1, *grid.center[:-2], x, y))
    sources = scan.sources()
    # the directions of parallel rays, if there are no sources
    starts = scan.vectors().source if sources is None else sources
    if scan.ndim == 3 and np.ptp(starts[:, 0]) <= 1e-6 * grid.size[0]:
        ends = np.array([grid.lower[0], grid.upper[0]])
        gap = max(gap, *_beyond(views, 0, ends, *map(np.array, grid.center[1:])))
    return gap


def views_missing(scan: Scan) -> float:
    """Return what views lack at a full turn, in radians, if the detector is moved aside."""
    if not isinstance(scan, RotationScan) or not detector_sides(scan).excess:
        return 0.0
    return float(view_circle(scan, TURN).lengths.sum())


def line_gap(grid: Grid, scan: Scan) -> float:
    """Return the `coverage_gap` of which lines are not measured from their other end either.

    Where views go all around, both sides of a detector see as much as the longer one.
    """
    if isinstance(scan, RotationScan) and not views_missing(scan):
        short, excess, _ = detector_sides(scan)
        spacing = scan.bin_sizes[-1]
        # one bin as wide as twice the longer side, in the middle
        middle = (scan.shape[-1] - 1) / 2 - scan.center_bin
        scan = scan.with_columns(1, 2 * (short + excess) / spacing, -middle)
    return coverage_gap(grid, scan)


def judge_lines(grid: Grid, scan: Scan) -> str | None:
    """Return what to warn of where filtered back-projection lacks lines, if anything.

    Gaps that are bridged (`ViewCircle`) do not count, nor do, in parallel beams, directions beyond
    the arc that was scanned: their part of the image is not there, as one expects.

    Raises
    ------
    ValueError
        If lines through the circle that fits into the grid are seen by one side of the detector
        only, and not from all around.
    """
    if not isinstance(scan, RotationScan):
        return None
    circle = view_circle(scan, TURN)
    short, excess, sign = detector_sides(scan)
    spacing = scan.bin_sizes[-1]
    whole = bool((circle.lengths < 2 * circle.bridged).all())
    both, longer = scan.line_distances(np.array([short, short + excess])).tolist()
    field = min(float(np.hypot(*_inscribed_circle(grid)).max()), longer)
    doubled = 2 * short / spacing
    if excess and whole and doubled < 2 * _OVERLAP and not _is_whole(doubled):
        low, high = scan.column_positions[[0, -1]]
        raise TomolearnError(
            f"detector_offset: expected bins on both sides of the central ray, {_OVERLAP:g} or "
            f"more on the shorter one, got {short / spacing:.4g} (positions from {low:.6g} to "
            f"{high:.6g} mm); iterative methods need none"
        )
    widest = float(circle.lengths.max(initial=0.0))
    if field - both > _RIM * field and widest > circle.bridged:
        raise TomolearnError(
            f"scan: expected views all around, as only the {'upper' if sign > 0 else 'lower'} side "
            f"of the detector sees lines further than {both:.4g} mm from the axis, got none over "
            f"{math.degrees(widest):.4g} degrees; scan the full turn, move the detector, or "
            f"choose a grid within {both:.4g} mm of the axis"
        )
    if scan.is_parallel:
        half = view_circle(scan, math.pi)
        # not the wedge at the end of an arc that is shorter by choice
        between = np.diff(np.sort(scan.view_angles)).max(initial=0.0) > half.bridged
        if not between or not (half.lengths > half.bridged).any():
            return None
        widest = math.degrees(half.lengths.max())
        return (
            f"views are missing over {widest:.4g} degrees between others, and so is their part of "
            "the image"
        )
    distances = np.linspace(0, min(field, both), 64)
    fan = np.arcsin(distances / scan.source_to_isocenter)
    missing = np.max(
        [
            lengths.max(axis=0, initial=0.0)
            for side in (fan, -fan)
            for *_, lengths in open_edges(circle, math.pi - 2 * side)
        ],
        axis=0,
    )
    lacking = missing > circle.bridged
    if not lacking.any():
        return None
    needed = math.degrees(math.pi + 2 * fan[-1])
    return (
        f"lines further than {distances[np.argmax(lacking)]:.4g} mm from the axis are not measured "
        f"over up to {math.degrees(missing.max()):.4g} degrees, and their part of the image is "
        f"missing; {needed:.4g} degrees of views see all of the circle in the grid"
    )


def _is_whole(number: float) -> bool:
    return abs(number - round(number)) <= 2e-3


def _inscribed_circle(grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    """Return points ``x, y`` in mm on the circle, or ellipse, that fits into the grid."""
    (x, y), (height, width) = grid.center[-2:], grid.size[-2:]
    turn = np.linspace(0, 2 * np.pi, 180, endpoint=False)
    return x + height / 2 * np.cos(turn), y + width / 2 * np.sin(turn)


def sources_inside(grid: Grid, scan: Scan) -> bool:
    """Return whether in some view the source lies within the grid, so that rays begin there."""
    sources = scan.sources()
    if sources is None:
        return False
    inside = (sources > np.array(grid.lower)) & (sources < np.array(grid.upper))
    return bool(inside.all(axis=1).any())


def is_missed(grid: Grid, scan: Scan) -> bool:
    """Return whether no ray of any view can meet the grid.

    It compares the detector with the box around what the grid's corners are seen as.
    """
    ends = zip(grid.lower, grid.upper, strict=True)
    corners = np.meshgrid(*ends, indexing="ij")
    last = np.array(scan.detector_shape) - 0.5
    for seen in scan.project_points(*corners):
        bins = np.stack([axis.ravel() for axis in seen.bins])
        if not np.isfinite(bins).all():  # the source is beside the grid
            return False
        low, high = bins.min(axis=1), bins.max(axis=1)
        if scan.ndim == 3 and scan.is_curved:  # what is between corners may be seen beyond them
            low[0], high[0] = 2 * low[0] - high[0], 2 * high[0] - low[0]
        if np.all((high > -0.5) & (low < last)):
            return False
    return True


def _beyond(scan: Scan, axis: int, *points: np.ndarray | float) -> Iterator[float]:
    """Yield per view how many mm beyond the detector's ends points are seen along an axis."""
    count, size = scan.detector_shape[axis], scan.bin_sizes[axis]
    for seen in scan.project_points(*map(np.asarray, points)):
        bins = seen.bins[axis]
        yield float(max(-0.5 - bins.min(), bins.max() - (count - 0.5))) * size
