"""Learning to denoise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from tomolearn._core.errors import TomolearnError
from tomolearn.operators import LinearOperator
from tomolearn.priors import Denoiser, NetworkTikhonov, Regulariser
from tomolearn.priors.prior import check_noise_levels
from tomolearn.training.objectives.objective import Batch, Network, Objective


@dataclass(frozen=True)
class Denoising(Objective):
    """Mean squared error of images to which white noise was added, denoised.

    It trains a `Denoiser`, or the `denoiser` of a reconstruction network, whose weights are then
    `initial_weights` of its training for reconstruction.

    Parameters
    ----------
    noise_levels : (float, float)
        Smallest and largest standard deviation of the noise; each image's is drawn uniformly in
        between.

    Raises
    ------
    TypeError, ValueError
        If they are not two numbers in this order, the first not negative, the second positive.
    """

    uses_all_weights: ClassVar[bool] = False

    noise_levels: tuple[float, float] = (0.01, 0.1)

    def __post_init__(self) -> None:
        object.__setattr__(self, "noise_levels", check_noise_levels(self.noise_levels))

    def check(self, network: Network) -> None:
        """Check that the network has a denoiser, and one for these noise levels."""
        _denoiser(network).check_noise_level("noise_levels", *self.noise_levels)

    def estimate(
        self, network: Network, batch: Batch, operator: LinearOperator, rng: np.random.Generator
    ) -> torch.Tensor:
        """Add noise to the images, and return them denoised."""
        image = batch[1]
        levels = rng.uniform(*self.noise_levels, (len(image), *(1,) * (image.ndim - 1)))
        noise = torch.from_numpy(levels * rng.standard_normal(image.shape)).to(image)
        sigma = torch.from_numpy(levels.reshape(-1, 1)).to(image)
        found: torch.Tensor = _denoiser(network)(image + noise, sigma)
        return found


def _denoiser(network: Network) -> Denoiser:
    if isinstance(network, Regulariser) and not isinstance(network, NetworkTikhonov):
        raise TomolearnError(
            "model: expected a denoiser, or a network with one, got the regulariser "
            f"{type(network).__name__}; objective score trains it by denoising"
        )
    return network if isinstance(network, Denoiser) else network.denoiser()
