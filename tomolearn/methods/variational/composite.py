"""A variational problem as a smooth function plus one with a proximal map."""

from __future__ import annotations

import torch

from tomolearn._core.errors import DivergenceError
from tomolearn._core.tensors import inner
from tomolearn.methods.iteration import per_image
from tomolearn.methods.variational.problem import Problem

# Doublings of a step's inverse: without an end of them the gradient is not that of the objective.
_MOST_DOUBLINGS = 40
# Units of rounding by which sums of many squares may be off.
_ROUNDING = 16


class Composite:
    """The objective f + g: f smooth, g a proximal prior or a constraint.

    Parameters
    ----------
    problem : Problem
        One for which `obstacle` is None.
    smooth : bool
        Whether the prior is used by its gradient in any case.
    """

    def __init__(self, problem: Problem, *, smooth: bool = False) -> None:
        self.problem = problem
        self.prior_is_smooth = smooth or _is_smooth(problem)
        self._size = problem.size()

    @staticmethod
    def obstacle(problem: Problem) -> str | None:
        """Return what a problem lacks for this form, or None."""
        prior = problem.prior
        if prior is None or _is_smooth(problem):
            return None
        if not prior.has_proximal:
            return (
                "prior: expected one with a gradient or a proximal map, got "
                f"{type(prior).__name__}, which has neither"
            )
        if problem.constraint:
            return (
                "prior: expected one with a gradient beside a constraint, got "
                f"{type(prior).__name__}, which has a proximal map only"
            )
        return None

    def select(self, index: torch.Tensor) -> Composite:
        """Return that of some images of the batch."""
        part = Composite.__new__(Composite)
        part.problem, part.prior_is_smooth = self.problem.select(index), self.prior_is_smooth
        part._size = self._size[index]
        return part

    def rounding(self, value: torch.Tensor) -> torch.Tensor:
        """Return by how much objectives of this size may differ from rounding alone."""
        # projections round with the data, and are multiplied by the residual
        size = value.abs() + (value.abs() * self._size).sqrt()
        return _ROUNDING * torch.finfo(self.problem.data.y.dtype).eps * size

    def curvature(self) -> tuple[torch.Tensor, bool]:
        """Return a Lipschitz constant of f's gradient, (batch,), and whether it is certain."""
        problem = self.problem
        total = self.data_curvature()
        certain = problem.data.curvature() is not None and problem.data.weights is None
        if self.prior_is_smooth:
            prior = problem.prior_lipschitz()
            certain = certain and prior is not None
            total = total if prior is None else total + prior
        return total, certain

    def data_curvature(self) -> torch.Tensor:
        """Return the data term's part of it, or an estimate, (batch,)."""
        problem = self.problem
        data = problem.data.curvature()
        if data is None or problem.data.weights is not None:
            # the bound by the largest weight is far off where few are large
            data = problem.data.typical_curvature()
        total = data * problem.operator.norm() ** 2
        return total.clamp_min(torch.finfo(torch.float32).tiny)

    def smooth(self, x: torch.Tensor, u: torch.Tensor) -> torch.Tensor:
        """Return f of each image, for u = A x."""
        value = self.problem.data.value(u)
        return value + self.problem.prior_value(x) if self.prior_is_smooth else value

    def gradient(self, x: torch.Tensor, u: torch.Tensor) -> torch.Tensor:
        """Return the gradient of f."""
        gradient = self.problem.data_gradient(u)
        return gradient + self.problem.prior_gradient(x) if self.prior_is_smooth else gradient

    def smooth_and_gradient(
        self, x: torch.Tensor, u: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return both."""
        value, gradient = self.problem.data.value(u), self.problem.data_gradient(u)
        if not self.prior_is_smooth:
            return value, gradient
        more, slope = self.problem.prior_value_and_gradient(x)
        return value + more, gradient + slope

    def rest(self, x: torch.Tensor) -> torch.Tensor:
        """Return g of each image, where it is finite."""
        if self.prior_is_smooth:
            return torch.zeros_like(self.problem.weight)
        return self.problem.prior_value(x)

    def proximal(self, x: torch.Tensor, step: torch.Tensor) -> torch.Tensor:
        """Return the proximal points of step * g, with a step (batch,) for each image."""
        if self.prior_is_smooth or self.problem.prior is None:
            return self.problem.constraint.project(x)
        return self.problem.prior_proximal(x, step)

    def step(
        self, x: torch.Tensor, gradient: torch.Tensor, inverse_step: torch.Tensor
    ) -> torch.Tensor:
        """Return ``prox(x - gradient / inverse_step)``."""
        moved = torch.addcmul(x, per_image(1 / inverse_step, x), gradient, value=-1)
        return self.proximal(moved, 1 / inverse_step)


def rounding(value: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Return by how much values of this size may differ from rounding alone."""
    return 4 * torch.finfo(dtype).eps * value.abs()


class Searched:
    """A step of a line search: new images, their projections, f and g there, inverse steps."""

    def __init__(
        self, x: torch.Tensor, u: torch.Tensor, smooth: torch.Tensor, rest: torch.Tensor
    ) -> None:
        self.x, self.u, self.smooth, self.rest = x, u, smooth, rest

    @property
    def value(self) -> torch.Tensor:
        """The objective, (batch,)."""
        return self.smooth + self.rest

    def select(self, index: torch.Tensor) -> Searched:
        """Return that of some images of the batch."""
        return Searched(self.x[index], self.u[index], self.smooth[index], self.rest[index])

    def put(self, index: torch.Tensor, other: Searched) -> None:
        """Replace some images of the batch."""
        for name, value in vars(other).items():
            mine = getattr(self, name).clone()
            mine[index] = value
            setattr(self, name, mine)


def tried(
    composite: Composite, x: torch.Tensor, gradient: torch.Tensor, inverse: torch.Tensor
) -> Searched:
    """Return the step from x on, whether it descends or not."""
    new = composite.step(x, gradient, inverse)
    u = composite.problem.forward(new)
    return Searched(new, u, composite.smooth(new, u), composite.rest(new))


def majorised_step(
    composite: Composite,
    x: torch.Tensor,
    u: torch.Tensor,
    inverse: torch.Tensor,
    certain: bool,
) -> tuple[Searched, torch.Tensor]:
    """Return a step below the quadratic majorant at x, and its inverse length, by backtracking."""
    if certain:
        return tried(composite, x, composite.gradient(x, u), inverse), inverse
    smooth, gradient = composite.smooth_and_gradient(x, u)
    found = tried(composite, x, gradient, inverse)
    for _ in range(_MOST_DOUBLINGS):
        d = found.x - x
        bound = smooth + inner(gradient, d) + inverse / 2 * inner(d, d)
        index = (~(found.smooth <= bound + composite.rounding(smooth))).nonzero().squeeze(1)
        if not len(index):
            return found, inverse
        inverse = inverse.clone()
        inverse[index] *= 2
        part = composite.select(index)
        found.put(index, tried(part, x[index], gradient[index], inverse[index]))
    raise no_descent()


def no_descent() -> DivergenceError:
    """Return the error of a line search that finds no step."""
    return DivergenceError(
        "variational: no step along the gradient lowers the objective; check that the operator's "
        "adjoint is its transpose, and the prior's gradient that of its value"
    )


def _is_smooth(problem: Problem) -> bool:
    """Whether the prior is used by its gradient."""
    prior = problem.prior
    if prior is None or not prior.has_gradient:
        return prior is None
    return not prior.has_proximal or problem.prior_lipschitz() is not None
