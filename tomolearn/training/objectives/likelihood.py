"""Maximum likelihood of images and of the size of their errors."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from tomolearn._core.checks import check_choice, check_float
from tomolearn._core.errors import TomolearnError
from tomolearn.models import ReconstructionModel
from tomolearn.operators import LinearOperator
from tomolearn.training.objectives.objective import Batch, Network, Objective

DISTRIBUTIONS = ("gaussian", "laplace")


@dataclass(frozen=True)
class Likelihood(Objective):
    """Negative log-likelihood of true images under a network's images and standard deviations.

    It trains heteroscedastic networks [1]_: each pixel's error has a distribution of its own width,
    which is learned beside the image. Where a network expects large errors it learns little of the
    image; therefore each pixel's term is weighted [2]_.

    Parameters
    ----------
    distribution : {"gaussian", "laplace"}
        Of the errors, s the standard deviation: ``log s + r^2 / (2 s^2)``, or
        ``log s + sqrt(2) |r| / s``, each up to a constant.
    beta : float
        Terms are multiplied by ``s^(2 beta)``, of Laplace distributions by ``s^beta``, taken as a
        constant: 0 is the likelihood itself, at 1 the image learns as from squared or absolute
        errors.

    Raises
    ------
    TypeError, ValueError
        If there is no such distribution, or `beta` is not in [0, 1].

    References
    ----------
    .. [1] A. Kendall, Y. Gal, "What uncertainties do we need in Bayesian deep learning for computer
       vision?", NeurIPS 2017, arXiv:1703.04977
    .. [2] M. Seitzer, A. Tavakoli, D. Antic, G. Martius, "On the pitfalls of heteroscedastic
       uncertainty estimation with probabilistic neural networks", ICLR 2022, arXiv:2203.09168
    """

    distribution: str = "gaussian"
    beta: float = 0.5

    def __post_init__(self) -> None:
        check_choice("distribution", self.distribution, DISTRIBUTIONS)
        if not 0 <= check_float("beta", self.beta) <= 1:
            raise TomolearnError(f"beta: expected a number in [0, 1], got {self.beta:g}")

    def check(self, network: Network) -> None:
        """Check that the network tells how large its errors may be."""
        _with_head(network)

    def estimate(
        self, network: Network, batch: Batch, operator: LinearOperator, rng: np.random.Generator
    ) -> torch.Tensor:
        """Return the network's reconstructions."""
        found: torch.Tensor = network(batch[0], operator)
        return found

    def loss(
        self, network: Network, batch: Batch, operator: LinearOperator, rng: np.random.Generator
    ) -> torch.Tensor:
        """Return the mean over pixels of the weighted terms."""
        return self.mean_terms(*_with_head(network).moments(batch[0], operator), batch[1])

    def mean_terms(
        self, image: torch.Tensor, deviation: torch.Tensor, truth: torch.Tensor
    ) -> torch.Tensor:
        """Return the mean of the weighted terms of images with standard deviations."""
        if self.distribution == "gaussian":
            terms = deviation.log() + 0.5 * ((image - truth) / deviation).square()
            power = 2 * self.beta
        else:
            terms = deviation.log() + math.sqrt(2) * (image - truth).abs() / deviation
            power = self.beta
        return (deviation.detach() ** power * terms).mean()


def _with_head(network: Network) -> ReconstructionModel:
    if isinstance(network, ReconstructionModel) and network.heteroscedastic:
        return network
    raise TomolearnError(
        "model: expected a network with a head for standard deviations, such as fbp-unet with "
        f"heteroscedastic=true, got {type(network).__name__} without one"
    )
