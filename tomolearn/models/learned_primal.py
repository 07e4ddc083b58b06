"""Learned primal reconstruction."""

from __future__ import annotations

import torch
from torch import nn

from tomolearn._core.checks import check_int, check_iterations
from tomolearn.models.base import ReconstructionModel, Scaled
from tomolearn.models.blocks import Update, check_ndim
from tomolearn.operators import LinearOperator


class LearnedPrimal(ReconstructionModel):
    """Learned primal reconstruction of Adler and Öktem [1]_.

    `LearnedPrimalDual` without its dual networks, which leaves a learned gradient method whose
    iterations have networks of their own::

        primal += F_k(primal, A^T (A primal[1] - y))

    with A and y divided by the norm of A. It starts at zero; the image is primal[0]. With its
    default arguments it has 125,170 parameters.

    Parameters
    ----------
    iterations : int
        Number of iterations, unrolled.
    n_primal : int
        Number of images that an iteration hands to the next; at least 2.
    channels : int
        Channels between the three convolutions of each network.
    ndim : {2, 3}
        Number of spatial axes: images and sinograms of two, or volumes and stacks of projections.

    References
    ----------
    .. [1] J. Adler, O. Öktem, "Learned Primal-Dual Reconstruction", IEEE Trans. Med. Imaging 37
       (2018), arXiv:1707.06474, doi 10.1109/TMI.2018.2799231
    """

    def __init__(
        self, *, iterations: int = 10, n_primal: int = 5, channels: int = 32, ndim: int = 2
    ) -> None:
        iterations = check_iterations(iterations)
        n_primal = check_int("n_primal", n_primal, minimum=2)
        channels = check_int("channels", channels, minimum=1)
        ndim = check_ndim(ndim)
        super().__init__(
            {"iterations": iterations, "n_primal": n_primal, "channels": channels, "ndim": ndim}
        )
        self.n_primal, self.ndim = n_primal, ndim
        self.own_weights = iterations
        self.updates = nn.ModuleList(
            Update(n_primal + 1, n_primal, channels, ndim=ndim) for _ in range(iterations)
        )

    def reconstruct(self, sinogram: torch.Tensor, operator: LinearOperator) -> torch.Tensor:
        """Run the iterations from zero."""
        A = Scaled(operator)
        y = sinogram / A.norm
        primal = y.new_zeros((y.shape[0], self.n_primal, *operator.domain_shape))
        for update in self.updates:

            def step(primal: torch.Tensor, update: nn.Module = update) -> tuple[torch.Tensor]:
                return (primal + update(primal, A.adjoint(A(primal[:, 1:2]) - y)),)

            (primal,) = self._iterate(step, primal)
        return primal[:, :1]
