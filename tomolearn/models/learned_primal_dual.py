"""Learned primal-dual reconstruction."""

from __future__ import annotations

import torch
from torch import nn

from tomolearn._core.checks import check_choice, check_int, check_iterations
from tomolearn.methods import FBP
from tomolearn.models.base import ReconstructionModel, Scaled
from tomolearn.models.blocks import Update, check_ndim
from tomolearn.operators import LinearOperator


class LearnedPrimalDual(ReconstructionModel):
    """Learned primal-dual reconstruction of Adler and Öktem [1]_.

    A primal-dual method of a few iterations in which networks take the place of both proximal
    operators. Each iteration has networks of its own, and both variables have memory::

        dual   += G_k(dual, A primal[1], y)
        primal += F_k(primal, A^T dual[0])

    with A and y divided by the norm of A. Both start at zero; the image is primal[0]. With its
    default arguments it has 253,220 parameters.

    Parameters
    ----------
    iterations : int
        Number of iterations, unrolled.
    n_primal, n_dual : int
        Number of images and of sinograms that an iteration hands to the next; `n_primal` is at
        least 2.
    channels : int
        Channels between the three convolutions of each network.
    dual_channels : int, optional
        Those of the networks of sinograms. Default: `channels`.
    ndim : {2, 3}
        Number of spatial axes: images and sinograms of two, or volumes and stacks of projections.
    start : {"zero", "fbp"}
        What the images begin at: zero, or each at a filtered back-projection with Hann's window,
        as for LoDoPaB-CT's benchmark; the operator then has to be a `RayTransform`.
        In space it is that of Feldkamp, Davis and Kress. The last convolutions start at zero then,
        so that a network before its training returns the back-projection.
    frequency_scaling : float
        Of that back-projection.

    References
    ----------
    .. [1] J. Adler, O. Öktem, "Learned Primal-Dual Reconstruction", IEEE Trans. Med. Imaging 37
       (2018), arXiv:1707.06474, doi 10.1109/TMI.2018.2799231
    """

    def __init__(
        self,
        *,
        iterations: int = 10,
        n_primal: int = 5,
        n_dual: int = 5,
        channels: int = 32,
        dual_channels: int | None = None,
        ndim: int = 2,
        start: str = "zero",
        frequency_scaling: float = 1.0,
    ) -> None:
        iterations = check_iterations(iterations)
        n_primal = check_int("n_primal", n_primal, minimum=2)
        n_dual = check_int("n_dual", n_dual, minimum=1)
        channels = check_int("channels", channels, minimum=1)
        if dual_channels is not None:
            dual_channels = check_int("dual_channels", dual_channels, minimum=1)
        ndim = check_ndim(ndim)
        inversion = FBP(filter="hann", frequency_scaling=frequency_scaling)
        super().__init__(
            {
                "iterations": iterations,
                "n_primal": n_primal,
                "n_dual": n_dual,
                "channels": channels,
                "dual_channels": dual_channels,
                "ndim": ndim,
                "start": check_choice("start", start, ("zero", "fbp")),
                "frequency_scaling": inversion.frequency_scaling,
            }
        )
        self.inversion = inversion if start == "fbp" else None
        self.n_primal, self.n_dual, self.ndim = n_primal, n_dual, ndim
        self.own_weights = iterations
        self.dual_updates = nn.ModuleList(
            Update(n_dual + 2, n_dual, dual_channels or channels, ndim=ndim)
            for _ in range(iterations)
        )
        self.primal_updates = nn.ModuleList(
            Update(n_primal + 1, n_primal, channels, ndim=ndim) for _ in range(iterations)
        )
        if start == "fbp":
            for update in (*self.dual_updates, *self.primal_updates):
                nn.init.zeros_(update.layers[-1].weight)

    def reconstruct(self, sinogram: torch.Tensor, operator: LinearOperator) -> torch.Tensor:
        """Run the iterations."""
        A = Scaled(operator)
        y = sinogram / A.norm
        primal = y.new_zeros((y.shape[0], self.n_primal, *operator.domain_shape))
        if self.inversion is not None:
            primal = primal + self.inversion(sinogram, operator)
        dual = y.new_zeros((y.shape[0], self.n_dual, *operator.range_shape))
        for dual_update, primal_update in zip(self.dual_updates, self.primal_updates, strict=True):

            def step(
                primal: torch.Tensor,
                dual: torch.Tensor,
                dual_update: nn.Module = dual_update,
                primal_update: nn.Module = primal_update,
            ) -> tuple[torch.Tensor, torch.Tensor]:
                dual = dual + dual_update(dual, A(primal[:, 1:2]), y)
                return primal + primal_update(primal, A.adjoint(dual[:, :1])), dual

            primal, dual = self._iterate(step, primal, dual)
        return primal[:, :1]
