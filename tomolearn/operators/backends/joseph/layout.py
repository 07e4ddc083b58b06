"""From images and sinograms to lanes and back.

An image of lanes has one vector per pixel: first all images of the batch, then the same for
every other symmetric copy. `by_item` is its memory seen as vectors of one batch only.
"""

from __future__ import annotations

from numba import njit

from tomolearn.operators.backends.joseph.kernels import OPTIONS
from tomolearn.operators.backends.joseph.lanes import load, store, zero

__all__ = ["TILE_PIXELS", "collapse", "expand", "pack_rays", "pack_views"]

_TILE = 16  # pixels of a transposed copy lie far apart; a tile of them stays in the cache
TILE_PIXELS = _TILE * _TILE


@njit(**OPTIONS)
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


@njit(**OPTIONS)
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
                        total = load(tile, at + j) if lane > 0 else zero(tile)
                        position = offset + i * down + j * across
                        store(tile, at + j, total + load(by_item, position * lanes + lane))
            for item in range(batch):
                for i in range(top, bottom):
                    at = mine + (i - top) * _TILE - left
                    for j in range(left, right):
                        value = tile_values[at + j, item]
                        if accumulate:
                            value += images[item, i, j]
                        images[item, i, j] = value


@njit(**OPTIONS)
def pack_rays(part, parts, sinogram, members, rays):  # type: ignore[no-untyped-def]
    """Sort sinograms (batch, rays of the scan) into canonical rays (rays, lanes * batch)."""
    batch = sinogram.shape[0]
    n_rays, lanes = members.shape
    for low in range(part * 256, n_rays, parts * 256):
        high = min(n_rays, low + 256)
        for lane in range(lanes):
            for item in range(batch):
                for ray in range(low, high):
                    member = members[ray, lane]
                    value = sinogram[item, member] if member >= 0 else rays.dtype.type(0)
                    rays[ray, lane * batch + item] = value


@njit(**OPTIONS)
def pack_views(part, parts, sinogram, members, taps, views):  # type: ignore[no-untyped-def]
    """Sort sinograms (batch, angles, detectors) into canonical views.

    `members[v, lane]` is (angle or -1, first bin, step, bins to leave out); `views` is
    (canonical views, bins with `taps` zeros on both sides, lanes * batch).
    """
    batch = sinogram.shape[0]
    n_views, lanes = members.shape[:2]
    bins = views.shape[1] - 2 * taps
    for view in range(part, n_views, parts):
        for k in range(taps):
            for lane in range(lanes * batch):
                views[view, k, lane] = 0
                views[view, taps + bins + k, lane] = 0
        for lane in range(lanes):
            angle, first, step, skip = members[view, lane]
            for item in range(batch):
                for k in range(bins):
                    value = views.dtype.type(0)
                    if angle >= 0 and k >= skip:
                        value = sinogram[item, angle, first + step * k]
                    views[view, taps + k, lane * batch + item] = value
