"""Radon inversion by a learned filter, learned back-projection and convolutions."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from torch import nn

from tomolearn._core.checks import check_int
from tomolearn._core.modules import glorot
from tomolearn.geometry import Grid, Scan
from tomolearn.methods.checks import check_ray_transform
from tomolearn.models.base import ReconstructionModel, Scaled
from tomolearn.models.fixed_shapes import FixedShapes
from tomolearn.operators import LinearOperator


class IRadonMap(ReconstructionModel):
    """iRadonMap of He, Wang and Ma [1]_, for sinograms and images of one shape.

    A fully connected layer filters each view, the same for all of them; a back-projection layer
    adds, for each pixel, the values on its sinusoid with weights that are learned for each view and
    pixel; residual convolutions correct the image. Of the operator it uses the norm, by which the
    sinogram is divided, and where a pixel is seen. With its default arguments it has 747,794
    parameters, of which 525,009 know the shapes.

    Parameters
    ----------
    image_shape, sinogram_shape : (int, int)
        Rows and columns, views and bins.
    channels : int
        Channels of the convolutions.
    blocks : int
        Number of residual blocks of two convolutions, 3 pixels wide.

    Notes
    -----
    It starts as unfiltered back-projection: the filter is the identity, all weights are one over
    the number of views, and the last convolution is small.

    References
    ----------
    .. [1] J. He, Y. Wang, J. Ma, "Radon Inversion via Deep Learning", IEEE Trans. Med. Imaging 39
       (2020), arXiv:1808.03015, doi:10.1109/TMI.2020.2964266
    """

    def __init__(
        self,
        *,
        image_shape: Sequence[int] = (128, 128),
        sinogram_shape: Sequence[int] = (30, 183),
        channels: int = 64,
        blocks: int = 3,
    ) -> None:
        shapes = FixedShapes(image_shape, sinogram_shape)
        channels = check_int("channels", channels, minimum=1)
        blocks = check_int("blocks", blocks, minimum=1)
        super().__init__({**shapes.arguments, "channels": channels, "blocks": blocks})
        self.fixed_shapes = shapes
        views, bins = shapes.sinogram
        self.filter = nn.Linear(bins, bins, bias=False)
        nn.init.eye_(self.filter.weight)
        pixels = shapes.image[0] * shapes.image[1]
        self.view_weights = nn.Parameter(torch.full((views, pixels), 1 / views))
        self.first = glorot(nn.Conv2d(1, channels, 3, padding=1))
        self.blocks = nn.ModuleList(
            nn.Sequential(
                glorot(nn.Conv2d(channels, channels, 3, padding=1)),
                nn.ReLU(),
                glorot(nn.Conv2d(channels, channels, 3, padding=1)),
            )
            for _ in range(blocks)
        )
        self.last = glorot(nn.Conv2d(channels, 1, 3, padding=1))
        with torch.no_grad():
            self.last.weight.mul_(0.1)

    def reconstruct(self, sinogram: torch.Tensor, operator: LinearOperator) -> torch.Tensor:
        """Filter, back-project, correct."""
        rays = check_ray_transform(operator)
        y = self.filter((sinogram / Scaled(operator).norm)[:, 0]).to(sinogram.dtype)
        image = self._backprojected(y, rays.grid, rays.scan)
        x = torch.relu(self.first(image))
        for block in self.blocks:
            x = torch.relu(x + block(x))
        return image + self.last(x).to(image.dtype)

    def _backprojected(self, views: torch.Tensor, grid: Grid, scan: Scan) -> torch.Tensor:
        index, share = (part.to(views.device) for part in _sinusoids(grid, scan))
        padded = torch.nn.functional.pad(views, (1, 1))
        low, high = (
            padded.gather(2, (index + shift).expand(len(views), -1, -1)) for shift in range(2)
        )
        values = torch.lerp(low, high, share.to(views.dtype).expand_as(low))
        return (values * self.view_weights).sum(1).reshape(-1, 1, *grid.shape)


@lru_cache(maxsize=4)
def _sinusoids(grid: Grid, scan: Scan) -> tuple[torch.Tensor, torch.Tensor]:
    """Return where each view sees each pixel, (views, pixels): padded bin before it, and rest."""
    points, last = np.ix_(*grid.coordinates()), scan.shape[1] + 1
    seen = [np.broadcast_to(p.bins[0], grid.shape).ravel() for p in scan.project_points(*points)]
    # one bin of zeros stands before the first, and one behind the last
    positions = np.clip(np.nan_to_num(np.stack(seen) + 1.0, posinf=0.0, neginf=0.0), 0, last)
    index = np.minimum(np.floor(positions), last - 1)
    return torch.from_numpy(index.astype(np.int64)), torch.from_numpy(positions - index)
