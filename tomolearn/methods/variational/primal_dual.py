"""The primal-dual method of Chambolle and Pock for total variation."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch

from tomolearn._core.tensors import inner, norm
from tomolearn.methods.checks import positive_norm
from tomolearn.methods.state import Merit
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
# A step moves the variables no further than the one before, in a norm in which images and dual
# variables are correlated by the root of that product; so much it differs from one without.
_SLACK = math.sqrt(2 / (1 - math.sqrt(_SAFETY)))

_Map = Callable[[torch.Tensor], torch.Tensor]


def iterates(
    y: torch.Tensor,
    operator: LinearOperator,
    x: torch.Tensor,
    weights: torch.Tensor | None,
    weight: float,
    nonnegative: bool,
    scales: tuple[float, ...],
) -> Iterator[Iterate]:
    """Yield the iterates; image and start are one tensor in all of them."""
    problem = _Problem(y, x, operator, weights, weight, nonnegative, scales)
    problem.step()
    start = _SLACK * problem.change()
    merit = Merit("change per iteration", problem.change, start, problem.size, falls=False)
    while True:
        yield Iterate(problem.steps.image, problem.residual, problem.certificate, merit)
        problem.step()


class _Problem:
    """What is minimised, and the state of the iteration."""

    def __init__(
        self,
        y: torch.Tensor,
        x: torch.Tensor,
        operator: LinearOperator,
        weights: torch.Tensor | None,
        weight: float,
        nonnegative: bool,
        scales: tuple[float, ...],
    ) -> None:
        spacing = tuple(1 / scale for scale in scales)
        gradient_norm = FiniteDifferences(operator.domain_shape, spacing).norm()
        if gradient_norm == 0:  # a pixel without neighbours varies by nothing
            weight = 0.0
        self.measured, self.weight, self.nonnegative = y, weight, nonnegative
        # the tensors are checked; to check them at every call would take as long as the steps
        self.project: _Map = operator._evaluate
        self.adjoint: _Map = operator._evaluate_adjoint
        if torch.is_autocast_enabled(y.device.type):
            # the operator itself sees to it that mixed precision does not reach its inside
            self.project, self.adjoint = operator, operator.adjoint
        # of each image, or of all: a bound of it where bins have weights
        operator_norm = torch.full((1,), positive_norm(operator), dtype=torch.float64)
        operator_norm = operator_norm.to(y.device)
        self.forward: _Map = self.project
        if weights is not None:
            # least squares with weights are those of data and operator times the weights' roots
            roots, backproject = weights.sqrt(), self.adjoint
            self.forward = lambda image: roots * self.project(image)
            self.adjoint = lambda p: backproject(roots * p)
            operator_norm = operator_norm * roots.flatten(1).amax(1)
            y = roots * y
        self.y = y
        share = _GRADIENT_SHARE if weight > 0 else 0.0
        data = norm(self.y)
        size = data / (operator_norm * math.sqrt(math.prod(operator.domain_shape)))
        # the dimensionless ratio of the images' expected size to the weight
        balance = (_BALANCE * operator_norm * (size / max(weight, 1e-30)).sqrt()).clamp(0.1, 1e3)
        self.steps = variation_steps(
            x,
            y,
            weight,
            nonnegative,
            primal_step=-balance / operator_norm**2,
            data_step=_SAFETY * (1 - share) / balance,
            gradient_step=_SAFETY
            * share
            * (operator_norm / max(gradient_norm, 1e-30)) ** 2
            / balance,
            relaxation=_RELAXATION,
            scales=scales,
        )

    def step(self) -> None:
        """Make one iteration."""
        self.steps.image_step(self.adjoint(self.steps.p))
        self.steps.data_dual_step(self.forward(self.steps.ahead))
        self.steps.gradient_dual_step()

    def residual(self) -> torch.Tensor:
        """Return ``A x - y``, without weights."""
        return self.project(self.steps.image).sub_(self.measured)

    def objective(self) -> torch.Tensor:
        """Return what is minimised."""
        residual = self.forward(self.steps.image).sub_(self.y)
        value = inner(residual, residual)
        return value + self.weight * self.steps.variation() if self.weight > 0 else value

    def change(self) -> torch.Tensor:
        """Return how far the last step went, each variable counted in its step size."""
        s, beyond = self.steps, _RELAXATION - 1
        moved = (s.image - s.x, s.p_new - s.p, s.q_new - s.q)
        return self._size(*moved) / beyond

    def size(self) -> torch.Tensor:
        """Return the size of the variables, counted like this."""
        return self._size(self.steps.image, self.steps.p_new, self.steps.q_new)

    def _size(self, x: torch.Tensor, p: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
        s = self.steps
        pairs = [(x, -s.primal_step), (p, s.data_step)]
        if self.weight > 0:
            pairs += [(part, s.gradient_step * v) for part, v in zip(q, s.squares, strict=True)]
        total = torch.zeros(len(x), dtype=torch.float64, device=x.device)
        for values, step in pairs:
            total += inner(values, values) / step.flatten()
        return total.sqrt()

    def certificate(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the objective and a bound of its distance from the minimum."""
        image, p = self.steps.image, self.steps.p_new
        slope = self.steps.dual_slope(self.adjoint(p))
        if self.nonnegative:
            slope.clamp_(max=0)
        objective = self.objective()
        dual = inner(p, self.y + p / 4)
        return objective, objective + dual + norm(image) * norm(slope)


def variation_steps(x: torch.Tensor, *arguments: Any, **named: Any) -> VariationSteps:
    """Return the fastest steps for `x`: compiled ones for square pixels in the plane on a CPU.

    The parameters are those of `VariationSteps`.
    """
    kind: type[VariationSteps] = VariationSteps
    is_plane = x.ndim - 1 == 2  # the first axis is the batch
    is_square = set(named.get("scales") or (1.0,)) == {1.0}
    if x.device.type == "cpu" and is_plane and is_square:
        from tomolearn.methods.variational.compiled_steps import CompiledVariationSteps

        kind = CompiledVariationSteps
    return kind(x, *arguments, **named)
