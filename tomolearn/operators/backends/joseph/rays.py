"""Tables of canonical rays, for the forward projection and the scattering adjoint."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tomolearn.geometry import Grid, Scan
from tomolearn.operators.backends.joseph.symmetry import GROUPS, Group, cluster, is_square, orbits

# Work per canonical ray that does not grow with the lanes, in lanes: computing the weights
# costs about as much as interpolating eight lanes.
WEIGHT_COST = 8

# Distances of rays in pixels, and of slopes, that count as none.
_TOLERANCE = 1e-9


@dataclass(frozen=True)
class RayTable:
    """Canonical rays that all step along the rows of their lanes' images.

    Ray ``k`` crosses row ``r`` at column ``start[k] + slope[k] * r``, counted with one column of
    zeros in front, for ``first_row[k] <= r < last_row[k]``; every crossing stands for `length[k]`
    millimetres. Lane ``s`` of the ray is ray ``members[k, s]`` of the scan, or none (-1).
    """

    rows: int
    columns: int
    elements: np.ndarray  # (lanes, 3): transposed, rows flipped, columns flipped
    start: np.ndarray
    slope: np.ndarray
    length: np.ndarray
    first_row: np.ndarray
    last_row: np.ndarray
    members: np.ndarray

    @property
    def n_lanes(self) -> int:
        """Number of symmetric copies."""
        return len(self.elements)

    @property
    def n_rays(self) -> int:
        """Number of canonical rays."""
        return len(self.start)

    @property
    def width(self) -> int:
        """Columns of the padded image."""
        return self.columns + 2

    @property
    def nbytes(self) -> int:
        """Memory of the table."""
        arrays = (self.start, self.slope, self.length, self.first_row, self.last_row, self.members)
        return sum(array.nbytes for array in arrays)


def _lines(grid: Grid, scan: Scan) -> tuple[np.ndarray, ...]:
    """Return per ray whether it steps along columns, its start, slope and step length.

    Positions count in pixels from the middle of the grid. A ray that steps along columns is
    described in the transposed image.
    """
    points, directions = (a.reshape(-1, 2) for a in scan.rays())
    spacing, center = np.array(grid.spacing), np.array(grid.center)
    # In pixels, so that no pixel is stepped over. On a tie ASTRA steps along columns; the margin
    # makes the choice independent of rounding.
    reach = np.abs(directions / spacing)
    swapped = reach[:, 0] <= reach[:, 1] * (1 + _TOLERANCE)
    along = swapped.astype(np.intp)  # the axis of the steps
    pick = np.arange(len(points))
    across = 1 - along
    tangent = directions[pick, across] / directions[pick, along]
    step, unit = spacing[along], spacing[across]
    offset = points[pick, across] - center[across]
    offset += tangent * (center[along] - points[pick, along])
    return swapped, offset / unit, tangent * step / unit, step * np.sqrt(1 + tangent**2)


def _fold(
    group: Group, swapped: np.ndarray, start: np.ndarray, slope: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Map every ray to its canonical one; return start, slope and the lane it went through."""
    transposed = swapped & (group.swap != "none")
    flip_rows = transposed & (group.swap == "turn")
    slope = np.where(flip_rows, -slope, slope)
    flip_columns = (start < -_TOLERANCE) & (group.flips != "none")
    start = np.where(flip_columns, -start, start)
    if group.flips == "turn":
        flip_rows = flip_rows ^ flip_columns
    elif group.flips == "both":
        slope = np.where(flip_columns, -slope, slope)
        down = slope < -_TOLERANCE
        flip_rows, slope = flip_rows ^ down, np.where(down, -slope, slope)
    return start, slope, group.lane_of(transposed, flip_rows, flip_columns)


def _visible_rows(
    start: np.ndarray, slope: np.ndarray, rows: int, columns: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the range of rows that each ray crosses between the padding columns."""
    with np.errstate(divide="ignore", invalid="ignore"):
        enter, leave = -start / slope, (columns + 1 - start) / slope
    low, high = np.minimum(enter, leave), np.maximum(enter, leave)
    level = np.abs(slope) < 1e-12
    inside = (start > 0) & (start < columns + 1)
    low = np.where(level, np.where(inside, 0, rows), np.ceil(low))
    high = np.where(level, np.where(inside, rows, 0), np.floor(high) + 1)
    low, high = np.clip(low, 0, rows), np.clip(high, 0, rows)
    return low.astype(np.int64), np.maximum(low, high).astype(np.int64)


def _table(
    grid: Grid,
    lines: tuple[np.ndarray, ...],
    group: Group,
    swapped: bool,
    folded: tuple[np.ndarray, np.ndarray, np.ndarray],
    selection: np.ndarray,
) -> RayTable:
    start, slope, lane = (array[selection] for array in folded)
    slopes, starts = cluster(slope, _TOLERANCE), cluster(start, _TOLERANCE)
    members, first = orbits(slopes * (starts.max() + 1) + starts, lane, len(group.lanes))
    members = np.where(members < 0, -1, selection[members]).astype(np.int32)
    start, slope, length = start[first], slope[first], lines[3][selection][first]
    elements = [(int(swapped) ^ t, r, c) for t, r, c in group.lanes]
    rows, columns = grid.shape[::-1] if swapped else grid.shape
    start = start - slope * (rows - 1) / 2 + (columns - 1) / 2 + 1
    first_row, last_row = _visible_rows(start, slope, rows, columns)
    return RayTable(
        rows,
        columns,
        np.array(elements, np.int64),
        start,
        slope,
        length,
        first_row,
        last_row,
        members,
    )


def ray_tables(grid: Grid, scan: Scan, groups: Sequence[Group] | None = None) -> list[RayTable]:
    """Return the canonical rays of a plane scan under the symmetries that save the most work.

    `groups` are those to choose from, by default all.

    It is one table if rows and columns are exchangeable, else one for the rays that step along rows
    and one for those that step along columns; every ray is in exactly one.
    """
    lines = _lines(grid, scan)
    swapped, start, slope = lines[:3]
    best: list[RayTable] = []
    best_cost = np.inf
    for group in GROUPS if groups is None else groups:
        if group.swap != "none" and not is_square(grid):
            continue
        floor_cost = len(start) / len(group.lanes) * (WEIGHT_COST + len(group.lanes))
        if floor_cost >= best_cost:
            continue  # not even perfect symmetry would be better
        folded = _fold(group, swapped, start, slope)
        tables = []
        for orientation in (False, True):
            if group.swap != "none" and orientation:
                continue
            chosen = np.ones(len(start), bool) if group.swap != "none" else swapped == orientation
            selection = np.flatnonzero(chosen)
            if selection.size:
                tables.append(_table(grid, lines, group, orientation, folded, selection))
        cost = sum(t.n_rays for t in tables) * (WEIGHT_COST + len(group.lanes))
        if cost < best_cost:
            best, best_cost = tables, cost
    return best
