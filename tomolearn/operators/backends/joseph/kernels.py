"""The compiled loops over rays, rows and views.

Every kernel does the share `part` of `parts` of its work, so that several threads can run it at
once without writing to the same memory. Images and rays are arrays of lanes (see `lanes`).
"""

from __future__ import annotations

import math

import numpy as np
from numba import float64, int32, njit

from tomolearn.operators.backends.joseph.lanes import (
    BLOCK,
    floor,
    iota,
    load,
    load_block,
    maximum,
    minimum,
    splat,
    square_root,
    store,
    store_block,
    to_int32,
    zero,
)

__all__ = ["CURVED", "FLAT", "PARALLEL", "gather", "project", "scatter"]

# Division by zero must not raise inside kernels; compiled code is kept on disk.
OPTIONS = {"nogil": True, "cache": True, "error_model": "numpy", "fastmath": {"contract"}}

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

SCATTER_ROWS = BLOCK
GATHER_ROWS = 8
GATHER_COLUMNS = 64


@njit(**OPTIONS)
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


@njit(**OPTIONS)
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
                        value = values[mine + ray - low, lane * batch + item]
                        sinogram[item, members[ray, lane]] = value


@njit(**OPTIONS)
def scatter(  # type: ignore[no-untyped-def]
    part, parts, rays, rows, width, start, slope, length, first_row, last_row, image
):
    """Add every canonical ray to the pixels it was summed from, with the same weights.

    Each part owns blocks of rows and runs over all rays; nobody else writes there.
    """
    offsets = np.empty(SCATTER_ROWS + BLOCK, np.int32)
    weights = np.empty(SCATTER_ROWS + BLOCK, length.dtype)
    for top in range(part * SCATTER_ROWS, rows, parts * SCATTER_ROWS):
        bottom = min(rows, top + SCATTER_ROWS)
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


@njit(**OPTIONS)
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


@njit(**OPTIONS)
def _visible_columns(origin, step, bins, reach, columns):  # type: ignore[no-untyped-def]
    """Return the columns at which ``origin + step * column`` is within `reach` of the bins."""
    if step == 0.0:
        return 0, columns
    enter, leave = (-reach - origin) / step, (bins - 1 + reach - origin) / step
    low, high = min(enter, leave), max(enter, leave)
    return int(max(0.0, min(low, float(columns)))), int(max(0.0, min(high + 2.0, float(columns))))


@njit(**OPTIONS)
def gather(  # type: ignore[no-untyped-def]
    part,
    parts,
    kind,
    views,
    stride,
    bins,
    taps,
    wide,
    across,
    along,
    sharpness,
    factor,
    scale,
    rows,
    columns,
    image,
):
    """Sum for every pixel the detector bins that it is seen by, interpolating between bins.

    With ``a = across[v, 0] + across[v, 1] * row + across[v, 2] * column`` and ``b`` likewise
    from `along`, pixel (row, column) of view v is seen at bin

    * ``a`` in a parallel beam (`kind` PARALLEL),
    * ``a / b + scale[1]`` on a flat detector (FLAT), with weight ``1 / b**2``,
    * ``scale[0] * atan(a / b) + scale[1]`` on a curved one (CURVED), with weight
      ``1 / (a**2 + b**2)``.

    Bin k at distance d from there counts ``factor[v] * max(0, 1 - sharpness[v] * d)``; `taps` is
    the most bins for which that is positive; only the first `wide` views have more than two.
    View v is ``views[v * stride + taps + k]``, with
    `taps` zeros before and after its bins. `across`, `along`, `sharpness` and `factor` are
    padded to whole blocks of views. `image` has no padding.
    """
    real = sharpness.dtype.type
    n_views = views.shape[0] // stride
    offsets = np.empty(BLOCK, np.int32)
    weights = np.empty(BLOCK * taps, sharpness.dtype)
    whole = np.empty(BLOCK, np.int32)
    origin = np.empty(BLOCK, sharpness.dtype)
    depth = np.empty(BLOCK, sharpness.dtype)
    begin = np.empty(GATHER_ROWS, np.int64)
    end = np.empty(GATHER_ROWS, np.int64)
    across_step = np.empty(BLOCK, sharpness.dtype)
    along_step = np.empty(BLOCK, sharpness.dtype)
    starts = iota(int32(0)) * int32(stride) + int32(taps)
    for top in range(part * GATHER_ROWS, rows, parts * GATHER_ROWS):
        bottom = min(rows, top + GATHER_ROWS)
        for pixel in range(top * columns, bottom * columns):
            store(image, pixel, zero(image))
        for first in range(0, n_views, BLOCK):
            here = min(BLOCK, n_views - first)
            for k in range(BLOCK):
                across_step[k] = real(across[first + k, 2])
                along_step[k] = real(along[first + k, 2])
            sharp, strength = load_block(sharpness, first), load_block(factor, first)
            reach = splat(real(1)) / sharp
            wider = max(0, min(here, wide - first))
            used_taps = taps if wider > 0 else 2
            for row in range(top, bottom):
                begin[row - top], end[row - top] = 0, columns
                if kind == PARALLEL:
                    # a half detector sees half of the pixels: leave out the others
                    begin[row - top], end[row - top] = columns, 0
                    for k in range(here):
                        view = first + k
                        at = across[view, 0] + across[view, 1] * row
                        enter, leave = _visible_columns(
                            at, across[view, 2], bins, 1.0 / sharpness[view], columns
                        )
                        begin[row - top] = min(begin[row - top], enter)
                        end[row - top] = max(end[row - top], leave)
            for left in range(0, columns, GATHER_COLUMNS):
                for row in range(top, bottom):
                    low = max(left, begin[row - top])
                    high = min(left + GATHER_COLUMNS, end[row - top])
                    if low >= high:
                        continue
                    for k in range(BLOCK):
                        view = first + k
                        at = across[view, 0] + across[view, 1] * row + across[view, 2] * low
                        # single precision is kept for the fraction of a bin
                        whole[k] = math.floor(at) if kind == PARALLEL else 0
                        origin[k] = real(at - whole[k])
                        at = along[view, 0] + along[view, 1] * row + along[view, 2] * low
                        depth[k] = real(at)
                    a0, da = load_block(origin, 0), load_block(across_step, 0)
                    b0, db = load_block(depth, 0), load_block(along_step, 0)
                    base = load_block(whole, 0)
                    for column in range(low, high):
                        shift = real(column - low)
                        at = a0 + da * shift
                        strengthened = strength
                        if kind != PARALLEL:
                            b = b0 + db * shift
                            if kind == FLAT:
                                inverse = splat(real(1)) / b
                                strengthened = strength * inverse * inverse
                                at = at * inverse + real(scale[1])
                            else:
                                square = at * at + b * b
                                tangent = at / (b + square_root(square))  # of half the angle
                                tangent = maximum(tangent, splat(real(-1)))
                                tangent = minimum(tangent, splat(real(1)))
                                strengthened = strength / square
                                at = _arctan(tangent) * real(2 * scale[0]) + real(scale[1])
                            # nothing beyond the zeros, and not a number where b is zero
                            at = maximum(at, splat(real(-taps - 1)))
                            at = minimum(at, splat(real(bins + 1)))
                        bin_ = floor(at - reach) + real(1)
                        distance = at - bin_
                        for tap in range(used_taps):
                            away = distance - real(tap)
                            near = strengthened - strengthened * sharp * maximum(
                                away, away * real(-1)
                            )
                            store_block(weights, tap * BLOCK, maximum(near, splat(real(0))))
                        index = maximum(to_int32(bin_) + base, splat(int32(-taps)))
                        index = minimum(index, splat(int32(bins)))
                        store_block(offsets, 0, index + starts)
                        total = load(image, row * columns + column)
                        start = first * stride
                        lefts, rights = zero(image), zero(image)
                        for k in range(here):
                            at_bin = start + offsets[k]
                            lefts = lefts + load(views, at_bin) * weights[k]
                            rights = rights + load(views, at_bin + 1) * weights[BLOCK + k]
                        total = total + (lefts + rights)
                        for k in range(wider):
                            for tap in range(2, taps):
                                value = load(views, start + offsets[k] + tap)
                                total = total + value * weights[tap * BLOCK + k]
                        store(image, row * columns + column, total)
