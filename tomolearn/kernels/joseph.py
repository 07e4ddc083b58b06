"""The compiled loops over rays, rows and views.

Every kernel does the share `part` of `parts` of its work, so that several threads can run it at
once without writing to the same memory. Images and rays are arrays of lanes (see `lanes`).
"""

from __future__ import annotations

import math

import numpy as np
from numba import float64, int32

from tomolearn.kernels.compilation import compiled
from tomolearn.kernels.lanes import (
    BLOCK,
    floor,
    iota,
    load,
    maximum,
    minimum,
    splat,
    square_root,
    store,
    store_block,
    to_int32,
    zero,
)

# Coefficients of atan(x) / x in powers of x**2: Chebyshev fit on [0, 1].
ATAN = (
    0.9999999842,
    -0.3333306678,
    0.1999248358,
    -0.1420257051,
    0.106367541,
    -0.07495445443,
    0.04258760747,
    -0.0160050305,
    0.002834064299,
)

PARALLEL, FLAT, CURVED = 0, 1, 2
"""How a view's detector position depends on the pixel, see `gather`."""

HALF = BLOCK // 2
PADDING = 2  # zeros on both sides of a view's bins: what lies outside is seen as zero
GATHER_ROWS = 8
GATHER_VIEWS = 16


@compiled
def _crossings(start, slope, row, count, width, offsets, weights):  # type: ignore[no-untyped-def]
    """Find the left pixels, and the right ones' weights, where a ray crosses `count` rows.

    Every BLOCK rows the crossing is split into a whole column and a fraction, so that single
    precision keeps the weights exact to about 1e-6 on any grid. Whole blocks are written.
    """
    step = iota(weights.dtype.type(0)) * weights.dtype.type(slope)
    rows = iota(int32(0)) * int32(width)
    for k in range(0, count, BLOCK):
        position = start + slope * float64(row + k)
        column = math.floor(position)
        at = step + weights.dtype.type(position - column)
        left = floor(at)
        store_block(weights, k, at - left)
        first = 1 + (row + k) * width + int(column)
        store_block(offsets, k, to_int32(left) + (rows + int32(first)))


@compiled
def project(  # type: ignore[no-untyped-def]
    part,
    parts,
    image,
    rows,
    width,
    block_rows,
    start,
    slope,
    length,
    first_row,
    last_row,
    members,
    sums,
    values,
    sinogram,
):
    """Sum each canonical ray over the image's rows and write it to the sinogram.

    `sums` is working memory, the same number of rays for every part, `values` the same memory
    as plain floats (rays, lanes); `sinogram` is (batch, rays of the scan). Rows are taken in
    blocks of `block_rows`, which stay in the cache while many rays pass through them.
    """
    tile = sums.shape[0] // parts
    mine = part * tile
    batch = sinogram.shape[0]
    room = values.shape[1] // members.shape[1]  # lanes of a copy, some of which may be empty
    one = length.dtype.type(1)
    offsets = np.empty(block_rows + BLOCK, np.int32)
    weights = np.empty(block_rows + BLOCK, length.dtype)
    for low in range(part * tile, start.shape[0], parts * tile):
        high = min(start.shape[0], low + tile)
        for top in range(0, rows, block_rows):
            for ray in range(low, high):
                row, stop = max(first_row[ray], top), min(last_row[ray], top + block_rows)
                count = max(0, stop - row)
                _crossings(start[ray], slope[ray], row, count, width, offsets, weights)
                lefts, rights = zero(image), zero(image)  # two sums: neither waits for the other
                for k in range(count):
                    lefts = lefts + load(image, offsets[k]) * (one - weights[k])
                    rights = rights + load(image, offsets[k] + 1) * weights[k]
                total = (lefts + rights) * length[ray]
                if top > 0:
                    total = total + load(sums, mine + ray - low)
                store(sums, mine + ray - low, total)
        for lane in range(members.shape[1]):
            for item in range(batch):
                for ray in range(low, high):
                    if members[ray, lane] >= 0:
                        value = values[mine + ray - low, lane * room + item]
                        sinogram[item, members[ray, lane]] = value


@compiled
def scatter(  # type: ignore[no-untyped-def]
    part, parts, rays, rows, width, block_rows, start, slope, length, first_row, last_row, image
):
    """Add every canonical ray to the pixels it was summed from, with the same weights.

    Each part owns blocks of `block_rows` rows and runs over all rays; nobody else writes there.
    """
    offsets = np.empty(block_rows + BLOCK, np.int32)
    weights = np.empty(block_rows + BLOCK, length.dtype)
    for top in range(part * block_rows, rows, parts * block_rows):
        bottom = min(rows, top + block_rows)
        for pixel in range(1 + top * width, 1 + bottom * width):
            store(image, pixel, zero(image))
        for ray in range(start.shape[0]):
            row, stop = max(first_row[ray], top), min(last_row[ray], bottom)
            if row < stop:
                value = load(rays, ray) * length[ray]
                _crossings(start[ray], slope[ray], row, stop - row, width, offsets, weights)
                for k in range(stop - row):
                    pixel = offsets[k]
                    share = value * weights[k]
                    left = load(image, pixel) + (value - share)
                    right = load(image, pixel + 1) + share
                    store(image, pixel, left)
                    store(image, pixel + 1, right)


@compiled
def _arctan(x):  # type: ignore[no-untyped-def]
    """Return the arc tangent for |x| <= 1 within 3e-8: Chebyshev fit of atan(x)/x in x**2."""
    y = x * x
    p = y * ATAN[8] + ATAN[7]
    p = p * y + ATAN[6]
    p = p * y + ATAN[5]
    p = p * y + ATAN[4]
    p = p * y + ATAN[3]
    p = p * y + ATAN[2]
    p = p * y + ATAN[1]
    return (p * y + ATAN[0]) * x


@compiled
def gather(  # type: ignore[no-untyped-def]
    part, parts, kind, views, stride, bins, across, along, scale, rows, columns, image
):
    """Sum for every pixel the detector at the place where it is seen, interpolated linearly.

    With ``a = across[v, 0] + across[v, 1] * row + across[v, 2] * column`` and ``b`` likewise
    from `along`, pixel (row, column) of view v is seen at bin

    * ``a`` in a parallel beam (`kind` PARALLEL),
    * ``a / b + scale[1]`` on a flat detector (FLAT), with weight ``1 / b**2``,
    * ``scale[0] * atan(a / b) + scale[1]`` on a curved one (CURVED), with weight
      ``1 / (a**2 + b**2)``.

    Bin k of view v is ``views[v * stride + PADDING + k]``, with PADDING zeros before and after
    the bins. `image` has no padding. The computation has the precision of `scale`.
    """
    real = scale.dtype.type
    n_views = across.shape[0]
    none, tiny, one = splat(real(0)), splat(real(1e-6)), splat(real(1))
    pixels = iota(real(0)) - real(HALF)  # of a block, counted from its middle
    offsets = np.empty(GATHER_VIEWS * BLOCK, np.int32)
    lefts = np.empty(GATHER_VIEWS * BLOCK, scale.dtype)
    rights = np.empty(GATHER_VIEWS * BLOCK, scale.dtype)
    for top in range(part * GATHER_ROWS, rows, parts * GATHER_ROWS):
        bottom = min(rows, top + GATHER_ROWS)
        for pixel in range(top * columns, bottom * columns):
            store(image, pixel, zero(image))
        for first in range(0, n_views, GATHER_VIEWS):
            for column in range(0, columns, BLOCK):
                for row in range(top, bottom):
                    used = 0
                    for view in range(first, min(n_views, first + GATHER_VIEWS)):
                        step = across[view, 2]
                        start = across[view, 0] + across[view, 1] * row + step * column
                        strength = one
                        whole = 0
                        if kind == PARALLEL:
                            stop = start + step * (BLOCK - 1)
                            if max(start, stop) < -1 or min(start, stop) > bins:
                                continue  # half a detector sees half of the pixels
                            # single precision is kept for what remains of the middle pixel's
                            whole = math.floor(start + step * HALF)
                        at = pixels * real(step) + real(start + step * HALF - whole)
                        if kind != PARALLEL:
                            depth = along[view, 0] + along[view, 1] * row
                            depth += along[view, 2] * (column + HALF)
                            b = pixels * real(along[view, 2]) + real(depth)
                            if kind == FLAT:
                                # at and behind the source nothing is seen
                                seen = minimum(maximum(b - tiny, none) * real(1e30), one)
                                inverse = one / maximum(b, tiny)
                                strength = inverse * inverse * seen
                                at = at * inverse + scale[1]
                            else:
                                square = at * at + b * b
                                tangent = at / (b + square_root(square))  # of half the angle
                                tangent = minimum(maximum(tangent, one * real(-1)), one)
                                strength = one / maximum(square, tiny)
                                at = _arctan(tangent) * (real(2) * scale[0]) + scale[1]
                            # nothing beyond the zeros, and not a number where b is zero
                            at = maximum(at, splat(real(-PADDING)))
                            at = minimum(at, splat(real(bins)))
                        left = floor(at)
                        share = strength * (at - left)
                        index = to_int32(left) + int32(whole)
                        index = minimum(maximum(index, splat(int32(-PADDING))), splat(int32(bins)))
                        store_block(offsets, used, index + int32(view * stride + PADDING))
                        store_block(lefts, used, strength - share)
                        store_block(rights, used, share)
                        used += BLOCK
                    for k in range(min(BLOCK, columns - column)):
                        total = load(image, row * columns + column + k)
                        other = zero(image)  # two sums: neither waits for the other
                        for entry in range(k, used, BLOCK):
                            at_bin = offsets[entry]
                            total = total + load(views, at_bin) * lefts[entry]
                            other = other + load(views, at_bin + 1) * rights[entry]
                        store(image, row * columns + column + k, total + other)
