"""Redundancy weights: how much each view and each ray counts in filtered back-projection."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from tomolearn._core.errors import TomolearnError

if TYPE_CHECKING:
    from tomolearn.geometry.rotation import RotationScan

# Angles closer than this, in radians, are one direction that was measured several times.
_SAME_ANGLE = 1e-9

# A gap without views that is wider than this many times the next widest one was not scanned.
# Equal steps have 1, golden-angle steps at most 2.62.
_WEDGE = 4.0


class AngularCells(NamedTuple):
    """The part of the circle that each view stands for.

    `widths` (n_angles,) are the views' weights in an integral over the angle, in radians; the
    scanned arc begins at `start`, without meaning if it is the whole circle, and has `length`, at
    most the period.
    """

    widths: np.ndarray
    start: float
    length: float


def angular_cells(scan: RotationScan, period: float) -> AngularCells:
    """Return the cells of the views on a circle of length `period`.

    That is ``pi`` for parallel beams, where opposite views see the same, else ``2 pi``. If the scan
    has a list of angles, or an angular range of at least the period, a view's cell ends half-way to
    the next views on the circle; views at the same angle modulo the period share their cell
    equally. A single gap more than four times as wide as the next widest one is a wedge that was
    not scanned: no cell fills it, and those at its edges end there as far from their view as on the
    view's other side. If the scan has a shorter angular range, that range is the arc and all cells
    are equal.
    """
    if scan.angular_range is not None and scan.angular_range < period * (1 - 1e-9):
        widths = np.full(scan.n_angles, scan.angular_range / scan.n_angles)
        return AngularCells(widths, scan.start_angle or 0.0, scan.angular_range)
    wrapped = np.mod(scan.view_angles, period)
    order = np.argsort(wrapped)
    increasing = wrapped[order]
    is_new = np.diff(increasing, prepend=increasing[-1] - period) > _SAME_ANGLE
    distinct = increasing[is_new]
    # the first angles may belong to the last direction, across the circle's seam
    group = (np.cumsum(is_new) - 1) % distinct.size
    after = np.diff(distinct, append=distinct[0] + period)
    before = np.roll(after, 1)
    start, length = 0.0, period
    if distinct.size > 1:
        second, widest = np.argsort(after)[-2:]
        if after[widest] > _WEDGE * after[second]:
            after, before = after.copy(), before.copy()
            first = (widest + 1) % distinct.size
            after[widest], before[first] = before[widest], after[first]
            start = distinct[first] - before[first] / 2
            length = float((before + after).sum() / 2)
    cells = (before + after) / 2
    widths = np.empty(scan.n_angles)
    widths[order] = (cells / np.bincount(group, minlength=distinct.size))[group]
    return AngularCells(widths, float(start), length)


def is_full_turn(scan: RotationScan) -> bool:
    """Return whether the views go all around."""
    return angular_cells(scan, 2 * math.pi).length >= 2 * math.pi * (1 - 1e-9)


def parker_weights(
    angles: np.ndarray, fan_angles: np.ndarray, start: float, length: float
) -> np.ndarray:
    """Return Parker's weights of a fan-beam scan over less than a full turn, (angles, fan angles).

    The line of source angle ``t`` and fan angle ``g`` is measured once more, from its other end,
    at ``t - 2 g + pi`` and ``-g`` (modulo a full turn). The weights of the two are
    ``sin(.)**2`` and ``cos(.)**2`` of the same number, go smoothly to zero at the ends of the arc
    and to one where a line is measured once. Parker [1]_ gives them for an arc of ``pi`` plus the
    fan; a longer arc, up to ``2 pi``, is that of a wider fan of which only the middle is looked at.

    References
    ----------
    .. [1] D. L. Parker, Optimal short scan convolution reconstruction for fanbeam CT, Med. Phys. 9
       (1982), doi 10.1118/1.595078.
    """
    passed = np.mod(angles - start, 2 * math.pi)[:, None]
    left = length - passed
    # lengths of the arc's first and last part in which lines are measured a second time
    excess = length - math.pi
    first = np.maximum(excess + 2 * fan_angles, 1e-12)
    last = np.maximum(excess - 2 * fan_angles, 1e-12)
    rise = np.sin(math.pi / 2 * np.clip(passed / first, 0, 1)) ** 2
    fall = np.sin(math.pi / 2 * np.clip(left / last, 0, 1)) ** 2
    return rise * fall


def missing_bins(scan: RotationScan) -> int:
    """Return how many bins the shorter side of the detector lacks in a full turn.

    Zero unless the views go all around and the detector is off its middle by more than one bin
    (not just by the usual quarter bin). Positive if they are missing on the lower side, where
    positions are negative, and negative on the upper one.
    """
    if not is_full_turn(scan):
        return 0
    positions, spacing = scan.column_positions, scan.bin_sizes[-1]
    low, high = positions[0], positions[-1]
    if abs(high + low) / 2 <= spacing * (1 + 1e-9):
        return 0
    if min(-low, high) + spacing / 2 <= 0:
        raise TomolearnError(
            "detector_offset: expected bins on both sides of the central ray, got positions "
            f"from {low:.6g} to {high:.6g} mm"
        )
    return round((high + low) / spacing)


def offset_weights(scan: RotationScan) -> np.ndarray:
    """Return the weights (columns,) of the detector's columns in a full turn.

    One half if every line is measured twice, from both sides. If the detector is moved aside,
    lines further out are measured by its longer side only. The weights of two measurements of a
    line add up to one and change smoothly in between [1]_.

    References
    ----------
    .. [1] G. Wang, X-ray micro-CT with a displaced detector array, Med. Phys. 29 (2002),
       doi 10.1118/1.1489043.
    """
    positions, spacing = scan.column_positions, scan.bin_sizes[-1]
    missing = missing_bins(scan)
    if not missing:
        return np.full(positions.size, 0.5)
    side = math.copysign(1.0, missing)
    shorter = (-positions[0] if missing > 0 else positions[-1]) + spacing / 2
    return (1 + np.sin(math.pi / 2 * np.clip(side * positions / shorter, -1, 1))) / 2
