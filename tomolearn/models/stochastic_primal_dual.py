"""Learned primal-dual reconstruction with a subset of the views in each iteration."""

from __future__ import annotations

import itertools
import math
from functools import lru_cache

import torch
from torch import nn

from tomolearn._core.checks import check_int, check_iterations
from tomolearn.methods.checks import check_ray_transform
from tomolearn.methods.iterative.subsets import subsets_of_views
from tomolearn.models.base import ReconstructionModel, Scaled
from tomolearn.models.blocks import Update, check_ndim
from tomolearn.operators import LinearOperator, RayTransform


class StochasticPrimalDual(ReconstructionModel):
    """Stochastic (ordered-subsets) learned primal-dual reconstruction, after Tang et al. [1]_.

    `LearnedPrimalDual` whose k-th iteration sees one of m subsets of the views, A_b and y_b::

        dual[b] += G_k(dual[b], A_b primal[1], y_b)
        primal  += F_k(primal, A_b^T dual[b][0])

    Subset b has the views b, b + m, b + 2 m, ...; the sequence is that of `kaczmarz`, again and
    again. A_b and y_b are divided by the norm of A over the square root of m. An iteration projects
    and convolves 1/m of the sinogram. Both variables start at zero; the image is primal[0].

    Parameters
    ----------
    iterations : int
        Number of iterations, unrolled; with fewer than `subsets`, some views are never seen.
    subsets : int
        Number m of subsets of the views, at most the number of views.
    n_primal, n_dual : int
        Number of images and of sinograms that an iteration hands on; `n_primal` is at least 2.
    channels : int
        Channels between the three convolutions of each network.
    ndim : {2, 3}
        Number of spatial axes: images and sinograms of two, or volumes and stacks of projections.

    Notes
    -----
    Each subset has a dual variable of its own, as in the stochastic primal-dual hybrid gradient
    method: subsets need not have equally many views. How the paper hands it on is not reproduced.

    References
    ----------
    .. [1] J. Tang, S. Mukherjee, C.-B. Schönlieb, "Stochastic Primal-Dual Deep Unrolling",
       arXiv:2110.10093
    """

    def __init__(
        self,
        *,
        iterations: int = 12,
        subsets: int = 3,
        n_primal: int = 5,
        n_dual: int = 5,
        channels: int = 32,
        ndim: int = 2,
    ) -> None:
        iterations = check_iterations(iterations)
        subsets = check_int("subsets", subsets, minimum=1)
        n_primal = check_int("n_primal", n_primal, minimum=2)
        n_dual = check_int("n_dual", n_dual, minimum=1)
        channels = check_int("channels", channels, minimum=1)
        ndim = check_ndim(ndim)
        super().__init__(
            {
                "iterations": iterations,
                "subsets": subsets,
                "n_primal": n_primal,
                "n_dual": n_dual,
                "channels": channels,
                "ndim": ndim,
            }
        )
        self.subsets, self.n_primal, self.n_dual, self.ndim = subsets, n_primal, n_dual, ndim
        self.own_weights = iterations
        self.dual_updates = nn.ModuleList(
            Update(n_dual + 2, n_dual, channels, ndim=ndim) for _ in range(iterations)
        )
        self.primal_updates = nn.ModuleList(
            Update(n_primal + 1, n_primal, channels, ndim=ndim) for _ in range(iterations)
        )

    def reconstruct(self, sinogram: torch.Tensor, operator: LinearOperator) -> torch.Tensor:
        """Run the iterations from zero."""
        rays = check_ray_transform(operator)
        norm = Scaled(rays).norm / math.sqrt(self.subsets)
        parts = _parts(rays, self.subsets)
        data = [sinogram[:, :, views] / norm for _, views in parts]
        primal = sinogram.new_zeros((sinogram.shape[0], self.n_primal, *operator.domain_shape))
        dual = [y.new_zeros((y.shape[0], self.n_dual, *y.shape[2:])) for y in data]
        updates = zip(self.dual_updates, self.primal_updates, strict=True)
        for b, (dual_update, primal_update) in zip(
            itertools.cycle(range(len(parts))), updates, strict=False
        ):

            def step(
                primal: torch.Tensor,
                dual: torch.Tensor,
                A: RayTransform = parts[b][0],
                y: torch.Tensor = data[b],
                dual_update: nn.Module = dual_update,
                primal_update: nn.Module = primal_update,
            ) -> tuple[torch.Tensor, torch.Tensor]:
                dual = dual + dual_update(dual, A(primal[:, 1:2]) / norm, y)
                return primal + primal_update(primal, A.T(dual[:, :1]) / norm), dual

            primal, dual[b] = self._iterate(step, primal, dual[b])
        return primal[:, :1]


# one entry per scanner and number of subsets, so that the kernels' tables are made once
@lru_cache(maxsize=16)
def _parts(operator: RayTransform, subsets: int) -> tuple[tuple[RayTransform, slice], ...]:
    return tuple(subsets_of_views(operator, subsets, "golden"))
