"""Learning the scores of a diffusion prior."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from tomolearn._core.checks import check_float
from tomolearn._core.errors import TomolearnError
from tomolearn.operators import LinearOperator
from tomolearn.priors import DiffusionPrior
from tomolearn.training.objectives.objective import Batch, Network, Objective


@dataclass(frozen=True)
class Diffusion(Objective):
    """Denoising score matching over all noise levels of a diffusion prior.

    White noise of level s is added to images, and the mean of
    ``(1 / s^2 + 1 / data_std^2) ||D(x + s n, s) - x||^2`` made small, in which the preconditioned
    network has the same weight at each level, see Karras et al., arXiv:2206.00364.

    Parameters
    ----------
    median : float
        Median of the noise levels, whose logarithms are normally distributed and cut off at the
        prior's smallest and largest.
    spread : float
        Standard deviation of the logarithms.

    Raises
    ------
    TypeError, ValueError
        If they are not positive.
    """

    median: float = 0.3
    spread: float = 1.2

    def __post_init__(self) -> None:
        check_float("median", self.median, positive=True)
        check_float("spread", self.spread, positive=True)

    def check(self, network: Network) -> None:
        """Check that it is a diffusion prior, and the median one of its levels."""
        _prior(network).check_noise_level("median", self.median)

    def estimate(
        self, network: Network, batch: Batch, operator: LinearOperator, rng: np.random.Generator
    ) -> torch.Tensor:
        """Add noise to the images, and return them denoised."""
        return self._denoised(network, batch[1], rng)[0]

    def loss(
        self, network: Network, batch: Batch, operator: LinearOperator, rng: np.random.Generator
    ) -> torch.Tensor:
        """Return the mean squared error, weighted by the noise level."""
        found, levels = self._denoised(network, batch[1], rng)
        weights = levels.square().reciprocal() + _prior(network).data_std ** -2
        return (weights * (found - batch[1]).square()).mean()

    def _denoised(
        self, network: Network, image: torch.Tensor, rng: np.random.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        prior = _prior(network)
        levels = np.exp(rng.normal(np.log(self.median), self.spread, len(image)))
        levels = levels.clip(*prior.noise_levels or (0.0, np.inf))
        column = torch.from_numpy(levels.reshape(-1, *(1,) * (image.ndim - 1))).to(image)
        noise = torch.from_numpy(rng.standard_normal(image.shape, dtype=np.float32)).to(image)
        found: torch.Tensor = prior(image + column * noise, column.reshape(-1, 1))
        return found, column


def _prior(network: Network) -> DiffusionPrior:
    if not isinstance(network, DiffusionPrior):
        raise TomolearnError(
            f"model: expected a diffusion prior, got {type(network).__name__}; objective "
            "denoising trains other denoisers"
        )
    return network
