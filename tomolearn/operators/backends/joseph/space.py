"""Projection in space: the views of a scan in voxels, and the calls of the kernels."""

from __future__ import annotations

import abc
from typing import NamedTuple

import numpy as np
import torch

from tomolearn.geometry import Grid, Scan
from tomolearn.kernels import columns, joseph_space
from tomolearn.kernels.threads import run
from tomolearn.kernels.windows import BACK, FRONT

_SMALL_WORK = 200_000  # crossings of planes below which starting threads does not pay
_LEAST_RISE = 0.05  # voxels between neighbouring rays below which too many rows see a voxel
_SLAB = 600 * 2**10  # bytes of planes of voxels into which many rays are scattered


_MOST = 4  # volumes that are computed at once, see `kernels.fours`


class _Layout(NamedTuple):
    """How volumes lie in memory while they are computed."""

    together: int
    """How many values of a voxel stand side by side: those of as many volumes."""

    pitches: np.ndarray
    """The distances of rows and of columns."""


def space_projector(grid: Grid, scan: Scan) -> SpaceProjector:
    """Return the fastest projector that can do it."""
    projector = ColumnProjector if ColumnProjector.supports(grid, scan) else RayProjector
    return projector(grid, scan)


class SpaceProjector(abc.ABC):
    """Joseph's projection of volumes and its exact transpose.

    `starts`, `bins` and `steps` are those of `Scan.bin_columns`, in voxels from the middle of the
    first one.
    """

    def __init__(self, grid: Grid, scan: Scan) -> None:
        self.grid, self.scan = grid, scan
        self.spacing, self.shape = np.array(grid.spacing), np.array(grid.shape)
        self.starts, self.bins, self.steps = _in_voxels(grid, scan)

    @property
    def nbytes(self) -> int:
        """Memory of the views."""
        return self.starts.nbytes + self.bins.nbytes + self.steps.nbytes

    @abc.abstractmethod
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the sinograms (batch, angles, rows, columns) of volumes."""

    @abc.abstractmethod
    def adjoint(self, sinograms: torch.Tensor) -> torch.Tensor:
        """Return the volumes (batch, slices, rows, columns) of the transposed projection."""

    def working_bytes(self, itemsize: int, batch: int = 1) -> int:
        """Return the memory beside input and output of a batch, for values of so many bytes."""
        return 0

    def backproject(self, sinograms: torch.Tensor) -> torch.Tensor | None:
        """Return the voxel-driven back-projection, if there is a fast one; see `Backend`."""
        return None

    def _threads(self, batch: int) -> int:
        work = batch * max(self.grid.shape) * self.scan.shape[0]
        small = work * self.scan.shape[1] * self.scan.shape[2] < _SMALL_WORK
        return 1 if small else torch.get_num_threads()


class RayProjector(SpaceProjector):
    """Projection ray by ray: any directions, any pose of the detector."""

    def __init__(self, grid: Grid, scan: Scan) -> None:
        super().__init__(grid, scan)
        box = np.array([(0, n) for n in grid.shape])
        strides = np.array([grid.shape[1] * grid.shape[2], grid.shape[2], 1])
        views = (self.starts, self.bins, self.steps, scan.is_parallel)
        self._arguments = (*views, self.spacing, box, strides)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the sinograms (batch, angles, rows, columns) of volumes."""
        sinograms = images.new_empty((len(images), *self.scan.shape))
        values = (images.flatten(1).numpy(), sinograms.numpy())
        run(joseph_space.project, self._threads(len(images)), *self._arguments, *values)
        return sinograms

    def adjoint(self, sinograms: torch.Tensor) -> torch.Tensor:
        """Return the volumes (batch, slices, rows, columns) of the transposed projection."""
        images = sinograms.new_zeros((len(sinograms), *self.grid.shape))
        values = (sinograms.numpy(), images.flatten(1).numpy())
        run(joseph_space.scatter, self._threads(len(images)), *self._arguments, *values)
        return images


class ColumnProjector(SpaceProjector):
    """Projection column by column of a detector whose columns are parallel to the z axis.

    Besides input and output it needs one volume with z contiguous, and a quarter of that for views;
    for three volumes and more four times as much, see `kernels.fours`.
    """

    def __init__(self, grid: Grid, scan: Scan) -> None:
        super().__init__(grid, scan)
        # rows that count downwards are read from their end
        self._flipped = self.steps[:, 0] < 0
        down = self._flipped.nonzero()
        self.bins[down] += (scan.shape[1] - 1) * self.steps[down][:, None]
        rises = np.abs(self.steps[:, 0])
        self._views = (self.starts, self.bins, rises, self._flipped)

    @classmethod
    def supports(cls, grid: Grid, scan: Scan) -> bool:
        """Return whether columns are parallel to z, and no ray steps from slice to slice."""
        starts, bins, steps = _in_voxels(grid, scan)
        if np.any(np.abs(steps[:, 1:]) > 1e-12 * np.abs(steps[:, :1])):
            return False
        nearest = 1.0
        if not scan.is_parallel:
            x, y = (np.array([low, high]) for low, high in _reach(grid))
            seen = scan.project_points(np.array(grid.center[0]), x[:, None], y)
            largest = [point.magnification for point in seen]
            nearest = 1 / float(np.max(largest)) if np.min(largest) > 0 else 0.0
        if nearest * np.abs(steps[:, 0]).min() < _LEAST_RISE:
            return False
        ways = np.broadcast_to(starts[:, None], bins.shape)
        if not scan.is_parallel:
            ways = bins - ways
        last = ways[..., 0] + (0 if scan.is_parallel else (scan.shape[1] - 1) * steps[:, :1])
        steepest = np.maximum(np.abs(ways[..., 0]), np.abs(last))
        return bool((steepest <= np.abs(ways[..., 1:]).max(axis=-1)).all())

    def working_bytes(self, itemsize: int, batch: int = 1) -> int:
        """Return the memory beside input and output: volumes, and copies of some views."""
        _, rows, n_columns = self.scan.shape
        layout = self._layout(batch)
        pitch = self._pitch(rows)
        count = self._chunks(pitch)[0].stop
        # what is scattered needs the paths of its rays, too
        paths = 8 * count * n_columns * (columns.PATH + 1)
        return (self._size(layout) + count * n_columns * pitch * layout.together) * itemsize + paths

    @staticmethod
    def _pitch(rows: int) -> int:
        """Return the distance of columns of rays among which there are zeros."""
        return -(-(FRONT + rows + BACK) // 8) * 8

    def _layout(self, batch: int) -> _Layout:
        """Return how a part of a batch lies in memory, or the first part of a whole one."""
        slices, _, n_columns = self.grid.shape
        together = 1 if batch < 3 else _MOST
        # odd numbers of cache lines from one line of voxels to the next, and from row to row:
        # powers of two would compete for the same places in the cache
        line = -(-slices * together // 32) * 32 + 16
        return _Layout(together, np.array([n_columns * line + 16, line]))

    def _size(self, layout: _Layout) -> int:
        """Return how many numbers volumes are."""
        return self.grid.shape[1] * int(layout.pitches[0])

    def _padded(self, layout: _Layout, dtype: np.dtype, threads: int) -> np.ndarray:
        # behind it a line for each thread: zeros for what is read beside volumes, and a place for
        # what is scattered there
        return np.zeros(self._size(layout) + threads * int(layout.pitches[1]), dtype)

    def _chunks(self, pitch: int) -> list[slice]:
        """Return parts of the views of which copies need a quarter of a volume's memory."""
        n_views, _, n_columns = self.scan.shape
        count = max(1, self._size(self._layout(1)) // 4 // (n_columns * pitch))
        return [slice(at, min(n_views, at + count)) for at in range(0, n_views, count)]

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the sinograms (batch, angles, rows, columns) of volumes."""
        sinograms = images.new_empty((len(images), *self.scan.shape))
        for part in _parts(len(images)):
            self._project(images[part].numpy(), sinograms[part].numpy())
        return sinograms

    def _project(self, images: np.ndarray, sinograms: np.ndarray) -> None:
        threads, layout = self._threads(1), self._layout(len(images))
        padded = self._padded(layout, images.dtype, threads)
        place = (self.scan.is_parallel, self.spacing, self.shape)
        run(columns.arrange, threads, images, *layout, padded)
        run(columns.project, threads, *self._views, *place, *layout, padded, sinograms)

    def adjoint(self, sinograms: torch.Tensor) -> torch.Tensor:
        """Return the volumes (batch, slices, rows, columns) of the transposed projection."""
        images = sinograms.new_empty((len(sinograms), *self.grid.shape))
        for part in _parts(len(images)):
            self._scatter(sinograms[part].numpy(), images[part].numpy())
        return images

    def _scatter(self, sinograms: np.ndarray, images: np.ndarray) -> None:
        threads, layout = self._threads(1), self._layout(len(images))
        _, rows, n_columns = self.scan.shape
        pitch = self._pitch(rows)
        chunks = self._chunks(pitch)
        most, dtype = chunks[0].stop, images.dtype
        rays = np.zeros((most, n_columns, pitch * layout.together), dtype)
        paths = np.empty((most, n_columns, columns.PATH))
        axes = np.empty((most, n_columns), np.int64)
        slab = max(4, _SLAB // (int(layout.pitches[0]) * dtype.itemsize))
        padded = self._padded(layout, dtype, threads)
        place = (self.scan.is_parallel, self.spacing, self.shape, layout.together)
        for chunk in chunks:
            n = chunk.stop - chunk.start
            views = tuple(a[chunk] for a in self._views)
            found = (rays[:n], paths[:n], axes[:n])
            run(columns.weigh, threads, *views, *place, sinograms, chunk.start, *found)
            for axis in (1, 2):
                values = (rays[:n], rays.reshape(-1), rows, *found[1:])
                target = (self.shape, *layout, padded)
                run(columns.scatter, threads, axis, slab, *values, *target)
        run(columns.arrange_back, threads, padded, *layout, images)

    def backproject(self, sinograms: torch.Tensor) -> torch.Tensor | None:
        """Return the voxel-driven, distance-weighted back-projection."""
        images = sinograms.new_empty((len(sinograms), *self.grid.shape))
        for part in _parts(len(images)):
            self._gather(sinograms[part].numpy(), images[part].numpy())
        return images

    def _gather(self, sinograms: np.ndarray, images: np.ndarray) -> None:
        threads, layout = self._threads(1), self._layout(len(images))
        _, rows, n_columns = self.scan.shape
        pitch = -(-rows // 8) * 8 + 8
        chunks = self._chunks(pitch)
        pitch *= layout.together
        values = np.zeros((chunks[0].stop * n_columns + 1) * pitch, images.dtype)
        views = values[:-pitch].reshape(-1, n_columns, pitch)
        matrices, arc = self._matrices(), self._arc()
        padded = self._padded(layout, images.dtype, threads)
        for chunk in chunks:
            some, flipped = views[: chunk.stop - chunk.start], self._flipped[chunk]
            run(columns.align, threads, layout.together, flipped, sinograms, chunk.start, some)
            target = (rows, self.shape, *layout, padded)
            run(columns.backproject, threads, matrices[chunk], arc[chunk], some, values, *target)
        run(columns.arrange_back, threads, padded, *layout, images)

    def _matrices(self) -> np.ndarray:
        """Return the projection matrices of voxels, with rows counted upwards."""
        matrices = self.scan.projection_matrices()
        first = np.array([axis[0] for axis in self.grid.coordinates()])
        matrices[:, :, 3] += matrices[:, :, :3] @ first
        matrices[:, :, :3] *= self.spacing
        last = self.scan.shape[1] - 1
        flipped = last * matrices[:, 2] - matrices[:, 0]
        matrices[:, 0] = np.where(self._flipped[:, None], flipped, matrices[:, 0])
        return matrices

    def _arc(self) -> np.ndarray:
        """Return the `arcs` of `columns.backproject`."""
        found = np.zeros((self.scan.n_angles, 4))
        matrices = self.scan.projection_matrices()
        if not self.scan.is_parallel:
            found[:, 2] = matrices[:, 2, 3] ** 2
        if self.scan.arc_radius is not None:
            found[:, 0] = self.scan.arc_radius / self.scan.bin_sizes[-1]
            found[:, 1] = self.scan.center_bin
            found[:, 3] = self.scan.level_row
        return found


def _parts(batch: int) -> list[slice]:
    """Return the parts of a batch that are computed at once: fours, and one or two alone."""
    together = (batch + 1) // _MOST * _MOST
    fours = [slice(at, min(batch, at + _MOST)) for at in range(0, together, _MOST)]
    return fours + [slice(at, at + 1) for at in range(together, batch)]


def _in_voxels(grid: Grid, scan: Scan) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return `Scan.bin_columns` in voxels from the middle of the first one."""
    first, spacing = np.array([axis[0] for axis in grid.coordinates()]), np.array(grid.spacing)
    start, bins, step = scan.bin_columns()
    return (
        (start if scan.is_parallel else start - first) / spacing,
        (bins - first) / spacing,
        step / spacing,
    )


def _reach(grid: Grid) -> list[tuple[float, float]]:
    """Return the range in mm of rows and of columns, one more on either side."""
    edges = zip(grid.lower[1:], grid.upper[1:], grid.spacing[1:], strict=True)
    return [(low - step, high + step) for low, high, step in edges]
