"""Projection in space: the views of a scan in voxels, and the calls of the kernels."""

from __future__ import annotations

import numpy as np
import torch

from tomolearn.geometry import Grid, Scan
from tomolearn.kernels import joseph_space as kernels
from tomolearn.kernels.threads import run

_SMALL_WORK = 200_000  # crossings of planes below which starting threads does not pay


class SpaceProjector:
    """Joseph's projection of volumes and its exact transpose, for rays of any direction."""

    def __init__(self, grid: Grid, scan: Scan) -> None:
        self.grid, self.scan = grid, scan
        source, detector, (row_step, column_step) = scan.vectors()
        rows, columns = scan.detector_shape
        corner = detector - row_step * (rows - 1) / 2 - column_step * (columns - 1) / 2
        first_voxel = np.array([axis[0] for axis in grid.coordinates()])
        views = np.stack([source, corner, row_step, column_step], axis=1)
        views[:, 1] -= first_voxel
        if not scan.is_parallel:
            views[:, 0] -= first_voxel
        spacing, (_, n_rows, n_columns) = np.array(grid.spacing), grid.shape
        box = np.array([(0, n) for n in grid.shape])
        strides = np.array([n_rows * n_columns, n_columns, 1])
        self._arguments = (views / spacing, scan.is_parallel, spacing, box, strides)

    @property
    def nbytes(self) -> int:
        """Memory of the views."""
        return self._arguments[0].nbytes

    def _threads(self, batch: int) -> int:
        work = batch * self._arguments[0].shape[0] * max(self.grid.shape)
        small = work * self.scan.shape[1] * self.scan.shape[2] < _SMALL_WORK
        return 1 if small else torch.get_num_threads()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the sinograms (batch, angles, rows, columns) of volumes."""
        sinograms = images.new_empty((len(images), *self.scan.shape))
        values = (images.flatten(1).numpy(), sinograms.numpy())
        run(kernels.project, self._threads(len(images)), *self._arguments, *values)
        return sinograms

    def adjoint(self, sinograms: torch.Tensor) -> torch.Tensor:
        """Return the volumes (batch, slices, rows, columns) of the transposed projection."""
        images = sinograms.new_zeros((len(sinograms), *self.grid.shape))
        values = (sinograms.numpy(), images.flatten(1).numpy())
        run(kernels.scatter, self._threads(len(images)), *self._arguments, *values)
        return images
