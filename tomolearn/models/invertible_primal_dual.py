"""Learned primal-dual reconstruction with invertible iterations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import nn
from torch.func import functional_call

from tomolearn._core.checks import check_int, check_iterations
from tomolearn._core.errors import TomolearnError
from tomolearn._core.tensors import is_transformed
from tomolearn.models.base import ReconstructionModel, Scaled
from tomolearn.models.blocks import Update, check_ndim
from tomolearn.numerics import Coupling, run_couplings
from tomolearn.operators import LinearOperator


class InvertiblePrimalDual(ReconstructionModel):
    """Invertible learned primal-dual reconstruction, after Rudzusika et al. [1]_ [2]_.

    `LearnedPrimalDual` as additive couplings: both variables have two halves, of which an iteration
    changes one by networks that see the other::

        dual[i]   += G_k(dual[j], A (primal[0][0] + primal[1][0]), y)
        primal[i] += F_k(primal[j], A^T (dual[0][0] + dual[1][0]))

    with i, j = 0, 1 in the first iteration, 1, 0 in the second, and so on; A and y are divided by
    the norm of A. Both variables start at zero; the image is primal[0][0] + primal[1][0], to which
    each iteration adds. The backward pass computes the inputs of each step from its outputs, so
    that training needs the memory of one step, however many iterations there are, for the time of
    one more forward pass. How the papers divide the variables is not reproduced.

    Parameters
    ----------
    iterations : int
        Number of iterations, unrolled.
    n_primal, n_dual : int
        Number of images and of sinograms that an iteration hands to the next, even numbers.
    channels : int
        Channels between the three convolutions of each network.
    ndim : {2, 3}
        Number of spatial axes: images and sinograms of two, or volumes and stacks of projections.

    Notes
    -----
    Inputs are recovered up to rounding. With mixed precision, gradients are therefore as exact as
    its half-precision convolutions. With ``recompute_activations = False``, in function transforms
    of torch, and with operators that are learned themselves, all activations are kept.

    References
    ----------
    .. [1] J. Rudzusika, B. Bajić, O. Öktem, C.-B. Schönlieb, C. Etmann, "Invertible Learned
       Primal-Dual", NeurIPS Workshop on Deep Learning and Inverse Problems (2021)
    .. [2] J. Rudzusika, B. Bajić, T. Koehler, O. Öktem, "3D helical CT Reconstruction with a
       Memory Efficient Learned Primal-Dual Architecture", arXiv:2205.11952
    """

    recompute_activations: bool = True
    """Whether the backward pass computes activations from outputs, and none are kept."""

    def __init__(
        self,
        *,
        iterations: int = 10,
        n_primal: int = 6,
        n_dual: int = 6,
        channels: int = 32,
        ndim: int = 2,
    ) -> None:
        iterations = check_iterations(iterations)
        for name, value in (("n_primal", n_primal), ("n_dual", n_dual)):
            if check_int(name, value, minimum=2) % 2:
                raise TomolearnError(f"{name}: expected an even number, got {value}")
        channels = check_int("channels", channels, minimum=1)
        ndim = check_ndim(ndim)
        super().__init__(
            {
                "iterations": iterations,
                "n_primal": n_primal,
                "n_dual": n_dual,
                "channels": channels,
                "ndim": ndim,
            }
        )
        self.n_primal, self.n_dual, self.ndim = n_primal, n_dual, ndim
        self.dual_updates = nn.ModuleList(
            Update(n_dual // 2 + 2, n_dual // 2, channels, ndim=ndim) for _ in range(iterations)
        )
        self.primal_updates = nn.ModuleList(
            Update(n_primal // 2 + 1, n_primal // 2, channels, ndim=ndim) for _ in range(iterations)
        )

    def reconstruct(self, sinogram: torch.Tensor, operator: LinearOperator) -> torch.Tensor:
        """Run the iterations from zero."""
        A = Scaled(operator)
        y = sinogram / A.norm
        n, iterations = y.shape[0], len(self.dual_updates)
        primal = [y.new_zeros((n, self.n_primal // 2, *operator.domain_shape)) for _ in range(2)]
        dual = [y.new_zeros((n, self.n_dual // 2, *operator.range_shape)) for _ in range(2)]
        couplings = [
            coupling
            for k in range(iterations)
            for coupling in (
                _dual_coupling(self.dual_updates[k], A, k % 2),
                _primal_coupling(self.primal_updates[k], A, k % 2),
            )
        ]
        learned = any(weights.requires_grad for weights in operator.parameters())
        plain = learned or torch.compiler.is_compiling() or is_transformed(sinogram)
        state = run_couplings(
            couplings,
            [*primal, *dual],
            [y],
            recompute=self.recompute_activations and not plain,
        )
        return _first(state[0], state[1])


# The state is (primal[0], primal[1], dual[0], dual[1]).
def _dual_coupling(update: nn.Module, A: Scaled, i: int) -> Coupling:
    def change(
        state: Sequence[torch.Tensor],
        given: Sequence[torch.Tensor],
        weights: Mapping[str, torch.Tensor],
    ) -> torch.Tensor:
        inputs = state[3 - i], A(_first(state[0], state[1])), given[0]
        changed: torch.Tensor = functional_call(update, dict(weights), inputs)
        return changed

    return Coupling(2 + i, change, dict(update.named_parameters()))


def _primal_coupling(update: nn.Module, A: Scaled, i: int) -> Coupling:
    def change(
        state: Sequence[torch.Tensor],
        given: Sequence[torch.Tensor],
        weights: Mapping[str, torch.Tensor],
    ) -> torch.Tensor:
        inputs = state[1 - i], A.adjoint(_first(state[2], state[3]))
        changed: torch.Tensor = functional_call(update, dict(weights), inputs)
        return changed

    return Coupling(i, change, dict(update.named_parameters()))


def _first(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Return the sum of the first channels of two halves."""
    return one[:, :1] + other[:, :1]
