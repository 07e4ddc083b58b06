"""The evidence lower bound of variational autoencoders."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from tomolearn._core.checks import check_float
from tomolearn._core.errors import TomolearnError
from tomolearn.operators import LinearOperator
from tomolearn.priors import VariationalAutoencoder
from tomolearn.training.objectives.objective import Batch, Network, Objective


@dataclass(frozen=True)
class EvidenceLowerBound(Objective):
    """Minus the evidence lower bound of a variational autoencoder, per pixel, in nats [1]_.

    ``-log p(x | z)`` for a z that is drawn from the encoder's distribution, plus the divergence of
    that distribution from the standard normal one. Images alone are learned from, whatever the
    task's scanner. Validation images are the decoder's mean of the encoder's mean.

    Parameters
    ----------
    latent_weight : float
        Weight of the divergence; one is that of the bound.
    noise : float
        Standard deviation of white noise that is added to images, in their unit, so that values
        that are the same in all images do not have a density without bound.
    mean_deviation : float, optional
        Standard deviation s of a further term ``||x - G(z)||^2 / (2 s^2)``: a covariance with
        couplings can explain images without a mean that resembles them, and with one that does it
        explains them better. Default: no such term.

    Raises
    ------
    TypeError, ValueError
        If a number is negative, or `mean_deviation` not positive.

    References
    ----------
    .. [1] D. Kingma, M. Welling, "Auto-encoding variational Bayes", ICLR 2014, arXiv:1312.6114
    """

    latent_weight: float = 1.0
    noise: float = 0.0
    mean_deviation: float | None = None

    uses_all_weights: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_float("latent_weight", self.latent_weight, nonnegative=True)
        check_float("noise", self.noise, nonnegative=True)
        if self.mean_deviation is not None:
            check_float("mean_deviation", self.mean_deviation, positive=True)

    def check(self, network: Network) -> None:
        """Check that it is a variational autoencoder."""
        _autoencoder(network)

    def estimate(
        self, network: Network, batch: Batch, operator: LinearOperator, rng: np.random.Generator
    ) -> torch.Tensor:
        """Return the decoder's means of the encoder's means."""
        found, image = _autoencoder(network), batch[1]
        return found.decode(found.encode(image)[0], image.shape[-2:]).mean

    def loss(
        self, network: Network, batch: Batch, operator: LinearOperator, rng: np.random.Generator
    ) -> torch.Tensor:
        """Return minus the bound; arguments as for `Objective.estimate`."""
        found, image = _autoencoder(network), batch[1]
        if self.noise:
            image = image + self.noise * _normal(image, rng)
        mean, log_deviation = found.encode(image)
        latent = mean + log_deviation.exp() * _normal(mean, rng)
        given = found.decode(latent, image.shape[-2:])
        likelihood = given.log_density(image)
        if self.mean_deviation is not None:
            away = (image - given.mean).square().flatten(1).sum(1)
            likelihood = likelihood - away / (2 * self.mean_deviation**2)
        divergence = mean.square() + (2 * log_deviation).exp() - 1 - 2 * log_deviation
        bound = likelihood - self.latent_weight * divergence.flatten(1).sum(1) / 2
        return -bound.mean() / math.prod(image.shape[-2:])


def _normal(like: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    return torch.from_numpy(rng.standard_normal(like.shape)).to(like)


def _autoencoder(network: Network) -> VariationalAutoencoder:
    if not isinstance(network, VariationalAutoencoder):
        raise TomolearnError(
            f"model: expected a variational-autoencoder, got {type(network).__name__}"
        )
    return network
