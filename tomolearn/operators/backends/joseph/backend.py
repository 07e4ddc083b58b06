"""The CPU backend: Joseph projection of many images at once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property

import numpy as np
import torch

from tomolearn.geometry import FanBeam, Grid, ParallelBeam, Scan
from tomolearn.operators.backends.base import Backend, Capabilities
from tomolearn.operators.backends.joseph import kernels, layout
from tomolearn.operators.backends.joseph.lanes import BLOCK, aligned_empty, lane_dtype
from tomolearn.operators.backends.joseph.rays import RayTable, ray_tables
from tomolearn.operators.backends.joseph.threads import run, share_out
from tomolearn.operators.backends.joseph.views import ViewTable, view_table

__all__ = ["JosephBackend"]

_VECTOR = 256  # bytes of all lanes of a pixel; more is not faster and outgrows the cache
_MOST_ITEMS = 16  # images that are projected together, a power of two
_WORKSPACE = 20 * 2**20  # bytes of one image of lanes at most, if the batch can be split
_CACHE = 768 * 2**10  # bytes of an image's rows that many rays pass through
_SMALL_IMAGE = 6 * 2**20  # bytes of lanes below which threads take an image each
_SMALL_WORK = 4_000_000  # sums of lanes below which starting threads does not pay
_TILE_RAYS = 128


class JosephBackend(Backend):
    """Joseph's projection and its exact transpose on a CPU.

    All images of a batch are projected at once, as lanes of SIMD vectors. Where rays are
    symmetric under flips and quarter turns of the grid, those are lanes too. Nothing is stored
    per ray and pixel. See `lanes`, `symmetry` and `kernels`.

    Parameters
    ----------
    grid : Grid
        Two-dimensional grid.
    scan : ParallelBeam or FanBeam
        The scan.
    """

    name = "joseph"
    capabilities = Capabilities(
        scans="2-D parallel beam, fan beam (flat, curved)",
        devices="CPU",
        precision="float32, float64",
        adjoint="exact transpose",
    )
    grid: Grid
    scan: ParallelBeam | FanBeam

    def __init__(self, grid: Grid, scan: Scan) -> None:
        super().__init__(grid, scan)
        self._lock = threading.Lock()
        self._buffers: dict[tuple[str, int, str], list[np.ndarray]] = {}

    @classmethod
    def unsupported(cls, grid: Grid, scan: Scan, device: torch.device) -> str | None:
        """Return why this backend cannot do it, or None if it can."""
        if device.type != "cpu":
            return f"computes on a CPU only, not on {device.type}"
        if not isinstance(scan, (ParallelBeam, FanBeam)):
            return f"projects parallel and fan beams only, not {type(scan).__name__}"
        return None

    @cached_property
    def ray_tables(self) -> list[RayTable]:
        """Tables of canonical rays."""
        return ray_tables(self.grid, self.scan)

    @cached_property
    def view_table(self) -> ViewTable:
        """Table of canonical views."""
        return view_table(self.grid, self.scan)

    @property
    def nbytes(self) -> int:
        """Memory of the tables, and of the workspace that was needed so far."""
        with self._lock:
            kept = [buffer.nbytes for buffers in self._buffers.values() for buffer in buffers]
        tables = [table.nbytes for table in self.ray_tables]
        return sum(kept) + sum(tables) + self.view_table.nbytes

    def _for_chunks(
        self, work: Callable[[slice, int], None], batch: int, lanes: int, rays: int, dtype: np.dtype
    ) -> None:
        """Call ``work(chunk, threads)`` for parts of the batch, powers of two in size.

        Many small images are shared out among the threads, one large image is computed by all.
        """
        rows, columns = self.grid.shape
        per_item = rows * columns * lanes * dtype.itemsize
        most = _MOST_ITEMS
        while most > 1 and (
            most * per_item > _WORKSPACE or most * lanes * dtype.itemsize > _VECTOR
        ):
            most //= 2
        chunks, at = [], 0
        while at < batch:
            size = most
            while size > batch - at:
                size //= 2
            chunks.append(slice(at, at + size))
            at += size
        threads = torch.get_num_threads()
        if len(chunks) > 1 and threads > 1 and most * per_item < _SMALL_IMAGE:
            share_out(lambda chunk: work(chunk, 1), chunks, min(threads, len(chunks)))
            return
        for chunk in chunks:
            lane_sums = rays * rows * (lanes * (chunk.stop - chunk.start) + 8)
            work(chunk, 1 if lane_sums < _SMALL_WORK else threads)

    @contextmanager
    def _memory(self, use: str, length: int, dtype: np.dtype) -> Iterator[np.ndarray]:
        """Lend working memory; what it held at its last use, zeros at the first."""
        key = (use, length, str(dtype))
        with self._lock:
            kept = self._buffers.get(key)
            buffer = kept.pop() if kept else None
        if buffer is None:
            buffer = aligned_empty(length, dtype)
            buffer.view(np.uint8)[:] = 0
        try:
            yield buffer
        finally:
            with self._lock:
                self._buffers.setdefault(key, []).append(buffer)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the sinograms (batch, angles, detectors) of images (batch, rows, columns)."""
        sinograms = images.new_empty((len(images), *self.scan.shape))
        source, target = images.numpy(), sinograms.view(len(images), -1).numpy()
        for table in self.ray_tables:

            def project(chunk: slice, threads: int, table: RayTable = table) -> None:
                self._project(source[chunk], table, target[chunk], threads)

            self._for_chunks(project, len(images), table.n_lanes, table.n_rays, source.dtype)
        return sinograms

    def _project(
        self, images: np.ndarray, table: RayTable, sinograms: np.ndarray, threads: int
    ) -> None:
        dtype, item = images.dtype, lane_dtype(images.dtype, len(images))
        lanes = lane_dtype(dtype, len(images) * table.n_lanes)
        block = max(1, _CACHE // (table.width * lanes.itemsize * BLOCK)) * BLOCK
        tile = max(1, min(_TILE_RAYS, table.n_rays // (4 * threads)))
        pixels = table.rows * table.width + 4
        with (
            self._memory("padded", pixels, lanes) as padded,
            self._memory("tile", threads * layout.TILE_PIXELS, item) as pixel_tile,
            self._memory("sums", threads * tile, lanes) as sums,
        ):
            values = pixel_tile.view(dtype).reshape(len(pixel_tile), -1)
            by_item = padded.view(item)
            run(
                layout.expand, threads, images, table.placements, pixel_tile, values, by_item
            )
            run(
                kernels.project,
                threads,
                padded,
                table.rows,
                table.width,
                block,
                table.start,
                table.slope,
                table.length_as(dtype),
                table.first_row,
                table.last_row,
                table.members,
                sums,
                sums.view(dtype).reshape(len(sums), -1),
                sinograms,
            )

    def adjoint(self, sinograms: torch.Tensor) -> torch.Tensor:
        """Return the images (batch, rows, columns) of the transposed projection."""
        if isinstance(self.scan, ParallelBeam):
            return self._gather_all(sinograms, exact=True)
        images = sinograms.new_empty((len(sinograms), *self.grid.shape))
        source, target = sinograms.view(len(sinograms), -1).numpy(), images.numpy()
        for number, table in enumerate(self.ray_tables):

            def scatter(
                chunk: slice, threads: int, table: RayTable = table, again: bool = number > 0
            ) -> None:
                self._scatter(source[chunk], table, target[chunk], threads, again)

            self._for_chunks(scatter, len(images), table.n_lanes, table.n_rays, source.dtype)
        return images

    def _scatter(
        self,
        sinograms: np.ndarray,
        table: RayTable,
        images: np.ndarray,
        threads: int,
        accumulate: bool,
    ) -> None:
        lanes = lane_dtype(images.dtype, len(images) * table.n_lanes)
        pixels = table.rows * table.width + 4
        with (
            self._memory("rays", table.n_rays, lanes) as rays,
            self._memory("scattered", pixels, lanes) as padded,
        ):
            values = rays.view(images.dtype).reshape(table.n_rays, -1)
            run(layout.pack_rays, threads, sinograms, table.members, values)
            run(
                kernels.scatter,
                threads,
                rays,
                table.rows,
                table.width,
                table.start,
                table.slope,
                table.length_as(images.dtype),
                table.first_row,
                table.last_row,
                padded,
            )
            self._collapse(padded, table.placements, images, threads, accumulate)

    def backproject(self, sinograms: torch.Tensor) -> torch.Tensor:
        """Return the pixel-driven, distance-weighted back-projection."""
        return self._gather_all(sinograms, exact=False)

    def _gather_all(self, sinograms: torch.Tensor, exact: bool) -> torch.Tensor:
        table = self.view_table
        images = sinograms.new_empty((len(sinograms), *self.grid.shape))
        source, target = sinograms.numpy(), images.numpy()

        def gather(chunk: slice, threads: int) -> None:
            self._gather(source[chunk], table, target[chunk], threads, exact)

        rays = table.n_views * self.grid.shape[1]
        self._for_chunks(gather, len(images), table.n_lanes, rays, source.dtype)
        return images

    def _gather(
        self,
        sinograms: np.ndarray,
        table: ViewTable,
        images: np.ndarray,
        threads: int,
        exact: bool,
    ) -> None:
        rows, columns = self.grid.shape
        taps = table.taps if exact else 2
        stride = table.bins + 2 * taps
        lanes = lane_dtype(images.dtype, len(images) * table.n_lanes)
        sharpness, factor = table.weights_as(images.dtype, exact)
        with (
            self._memory("views", table.n_views * stride, lanes) as views,
            self._memory("gathered", rows * columns, lanes) as gathered,
        ):
            values = views.view(images.dtype).reshape(table.n_views, stride, -1)
            run(layout.pack_views, threads, sinograms, table.members, taps, values)
            run(
                kernels.gather,
                threads,
                table.kind,
                views,
                stride,
                table.bins,
                taps,
                table.wide if exact else 0,
                table.across,
                table.along,
                sharpness,
                factor,
                table.scale,
                rows,
                columns,
                gathered,
            )
            self._collapse(gathered, table.placements, images, threads, accumulate=False)

    def _collapse(
        self,
        source: np.ndarray,
        placements: np.ndarray,
        images: np.ndarray,
        threads: int,
        accumulate: bool,
    ) -> None:
        item = lane_dtype(images.dtype, len(images))
        with self._memory("tile", threads * layout.TILE_PIXELS, item) as tile:
            values = tile.view(images.dtype).reshape(len(tile), -1)
            run(
                layout.collapse,
                threads,
                source.view(item),
                placements,
                accumulate,
                tile,
                values,
                images,
            )
