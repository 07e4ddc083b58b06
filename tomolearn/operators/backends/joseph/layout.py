"""From images and sinograms to lanes and back.

An image of lanes has one vector per pixel: first all images of the batch, then the same for
every other symmetric copy. Arrays named `by_item` are seen as vectors of one batch only.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from tomolearn.operators.backends.joseph.kernels import OPTIONS
from tomolearn.operators.backends.joseph.lanes import load, store, zero

__all__ = ["collapse", "expand", "pack_rays", "pack_views"]

_TILE = 16  # pixels of a transposed copy lie far apart; a tile of them stays in the cache


@njit(**OPTIONS)
def expand(part, parts, by_item, rows, columns, placements, target):  # type: ignore[no-untyped-def]
    """Copy an image (pixels of batch vectors) into every lane of `target`, padding untouched."""
    lanes = placements.shape[0]
    for top in range(part * _TILE, rows, parts * _TILE):
        for left in range(0, columns, _TILE):
            for lane in range(lanes):
                offset, down, right = placements[lane]
                for i in range(top, min(rows, top + _TILE)):
                    for j in range(left, min(columns, left + _TILE)):
                        position = offset + i * down + j * right
                        store(target, position * lanes + lane, load(by_item, i * columns + j))


@njit(**OPTIONS)
def collapse(  # type: ignore[no-untyped-def]
    part, parts, source, rows, columns, placements, accumulate, by_item
):
    """Sum all lanes of `source` into an image, the transpose of `expand`."""
    lanes = placements.shape[0]
    for top in range(part * _TILE, rows, parts * _TILE):
        for left in range(0, columns, _TILE):
            for lane in range(lanes):
                offset, down, right = placements[lane]
                for i in range(top, min(rows, top + _TILE)):
                    for j in range(left, min(columns, left + _TILE)):
                        pixel = i * columns + j
                        position = offset + i * down + j * right
                        total = zero(by_item)
                        if accumulate or lane > 0:
                            total = load(by_item, pixel)
                        total = total + load(source, position * lanes + lane)
                        store(by_item, pixel, total)


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
