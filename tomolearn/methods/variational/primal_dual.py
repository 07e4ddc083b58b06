"""The primal-dual method of Chambolle and Pock for total variation."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch

from tomolearn.methods.checks import positive_norm
from tomolearn.methods.stopping import Iterate
from tomolearn.methods.variational.tv_steps import VariationSteps
from tomolearn.operators import FiniteDifferences, LinearOperator

# Found by trial on 64**2 to 192**2 images, 30 to 120 views and weights over two decades; anything
# within a factor of three does about as well. The balance is between primal and dual step, the
# share that of the gradient in their product's bound.
_BALANCE = 0.45
_GRADIENT_SHARE = 0.4
_RELAXATION = 1.8
# keeps the product of the steps below its bound although the norms are rounded
_SAFETY = 0.99

_Map = Callable[[torch.Tensor], torch.Tensor]


def iterates(
    y: torch.Tensor, operator: LinearOperator, x: torch.Tensor, weight: float, nonnegative: bool
) -> Iterator[Iterate]:
    """Yield the iterates; image and start are one tensor in all of them."""
    problem = _Problem(y, x, operator, weight, nonnegative)
    while True:
        problem.step()
        yield Iterate(problem.steps.image, problem.residual, problem.certificate)


class _Problem:
    """What is minimised, and the state of the iteration."""

    def __init__(
        self,
        y: torch.Tensor,
        x: torch.Tensor,
        operator: LinearOperator,
        weight: float,
        nonnegative: bool,
    ) -> None:
        self.y, self.weight, self.nonnegative = y, weight, nonnegative
        # the tensors are checked; to check them at every call would take as long as the steps
        self.forward: _Map = operator._evaluate
        self.adjoint: _Map = operator._evaluate_adjoint
        if torch.is_autocast_enabled(y.device.type):
            # the operator itself sees to it that mixed precision does not reach its inside
            self.forward, self.adjoint = operator, operator.adjoint
        norm = positive_norm(operator)
        share = _GRADIENT_SHARE if weight > 0 else 0.0
        size = torch.linalg.vector_norm(y.flatten(1), dim=1)
        size /= norm * math.sqrt(math.prod(operator.domain_shape))
        # the dimensionless ratio of the images' expected size to the weight
        balance = (_BALANCE * norm * (size / max(weight, 1e-30)).sqrt()).clamp(0.1, 1e3)
        gradient_norm = FiniteDifferences(operator.domain_shape).norm()
        self.steps = variation_steps(
            x,
            y,
            weight,
            nonnegative,
            primal_step=-balance / norm**2,
            data_step=_SAFETY * (1 - share) / balance,
            gradient_step=_SAFETY * share * norm**2 / (balance * max(gradient_norm, 1e-30) ** 2),
            relaxation=_RELAXATION,
        )

    def step(self) -> None:
        """Make one iteration."""
        self.steps.image_step(self.adjoint(self.steps.p))
        self.steps.data_dual_step(self.forward(self.steps.ahead))
        self.steps.gradient_dual_step()

    def residual(self) -> torch.Tensor:
        """Return ``A x - y``."""
        return self.forward(self.steps.image).sub_(self.y)

    def certificate(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the objective and a bound of its distance from the minimum."""
        image, p = self.steps.image, self.steps.p_new
        slope = self.steps.dual_slope(self.adjoint(p))
        if self.nonnegative:
            slope.clamp_(max=0)
        objective = self.residual().square_().flatten(1).sum(1)
        if self.weight > 0:
            objective += self.weight * self.steps.variation()
        dual = p * (self.y + p / 4)
        norms = [torch.linalg.vector_norm(v.flatten(1), dim=1) for v in (image, slope)]
        return objective, objective + dual.flatten(1).sum(1) + norms[0] * norms[1]


def variation_steps(x: torch.Tensor, *arguments: Any, **named: Any) -> VariationSteps:
    """Return the fastest steps for `x`: compiled ones for plane images on a CPU.

    The parameters are those of `VariationSteps`.
    """
    kind: type[VariationSteps] = VariationSteps
    is_plane = x.ndim - 1 == 2  # the first axis is the batch
    if x.device.type == "cpu" and is_plane:
        from tomolearn.methods.variational.compiled_steps import CompiledVariationSteps

        kind = CompiledVariationSteps
    return kind(x, *arguments, **named)
