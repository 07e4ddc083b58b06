"""Joseph's projection in space where the detector's columns are parallel to the volume's z axis.

All rays of a column then share their path in the plane: line by line of voxels along z is
interpolated in the plane once, and each row of the detector reads one place of it. Volumes have
z contiguous, views have rows contiguous, and eight neighbouring rows (or slices) are the lanes of
a SIMD vector, taken from a window by a permutation (`windows`). Positions count in voxels from the
middle of the first one, and are computed in double precision up to the first of eight lanes.
"""

from __future__ import annotations

import math

import numpy as np
from numba import int32

from tomolearn.kernels import fours
from tomolearn.kernels.compilation import compiled
from tomolearn.kernels.lanes import (
    load_eight,
    maximum,
    minimum,
    store_eight,
    to_int32,
)
from tomolearn.kernels.windows import (
    BACK,
    FRONT,
    gather_eight,
    iota_eight,
    multiply_add,
    splat_eight,
    take,
    take_of_many,
    to_float,
)

PATH = 9
"""Numbers that describe a column's rays."""

TILE = 16  # columns that pass through the same lines of voxels
VIEWS = 4  # views that do
STEPS = 32  # planes in which they do


@compiled
def arrange(part, parts, volumes, together, pitches, padded):  # type: ignore[no-untyped-def]
    """Copy volumes (n, slices, rows, columns) to `padded`, flat with z contiguous.

    `together` values of a voxel stand side by side; `pitches` are the distances of rows and of
    columns.
    """
    n_volumes, slices, rows, columns = volumes.shape
    row_pitch, column_pitch = pitches
    for row in range(part, rows, parts):
        for left in range(0, columns, 16):
            for z in range(slices):
                for n in range(n_volumes):
                    at = row * row_pitch + z * together + n
                    for column in range(left, min(columns, left + 16)):
                        padded[at + column * column_pitch] = volumes[n, z, row, column]


@compiled
def arrange_back(part, parts, padded, together, pitches, volumes):  # type: ignore[no-untyped-def]
    """Copy `padded` to volumes, the inverse of `arrange`."""
    n_volumes, slices, rows, columns = volumes.shape
    row_pitch, column_pitch = pitches
    for row in range(part, rows, parts):
        for left in range(0, columns, 16):
            for z in range(slices):
                for n in range(n_volumes):
                    at = row * row_pitch + z * together + n
                    for column in range(left, min(columns, left + 16)):
                        volumes[n, z, row, column] = padded[at + column * column_pitch]


@compiled
def _path(start, bin, rise, parallel, shape, spacing, path):  # type: ignore[no-untyped-def]
    """Prepare the rays of one column; return the axis of their steps, 1 (rows) or 2.

    `start` is the source (the direction, if `parallel`), `bin` the column's first bin, `rise` the
    way along z from one bin to the next. `path` receives, at plane 0 and per plane: the position
    along the other axis, z of the first bin's ray, and the distance along z of neighbouring rays;
    then the square of the way in the plane from plane to plane in mm, and the rise along z in mm
    of the first ray, and what it grows by from ray to ray.
    """
    if parallel:
        from_z, from_x, from_y = bin[0], bin[1], bin[2]
        along_z, along_x, along_y = start[0], start[1], start[2]
    else:
        from_z, from_x, from_y = start[0], start[1], start[2]
        along_z, along_x, along_y = bin[0] - start[0], bin[1] - start[1], bin[2] - start[2]
    # on a tie the later axis, independently of rounding, as in the plane
    axis = 2 if abs(along_y) >= abs(along_x) * (1 - 1e-9) else 1
    if axis == 1:
        first, step = -from_x / along_x, 1 / along_x
        path[0], path[1] = from_y + first * along_y, step * along_y
    else:
        first, step = -from_y / along_y, 1 / along_y
        path[0], path[1] = from_x + first * along_x, step * along_x
    path[2], path[3] = from_z + first * along_z, step * along_z
    if parallel:
        path[4], path[5] = rise, 0.0
        grows = 0.0
    else:
        path[4], path[5] = first * rise, step * rise
        grows = step * rise * spacing[0]
    path[6] = (step * along_x * spacing[1]) ** 2 + (step * along_y * spacing[2]) ** 2
    path[7], path[8] = step * along_z * spacing[0], grows
    return axis


@compiled
def _planes(path, count, width):  # type: ignore[no-untyped-def]
    """Return which of `count` planes, first and end, a column crosses within `width` lines."""
    start, slope = path[0], path[1]
    first, last = 0, count
    if abs(slope) > 1e-12:
        one, other = (-1 - start) / slope, (width - start) / slope
        first = int(max(first, math.floor(min(one, other))))
        last = int(min(last, math.ceil(max(one, other)) + 1))
    return first, last


@compiled
def _room(count, like):  # type: ignore[no-untyped-def]
    """Return the working memory of `_resample` for so many lines."""
    dtype = like.dtype
    return np.empty(count, dtype), np.empty(count, dtype), np.empty(count, np.int64)


@compiled
def _kind(step):  # type: ignore[no-untyped-def]
    """Return how many windows, less one, hold eight neighbours `step` apart; 2 if more than two."""
    reach = 7 * step + 1.001  # with rounding
    return 0 if reach < 8 else (1 if reach < 15 else 2)


@compiled
def _resample(  # type: ignore[no-untyped-def]
    sums, at, low, high, lines, pitch, length, count, starts, steps, room
):
    """Add `count` lines to sums[at + v], low <= v < high, each read at ``starts + v * steps``.

    A line has `length` values behind FRONT zeros. `room` is working memory for what is single
    precision of the steps, for positions in lines and where these begin.
    """
    slopes, fractions, offsets = room
    widest = 0.0
    for k in range(count):
        slopes[k] = steps[k]
        widest = max(widest, steps[k])
    kind = _kind(widest)
    lanes = iota_eight(slopes.dtype.type(0))
    none = splat_eight(slopes.dtype.type(0))
    for v in range(low // 8 * 8, high, 8):
        for k in range(count):
            place = starts[k] + v * steps[k]
            whole = math.floor(place)
            fractions[k] = place - whole
            if kind < 2:
                whole = min(max(whole, -float(FRONT)), length + 7.0)
            offsets[k] = int(whole) + (FRONT + k * pitch)
        total, rest = load_eight(sums, at + v), none
        if kind == 0:
            for k in range(count):
                place = lanes * slopes[k] + splat_eight(fractions[k])
                index = to_int32(place)
                share = place - to_float(index, slopes[k])
                left = take(load_eight(lines, offsets[k]), index)
                right = take(load_eight(lines, offsets[k] + 1), index)
                total = total + left
                rest = share * (right - left) + rest
        elif kind == 1:
            for k in range(count):
                place = lanes * slopes[k] + splat_eight(fractions[k])
                index = to_int32(place)
                share = place - to_float(index, slopes[k])
                one, two = load_eight(lines, offsets[k]), load_eight(lines, offsets[k] + 8)
                left = take_of_many((one, two), index)
                right = take_of_many((one, two), index + int32(1))
                total = total + left
                rest = share * (right - left) + rest
        else:
            for k in range(count):
                index = to_int32(lanes * slopes[k] + splat_eight(fractions[k]))
                # places are far from zero here, and single precision would round them too much
                behind = none - to_float(index, slopes[k])
                share = multiply_add(lanes, splat_eight(slopes[k]), behind)
                share = share + (
                    lanes * sums.dtype.type(steps[k] - slopes[k]) + splat_eight(fractions[k])
                )
                whole = offsets[k] - (FRONT + k * pitch)
                lowest, highest = splat_eight(int32(-1 - whole)), splat_eight(int32(length - whole))
                left = gather_eight(lines, offsets[k], minimum(maximum(index, lowest), highest))
                index = index + int32(1)
                right = gather_eight(lines, offsets[k], minimum(maximum(index, lowest), highest))
                total = total + left
                rest = share * (right - left) + rest
        store_eight(sums, at + v, total + rest)


@compiled
def project(  # type: ignore[no-untyped-def]
    part,
    parts,
    starts,
    bins,
    rises,
    flipped,
    parallel,
    spacing,
    shape,
    together,
    pitches,
    padded,
    sinograms,
):
    """Project volumes that `arrange` has copied to sinograms (n, views, rows, columns).

    `starts` (views, 3) are sources or directions, `bins` (views, columns, 3) the first row's bins,
    `rises` (views) the way from row to row. `flipped` is whether rows count from the other end.
    """
    slices = shape[0]
    n_sinograms, n_views, rows, columns = sinograms.shape
    pitch = (FRONT + slices + BACK + 7) // 8 * 8 * together
    planes = STEPS // together
    lines = np.zeros(pitch * planes + 16, padded.dtype)
    height = (rows + 7) // 8 * 8 + 8
    sums = np.empty(height * TILE * VIEWS * together, padded.dtype)
    places, steps = np.empty(planes), np.empty(planes)
    of_one, of_four = _room(planes, padded), fours.room(planes, padded)
    paths = np.empty((VIEWS * TILE, PATH))
    axes, firsts = np.empty(VIEWS * TILE, np.int64), np.empty(VIEWS * TILE, np.int64)
    lasts = np.empty(VIEWS * TILE, np.int64)
    zeros = len(padded) - pitches[1]
    tiles = (columns + TILE - 1) // TILE
    blocks = (n_views + VIEWS - 1) // VIEWS
    for work in range(part, blocks * tiles, parts):
        view0, column0 = work // tiles * VIEWS, work % tiles * TILE
        view1, column1 = min(n_views, view0 + VIEWS), min(columns, column0 + TILE)
        sums[:] = 0
        most = 0
        for view in range(view0, view1):
            for column in range(column0, column1):
                n = (view - view0) * TILE + column - column0
                axes[n] = _path(
                    starts[view],
                    bins[view, column],
                    rises[view],
                    parallel,
                    shape,
                    spacing,
                    paths[n],
                )
                count = shape[axes[n]]
                firsts[n], lasts[n] = _planes(paths[n], count, shape[3 - axes[n]])
                most = max(most, lasts[n])
        for top in range(0, most, planes):
            for view in range(view0, view1):
                for column in range(column0, column1):
                    n = (view - view0) * TILE + column - column0
                    path = paths[n]
                    step_pitch, line_pitch = pitches[axes[n] - 1], pitches[2 - axes[n]]
                    width = shape[3 - axes[n]]
                    count, low, high = 0, rows, 0
                    for k in range(max(top, firsts[n]), min(lasts[n], top + planes)):
                        place = path[0] + k * path[1]
                        line = math.floor(place)
                        if line < -1 or line >= width:
                            continue
                        start, step = path[2] + k * path[3], path[4] + k * path[5]
                        begin = max(0, math.ceil((-1 - start) / step))
                        end = min(rows, math.ceil((slices - start) / step))
                        if begin >= end:
                            continue
                        low, high = min(low, begin), max(high, end)
                        places[count], steps[count] = start, step
                        share = padded.dtype.type(place - line)
                        left = k * step_pitch + line * line_pitch if line >= 0 else zeros
                        right = zeros
                        if line + 1 < width:
                            right = k * step_pitch + (line + 1) * line_pitch
                        to = count * pitch + FRONT * together
                        for z in range(0, slices * together, 8):
                            one = load_eight(padded, left + z)
                            other = load_eight(padded, right + z)
                            store_eight(lines, to + z, (other - one) * share + one)
                        count += 1
                    at = n * height * together
                    read = (low, high, lines, pitch, slices, count, places, steps)
                    if together == 1:
                        _resample(sums, at, *read, of_one)
                    else:
                        fours.resample(sums, at, *read, of_four)
        for view in range(view0, view1):
            for row in range(rows):
                to = rows - 1 - row if flipped[view] else row
                for m in range(n_sinograms):
                    for column in range(column0, column1):
                        n = (view - view0) * TILE + column - column0
                        length = math.sqrt(paths[n, 6] + (paths[n, 7] + row * paths[n, 8]) ** 2)
                        total = sums[(n * height + row) * together + m]
                        sinograms[m, view, to, column] = total * length


@compiled
def weigh(  # type: ignore[no-untyped-def]
    part,
    parts,
    starts,
    bins,
    rises,
    flipped,
    parallel,
    spacing,
    shape,
    together,
    sinograms,
    begin,
    rays,
    paths,
    axes,
):
    """Multiply rays (n, views, rows, columns) by the lengths that `project` multiplies sums by.

    `begin` is the first of the views that the other arguments describe. `rays` (views, columns,
    FRONT + rows + BACK or more) receives them with the rows contiguous and zeros around, `together`
    values of a bin side by side, `paths` and `axes` (views, columns) what `_path` says of the
    columns.
    """
    n_sinograms, _, rows, columns = sinograms.shape
    front = FRONT * together
    for view in range(part, len(rays), parts):
        for column in range(columns):
            axes[view, column] = _path(
                starts[view],
                bins[view, column],
                rises[view],
                parallel,
                shape,
                spacing,
                paths[view, column],
            )
            rays[view, column, :front] = 0
            rays[view, column, front + rows * together :] = 0
        for left in range(0, columns, TILE):
            for row in range(rows):
                of = rows - 1 - row if flipped[view] else row
                for n in range(n_sinograms):
                    at = front + row * together + n
                    for column in range(left, min(columns, left + TILE)):
                        path = paths[view, column]
                        length = math.sqrt(path[6] + (path[7] + row * path[8]) ** 2)
                        rays[view, column, at] = sinograms[n, begin + view, of, column] * length


@compiled
def _add(padded, left, right, values, share):  # type: ignore[no-untyped-def]
    """Add eight values to two lines, `share` of them to the right one."""
    store_eight(padded, left, values * (padded.dtype.type(1) - share) + load_eight(padded, left))
    store_eight(padded, right, values * share + load_eight(padded, right))


@compiled
def scatter(  # type: ignore[no-untyped-def]
    part, parts, axis, slab, rays, values, rows, paths, axes, shape, together, pitches, padded
):
    """Add rays that `weigh` has prepared to the volume that they were summed from.

    `values` is the memory of `rays`, flat. Those that step along `axis` are added; each part owns
    slabs of `slab` planes of it and follows all rays through them: nobody else writes there.
    """
    n_views, columns, pitch = rays.shape
    slices, planes, width = shape[0], shape[axis], shape[3 - axis]
    step_pitch, line_pitch = pitches[axis - 1], pitches[2 - axis]
    dtype = padded.dtype.type
    lanes = iota_eight(dtype(0))
    one, two, none = splat_eight(dtype(1)), splat_eight(dtype(2)), splat_eight(dtype(0))
    dump = len(padded) - (parts - part) * pitches[1]
    places, steps, rates = np.empty(slab), np.empty(slab), np.empty(slab)
    offsets = np.empty(slab, np.int64)
    lefts, rights = np.empty(slab, np.int64), np.empty(slab, np.int64)
    shares, slopes = np.empty(slab, padded.dtype), np.empty(slab, padded.dtype)
    inverses, fractions = np.empty(slab, padded.dtype), np.empty(slab, padded.dtype)
    length = (FRONT + slices + BACK) * together
    lines = np.zeros(slab * length, padded.dtype)
    of_four = fours.room(slab, padded)
    for top in range(part * slab, planes, parts * slab):
        bottom = min(planes, top + slab)
        for view in range(n_views):
            for column in range(columns):
                if axes[view, column] != axis:
                    continue
                path = paths[view, column]
                count, low, high, least = 0, slices, 0, np.inf
                for k in range(top, bottom):
                    place = path[0] + k * path[1]
                    line = math.floor(place)
                    if line < -1 or line >= width:
                        continue
                    start, step = path[2] + k * path[3], path[4] + k * path[5]
                    low = min(low, max(0, math.floor(start)))
                    high = max(high, min(slices, math.floor(start + (rows - 1) * step) + 2))
                    least = min(least, step)
                    places[count], steps[count], slopes[count] = start, step, step
                    rates[count], inverses[count] = 1 / step, 1 / step
                    shares[count] = place - line
                    lefts[count] = k * step_pitch + line * line_pitch if line >= 0 else dump
                    rights[count] = dump
                    if line + 1 < width:
                        rights[count] = k * step_pitch + (line + 1) * line_pitch
                    count += 1
                base = (view * columns + column) * pitch + FRONT * together
                if together > 1:
                    to = (lines, length, slices, count, places, steps)
                    fours.scatter(values, base, rows, *to, of_four)
                    for k in range(count):
                        for z in range(low * together // 8 * 8, high * together, 8):
                            at = k * length + FRONT * together + z
                            total = load_eight(lines, at)
                            _add(padded, lefts[k] + z, rights[k] + z, total, shares[k])
                            store_eight(lines, at, none)
                    continue
                few = 0.668 < least < 2
                for z in range(low // 8 * 8, high, 8):
                    for k in range(count):
                        place = (z - 1 - places[k]) * rates[k]
                        whole = math.floor(place)
                        fractions[k] = place - whole
                        if few:
                            whole = min(max(whole, -FRONT - 1.0), rows + 7.0)
                        offsets[k] = int(whole) + 1
                    if 1.001 < least < 2:
                        for k in range(count):
                            place = lanes * inverses[k] + splat_eight(fractions[k])
                            index = to_int32(place)
                            at = base + offsets[k]
                            way = (one - (place - to_float(index, dtype(0)))) * slopes[k]
                            hat = maximum(minimum(way, two - way), none)
                            total = hat * take(load_eight(values, at), index)
                            way = way + splat_eight(slopes[k])
                            hat = maximum(two - way, none)
                            total = hat * take(load_eight(values, at + 1), index) + total
                            _add(padded, lefts[k] + z, rights[k] + z, total, shares[k])
                    elif few:
                        for k in range(count):
                            place = lanes * inverses[k] + splat_eight(fractions[k])
                            index = to_int32(place)
                            at = base + offsets[k]
                            slope = splat_eight(slopes[k])
                            way = (one - (place - to_float(index, dtype(0)))) * slopes[k]
                            near, far = load_eight(values, at), load_eight(values, at + 8)
                            total = minimum(way, two - way) * take_of_many((near, far), index)
                            way = way + slope
                            hat = maximum(minimum(way, two - way), none)
                            total = hat * take_of_many((near, far), index + int32(1)) + total
                            hat = maximum(two - (way + slope), none)
                            total = hat * take_of_many((near, far), index + int32(2)) + total
                            _add(padded, lefts[k] + z, rights[k] + z, total, shares[k])
                    else:
                        _add_many(
                            padded,
                            z,
                            lefts,
                            rights,
                            shares,
                            count,
                            values,
                            base,
                            rows,
                            offsets,
                            slopes,
                            rates,
                            inverses,
                            fractions,
                        )


@compiled
def _add_many(  # type: ignore[no-untyped-def]
    padded,
    z,
    lefts,
    rights,
    shares,
    count,
    values,
    base,
    rows,
    offsets,
    slopes,
    rates,
    inverses,
    fractions,
):
    """Add to eight slices what rows measured, however many of them see a voxel."""
    dtype = padded.dtype.type
    lanes = iota_eight(dtype(0))
    one, two, none = splat_eight(dtype(1)), splat_eight(dtype(2)), splat_eight(dtype(0))
    for k in range(count):
        index = to_int32(lanes * inverses[k] + splat_eight(fractions[k]))
        lowest, highest = splat_eight(int32(-1 - offsets[k])), splat_eight(int32(rows - offsets[k]))
        # far from zero single precision would round too much
        behind = none - to_float(index, dtype(0))
        share = multiply_add(lanes, splat_eight(inverses[k]), behind)
        share = share + (lanes * dtype(rates[k] - inverses[k]) + splat_eight(fractions[k]))
        way = (one - share) * slopes[k]
        total = none
        for _ in range(int(2 / slopes[k]) + 1):
            hat = maximum(minimum(way, two - way), none)
            inside = minimum(maximum(index, lowest), highest)
            total = hat * gather_eight(values, base + offsets[k], inside) + total
            way = way + splat_eight(slopes[k])
            index = index + int32(1)
        _add(padded, lefts[k] + z, rights[k] + z, total, shares[k])


@compiled
def align(part, parts, together, flipped, sinograms, begin, views):  # type: ignore[no-untyped-def]
    """Copy views (n, views, rows, columns) to (views, columns, rows or more), zeros behind.

    `begin` is the first of them. `together` values of a bin stand side by side.
    """
    n_sinograms, _, rows, columns = sinograms.shape
    for view in range(part, len(views), parts):
        views[view, :, rows * together :] = 0
        for left in range(0, columns, TILE):
            for row in range(rows):
                of = rows - 1 - row if flipped[view] else row
                for n in range(n_sinograms):
                    at = row * together + n
                    for column in range(left, min(columns, left + TILE)):
                        views[view, column, at] = sinograms[n, begin + view, of, column]


@compiled
def backproject(  # type: ignore[no-untyped-def]
    part, parts, matrices, arcs, views, values, rows, shape, together, pitches, padded
):
    """Add to voxels what views that `align` has copied show at their places, distance-weighted.

    `matrices` (views, 3, 4) project voxels (z, x, y, 1) to (row * w, column * w, w), where neither
    column nor w depends on z. `arcs` (views, 4) has the radius in columns of a curved detector, or
    0, the column of its central ray, the squared w of the axis, or 0 in a parallel beam, and the
    row at the height of the source if it is curved. `values` is the memory of `views`, flat, with
    zeros behind.
    """
    n_views, columns, pitch = views.shape
    slices, n_x, n_y = shape
    dtype = padded.dtype.type
    at_once = STEPS // together
    line_pitch = (FRONT * together + pitch + BACK * together + 7) // 8 * 8
    lines = np.zeros(line_pitch * at_once + 16, padded.dtype)
    places, steps = np.empty(at_once), np.empty(at_once)
    of_one, of_four = _room(at_once, padded), fours.room(at_once, padded)
    zeros = len(values) - pitch
    for top in range(0, n_views, at_once):
        for x in range(part, n_x, parts):
            for y in range(n_y):
                count = 0
                for view in range(top, min(n_views, top + at_once)):
                    row, across, depth = matrices[view]
                    arc = arcs[view]
                    w = depth[1] * x + depth[2] * y + depth[3]
                    aside = across[1] * x + across[2] * y + across[3]
                    start = row[1] * x + row[2] * y + row[3]
                    if arc[0] > 0:
                        aside = (aside - arc[1] * w) / arc[0]
                        column = arc[1] + arc[0] * math.atan2(aside, w)
                        level = arc[3]
                        start -= level * w
                        w = math.sqrt(w * w + aside * aside)
                        start += level * w
                    else:
                        column = aside / w
                    left = math.floor(column)
                    if left < -1 or left >= columns:
                        continue
                    weight = arc[2] / (w * w) if arc[2] > 0 else 1.0
                    start, step = start / w, row[0] / w
                    first = max(0, math.floor(start))
                    last = min(rows, math.floor(start + step * (slices - 1)) + 2)
                    if first >= last:
                        continue
                    share = column - left
                    one, other = dtype(weight * (1 - share)), dtype(weight * share)
                    at = (view * columns + left) * pitch
                    near = at if left >= 0 else zeros
                    far = at + pitch if left + 1 < columns else zeros
                    to = count * line_pitch + FRONT * together
                    for v in range(first * together // 8 * 8, last * together, 8):
                        mixed = load_eight(values, near + v) * one
                        mixed = load_eight(values, far + v) * other + mixed
                        store_eight(lines, to + v, mixed)
                    places[count], steps[count] = start, step
                    count += 1
                at = x * pitches[0] + y * pitches[1]
                read = (0, slices, lines, line_pitch, rows, count, places, steps)
                if together == 1:
                    _resample(padded, at, *read, of_one)
                else:
                    fours.resample(padded, at, *read, of_four)
