"""The CPU backend: Joseph projection of many images at once."""

from __future__ import annotations

import threading
from functools import cached_property

import numpy as np
import torch

from tomolearn.geometry import FanBeam, Grid, ParallelBeam, Scan
from tomolearn.operators.backends.base import Backend, Capabilities
from tomolearn.operators.backends.joseph import kernels, layout
from tomolearn.operators.backends.joseph.lanes import aligned_empty, lane_dtype
from tomolearn.operators.backends.joseph.rays import RayTable, ray_tables
from tomolearn.operators.backends.joseph.threads import run
from tomolearn.operators.backends.joseph.views import ViewTable, view_table

__all__ = ["JosephBackend"]

# Images that are projected together. Compiled kernels exist for these numbers of lanes only.
_MOST_ITEMS = 16
_WORKSPACE = 18 * 2**20  # bytes of one image of lanes at most, if the batch can be split
_CACHE = 192 * 2**10  # bytes of an image's rows that many rays pass through
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
        self._reals: dict[str, dict[str, np.ndarray]] = {}

    @classmethod
    def unsupported(cls, grid: Grid, scan: Scan, device: torch.device) -> str | None:
        """Return why this backend cannot do it, or None if it can."""
        if device.type != "cpu":
            return f"computes on a CPU only, not on {device.type}"
        if not isinstance(scan, (ParallelBeam, FanBeam)):
            return f"projects parallel and fan beams only, not {type(scan).__name__}"
        return None

    @cached_property
    def _rays(self) -> list[RayTable]:
        return ray_tables(self.grid, self.scan)

    @cached_property
    def _views(self) -> ViewTable:
        return view_table(self.grid, self.scan)

    def _chunks(self, batch: int, lanes: int, dtype: np.dtype) -> list[slice]:
        """Cut the batch into powers of two, as large as the working memory allows."""
        rows, columns = self.grid.shape
        per_item = (rows + 2) * (columns + 2) * lanes * dtype.itemsize
        most = _MOST_ITEMS
        while most > 1 and most * per_item > _WORKSPACE:
            most //= 2
        chunks, at = [], 0
        while at < batch:
            size = most
            while size > batch - at:
                size //= 2
            chunks.append(slice(at, at + size))
            at += size
        return chunks

    def _take(self, use: str, length: int, dtype: np.dtype) -> np.ndarray:
        """Take working memory out of the store; memory for images starts as zeros."""
        key = (use, length, str(dtype))
        with self._lock:
            kept = self._buffers.get(key)
            if kept:
                return kept.pop()
        buffer = aligned_empty(length, dtype)
        buffer.view(np.uint8)[:] = 0
        return buffer

    def _give_back(self, use: str, buffer: np.ndarray) -> None:
        key = (use, len(buffer), str(buffer.dtype))
        with self._lock:
            self._buffers.setdefault(key, []).append(buffer)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the sinograms (batch, angles, detectors) of images (batch, rows, columns)."""
        sinograms = images.new_empty((len(images), *self.scan.shape))
        dtype = np.dtype(str(images.dtype).removeprefix("torch."))
        flat = sinograms.view(len(images), -1).numpy()
        for table in self._rays:
            for chunk in self._chunks(len(images), table.n_lanes, dtype):
                self._project(images[chunk], table, dtype, flat[chunk])
        return sinograms

    def _project(
        self, images: torch.Tensor, table: RayTable, dtype: np.dtype, sinograms: np.ndarray
    ) -> None:
        batch = len(images)
        by_item = _pixels_of_items(images).view(lane_dtype(dtype, batch)).reshape(-1)
        lanes = lane_dtype(dtype, batch * table.n_lanes)
        padded = self._take("image", table.rows * table.width + 4, lanes)
        run(
            layout.expand,
            by_item,
            *self.grid.shape,
            table.placements,
            padded.view(by_item.dtype),
        )
        tile = max(1, min(_TILE_RAYS, table.n_rays // (4 * torch.get_num_threads())))
        block = max(1, _CACHE // (table.width * lanes.itemsize * kernels.BLOCK)) * kernels.BLOCK
        sums = self._take("sums", tile * torch.get_num_threads(), lanes)
        run(
            kernels.project,
            padded,
            table.rows,
            table.width,
            block,
            table.start,
            table.slope,
            table.length.astype(dtype),
            table.first_row,
            table.last_row,
            table.members,
            sums,
            sums.view(dtype).reshape(len(sums), -1),
            sinograms,
        )
        self._give_back("image", padded)
        self._give_back("sums", sums)

    def adjoint(self, sinograms: torch.Tensor) -> torch.Tensor:
        """Return the images (batch, rows, columns) of the transposed projection."""
        if isinstance(self.scan, ParallelBeam):
            return self._gather(sinograms, exact=True)
        images = sinograms.new_empty((len(sinograms), *self.grid.shape))
        dtype = np.dtype(str(sinograms.dtype).removeprefix("torch."))
        flat = sinograms.view(len(sinograms), -1).numpy()
        for number, table in enumerate(self._rays):
            for chunk in self._chunks(len(sinograms), table.n_lanes, dtype):
                self._scatter(flat[chunk], table, dtype, images[chunk], number > 0)
        return images

    def _scatter(
        self,
        sinograms: np.ndarray,
        table: RayTable,
        dtype: np.dtype,
        images: torch.Tensor,
        accumulate: bool,
    ) -> None:
        batch = len(images)
        lanes = lane_dtype(dtype, batch * table.n_lanes)
        rays = self._take("rays", table.n_rays, lanes)
        values = rays.view(dtype).reshape(table.n_rays, -1)
        run(layout.pack_rays, sinograms, table.members, values)
        padded = self._take("scattered", table.rows * table.width + 4, lanes)
        run(
            kernels.scatter,
            rays,
            table.rows,
            table.width,
            table.start,
            table.slope,
            table.length.astype(dtype),
            table.first_row,
            table.last_row,
            padded,
        )
        self._give_back("rays", rays)
        self._collapse(padded, table.placements, images, accumulate)
        self._give_back("scattered", padded)

    def backproject(self, sinograms: torch.Tensor) -> torch.Tensor:
        """Return the pixel-driven, distance-weighted back-projection."""
        return self._gather(sinograms, exact=False)

    def _gather(self, sinograms: torch.Tensor, exact: bool) -> torch.Tensor:
        table = self._views
        dtype = np.dtype(str(sinograms.dtype).removeprefix("torch."))
        taps = table.taps if exact else 2
        ones = np.ones(len(table.sharpness), dtype)
        sharpness = table.sharpness.astype(dtype) if exact else ones
        factor = table.factor.astype(dtype) if exact else ones
        images = sinograms.new_empty((len(sinograms), *self.grid.shape))
        rows, columns = self.grid.shape
        for chunk in self._chunks(len(sinograms), table.n_lanes, dtype):
            lanes = lane_dtype(dtype, len(images[chunk]) * table.n_lanes)
            stride = table.bins + 2 * taps
            views = self._take("views", table.n_views * stride, lanes)
            values = views.view(dtype).reshape(table.n_views, stride, -1)
            run(layout.pack_views, sinograms[chunk].numpy(), table.members, taps, values)
            gathered = self._take("gathered", rows * columns, lanes)
            run(
                kernels.gather,
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
            self._give_back("views", views)
            self._collapse(gathered, table.placements, images[chunk], accumulate=False)
            self._give_back("gathered", gathered)
        return images

    def _collapse(
        self,
        source: np.ndarray,
        placements: np.ndarray,
        images: torch.Tensor,
        accumulate: bool,
    ) -> None:
        batch = len(images)
        dtype = source.dtype.fields["lanes"][0].base  # type: ignore[index]
        item = lane_dtype(dtype, batch)
        if batch == 1:
            by_item = images.numpy().reshape(-1).view(item)
        else:
            by_item = _pixels_of_items(images).view(item).reshape(-1) if accumulate else None
            if by_item is None:
                by_item = aligned_empty(images[0].numel(), item)
        run(
            layout.collapse,
            source.view(item),
            *self.grid.shape,
            placements,
            accumulate,
            by_item,
        )
        if batch > 1:
            pixels = torch.from_numpy(by_item.view(dtype).reshape(-1, batch))
            images.view(batch, -1).copy_(pixels.t())


def _pixels_of_items(images: torch.Tensor) -> np.ndarray:
    """Return (pixels, batch), the images of one pixel next to each other."""
    array: np.ndarray = images.reshape(len(images), -1).t().contiguous().numpy()
    return array
