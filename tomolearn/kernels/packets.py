"""Projection in the plane with eight neighbouring rays, or pixels, as lanes of a SIMD vector.

This is for few images: `joseph` has images and their symmetric copies as lanes, and computes a
weight for all of them. Here each of eight rays has a weight of its own, and what they cross in a
row of the image is taken from a window of it by a permutation (`windows`). Eight neighbouring
pixels take what they see of a view in the same way.
"""

from __future__ import annotations

import math

import numpy as np
from numba import float64, int32

from tomolearn.kernels.compilation import compiled
from tomolearn.kernels.joseph import FLAT, PARALLEL, _arctan
from tomolearn.kernels.lanes import (
    BLOCK,
    floor,
    iota,
    load_eight,
    maximum,
    minimum,
    splat,
    square_root,
    store_block,
    store_eight,
    to_int32,
)
from tomolearn.kernels.windows import (
    iota_eight,
    load_windows,
    splat_eight,
    take,
    take_of_many,
    to_float,
)

GAP = 40
"""Zeros before each row of an image, and behind the last: where windows beside it lie."""

WIDTH = 14.0
"""Columns between which all rays of a packet cross a row at most."""

WINDOWS = 4
"""Windows of eight bins in which eight pixels of a row are seen at most."""

ROWS = 8
"""Rows of pixels for which views stay in the cache."""

VIEWS = 32
"""Views that do."""

_LOWEST = 32  # columns before the first at which a window begins at most


@compiled
def project(  # type: ignore[no-untyped-def]
    part,
    parts,
    images,
    rows,
    columns,
    block_rows,
    tile,
    start,
    slope,
    aside,
    tilts,
    first_row,
    last_row,
    narrow,
    length,
    members,
    counts,
    sinogram,
):
    """Sum packets of eight rays over the rows of images and write them to the sinogram.

    Ray ``n`` of packet ``k`` crosses row ``r`` at column ``start[k] + slope[k] * r + aside[k, n] +
    tilts[k, n] * (r - first_row[k])``, where neither of the two parts is negative; where it is not
    seen it crosses the zeros beside the image. `images` (batch, rows, columns) is flat, with
    GAP zeros before each row. `narrow` is whether one window of eight pixels holds all rays,
    `counts` is 0, 1, ... up to the number of rows. Rows are taken in blocks of `block_rows`, which
    stay in the cache while `tile` packets pass through them.
    """
    real = length.dtype.type
    batch = sinogram.shape[0]
    pitch = columns + GAP
    size = rows * pitch
    n_packets = start.shape[0]
    beside, turned = aside.reshape(-1), tilts.reshape(-1)
    offsets = np.empty(block_rows + BLOCK, np.int32)
    shares = np.empty(block_rows + BLOCK, length.dtype)
    sums = np.empty(batch * tile * 8, length.dtype)
    step, none = iota(real(0)), splat_eight(real(0))
    lines = iota(int32(0)) * int32(pitch)
    lowest, highest = splat(int32(-_LOWEST)), splat(int32(columns))
    for low in range(part * tile, n_packets, parts * tile):
        high = min(n_packets, low + tile)
        sums[:] = 0
        for top in range(0, rows, block_rows):
            for packet in range(low, high):
                row = max(first_row[packet], top)
                count = min(last_row[packet], top + block_rows) - row
                if count <= 0:
                    continue
                for k in range(0, count, BLOCK):
                    position = start[packet] + slope[packet] * float64(row + k)
                    column = math.floor(position)
                    at = step * real(slope[packet]) + real(position - column)
                    left = floor(at)
                    store_block(shares, k, at - left)
                    # beyond the zeros is nothing, either
                    column = min(max(column, -1e6), 1e6)
                    index = to_int32(left) + int32(column)
                    index = minimum(maximum(index, lowest), highest)
                    store_block(offsets, k, index + (lines + int32(GAP + (row + k) * pitch)))
                tilt = load_eight(turned, packet * 8)
                away = tilt * counts[row - first_row[packet]] + load_eight(beside, packet * 8)
                for item in range(batch):
                    image = item * size
                    to = (item * tile + packet - low) * 8
                    total = load_eight(sums, to)
                    rest = none
                    if narrow[packet]:
                        for k in range(count):
                            place = tilt * counts[k] + (away + splat_eight(shares[k]))
                            index = to_int32(place)
                            share = place - to_float(index, real(0))
                            near = load_eight(images, image + offsets[k])
                            far = load_eight(images, image + offsets[k] + 1)
                            total = total + take(near, index)
                            rest = share * take(far - near, index) + rest
                    else:
                        for k in range(count):
                            place = tilt * counts[k] + (away + splat_eight(shares[k]))
                            index = to_int32(place)
                            share = place - to_float(index, real(0))
                            at_column = image + offsets[k]
                            near = load_eight(images, at_column)
                            next_ = load_eight(images, at_column + 8)
                            far = load_eight(images, at_column + 1) - near
                            behind = load_eight(images, at_column + 9) - next_
                            total = total + take_of_many((near, next_), index)
                            rest = share * take_of_many((far, behind), index) + rest
                    store_eight(sums, to, total + rest)
        for item in range(batch):
            for packet in range(low, high):
                for lane in range(8):
                    if members[packet, lane] >= 0:
                        value = sums[(item * tile + packet - low) * 8 + lane]
                        sinogram[item, members[packet, lane]] = value * length[packet, lane]


@compiled
def _interpolated(views, at, place, windows):  # type: ignore[no-untyped-def]
    """Interpolate in views at eight places in windows of bins, counted from bin `at`."""
    index = to_int32(place)
    share = place - to_float(index, views.dtype.type(0))
    near = take_of_many(load_windows(views, at, windows), index)
    far = take_of_many(load_windows(views, at + 1, windows), index)
    return share * (far - near) + near


@compiled
def gather(  # type: ignore[no-untyped-def]
    part,
    parts,
    kind,
    views,
    stride,
    bins,
    across,
    along,
    scale,
    windows,
    rows,
    columns,
    pitch,
    image,
):
    """As `joseph.gather`, for one image: `views` and `image` are plain and flat.

    GAP zeros are before each view and behind the last. Rows of the image are `pitch` apart, a
    multiple of eight. No source is in the image. `windows` (views, blocks of ROWS rows) is in how
    many windows of eight bins eight neighbouring pixels are seen, at most WINDOWS.
    """
    n_views = across.shape[0]
    blocks = (columns + 7) // 8
    length = (blocks + BLOCK - 1) // BLOCK * BLOCK
    offsets, values = np.empty(length, np.int32), np.empty((3, length), scale.dtype)
    for top in range(part * ROWS, rows, parts * ROWS):
        bottom = min(rows, top + ROWS)
        image[top * pitch : bottom * pitch] = 0
        last = 0
        while last < n_views:
            first, count = last, windows[last, top // ROWS]
            while last < n_views and windows[last, top // ROWS] == count:
                last += 1
            of = kind, first, last, views, stride, bins, across, along, scale
            to = offsets, values, top, bottom, blocks, pitch, image
            # the length of a tuple is part of its type: each number of windows has code of its own
            if count == 1:
                _add_views((0,), *of, *to)
            elif count == 2:
                _add_views((0, 8), *of, *to)
            elif count == 3:
                _add_views((0, 8, 16), *of, *to)
            else:
                _add_views((0, 8, 16, 24), *of, *to)


@compiled
def _add_views(  # type: ignore[no-untyped-def]
    windows,
    kind,
    first,
    last,
    views,
    stride,
    bins,
    across,
    along,
    scale,
    offsets,
    values,
    top,
    bottom,
    blocks,
    pitch,
    image,
):
    """Add views to rows of pixels; `windows` is where windows of bins begin behind the first."""
    real = scale.dtype.type
    lanes, one = iota_eight(real(0)), splat_eight(real(1))
    eights = iota(real(0)) * real(8)
    lowest, highest = splat(real(-_LOWEST)), splat(real(bins))
    starts, steps, depths = values
    for view in range(first, last):
        step, fall = across[view, 2], along[view, 2]
        begin = view * stride + GAP
        for row in range(top, bottom):
            start = across[view, 0] + across[view, 1] * row
            depth = along[view, 0] + along[view, 1] * row
            # of each eight pixels the one that is seen at the lowest bin, the first or last
            if kind == PARALLEL:
                end = 7.0 if step < 0 else 0.0
            else:
                end = 7.0 if step * depth < start * fall else 0.0
            for k in range(0, blocks, BLOCK):
                at_first = start + step * (8 * k)
                if kind == PARALLEL:
                    whole = math.floor(at_first)
                    a = eights * real(step) + splat(real(at_first - whole))
                    place = a + splat(real(end * step))
                    least = floor(place)
                    whole = min(max(whole, -1e6), 1e6)
                    store_block(starts, k, a - least)
                    index = to_int32(least) + int32(whole)
                    index = minimum(maximum(index, splat(int32(-_LOWEST))), splat(int32(bins)))
                    store_block(offsets, k, index)
                    continue
                a = eights * real(step) + splat(real(at_first))
                b = eights * real(fall) + splat(real(depth + fall * (8 * k)))
                aside, behind = a + splat(real(end * step)), b + splat(real(end * fall))
                store_block(depths, k, b)
                if kind == FLAT:
                    least = floor(aside / behind + scale[1])
                    least = minimum(maximum(least, lowest), highest)
                    away = least - splat(scale[1])
                    store_block(starts, k, a - away * b)
                    store_block(steps, k, splat(real(step)) - away * real(fall))
                else:
                    square = aside * aside + behind * behind
                    place = _arctan(aside / (behind + square_root(square)))
                    least = floor(place * (real(2) * scale[0]) + scale[1])
                    least = minimum(maximum(least, lowest), highest)
                    store_block(starts, k, a)
                    store_block(steps, k, splat(scale[1]) - least)
                store_block(offsets, k, to_int32(least))
            to = row * pitch
            for k in range(blocks):
                total = load_eight(image, to + 8 * k)
                at = begin + offsets[k]
                if kind == PARALLEL:
                    place = lanes * real(step) + splat_eight(starts[k])
                    total = total + _interpolated(views, at, place, windows)
                elif kind == FLAT:
                    b = lanes * real(fall) + splat_eight(depths[k])
                    inverse = one / b
                    place = (lanes * steps[k] + splat_eight(starts[k])) * inverse
                    total = inverse * inverse * _interpolated(views, at, place, windows) + total
                else:
                    a = lanes * real(step) + splat_eight(starts[k])
                    b = lanes * real(fall) + splat_eight(depths[k])
                    square = a * a + b * b
                    place = _arctan(a / (b + square_root(square)))
                    place = place * (real(2) * scale[0]) + splat_eight(steps[k])
                    total = one / square * _interpolated(views, at, place, windows) + total
                store_eight(image, to + 8 * k, total)
