"""Tables of canonical views, for the pixel-driven back-projection."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tomolearn.geometry import FanBeam, Grid, ParallelBeam
from tomolearn.kernels.joseph import CURVED, FLAT, PARALLEL
from tomolearn.operators.backends.joseph.symmetry import GROUPS, Group, cluster, is_square, orbits

_WEIGHT_COST = 4  # as in `rays`; a view needs fewer weights per pixel than a ray
_TOLERANCE = 1e-9


@dataclass(frozen=True)
class ViewTable:
    """Canonical views, see `kernels.gather` for the coefficients.

    `members[v, lane]` is what `layout.pack_views` copies: (angle or -1, first bin, step, bins to
    leave out).
    """

    kind: int
    bins: int
    across: np.ndarray
    along: np.ndarray
    scale: np.ndarray
    members: np.ndarray
    elements: np.ndarray

    @property
    def n_views(self) -> int:
        """Number of canonical views."""
        return len(self.across)

    @property
    def n_lanes(self) -> int:
        """Number of symmetric copies."""
        return len(self.elements)

    @property
    def nbytes(self) -> int:
        """Memory of the table."""
        arrays = (self.across, self.along, self.members)
        return sum(array.nbytes for array in arrays)


def _parts_of_views(
    grid: Grid, scan: ParallelBeam | FanBeam, symmetric: bool
) -> tuple[np.ndarray, ...]:
    """Return per part of a view its direction angle, and (angle, first bin, step, left out).

    A centred parallel view is two parts, the bins outwards from the middle, if `symmetric`: then
    the half turn is a symmetry of any set of angles. All other views are one part.
    """
    n, turn = scan.n_detectors, 2 * np.pi
    angle = np.arange(scan.n_angles)
    bins = np.zeros((scan.n_angles, 3), np.int64)
    bins[:, 1] = 1
    if isinstance(scan, FanBeam):
        return (scan.view_angles + np.pi / 2) % turn, np.column_stack([angle, bins])
    if scan.detector_offset != 0 or any(grid.center) or not symmetric:
        return scan.view_angles % turn, np.column_stack([angle, bins])
    outwards, inwards = bins.copy(), bins.copy()
    odd = n % 2
    outwards[:, 0] = n // 2
    # the middle bin of an odd number belongs to the outward part
    inwards[:] = (n // 2 - 1 + odd, -1, odd)
    directions = np.concatenate([scan.view_angles, scan.view_angles + np.pi]) % turn
    members = np.column_stack([np.tile(angle, 2), np.concatenate([outwards, inwards])])
    return directions, members


def _fold(group: Group, direction: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Map directions (angles to the row axis) to canonical ones; return the lane, and mirrored."""
    x, y = np.cos(direction), np.sin(direction)  # along rows' index and along columns' index
    none = np.zeros(direction.size, bool)
    transposed, flip_rows, flip_columns = none, none, none
    if group.swap != "none":
        transposed = np.abs(x) > np.abs(y) * (1 + _TOLERANCE)
        x, y = np.where(transposed, y, x), np.where(transposed, x, y)
        if group.swap == "turn":
            flip_rows = transposed
            x = np.where(flip_rows, -x, x)
    if group.flips != "none":
        left = y < -_TOLERANCE
        if group.flips == "turn":  # on the row axis itself both signs of y are zero
            left = left | ((np.abs(y) <= _TOLERANCE) & (x < 0))
            flip_rows, x = flip_rows ^ left, np.where(left, -x, x)
        flip_columns, y = left, np.where(left, -y, y)
    if group.flips == "both":
        up = x < -_TOLERANCE
        flip_rows, x = flip_rows ^ up, np.where(up, -x, x)
    mirrored = (transposed + flip_rows.astype(np.int64) + flip_columns) % 2 == 1
    return np.arctan2(y, x), group.lane_of(transposed, flip_rows, flip_columns), mirrored


def _choose(
    grid: Grid, scan: ParallelBeam | FanBeam, direction: np.ndarray, groups: Sequence[Group]
) -> tuple[Group, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    centred = not any(grid.center)
    halved = direction.size == 2 * scan.n_angles
    best, best_cost = None, np.inf
    for group in groups:
        mirrors = group.flips == "both" or group.swap == "transpose"
        allowed = group == GROUPS[-1] or (
            centred
            and (is_square(grid) or group.swap == "none")
            # a mirrored view is the opposite view read backwards, if the detector is centred
            and (scan.detector_offset == 0 or not mirrors)
            and (halved or not scan.is_parallel or not mirrors)
        )
        if not allowed:
            continue
        canonical, lane, mirrored = _fold(group, direction)
        members, first = orbits(cluster(canonical, _TOLERANCE), lane, len(group.lanes))
        cost = len(first) * (_WEIGHT_COST + len(group.lanes))
        if cost < best_cost:
            best, best_cost = (group, canonical, mirrored, members, first), cost
    if best is None:
        raise RuntimeError("no symmetry group was allowed, not even the trivial one")
    return best


def view_table(grid: Grid, scan: ParallelBeam | FanBeam, *, symmetric: bool = True) -> ViewTable:
    """Return the canonical views of a scan under the symmetries that save the most work.

    If not `symmetric` they are all views, in their order.
    """
    direction, parts = _parts_of_views(grid, scan, symmetric)
    groups = GROUPS if symmetric else GROUPS[-1:]
    group, canonical, mirrored, members, first = _choose(grid, scan, direction, groups)
    halved = len(parts) == 2 * scan.n_angles
    n = scan.n_detectors
    bins = (n + 1) // 2 if halved else n
    if isinstance(scan, FanBeam):  # mirrored views are read backwards
        parts[mirrored, 1], parts[mirrored, 2] = n - 1, -1
    slots = np.where(members[:, :, None] < 0, [-1, 0, 1, 0], parts[members])
    angle = canonical[first]
    # position in mm of pixel (row, column): where[0] + where[1] * row + where[2] * column
    x = np.array([grid.lower[0] + grid.spacing[0] / 2, grid.spacing[0], 0.0])
    y = np.array([grid.lower[1] + grid.spacing[1] / 2, 0.0, grid.spacing[1]])
    kind, scale = PARALLEL, np.zeros(2)
    if isinstance(scan, FanBeam):
        # `angle` is that of the beam, a quarter turn ahead of the detector's
        u = np.outer(np.sin(angle), x) - np.outer(np.cos(angle), y)
        w = np.outer(np.cos(angle), x) + np.outer(np.sin(angle), y)
        w[:, 0] += scan.source_to_isocenter
        along = w / scan.source_to_isocenter
        middle = (n - 1) / 2 - scan.detector_offset / scan.detector_spacing
        per_bin = scan.source_to_detector / scan.detector_spacing
        kind = CURVED if scan.detector == "curved" else FLAT
        across = u * (per_bin if kind == FLAT else 1.0) / scan.source_to_isocenter
        scale = np.array([per_bin, middle])
    else:
        across = (np.outer(np.cos(angle), x) + np.outer(np.sin(angle), y)) / scan.detector_spacing
        start = (n % 2 - 1) / 2 if halved else (n - 1) / 2
        across[:, 0] += start - scan.detector_offset / scan.detector_spacing
        along = np.zeros_like(across)
    return ViewTable(
        kind,
        bins,
        across,
        along,
        scale,
        np.ascontiguousarray(slots, np.int64),
        np.array(group.lanes, np.int64),
    )
