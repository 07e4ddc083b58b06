"""Learned proximal gradient method."""

from __future__ import annotations

import torch
from torch import nn

from tomolearn._core.checks import check_int, check_iterations
from tomolearn.models.base import ReconstructionModel, Scaled
from tomolearn.models.blocks import Update, check_ndim
from tomolearn.operators import LinearOperator


class LearnedProximal(ReconstructionModel):
    """Learned proximal gradient method: steps down the misfit, each followed by a network.

    The proximal gradient method, unrolled, with a residual network in place of the proximal
    operator, as Mardani et al. proposed [1]_::

        v = x - t_k A^T (A x - y)
        x = v + R_k(v)

    with A and y divided by the norm of A. It starts at zero with all steps t_k = 1, which are
    learned. The image alone goes from one iteration to the next.

    Parameters
    ----------
    iterations : int
        Number of iterations, unrolled.
    channels : int
        Channels between the three convolutions of each network.
    ndim : {2, 3}
        Number of spatial axes: images and sinograms of two, or volumes and stacks of projections.

    Notes
    -----
    The structure is that of [1]_, the networks are not: theirs, for magnetic resonance images,
    are blocks with batch normalisation whose weights all iterations share. Here each iteration
    has its own three 3x3 convolutions with ReLUs, of the size that the other unrolled methods of
    this package have, so that they can be compared. With its default arguments it has 98,580
    parameters.

    References
    ----------
    .. [1] M. Mardani et al., "Neural Proximal Gradient Descent for Compressive Imaging",
       NeurIPS 2018, arXiv:1806.03963
    """

    def __init__(self, *, iterations: int = 10, channels: int = 32, ndim: int = 2) -> None:
        iterations = check_iterations(iterations)
        channels = check_int("channels", channels, minimum=1)
        ndim = check_ndim(ndim)
        super().__init__({"iterations": iterations, "channels": channels, "ndim": ndim})
        self.ndim = ndim
        self.steps = nn.Parameter(torch.ones(iterations))
        self.proximals = nn.ModuleList(
            Update(1, 1, channels, activation="relu", ndim=ndim) for _ in range(iterations)
        )

    def reconstruct(self, sinogram: torch.Tensor, operator: LinearOperator) -> torch.Tensor:
        """Run the iterations from zero."""
        A = Scaled(operator)
        y = sinogram / A.norm
        x = y.new_zeros((y.shape[0], 1, *operator.domain_shape))
        for length, proximal in zip(self.steps, self.proximals, strict=True):

            def step(
                x: torch.Tensor, length: torch.Tensor = length, proximal: nn.Module = proximal
            ) -> tuple[torch.Tensor]:
                v = x - length * A.adjoint(A(x) - y)
                return (v + proximal(v),)

            (x,) = self._iterate(step, x)
        return x
