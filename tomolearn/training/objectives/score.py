"""Denoising score matching of regularisers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from tomolearn._core.checks import check_float, check_floats
from tomolearn._core.errors import TomolearnError
from tomolearn.operators import LinearOperator
from tomolearn.priors import Regulariser
from tomolearn.training.objectives.objective import Batch, Network, Objective


@dataclass(frozen=True)
class ScoreMatching(Objective):
    """Denoising score matching: one step along a regulariser's gradient is to remove the noise.

    White noise of standard deviation s is added to images, and the mean of
    ``||x + n - (s / level)^2 gradient(x + n) - x||^2 / s^2`` made small, which is least where
    ``level^-2 R`` is minus the logarithm of the density of noisy images, see Vincent, Neural
    Comput. 23 (2011), doi:10.1162/NECO_a_00142, and Tweedie's formula.

    Parameters
    ----------
    noise_levels : (float, float)
        Smallest and largest standard deviation; each image's is drawn uniformly from their
        logarithms.
    level : float, optional
        The one at which the whole gradient is the step. Default: the geometric mean of both.

    Raises
    ------
    TypeError, ValueError
        If a level is not positive, or they are in another order.
    """

    uses_all_weights: ClassVar[bool] = False  # some only have a value, not a gradient

    noise_levels: tuple[float, float] = (0.02, 0.02)
    level: float | None = None

    def __post_init__(self) -> None:
        low, high = check_floats("noise_levels", self.noise_levels, length=2)
        if not 0 < low <= high:
            raise TomolearnError(
                "noise_levels: expected the smallest and the largest, both positive, got "
                f"{low} and {high}"
            )
        object.__setattr__(self, "noise_levels", (low, high))
        level = (low * high) ** 0.5 if self.level is None else self.level
        object.__setattr__(self, "level", check_float("level", level, positive=True))

    def check(self, network: Network) -> None:
        """Check that it is a regulariser."""
        regulariser(network)

    def estimate(
        self, network: Network, batch: Batch, operator: LinearOperator, rng: np.random.Generator
    ) -> torch.Tensor:
        """Add noise to the images, and return them denoised by one step."""
        return self._denoised(network, batch[1], rng)[0]

    def loss(
        self, network: Network, batch: Batch, operator: LinearOperator, rng: np.random.Generator
    ) -> torch.Tensor:
        """Return the mean squared error in units of the noise."""
        found, levels = self._denoised(network, batch[1], rng)
        return ((found - batch[1]) / levels).square().mean()

    def _denoised(
        self, network: Network, image: torch.Tensor, rng: np.random.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        low, high = self.noise_levels
        numbers = np.exp(rng.uniform(np.log(low), np.log(high), (len(image), *(1,) * 3)))
        levels = torch.from_numpy(numbers.reshape(-1, *(1,) * (image.ndim - 1))).to(image)
        noisy = image + levels * torch.from_numpy(rng.standard_normal(image.shape)).to(image)
        steps = (levels / float(self.level or 1)).square()
        return noisy - steps * regulariser(network).gradient(noisy), levels


def regulariser(network: Network) -> Regulariser:
    """Return a network that is a regulariser."""
    if not isinstance(network, Regulariser):
        raise TomolearnError(
            f"model: expected a regulariser, such as convex-ridge, got {type(network).__name__}"
        )
    return network
