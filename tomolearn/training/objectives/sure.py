"""Stein's unbiased risk estimate: learning from sinograms whose noise level is known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from tomolearn._core.checks import check_float
from tomolearn.operators import LinearOperator
from tomolearn.training.objectives.objective import Batch, Network
from tomolearn.training.objectives.supervised import Supervised

# of the noise's standard deviation: differences that single precision still resolves
_PROBE = 0.1


@dataclass(frozen=True)
class SURE(Supervised):
    """Stein's unbiased estimate of the mean squared error of an image's projection [1]_.

    Of a sinogram y = A x + n with white Gaussian noise of the standard deviation s it is ::

        ||A f(y) - y||^2 / m - s^2 + 2 s^2 div(A f)(y) / m,

    whose mean over the noise is that of ``||A f(y) - A x||^2 / m``, m the number of bins; no true
    image is used. The divergence is found by one random direction [2]_. What the scan does not see
    of an image, it does not learn.

    Parameters
    ----------
    noise : float
        Standard deviation of the noise, in multiples of a sinogram's mean absolute value.

    Raises
    ------
    TypeError, ValueError
        If `noise` is not a positive number.

    References
    ----------
    .. [1] C. M. Stein, "Estimation of the mean of a multivariate normal distribution", Ann. Stat. 9
       (1981), doi 10.1214/aos/1176345632
    .. [2] S. Ramani, T. Blu, M. Unser, "Monte-Carlo SURE: a black-box optimization of
       regularization parameters for general denoising algorithms", IEEE Trans. Image Process. 17
       (2008), doi 10.1109/TIP.2008.2001404
    """

    noise: float = 0.05

    def __post_init__(self) -> None:
        check_float("noise", self.noise, positive=True)

    def loss(
        self, network: Network, batch: Batch, operator: LinearOperator, rng: np.random.Generator
    ) -> torch.Tensor:
        """Return the estimate; the images of the batch are not looked at."""
        return estimated_risk(network, batch[0], operator, self.noise, rng)[0]


def estimated_risk(
    network: Network,
    sinogram: torch.Tensor,
    operator: LinearOperator,
    noise: float,
    rng: np.random.Generator,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return Stein's estimate for some sinograms, and the network's images of them."""
    level = noise * sinogram.abs().mean(tuple(range(1, sinogram.ndim)), keepdim=True)
    direction = torch.from_numpy(rng.choice((-1.0, 1.0), sinogram.shape)).to(sinogram)
    step = _PROBE * level.clamp(min=torch.finfo(sinogram.dtype).tiny)
    image = network(sinogram, operator)
    projected = operator(image)
    moved = operator(network(sinogram + step * direction, operator))
    divergence = direction * (moved - projected) / step
    terms = (projected - sinogram).square() - level**2 + 2 * level**2 * divergence
    return terms.mean(), image
