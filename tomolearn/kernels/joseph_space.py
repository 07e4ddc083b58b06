"""Joseph's projection in space: rays of any direction through a volume, and the exact transpose.

This is for what `columns` cannot do: detectors and rays that are tilted against the z axis.

A ray is sampled where it crosses the planes of voxels that it crosses most of, with bilinear
interpolation between the four voxels next to the crossing. Positions count in voxels: the middle
of voxel ``(i, j, k)`` is at ``(i, j, k)``. They are computed in double precision, whatever the
precision of the values.
"""

from __future__ import annotations

import math

import numpy as np

from tomolearn.kernels.compilation import compiled


@compiled
def _ray(start, bin, step, row, parallel, spacing, box, line):  # type: ignore[no-untyped-def]
    """Prepare the ray of one bin; return the axis of its steps and its first and last plane.

    `start` is the source (the direction, if `parallel`), `bin` the column's first bin, `step` the
    way to the next row. `box` is the range of voxels along each axis. The other two axes follow
    cyclically; `line` receives their positions at plane 0, their slopes, and the length in mm
    from plane to plane.
    """
    axis = 0
    for a in range(3):
        at_bin = bin[a] + row * step[a]
        if parallel:
            line[5 + a], line[8 + a] = at_bin, start[a]
        else:
            line[5 + a], line[8 + a] = start[a], at_bin - start[a]
        # on a tie the later axis, independently of rounding, as in the plane
        if abs(line[8 + a]) >= abs(line[8 + axis]) * (1 - 1e-9):
            axis = a
    first, last = float(box[axis, 0]), float(box[axis, 1])
    length = spacing[axis] ** 2
    for number in range(2):
        other = (axis + 1 + number) % 3
        slope = line[8 + other] / line[8 + axis]
        start = line[5 + other] - slope * line[5 + axis]
        line[number], line[2 + number] = start, slope
        length += (slope * spacing[other]) ** 2
        low, high = box[other, 0] - 1, box[other, 1]
        if abs(slope) > 1e-12:
            enter, leave = (low - start) / slope, (high - start) / slope
            # a plane too many does no harm: what lies outside of the box has no weight
            first = max(first, math.floor(min(enter, leave)))
            last = min(last, math.ceil(max(enter, leave)) + 1)
        elif start < low or start > high:
            last = first
    line[4] = math.sqrt(length)
    return axis, int(first), int(max(first, last))


@compiled
def _pair(position, low, high):  # type: ignore[no-untyped-def]
    """Return the two neighbours of a position and their weights, zero for those outside."""
    left = math.floor(position)  # an integer inside of numba, too
    share = position - left
    right = left + 1
    one = 1 - share if low <= left < high else 0.0
    other = share if low <= right < high else 0.0
    return min(max(left, low), high - 1), min(max(right, low), high - 1), one, other


@compiled
def project(  # type: ignore[no-untyped-def]
    part, parts, starts, bins, steps, parallel, spacing, box, strides, volumes, sinograms
):
    """Project volumes (batch, voxels) to sinograms (batch, views, rows, columns).

    `starts` (views, 3) are sources or directions, `bins` (views, columns, 3) the first row's bins,
    `steps` (views, 3) lead from row to row. Parts share out the detector rows of the views.
    `strides` are those of a flat volume.
    """
    n_views, rows, columns = sinograms.shape[1:]
    line = np.empty(11)
    for number in range(part, n_views * rows, parts):
        view, row = number // rows, number % rows
        for column in range(columns):
            ray = (starts[view], bins[view, column], steps[view], row)
            axis, first, last = _ray(*ray, parallel, spacing, box, line)
            b, c = (axis + 1) % 3, (axis + 2) % 3
            start_b, start_c, slope_b, slope_c, length = line[:5]
            (low_b, high_b), (low_c, high_c) = box[b], box[c]
            step_a, step_b, step_c = strides[axis], strides[b], strides[c]
            for item in range(volumes.shape[0]):
                total = 0.0
                for k in range(first, last):
                    b0, b1, v0, v1 = _pair(start_b + slope_b * k, low_b, high_b)
                    c0, c1, w0, w1 = _pair(start_c + slope_c * k, low_c, high_c)
                    at0, at1 = k * step_a + b0 * step_b, k * step_a + b1 * step_b
                    c0, c1 = c0 * step_c, c1 * step_c
                    total += v0 * (w0 * volumes[item, at0 + c0] + w1 * volumes[item, at0 + c1])
                    total += v1 * (w0 * volumes[item, at1 + c0] + w1 * volumes[item, at1 + c1])
                sinograms[item, view, row, column] = total * length


@compiled
def scatter(  # type: ignore[no-untyped-def]
    part, parts, starts, bins, steps, parallel, spacing, box, strides, sinograms, volumes
):
    """Add sinograms to the voxels that they were summed from, with the same weights.

    Each part owns a slab of the longest axis and follows every ray through it; nobody else writes
    there, and a voxel's sum does not depend on the number of parts.
    """
    n_views, rows, columns = sinograms.shape[1:]
    line = np.empty(11)
    longest = np.argmax(box[:, 1])
    mine, planes = box.copy(), box[longest, 1]
    mine[longest, 0], mine[longest, 1] = planes * part // parts, planes * (part + 1) // parts
    if mine[longest, 0] == mine[longest, 1]:  # clamped neighbours would be another part's
        return
    for number in range(n_views * rows):
        view, row = number // rows, number % rows
        for column in range(columns):
            ray = (starts[view], bins[view, column], steps[view], row)
            axis, first, last = _ray(*ray, parallel, spacing, mine, line)
            b, c = (axis + 1) % 3, (axis + 2) % 3
            start_b, start_c, slope_b, slope_c, length = line[:5]
            (low_b, high_b), (low_c, high_c) = mine[b], mine[c]
            step_a, step_b, step_c = strides[axis], strides[b], strides[c]
            for item in range(volumes.shape[0]):
                value = sinograms[item, view, row, column] * length
                for k in range(first, last):
                    b0, b1, v0, v1 = _pair(start_b + slope_b * k, low_b, high_b)
                    c0, c1, w0, w1 = _pair(start_c + slope_c * k, low_c, high_c)
                    at0, at1 = k * step_a + b0 * step_b, k * step_a + b1 * step_b
                    c0, c1 = c0 * step_c, c1 * step_c
                    volumes[item, at0 + c0] += v0 * w0 * value
                    volumes[item, at0 + c1] += v0 * w1 * value
                    volumes[item, at1 + c0] += v1 * w0 * value
                    volumes[item, at1 + c1] += v1 * w1 * value
