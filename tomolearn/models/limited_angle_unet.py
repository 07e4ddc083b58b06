"""Filtered back-projection of a limited arc, improved by a U-Net in the arc's own frame."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch

from tomolearn._core.checks import check_float
from tomolearn._core.errors import TomolearnError
from tomolearn.geometry import CoverageWarning, Grid
from tomolearn.geometry.rotation import LineDetector
from tomolearn.methods import FBP
from tomolearn.methods.analytic.filtered_backprojection import filtered_backprojection
from tomolearn.methods.checks import check_ray_transform
from tomolearn.models.base import ReconstructionModel
from tomolearn.models.fbp_unet import check_channels
from tomolearn.operators import LinearOperator, RayTransform
from tomolearn.priors.unet import UNet

_ALIGNED = 1e-9  # radians


class LimitedAngleUNet(ReconstructionModel):
    """Filtered back-projection and a U-Net, in a frame that is turned with the scan's arc.

    Which edges a limited arc does not show depends on where it lies. Here the image is
    reconstructed as if the middle of the arc were at angle zero, mapped by the U-Net [1]_, and
    turned back: a scan turned about the axis gives the turned image. Unlike `FBPUNet` the U-Net
    finds the image itself, not what is to be added. The operator has to be a `RayTransform` of a
    parallel or fan beam.

    Parameters
    ----------
    channels : sequence of int
        Channels at each scale; the image is halved between one and the next.
    filter : {"ram-lak", "shepp-logan", "cosine", "hamming", "hann"}
        Window on the ramp filter.
    level : float
        Image value that the U-Net sees as one: attenuation of the material in 1/mm.

    Notes
    -----
    Turning interpolates linearly; what it turns out of the grid is lost. There are no iterations,
    so `checkpoint_activations` changes nothing.

    References
    ----------
    .. [1] O. Ronneberger, P. Fischer, T. Brox, "U-Net: Convolutional Networks for Biomedical Image
       Segmentation", MICCAI 2015, arXiv:1505.04597
    """

    def __init__(
        self,
        *,
        channels: Sequence[int] = (16, 32, 64, 64, 96),
        filter: str = "hann",
        level: float = 1.0,
    ) -> None:
        widths = check_channels(channels)
        filter = FBP(filter=filter).filter
        level = check_float("level", level, positive=True)
        super().__init__({"channels": widths, "filter": filter, "level": level})
        self.filter, self.level = filter, level
        self.unet = UNet(
            widths,
            skip_channels=None,
            first_convolutions=2,
            normalisation="none",
            negative_slope=0.0,
            down="max-pool",
            up="bilinear",
            residual=False,
        )

    def reconstruct(self, sinogram: torch.Tensor, operator: LinearOperator) -> torch.Tensor:
        """Reconstruct in the arc's frame, map the image, and turn it back."""
        A = check_ray_transform(operator)
        if not isinstance(A.scan, LineDetector):
            raise TomolearnError(
                "operator: expected a ParallelBeam or FanBeam, whose arc has a middle, got "
                f"{type(A.scan).__name__}"
            )
        views = A.scan.view_angles
        angle = float(views.min() + views.max()) / 2
        if abs(angle) > _ALIGNED:
            A = _in_frame(A.grid, A.scan, angle, A.backend)
        with warnings.catch_warnings():  # that views are missing is what the network is for
            warnings.simplefilter("ignore", CoverageWarning)
            image = filtered_backprojection(sinogram, A, self.filter, 1.0, 1)
        image = self.level * self.unet(image / self.level)
        return image if abs(angle) <= _ALIGNED else turned(image, A.grid, angle)


def turned(image: torch.Tensor, grid: Grid, angle: float) -> torch.Tensor:
    """Return images (..., *grid.shape), turned by an angle about the origin.

    Parameters
    ----------
    image : torch.Tensor
    grid : Grid
        Of the plane.
    angle : float
        In radians, from the first axis to the second. Values between pixel centres are linearly
        interpolated, those beyond the grid are zero.
    """
    indices, weights = _interpolation(grid, angle)
    flat = image.flatten(-2)
    corners = flat[..., indices.to(flat.device)] * weights.to(flat)
    return corners.sum(-2).reshape(image.shape)


@lru_cache(maxsize=16)
def _interpolation(grid: Grid, angle: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Return indices and weights, each (4, pixels), of the four pixels about each position."""
    x, y = np.meshgrid(*grid.coordinates(), indexing="ij")
    cos, sin = math.cos(angle), math.sin(angle)
    positions = cos * x + sin * y, cos * y - sin * x
    low, fractions = [], []
    for where, n, s, c in zip(positions, grid.shape, grid.spacing, grid.center, strict=True):
        index = (where - c) / s + (n - 1) / 2
        low.append(np.floor(index).astype(np.int64))
        fractions.append(index - low[-1])
    indices, weights = [], []
    for down in (0, 1):
        for across in (0, 1):
            row, column = low[0] + down, low[1] + across
            weight = np.abs(1 - down - fractions[0]) * np.abs(1 - across - fractions[1])
            inside = (row >= 0) & (row < grid.shape[0]) & (column >= 0) & (column < grid.shape[1])
            indices.append(np.where(inside, row * grid.shape[1] + column, 0).ravel())
            weights.append(np.where(inside, weight, 0).ravel())
    return torch.from_numpy(np.stack(indices)), torch.from_numpy(np.stack(weights))


@lru_cache(maxsize=16)
def _in_frame(grid: Grid, scan: LineDetector, angle: float, backend: str) -> RayTransform:
    return RayTransform.derived(grid, scan.turned(-angle), backend)
