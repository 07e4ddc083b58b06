"""The CPU backend: Joseph projection of many images at once."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

import numpy as np
import torch

from tomolearn._core.fork import ForkSafeLock
from tomolearn.geometry import FanBeam, Grid, ParallelBeam, Scan
from tomolearn.kernels import joseph as kernels, layout, packets
from tomolearn.kernels.lanes import widest_vector
from tomolearn.kernels.threads import run, share_out
from tomolearn.operators.backends.base import Backend, Capabilities
from tomolearn.operators.backends.joseph.images import lanes_of
from tomolearn.operators.backends.joseph.packets import (
    PixelViews,
    RayPackets,
    packets_pay,
    pixel_views,
    pixels_pay,
    ray_packets,
)
from tomolearn.operators.backends.joseph.rays import WEIGHT_COST, RayTable, ray_tables
from tomolearn.operators.backends.joseph.space import space_projector
from tomolearn.operators.backends.joseph.views import ViewTable, view_table
from tomolearn.operators.backends.joseph.workspaces import (
    Gathering,
    PacketProjection,
    PixelGathering,
    Projection,
    Scattering,
    Workspace,
)

_MOST_ITEMS = 16  # images that are projected together, a power of two
_WORKSPACE = 20 * 2**20  # bytes of one image of lanes at most, if the batch can be split
_KEPT = 256 * 2**20  # bytes of idle working memory above which it is dropped
_SMALL_IMAGE = 6 * 2**20  # bytes of lanes below which threads take an image each
_SMALL_WORK = 4_000_000  # sums of lanes below which starting threads does not pay

_W = TypeVar("_W", bound="Workspace")


class JosephBackend(Backend):
    """Joseph's projection and its exact transpose on a CPU, of any scan in the plane or in space.

    In space neighbouring detector rows are lanes of SIMD vectors, see `kernels.columns`, or else
    rays are followed one by one, see `kernels.joseph_space`. In the plane all images of a batch are
    projected at once, as lanes. Where rays are symmetric under flips and quarter
    turns of the grid, those are lanes too. If there are fewer than that takes, and in single
    precision, eight neighbouring rays or pixels of one image are. Nothing is stored per ray and
    pixel. See `kernels.lanes`, `symmetry`, `packets` and `kernels`.

    With ``neighbours=False`` neighbouring rays and pixels are never lanes; results differ by
    rounding.
    """

    name = "joseph"
    capabilities = Capabilities(
        scans="all: parallel, fan and cone beams (flat, curved), views as vectors",
        devices="CPU",
        precision="float32, float64",
        adjoint="exact transpose",
    )

    def __init__(self, grid: Grid, scan: Scan, *, neighbours: bool = True) -> None:
        super().__init__(grid, scan)
        self._neighbours = neighbours
        self._lock = ForkSafeLock()
        self._workspaces: dict[Hashable, list[Any]] = {}
        # made once, by the first who needs them
        self._making = ForkSafeLock()
        self._rays: list[RayTable] | None = None
        self._views: ViewTable | None = None
        self._packets: list[RayPackets] | None = None
        self._pixels: list[PixelViews] | None = None
        self._space = space_projector(grid, scan) if grid.ndim == 3 else None

    @classmethod
    def unsupported(cls, grid: Grid, scan: Scan, device: torch.device) -> str | None:
        """Return why this backend cannot do it, or None if it can."""
        if device.type != "cpu":
            return f"computes on a CPU only, not on {device.type}"
        return None

    @property
    def ray_tables(self) -> list[RayTable]:
        """Tables of canonical rays."""
        if self._rays is None:
            with self._making:
                if self._rays is None:
                    self._rays = ray_tables(self.grid, self.scan)
        return self._rays

    @property
    def view_table(self) -> ViewTable | None:
        """Table of canonical views, of parallel and fan beams."""
        if self._views is None and isinstance(self.scan, (ParallelBeam, FanBeam)):
            with self._making:
                if self._views is None:
                    self._views = view_table(self.grid, self.scan)
        return self._views

    def _ray_packets(self, images: int, dtype: np.dtype) -> list[RayPackets]:
        """Return all rays in packets, if so many images are faster projected by them."""
        if not self._neighbours or dtype != np.float32:
            return []
        tables = self.ray_tables
        if not packets_pay(tables, images, math.prod(self.scan.shape) / 8):
            return []
        if self._packets is None:
            with self._making:
                if self._packets is None:
                    self._packets = ray_packets(self.grid, self.scan, tables)
        pay = packets_pay(tables, images, sum(p.n_packets for p in self._packets))
        return self._packets if pay else []

    def _pixel_views(self, table: ViewTable, images: int, dtype: np.dtype) -> list[PixelViews]:
        """Return all views, if so many images are faster back-projected by eights of pixels."""
        if not self._neighbours or dtype != np.float32:
            return []
        if not pixels_pay(table, images, self.scan.shape[0]):
            return []
        if self._pixels is None and isinstance(self.scan, (ParallelBeam, FanBeam)):
            with self._making:
                if self._pixels is None:
                    found = pixel_views(self.grid, self.scan)
                    self._pixels = [] if found is None else [found]
        return [views for views in self._pixels or [] if pixels_pay(table, images, views.cost)]

    @property
    def nbytes(self) -> int:
        """Memory of the tables, and of the workspace that was needed so far."""
        if self._space is not None:
            return self._space.nbytes
        with self._lock:
            kept = [work.nbytes for works in self._workspaces.values() for work in works]
        views = self.view_table.nbytes if self.view_table else 0
        tables = sum(table.nbytes for table in self.ray_tables) + views
        tables += sum(packets.nbytes for packets in self._packets or [])
        return sum(kept) + tables + sum(pixels.nbytes for pixels in self._pixels or [])

    def working_bytes(self, itemsize: int, batch: int = 1) -> int:
        """Return the memory beside input and output; see `Backend`."""
        return 0 if self._space is None else self._space.working_bytes(itemsize, batch)

    def _for_chunks(
        self, work: Callable[[slice, int], None], batch: int, lanes: int, rays: int, dtype: np.dtype
    ) -> None:
        """Call ``work(chunk, threads)`` for parts of the batch.

        Many small images are shared out among the threads, one large image is computed by all.
        """
        rows, columns = self.grid.shape
        per_item = rows * columns * lanes * dtype.itemsize
        most = _MOST_ITEMS
        while most > 1 and (
            most * per_item > _WORKSPACE or most * lanes * dtype.itemsize > widest_vector()
        ):
            most //= 2
        chunks, at = [], 0
        for size in _sizes(batch, most, lanes):
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
    def _lend(self, key: Hashable, make: Callable[[], _W]) -> Iterator[_W]:
        """Lend working memory that nobody else uses meanwhile; `make` it if there is none."""
        try:
            work = self._workspaces[key].pop()
        except (KeyError, IndexError):
            work = make()
        try:
            yield work
        finally:
            with self._lock:
                kept = [w for works in self._workspaces.values() for w in works]
                if sum(w.nbytes for w in kept) + work.nbytes > _KEPT:
                    self._workspaces.clear()  # large ones are cheap beside what they are for
                self._workspaces.setdefault(key, []).append(work)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the sinograms (batch, *scan.shape) of images (batch, *grid.shape)."""
        if self._space is not None:
            return self._space.forward(images)
        sinograms = images.new_empty((len(images), *self.scan.shape))
        source, target = images.numpy(), sinograms.flatten(1).numpy()
        tables = self.ray_tables

        def project(chunk: slice, threads: int) -> None:
            packets = self._ray_packets(len(source[chunk]), source.dtype)
            if packets:
                self._project_packets(packets, source[chunk], target[chunk], threads)
            else:
                self._project(source[chunk], target[chunk], threads)

        rays = sum(table.n_rays for table in tables)
        self._for_chunks(project, len(images), tables[0].n_lanes, rays, source.dtype)
        return sinograms

    def _project(self, images: np.ndarray, sinograms: np.ndarray, threads: int) -> None:
        for number, table in enumerate(self.ray_tables):
            key = ("project", number, len(images), images.dtype, threads)
            make = partial(Projection, self.grid, table, images, threads)
            with self._lend(key, make) as work:
                work.padded.fill(images, threads)
                run(kernels.project, threads, *work.arguments, sinograms)

    def _project_packets(
        self, found: list[RayPackets], images: np.ndarray, sinograms: np.ndarray, threads: int
    ) -> None:
        for number, some in enumerate(found):
            key = ("packets", number, len(images), images.dtype)
            with self._lend(key, partial(PacketProjection, some, images)) as work:
                work.fill(images)
                run(packets.project, threads, *work.arguments, sinograms)

    def adjoint(self, sinograms: torch.Tensor) -> torch.Tensor:
        """Return the images (batch, *grid.shape) of the transposed projection."""
        if self._space is not None:
            return self._space.adjoint(sinograms)
        images = sinograms.new_empty((len(sinograms), *self.grid.shape))
        source, target = sinograms.flatten(1).numpy(), images.numpy()
        for number, table in enumerate(self.ray_tables):
            scatter = partial(self._scatter, source, target, number, table)
            self._for_chunks(scatter, len(images), table.n_lanes, table.n_rays, source.dtype)
        return images

    def _scatter(
        self, source: np.ndarray, target: np.ndarray, number: int, table: RayTable, *share: Any
    ) -> None:
        chunk, threads = share
        images = target[chunk]
        key = ("scatter", number, len(images), images.dtype, threads)
        with self._lend(key, lambda: Scattering(self.grid, table, images, threads)) as work:
            run(layout.pack_rays, threads, source[chunk], table.members, work.values)
            run(kernels.scatter, threads, *work.arguments)
            work.padded.sum_into(images, threads, accumulate=number > 0)

    def backproject(self, sinograms: torch.Tensor) -> torch.Tensor | None:
        """Return the pixel-driven, distance-weighted back-projection where a kernel is for it."""
        if self._space is not None:
            return self._space.backproject(sinograms)
        table = self.view_table
        if table is None:
            return None
        images = sinograms.new_empty((len(sinograms), *self.grid.shape))
        source, target = sinograms.numpy(), images.numpy()

        def gather(chunk: slice, threads: int) -> None:
            for views in self._pixel_views(table, len(source[chunk]), source.dtype):
                self._gather_pixels(views, source[chunk], target[chunk], threads)
                return
            key = ("gather", len(target[chunk]), target.dtype, threads)
            make = partial(Gathering, self.grid, table, target[chunk], threads)
            with self._lend(key, make) as work:
                run(layout.pack_views, threads, source[chunk], *work.packing)
                run(kernels.gather, threads, *work.arguments)
                work.pixels.sum_into(target[chunk], threads, accumulate=False)

        rays = table.n_views * self.grid.shape[1]
        self._for_chunks(gather, len(images), table.n_lanes, rays, source.dtype)
        return images

    def _gather_pixels(
        self, views: PixelViews, sinograms: np.ndarray, images: np.ndarray, threads: int
    ) -> None:
        make = partial(PixelGathering, self.grid, self.scan, views, images.dtype)
        with self._lend(("pixels", images.dtype), make) as work:
            for sinogram, image in zip(sinograms, images, strict=True):
                work.views[:] = sinogram
                run(packets.gather, threads, *work.arguments)
                image[:] = work.pixels


def _sizes(batch: int, most: int, lanes: int) -> list[int]:
    """Return the sizes of a batch's parts that cost least, each at most `most`, a power of two.

    The last part may have empty lanes: seven images as eight are computed at once, but five with
    eight symmetric copies are better computed as four and one.
    """
    if batch > most:
        return [most] * (batch // most) + _sizes(batch % most, most, lanes)
    if lanes_of(batch) == batch or not batch:
        return [batch] * min(batch, 1)
    half = lanes_of(batch) // 2
    split = [half, *_sizes(batch - half, most, lanes)]
    costs = [sum(WEIGHT_COST + lanes * lanes_of(n) for n in sizes) for sizes in ([batch], split)]
    return [batch] if costs[0] <= costs[1] else split
