"""Redundancy weights: how much each measurement of a line counts in filtered back-projection.

A line is measured whenever a view looks along it, from either end. In the integral over all lines
each counts once: the weights of its measurements, with the angle that each view stands for, add up
to one. They follow from what was measured and change continuously with it, so that a scan with a
few views less gives an image that is a little worse.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from tomolearn.geometry.rotation import RotationScan

TURN = 2 * math.pi

# Angles closer than this, in radians, are one direction that was measured several times.
_SAME_ANGLE = 1e-9

# Neighbouring views may be this many of the usual steps apart: half a step of slack if all steps
# are equal by definition, else more than golden-angle steps differ, which is 2.62 times.
_SLACK, _SLACK_LISTED = 1.5, 2.7

# Lines of a gap as wide as this, in radians, are taken from the views at its edges. Those of one
# twice as wide are left out; in between, they count in part.
_BRIDGED = math.radians(15)

# Next to a gap, weights change over this many times its width.
_RAMP = 4


@dataclass(frozen=True)
class ViewCircle:
    """The views of a scan on the circle of their angles.

    Attributes
    ----------
    period : float
        Length of the circle in radians.
    directions : numpy.ndarray, shape (n_directions,)
        The angles of the views, increasing and without repetition.
    group, counts : numpy.ndarray, shapes (n_views,) and (n_directions,)
        The direction of each view, and how many views each direction has.
    widths : numpy.ndarray, shape (n_directions,)
        The part of the circle that each direction stands for, gaps left out.
    before, after : numpy.ndarray of int, shape (n_gaps,)
        The last direction before each gap and the first one behind it.
    starts, lengths : numpy.ndarray, shape (n_gaps,)
        Where each gap begins, and how long it is.
    step : float
        The usual angle between neighbours.
    bridged : float
        Length of the longest gap that the directions at its edges stand for entirely.
    """

    period: float
    directions: np.ndarray
    group: np.ndarray
    counts: np.ndarray
    widths: np.ndarray
    before: np.ndarray
    after: np.ndarray
    starts: np.ndarray
    lengths: np.ndarray
    step: float
    bridged: float

    def per_view(self, weights: np.ndarray) -> np.ndarray:
        """Share out the weights of the directions, along the first axis, among their views."""
        shared: np.ndarray = (weights.T / self.counts).T[self.group]
        return shared

    def cells(self) -> np.ndarray:
        """Return the part of the circle that each direction stands for, bridged gaps included."""
        widths = self.widths.copy()
        halves = self.lengths / 2 * self.bridged_share(self.lengths)
        np.add.at(widths, self.before, halves)
        np.add.at(widths, self.after, halves)
        return widths

    def bridged_share(self, lengths: np.ndarray) -> np.ndarray:
        """Return the part of gaps that the directions at their edges stand for."""
        share: np.ndarray = np.cos(math.pi / 2 * np.clip(lengths / self.bridged - 1, 0, 1)) ** 2
        return share

    def depth(self, angles: np.ndarray, floors: np.ndarray | None = None) -> np.ndarray:
        """Return how far angles are from the nearest gap: 0 in it, 1 where it has no influence.

        In gaps, and near them, it is at least their `floors`, whose first axis counts the gaps.
        Gaps that are bridged entirely may be many: the highest of their floors holds for all.
        """
        narrow = self.bridged_share(self.lengths) == 1
        depth = self._from_neighbours(angles, self.starts[narrow], self.lengths[narrow])
        if floors is not None:
            depth = np.maximum(depth, floors[narrow].max(axis=0, initial=0.0))
        for number in np.flatnonzero(~narrow):
            start, length = self.starts[number], self.lengths[number]
            beyond = np.mod(angles - start, self.period) - length
            distance = np.minimum(beyond, self.period - length - beyond)
            part = np.maximum(distance / self._ramp(length), 0.0)
            if floors is not None:
                part = np.maximum(part, floors[number])
            depth = np.minimum(depth, part)
        return depth

    def _ramp(self, lengths: np.ndarray) -> np.ndarray:
        return _RAMP * (lengths + self.step)

    def _from_neighbours(
        self, angles: np.ndarray, starts: np.ndarray, lengths: np.ndarray
    ) -> np.ndarray:
        """Return the depth of angles that the gaps before and behind them leave."""
        if not starts.size:
            return np.ones(angles.shape)
        order = np.argsort(starts)
        starts, lengths = starts[order], lengths[order]
        passed = np.mod(angles - starts[0], self.period)
        last = np.searchsorted(starts - starts[0], passed, side="right") - 1
        coming = (last + 1) % starts.size
        beyond = passed - (starts - starts[0] + lengths)[last]
        left = np.mod(starts[coming] - starts[0] - passed, self.period)
        ramps = self._ramp(lengths)
        return np.clip(np.minimum(beyond / ramps[last], left / ramps[coming]), 0.0, 1.0)

    def scanned_share(self, angles: np.ndarray) -> np.ndarray:
        """Return 1 for angles outside of gaps, in them the part that is bridged."""
        scanned = np.ones(angles.shape)
        shares = self.bridged_share(self.lengths)
        for start, length, share in zip(self.starts, self.lengths, shares, strict=True):
            scanned[np.mod(angles - start, self.period) < length] = share
        return scanned

    def left_of_gap(self, angles: np.ndarray, *, backwards: bool = False) -> np.ndarray:
        """Return how far it is from angles in a gap to its end (or its start); 0 outside of it."""
        left = np.zeros(angles.shape)
        for start, length in zip(self.starts, self.lengths, strict=True):
            passed = np.mod(angles - start, self.period)
            inside = np.where(passed < length, passed if backwards else length - passed, 0.0)
            np.maximum(left, inside, out=left)
        return left


def view_circle(scan: RotationScan, period: float) -> ViewCircle:
    """Return the views of a scan on a circle of length `period`.

    A view stands for the part of the circle half-way to the next views. Where neighbours are
    further apart than usual there is a gap, and a view ends as far from it as on its other side.
    Usual is the step of equally spaced views, with some slack, in lists of angles what nine of ten
    neighbours keep, with more if they vary: growing, golden-angle and random steps leave no gap.
    """
    wrapped = np.mod(scan.view_angles, period)
    order = np.argsort(wrapped)
    increasing = wrapped[order]
    is_new = np.diff(increasing, prepend=increasing[-1] - period) > _SAME_ANGLE
    is_new[0] |= not is_new.any()
    directions = increasing[is_new]
    group = np.empty(order.size, dtype=np.intp)
    # the first angles may belong to the last direction, across the circle's seam
    group[order] = (np.cumsum(is_new) - 1) % directions.size

    steps = np.diff(directions, append=directions[0] + period)
    if scan.angles is None:
        step = (scan.angular_range or 0.0) / scan.n_angles
        widest = _SLACK * step
    else:
        median, step = np.quantile(steps, [0.5, 0.9], method="lower").tolist()
        widest = _SLACK_LISTED * step + 2 * (step - median)
    is_gap = steps > widest
    # what a direction stands for on its side of a gap is what it does on the other
    ahead = np.where(is_gap, np.where(np.roll(is_gap, 1), step, np.roll(steps, 1)), steps) / 2
    behind = np.where(is_gap, np.where(np.roll(is_gap, -1), step, np.roll(steps, -1)), steps) / 2
    (gaps,) = np.nonzero(is_gap)
    return ViewCircle(
        period=period,
        directions=directions,
        group=group,
        counts=np.bincount(group),
        widths=ahead + np.roll(behind, 1),
        before=gaps,
        after=(gaps + 1) % directions.size,
        starts=(directions + ahead)[gaps],
        lengths=(steps - ahead - behind)[gaps],
        step=step,
        bridged=max(_BRIDGED, widest - step),
    )


class Redundancy(NamedTuple):
    """What redundancy weights say about a scan.

    `weights` (n_angles, columns) are the angle in radians that each measurement stands for.
    `missing_bins` are the columns that the shorter side of a detector lacks that was moved aside
    and goes all around: before the first (positive) or behind the last (negative).
    """

    weights: np.ndarray
    missing_bins: int


def redundancy(scan: RotationScan) -> Redundancy:
    """Return the weights of the measurements of a scan.

    Lines that both sides of the detector see are measured from both ends, as far as there are
    views. In a fan they get Parker's weights [1]_, with a shorter ramp where gaps are small
    (`_two_sided`); opposite views of parallel beams see the same lines, and are views of one half
    circle. Lines further out are seen by the longer side alone and need the whole circle. Both are
    complete by themselves; they are blended so that in a full turn the weights are Wang's [2]_.

    References
    ----------
    .. [1] D. L. Parker, Optimal short scan convolution reconstruction for fanbeam CT, Med. Phys. 9
       (1982), doi 10.1118/1.595078.
    .. [2] G. Wang, X-ray micro-CT with a displaced detector array, Med. Phys. 29 (2002),
       doi 10.1118/1.1489043.
    """
    circle = view_circle(scan, TURN)
    if scan.is_parallel:
        half = view_circle(scan, math.pi)
        twice = half.per_view(half.cells())[:, None]
    else:
        twice = circle.per_view(_two_sided(circle, scan.fan_angles))
    sides = detector_sides(scan)
    if not sides.excess:
        return Redundancy(np.broadcast_to(twice, (scan.n_angles, scan.shape[-1])), 0)
    # a one-sided integral that lacks part of the circle is to serve where there is no other
    completeness = float(circle.bridged_share(circle.lengths).min(initial=1.0))
    spacing = scan.bin_sizes[-1]
    # or else the change is abrupt, at the shorter side's edge
    edge = 1e-9 * spacing
    ramp = max(_RAMP * sides.excess * completeness, edge)
    positions = sides.sign * scan.column_positions
    here, there = (np.clip((sides.short + edge + p) / ramp, 0, 1) for p in (positions, -positions))
    share = _smooth(here, there)
    once = circle.per_view(circle.cells())[:, None]
    weights = 2 * np.minimum(share, 1 - share) * twice + np.maximum(2 * share - 1, 0) * once
    missing = round(sides.sign * sides.excess / spacing) if completeness else 0
    return Redundancy(weights, missing)


class DetectorSides(NamedTuple):
    """The two sides of a detector, in mm along it from the central ray to the last bin's edge.

    The longer side is where positions have the sign `sign`; it is longer by `excess`.
    """

    short: float
    excess: float
    sign: int


def detector_sides(scan: RotationScan) -> DetectorSides:
    """Return how far a detector reaches to both sides of the central ray."""
    positions, spacing = scan.column_positions, scan.bin_sizes[-1]
    low, high = spacing / 2 - positions[0], positions[-1] + spacing / 2
    excess = high - low
    if abs(excess) <= 1e-9 * spacing:
        return DetectorSides(float(min(low, high)), 0.0, 1)
    return DetectorSides(float(min(low, high)), float(abs(excess)), 1 if excess > 0 else -1)


def _two_sided(circle: ViewCircle, fan_angles: np.ndarray) -> np.ndarray:
    """Return the weights (directions, fan angles) of lines that are measured from both ends.

    The line of source angle ``t`` and fan angle ``g`` is measured once more, from its other end,
    at ``t - 2 g + pi`` and ``-g``. The weights of the two are ``sin(.)**2`` and ``cos(.)**2`` of
    the same number: each goes to zero where a gap begins, and to one where the other one does. If
    all views are on one arc, not much longer than a half turn plus the fan, that is Parker's
    choice. What is measured from neither end is taken from the views at the edges of narrow gaps.
    """
    opposite = math.pi - 2 * fan_angles
    views = circle.directions[:, None]
    floors, floors_there = _floors(circle, opposite), _floors(circle, -opposite)
    weights = circle.widths[:, None] * _smooth(
        circle.depth(views, floors), circle.depth(views + opposite, floors_there)
    )
    bridged = circle.bridged_share(circle.lengths)[:, None]
    for edges, angles, lengths in open_edges(circle, opposite):
        there = angles[:, None] + opposite
        here = circle.depth(angles[:, None], floors)
        share = np.maximum(bridged, circle.scanned_share(there))
        rest = np.maximum(circle.bridged_share(lengths) - share, 0.0)
        share *= _smooth(here, circle.depth(there, floors_there))
        np.add.at(weights, edges, (circle.lengths[:, None] * share + lengths * rest) / 2)
    return weights


def _floors(circle: ViewCircle, opposite: np.ndarray) -> np.ndarray:
    """Return the depths (gaps, fan angles) that narrow gaps have.

    Lines in a gap that are well measured from their other end are taken from there. If they have a
    gap there, too, or nearby, weights would have to change within a few views. Both gaps then
    count as scanned, by the views at their edges.
    """
    parts = np.linspace(0, 1, 5)[:, None, None] * circle.lengths[:, None]
    there = circle.depth(circle.starts[:, None] + parts + opposite).min(axis=0)
    floors: np.ndarray = circle.bridged_share(circle.lengths)[:, None] * (1 - there)
    return floors


def open_edges(
    circle: ViewCircle, opposite: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yield the directions at the edges of gaps, where these are, and what is not measured there.

    That is the length (gaps, fan angles) of the part of a gap, from its edge on, of which lines are
    not measured from their other end either, at the angle plus `opposite`.
    """
    ends = circle.starts + circle.lengths
    for edges, angles, backwards in (
        (circle.before, circle.starts, False),
        (circle.after, ends, True),
    ):
        left = circle.left_of_gap(angles[:, None] + opposite, backwards=backwards)
        yield edges, angles, np.minimum(left, circle.lengths[:, None])


def _smooth(here: np.ndarray, there: np.ndarray) -> np.ndarray:
    """Return the weight of a measurement, given the depths of both measurements of its line."""
    total = here + there
    part = np.divide(here, total, out=np.full(np.shape(total), 0.5), where=total > 0)
    weight: np.ndarray = np.sin(math.pi / 2 * part) ** 2
    return weight
