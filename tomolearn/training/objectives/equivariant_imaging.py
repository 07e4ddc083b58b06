"""Equivariant imaging: learning from sinograms alone, since turned images are images, too."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from tomolearn._core.checks import check_float
from tomolearn.methods.checks import check_ray_transform, positive_norm
from tomolearn.models.limited_angle_unet import turned
from tomolearn.operators import LinearOperator
from tomolearn.training.objectives.objective import Batch, Network
from tomolearn.training.objectives.supervised import Supervised
from tomolearn.training.objectives.sure import estimated_risk


@dataclass(frozen=True)
class EquivariantImaging(Supervised):
    """Misfit of reconstructions, and how far turned images are from being reconstructed as turned.

    With the image ``x = f(y)`` and a rotation T by a random angle it is [1]_ ::

        ||A x - y||^2 / ||A||^2 / pixels + strength ||f(A T x) - T x||^2 / pixels.

    No true image is used. The second term tells the network of what the scan does not see: turned
    by another angle, it does. With `noise` the misfit is Stein's estimate of its true value, and
    noise is added to ``A T x`` [2]_; without, data are taken as exact.

    Parameters
    ----------
    strength : float
        Weight of the second term.
    noise : float
        Standard deviation of white noise, in multiples of a sinogram's mean absolute value.

    Raises
    ------
    TypeError, ValueError
        If a number is negative; later, if the operator is no `RayTransform` of the plane.

    References
    ----------
    .. [1] D. Chen, J. Tachella, M. E. Davies, "Equivariant imaging: learning beyond the range
       space", ICCV 2021, arXiv:2103.14756
    .. [2] D. Chen, J. Tachella, M. E. Davies, "Robust equivariant imaging: a fully unsupervised
       framework for learning to image from noisy and partial measurements", CVPR 2022,
       arXiv:2111.12855
    """

    strength: float = 1.0
    noise: float = 0.0

    def __post_init__(self) -> None:
        check_float("strength", self.strength, nonnegative=True)
        check_float("noise", self.noise, nonnegative=True)

    def loss(
        self, network: Network, batch: Batch, operator: LinearOperator, rng: np.random.Generator
    ) -> torch.Tensor:
        """Return both terms; the images of the batch are not looked at."""
        rays, y = check_ray_transform(operator), batch[0]
        if self.noise:
            misfit, image = estimated_risk(network, y, rays, self.noise, rng)
        else:
            image = network(y, rays)
            misfit = (rays(image) - y).square().mean()
        moved = turned(image, rays.grid, float(rng.uniform(0, 2 * math.pi)))
        data = rays(moved)
        if self.noise:
            level = self.noise * y.abs().mean(tuple(range(1, y.ndim)), keepdim=True)
            data = data + level * torch.from_numpy(rng.standard_normal(y.shape)).to(y)
        # sums over bins, divided by the number of pixels
        scale = y[0].numel() / image[0].numel() / positive_norm(rays) ** 2
        unequal = (network(data, rays) - moved).square().mean()
        return scale * misfit + self.strength * unequal
