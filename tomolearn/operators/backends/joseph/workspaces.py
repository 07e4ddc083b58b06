"""Working memory of one kernel call, with the kernel's arguments made ready.

A workspace is used by one call at a time and lent again afterwards: at small sizes, allocating and
looking things up would cost as much as the computation.
"""

from __future__ import annotations

import numpy as np

from tomolearn.geometry import Grid, Scan
from tomolearn.kernels.joseph import PADDING
from tomolearn.kernels.lanes import BLOCK, aligned_empty, lane_dtype
from tomolearn.kernels.packets import GAP
from tomolearn.operators.backends.joseph.images import ImageLanes, lanes_of
from tomolearn.operators.backends.joseph.packets import PixelViews, RayPackets
from tomolearn.operators.backends.joseph.rays import RayTable
from tomolearn.operators.backends.joseph.views import ViewTable

_CACHE = 768 * 2**10  # bytes of an image's rows that many rays pass through
_SCATTER_CACHE = 1152 * 2**10  # the same where the rows are also written
_TILE_RAYS = 128  # rays that one thread follows through those rows
_PACKET_CACHE = 320 * 2**10  # bytes of an image's rows that many packets of rays pass through
_TILE_PACKETS = 64  # packets that one thread follows through those rows


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


class PacketProjection(Workspace):
    """For `packets.project`: the padded images are ours, the sinogram is left to be given."""

    def __init__(self, packets: RayPackets, images: np.ndarray) -> None:
        batch, dtype = len(images), images.dtype
        rows, columns = packets.rows, packets.columns
        pitch = columns + GAP
        padded = np.zeros(batch * rows * pitch + GAP, dtype)
        self._pixels = padded[:-GAP].reshape(batch, rows, pitch)[:, :, GAP:]
        self._transposed = packets.transposed
        block = max(1, _PACKET_CACHE // (pitch * dtype.itemsize * BLOCK)) * BLOCK
        self.arguments = (
            padded,
            rows,
            columns,
            min(block, -(-rows // BLOCK) * BLOCK),
            _TILE_PACKETS,
            packets.start,
            packets.slope,
            packets.aside.astype(dtype),
            packets.tilts.astype(dtype),
            packets.first_row,
            packets.last_row,
            packets.narrow,
            packets.length.astype(dtype),
            packets.rays,
            np.arange(rows).astype(dtype),
        )
        self.nbytes = padded.nbytes + 3 * packets.rays.size * dtype.itemsize

    def fill(self, images: np.ndarray) -> None:
        """Copy images (batch, rows, columns)."""
        self._pixels[:] = images.swapaxes(1, 2) if self._transposed else images


class PixelGathering(Workspace):
    """For `packets.gather`: views and pixels of one image."""

    def __init__(self, grid: Grid, scan: Scan, views: PixelViews, dtype: np.dtype) -> None:
        n_angles, bins = scan.shape
        rows, columns = grid.shape
        table, pitch = views.table, -(-columns // 8) * 8
        padded, image = (
            np.zeros(n_angles * (bins + GAP) + GAP, dtype),
            np.empty(rows * pitch, dtype),
        )
        self.views = padded[:-GAP].reshape(n_angles, -1)[:, GAP:]
        self.pixels = image.reshape(rows, pitch)[:, :columns]
        self.arguments = (
            table.kind,
            padded,
            bins + GAP,
            bins,
            table.across,
            table.along,
            table.scale.astype(dtype),
            views.windows,
            rows,
            columns,
            pitch,
            image,
        )
        self.nbytes = padded.nbytes + image.nbytes


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
