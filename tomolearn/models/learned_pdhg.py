"""Learned primal-dual hybrid gradient method."""

from __future__ import annotations

import torch
from torch import nn

from tomolearn._core.checks import check_int, check_iterations
from tomolearn.models.base import ReconstructionModel, Scaled
from tomolearn.models.blocks import Update, check_ndim
from tomolearn.operators import LinearOperator


class LearnedPDHG(ReconstructionModel):
    """Learned primal-dual hybrid gradient method of Adler and Öktem [1]_.

    The method of Chambolle and Pock with networks in place of both proximal operators, and with
    learned step sizes σ, τ and a learned over-relaxation θ. All iterations share the weights::

        dual   += G(dual + σ A bar, y)
        change  = F(primal - τ A^T dual)
        primal += change
        bar     = primal + θ change

    with A and y divided by the norm of A. It starts at zero, with σ = τ = 0.5 and θ = 1. With its
    default arguments it has 20,133 parameters.

    Parameters
    ----------
    iterations : int
        Number of iterations, unrolled.
    channels : int
        Channels between the three convolutions of each network.
    ndim : {2, 3}
        Number of spatial axes: images and sinograms of two, or volumes and stacks of projections.

    References
    ----------
    .. [1] J. Adler, O. Öktem, "Learned Primal-Dual Reconstruction", IEEE Trans. Med. Imaging 37
       (2018), arXiv:1707.06474, doi 10.1109/TMI.2018.2799231
    """

    def __init__(self, *, iterations: int = 10, channels: int = 32, ndim: int = 2) -> None:
        iterations = check_iterations(iterations)
        channels = check_int("channels", channels, minimum=1)
        ndim = check_ndim(ndim)
        super().__init__({"iterations": iterations, "channels": channels, "ndim": ndim})
        self.iterations, self.ndim = iterations, ndim
        self.sigma = nn.Parameter(torch.tensor(0.5))
        self.tau = nn.Parameter(torch.tensor(0.5))
        self.theta = nn.Parameter(torch.tensor(1.0))
        self.dual_update = Update(2, 1, channels, ndim=ndim)
        self.primal_update = Update(1, 1, channels, ndim=ndim)

    def reconstruct(self, sinogram: torch.Tensor, operator: LinearOperator) -> torch.Tensor:
        """Run the iterations from zero."""
        A = Scaled(operator)
        y = sinogram / A.norm

        def step(
            primal: torch.Tensor, bar: torch.Tensor, dual: torch.Tensor
        ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
            dual = dual + self.dual_update(dual + self.sigma * A(bar), y)
            change = self.primal_update(primal - self.tau * A.adjoint(dual))
            primal = primal + change
            return primal, primal + self.theta * change, dual

        primal = bar = y.new_zeros((y.shape[0], 1, *operator.domain_shape))
        dual = torch.zeros_like(y)
        for _ in range(self.iterations):
            primal, bar, dual = self._iterate(step, primal, bar, dual)
        return primal
