"""Working memory of one kernel call, with the kernel's arguments made ready.

A workspace is used by one call at a time and lent again afterwards: at small sizes, allocating and
looking things up would cost as much as the computation.
"""

from __future__ import annotations

import numpy as np

from tomolearn.geometry import Grid
from tomolearn.kernels.joseph import PADDING
from tomolearn.kernels.lanes import BLOCK, aligned_empty, lane_dtype
from tomolearn.operators.backends.joseph.images import ImageLanes, lanes_of
from tomolearn.operators.backends.joseph.rays import RayTable
from tomolearn.operators.backends.joseph.views import ViewTable

_CACHE = 768 * 2**10  # bytes of an image's rows that many rays pass through
_SCATTER_CACHE = 1152 * 2**10  # the same where the rows are also written
_TILE_RAYS = 128  # rays that one thread follows through those rows


def _rows(size: int, table: RayTable, lanes: np.dtype) -> int:
    """Return how many rows of lanes have `size` bytes, a multiple of BLOCK."""
    return max(1, size // (table.width * lanes.itemsize * BLOCK)) * BLOCK


class Workspace:
    """Base of the workspaces: how much memory they hold."""

    nbytes: int


class Projection(Workspace):
    """For `kernels.project`: `padded` is the image of lanes, the sinogram is left to be given."""

    def __init__(self, grid: Grid, table: RayTable, images: np.ndarray, threads: int) -> None:
        batch, dtype = len(images), images.dtype
        self.padded = ImageLanes(grid.shape, table.elements, 1, batch, dtype, threads)
        lanes = self.padded.lanes.dtype
        block = _rows(_CACHE, table, lanes)
        tile = max(1, min(_TILE_RAYS, table.n_rays // (4 * threads)))
        sums = aligned_empty(threads * tile, lanes)
        self.arguments = (
            self.padded.lanes,
            table.rows,
            table.width,
            min(block, -(-table.rows // BLOCK) * BLOCK),
            table.start,
            table.slope,
            table.length.astype(dtype),
            table.first_row,
            table.last_row,
            table.members,
            sums,
            sums.view(dtype).reshape(len(sums), -1),
        )
        self.nbytes = self.padded.nbytes + sums.nbytes


class Scattering(Workspace):
    """For `kernels.scatter`: `values` are the canonical rays, `padded` receives the image."""

    def __init__(self, grid: Grid, table: RayTable, images: np.ndarray, threads: int) -> None:
        batch, dtype = len(images), images.dtype
        self.padded = ImageLanes(grid.shape, table.elements, 1, batch, dtype, threads)
        rays = aligned_empty(table.n_rays, lane_dtype(dtype, lanes_of(batch) * table.n_lanes))
        self.values = rays.view(dtype).reshape(table.n_rays, -1)
        self.values[:] = 0
        block = _rows(_SCATTER_CACHE, table, self.padded.lanes.dtype)
        most = max(BLOCK, table.rows // (2 * threads) // BLOCK * BLOCK)  # work for all threads
        self.arguments = (
            rays,
            table.rows,
            table.width,
            min(block, most),
            table.start,
            table.slope,
            table.length.astype(dtype),
            table.first_row,
            table.last_row,
            self.padded.lanes,
        )
        self.nbytes = self.padded.nbytes + rays.nbytes


class Gathering(Workspace):
    """For `kernels.gather`: `packing` ends the arguments of `pack_views`, `pixels` receives."""

    def __init__(self, grid: Grid, table: ViewTable, images: np.ndarray, threads: int) -> None:
        batch, dtype = len(images), images.dtype
        self.pixels = ImageLanes(grid.shape, table.elements, 0, batch, dtype, threads)
        stride = table.bins + 2 * PADDING
        lanes = lane_dtype(dtype, lanes_of(batch) * table.n_lanes)
        views = aligned_empty(table.n_views * stride, lanes)
        values = views.view(dtype).reshape(table.n_views, stride, -1)
        values[:] = 0
        self.packing = (table.members, PADDING, values)
        self.arguments = (
            table.kind,
            views,
            stride,
            table.bins,
            table.across,
            table.along,
            table.scale.astype(dtype),
            *grid.shape,
            self.pixels.lanes,
        )
        self.nbytes = self.pixels.nbytes + views.nbytes
