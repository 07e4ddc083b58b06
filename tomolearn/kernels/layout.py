"""From images and sinograms to lanes and back.

An image of lanes has one vector per pixel: first all images of the batch, then the same for
every other symmetric copy. `by_item` is its memory seen as vectors of one batch only. Behind the
images of a batch may be empty lanes, which nothing is copied into or out of.
"""

from __future__ import annotations

import numpy as np

from tomolearn.kernels.compilation import compiled
from tomolearn.kernels.lanes import (
    load,
    load_eight,
    reverse_eight,
    store,
    store_eight,
    transpose_eight,
)

_TILE = 16  # pixels of a transposed copy lie far apart; a tile of them stays in the cache
TILE_PIXELS = _TILE * _TILE


@compiled
def expand(  # type: ignore[no-untyped-def]
    part, parts, images, placements, tile, tile_values, by_item
):
    """Copy images (batch, rows, columns) into every lane; the padding is not touched.

    `tile` is working memory for a tile of pixels per part, `tile_values` the same memory as
    plain floats (pixels, batch).
    """
    batch, rows, columns = images.shape
    lanes = placements.shape[0]
    mine = part * _TILE * _TILE
    for top in range(part * _TILE, rows, parts * _TILE):
        bottom = min(rows, top + _TILE)
        for left in range(0, columns, _TILE):
            right = min(columns, left + _TILE)
            for item in range(batch):
                for i in range(top, bottom):
                    at = mine + (i - top) * _TILE - left
                    for j in range(left, right):
                        tile_values[at + j, item] = images[item, i, j]
            for lane in range(lanes):
                offset, down, across = placements[lane]
                for i in range(top, bottom):
                    at = mine + (i - top) * _TILE - left
                    for j in range(left, right):
                        position = offset + i * down + j * across
                        store(by_item, position * lanes + lane, load(tile, at + j))


@compiled
def collapse(  # type: ignore[no-untyped-def]
    part, parts, by_item, placements, accumulate, tile, tile_values, images
):
    """Sum all lanes into images (batch, rows, columns), the transpose of `expand`."""
    batch, rows, columns = images.shape
    lanes = placements.shape[0]
    mine = part * _TILE * _TILE
    for top in range(part * _TILE, rows, parts * _TILE):
        bottom = min(rows, top + _TILE)
        for left in range(0, columns, _TILE):
            right = min(columns, left + _TILE)
            for lane in range(lanes):
                offset, down, across = placements[lane]
                for i in range(top, bottom):
                    at = mine + (i - top) * _TILE - left
                    for j in range(left, right):
                        position = offset + i * down + j * across
                        total = load(by_item, position * lanes + lane)
                        if lane > 0:
                            total = total + load(tile, at + j)
                        store(tile, at + j, total)
            for item in range(batch):
                for i in range(top, bottom):
                    at = mine + (i - top) * _TILE - left
                    for j in range(left, right):
                        value = tile_values[at + j, item]
                        if accumulate:
                            value += images[item, i, j]
                        images[item, i, j] = value


@compiled
def _eight_pixels(copies, starts, reverse, plane, column, mirror):  # type: ignore[no-untyped-def]
    if reverse[plane]:
        return reverse_eight(load_eight(copies, starts[plane] + mirror))
    return load_eight(copies, starts[plane] + column)


@compiled
def expand_eights(  # type: ignore[no-untyped-def]
    part, parts, copies, batch, elements, rows, columns, padding, target
):
    """As `expand`, eight pixels and eight lanes at a time.

    `copies` are the images and, if there are transposed lanes, behind them the images
    transposed, flat; `rows` and `columns` are those of the lanes' images, `elements` their
    (transposed, rows flipped, columns flipped); `target` is the memory of the padded lanes as
    plain floats. The number of lanes is a multiple of eight, that of columns at least eight.
    """
    size = rows * columns
    lanes = elements.shape[0] * batch
    width = columns + 2 * padding
    starts = np.empty(lanes, np.int64)
    reverse = np.empty(lanes, np.bool_)
    for row in range(part, rows, parts):
        for lane in range(elements.shape[0]):
            source = rows - 1 - row if elements[lane, 1] else row
            for item in range(batch):
                at = (elements[lane, 0] * batch + item) * size + source * columns
                starts[lane * batch + item] = at
                reverse[lane * batch + item] = elements[lane, 2]
        for block in range(0, columns, 8):
            column = min(block, columns - 8)
            rest = (column, columns - 8 - column)
            at = (2 * padding + row * width + column) * lanes
            for first in range(0, lanes, 8):
                pixels = (
                    _eight_pixels(copies, starts, reverse, first, *rest),
                    _eight_pixels(copies, starts, reverse, first + 1, *rest),
                    _eight_pixels(copies, starts, reverse, first + 2, *rest),
                    _eight_pixels(copies, starts, reverse, first + 3, *rest),
                    _eight_pixels(copies, starts, reverse, first + 4, *rest),
                    _eight_pixels(copies, starts, reverse, first + 5, *rest),
                    _eight_pixels(copies, starts, reverse, first + 6, *rest),
                    _eight_pixels(copies, starts, reverse, first + 7, *rest),
                )
                vectors = transpose_eight(pixels)
                for k in range(8):
                    store_eight(target, at + k * lanes + first, vectors[k])


@compiled
def _pixel_lanes(source, at, is_new):  # type: ignore[no-untyped-def]
    values = load_eight(source, at)
    return values if is_new else values - values


@compiled
def collapse_eights(  # type: ignore[no-untyped-def]
    part, parts, source, batch, elements, rows, columns, padding, copies
):
    """Sum lanes into `copies`, the transpose of `expand_eights`.

    They receive the sums of all straight lanes and, behind them, those of all transposed ones,
    which are still transposed.
    """
    size = rows * columns
    lanes = elements.shape[0] * batch
    width = columns + 2 * padding
    starts = np.empty(lanes, np.int64)
    flipped, reverse = np.empty(lanes, np.bool_), np.empty(lanes, np.bool_)
    for lane in range(lanes):
        element = lane // batch
        starts[lane] = (elements[element, 0] * batch + lane % batch) * size
        flipped[lane], reverse[lane] = elements[element, 1], elements[element, 2]
    # rows that are exchanged by flips are of one part
    for pair in range(part, (rows + 1) // 2, parts):
        twins = 1 if rows - 1 - pair == pair else 2
        for twin in range(twins):
            row = rows - 1 - pair if twin else pair
            for lane in range(lanes):
                copies[starts[lane] + row * columns : starts[lane] + (row + 1) * columns] = 0
        for twin in range(twins):
            row = rows - 1 - pair if twin else pair
            for block in range(0, columns, 8):
                column = min(block, columns - 8)
                for first in range(0, lanes, 8):
                    at = (2 * padding + row * width + column) * lanes + first
                    pixels = (
                        _pixel_lanes(source, at, column >= block),
                        _pixel_lanes(source, at + lanes, column + 1 >= block),
                        _pixel_lanes(source, at + 2 * lanes, column + 2 >= block),
                        _pixel_lanes(source, at + 3 * lanes, column + 3 >= block),
                        _pixel_lanes(source, at + 4 * lanes, column + 4 >= block),
                        _pixel_lanes(source, at + 5 * lanes, column + 5 >= block),
                        _pixel_lanes(source, at + 6 * lanes, column + 6 >= block),
                        load_eight(source, at + 7 * lanes),
                    )
                    vectors = transpose_eight(pixels)
                    for k in range(8):
                        lane = first + k
                        to = rows - 1 - row if flipped[lane] else row
                        to = starts[lane] + to * columns
                        if reverse[lane]:
                            to += columns - 8 - column
                            values = reverse_eight(vectors[k])
                        else:
                            to += column
                            values = vectors[k]
                        store_eight(copies, to, load_eight(copies, to) + values)


@compiled
def turn(part, parts, images, batch, rows, columns, turned):  # type: ignore[no-untyped-def]
    """Transpose images (batch, rows, columns) into `turned`, both flat, no side below eight."""
    size = rows * columns
    blocks = (rows + 7) // 8
    for block in range(part, batch * blocks, parts):
        item, row = block // blocks, min(block % blocks * 8, rows - 8)
        for left in range(0, columns, 8):
            column = min(left, columns - 8)
            at = item * size + row * columns + column
            lines = (
                load_eight(images, at),
                load_eight(images, at + columns),
                load_eight(images, at + 2 * columns),
                load_eight(images, at + 3 * columns),
                load_eight(images, at + 4 * columns),
                load_eight(images, at + 5 * columns),
                load_eight(images, at + 6 * columns),
                load_eight(images, at + 7 * columns),
            )
            crossed = transpose_eight(lines)
            for k in range(8):
                store_eight(turned, item * size + (column + k) * rows + row, crossed[k])


@compiled
def pack_rays(part, parts, sinogram, members, rays):  # type: ignore[no-untyped-def]
    """Sort sinograms (batch, rays of the scan) into canonical rays (rays, lanes * batch)."""
    batch = sinogram.shape[0]
    n_rays, lanes = members.shape
    room = rays.shape[1] // lanes
    for low in range(part * 256, n_rays, parts * 256):
        high = min(n_rays, low + 256)
        for lane in range(lanes):
            for item in range(batch):
                for ray in range(low, high):
                    member = members[ray, lane]
                    value = sinogram[item, member] if member >= 0 else rays.dtype.type(0)
                    rays[ray, lane * room + item] = value


@compiled
def pack_views(part, parts, sinogram, members, padding, views):  # type: ignore[no-untyped-def]
    """Sort sinograms (batch, angles, detectors) into canonical views.

    `members[v, lane]` is (angle or -1, first bin, step, bins to leave out); `views` is
    (canonical views, bins with `padding` zeros on both sides, lanes * batch).
    """
    batch = sinogram.shape[0]
    n_views, lanes = members.shape[:2]
    room = views.shape[2] // lanes
    bins = views.shape[1] - 2 * padding
    for view in range(part, n_views, parts):
        for k in range(padding):
            for lane in range(lanes * room):
                views[view, k, lane] = 0
                views[view, padding + bins + k, lane] = 0
        for lane in range(lanes):
            angle, first, step, skip = members[view, lane]
            for item in range(batch):
                for k in range(bins):
                    value = views.dtype.type(0)
                    if angle >= 0 and k >= skip:
                        value = sinogram[item, angle, first + step * k]
                    views[view, padding + k, lane * room + item] = value
