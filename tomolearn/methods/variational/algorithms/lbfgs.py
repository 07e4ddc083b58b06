"""Limited-memory quasi-Newton iteration (L-BFGS)."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from tomolearn._core.tensors import inner, norm
from tomolearn.methods.iteration import per_image
from tomolearn.methods.stopping import Iterate
from tomolearn.methods.variational.algorithms.algorithm import Algorithm
from tomolearn.methods.variational.composite import Composite, no_descent
from tomolearn.methods.variational.problem import Problem, still
from tomolearn.numerics.line_search import weak_wolfe

_MEMORY = 10
# Units of rounding by which a slope may be off.
_ROUNDING = 1e3


class LBFGS(Algorithm):
    """Limited-memory BFGS [1]_ for smooth priors, each image with its own memory and line search.

    Along a direction, projections are linear: a line search needs no projector, only the prior.

    References
    ----------
    .. [1] D. C. Liu, J. Nocedal, "On the limited memory BFGS method for large scale optimization",
       Math. Program. 45 (1989), doi 10.1007/BF01589116
    """

    def obstacle(self, problem: Problem) -> str | None:
        """Return what a problem lacks: a gradient, or freedom of constraints."""
        prior = problem.prior
        if prior is not None and not prior.has_gradient:
            return f"prior: expected one with a gradient, got {type(prior).__name__}"
        if problem.constraint:
            return "minimum, maximum and support: expected none"
        return None

    def iterates(self, problem: Problem, image: torch.Tensor) -> Iterator[Iterate]:
        """Yield the iterates."""
        composite = Composite(problem, smooth=True)
        x, u = image, problem.forward(image)
        value, gradient = composite.smooth_and_gradient(x, u)
        merit = problem.objective_merit(value, falls=True)
        memory: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = []
        while True:
            d = _direction(gradient, memory)
            uphill = ~(inner(gradient, d) < 0)
            d = torch.where(per_image(uphill, d).bool(), -gradient, d)
            v = problem.forward(d)
            slope = _slope(problem, x, u, d, v)
            allowed = composite.rounding(value)
            size = norm(d)
            first = torch.ones_like(value)
            if not memory:
                first = (norm(x).clamp_min(1.0) / size.clamp_min(1e-30)).clamp(max=1.0)

            def along(step: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
                moved = torch.addcmul(x, per_image(step, x), d)  # noqa: B023 - called in this turn
                there = torch.addcmul(u, per_image(step, u), v)  # noqa: B023
                return (
                    composite.smooth(moved, there),
                    _slope(problem, moved, there, d, v),  # noqa: B023
                )

            step = weak_wolfe(along, value, slope, first, rounding=allowed)
            # a slope that the gradient does not know of
            noise = (
                norm(problem.data.gradient(u)) * norm(v) + norm(problem.prior_gradient(x)) * size
            )
            noise = _ROUNDING * torch.finfo(x.dtype).eps * noise
            if bool((slope > 1e-3 * size * norm(gradient) + noise).any()):
                raise no_descent()
            x_old, gradient_old = x, gradient
            x = torch.addcmul(x, per_image(step, x), d)
            u = problem.forward(x)
            value, gradient = composite.smooth_and_gradient(x, u)
            s, r = x - x_old, gradient - gradient_old
            product = inner(s, r)
            # an image that has not moved keeps the memory that it has
            useful = product > torch.finfo(x.dtype).eps * norm(s) * norm(r)
            inverse = torch.where(useful, 1 / product, 0)
            memory = [*memory[-_MEMORY + 1 :], (s, r, inverse)]
            yield problem.iterate(x, u, merit(value), still(x, x_old))


def _direction(
    gradient: torch.Tensor, memory: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]
) -> torch.Tensor:
    """Return minus the inverse Hessian's estimate times the gradient: the two-loop recursion."""
    q = -gradient
    factors = []
    for s, r, inverse in reversed(memory):
        factor = inverse * inner(s, q)
        factors.append(factor)
        q = torch.addcmul(q, per_image(factor, q), r, value=-1)
    scale = torch.ones(len(gradient), dtype=torch.float64, device=gradient.device)
    for _, r, inverse in memory:
        # <s, r> / <r, r> of the latest pair that an image has
        scale = torch.where(inverse > 0, 1 / (inverse * inner(r, r)), scale)
    q = q * per_image(scale, q)
    for (s, r, inverse), factor in zip(memory, reversed(factors), strict=True):
        more = factor - inverse * inner(r, q)
        q = torch.addcmul(q, per_image(more, q), s)
    return q


def _slope(
    problem: Problem, x: torch.Tensor, u: torch.Tensor, d: torch.Tensor, v: torch.Tensor
) -> torch.Tensor:
    """Return the derivative of the objective along d, for v = A d."""
    return inner(problem.data.gradient(u), v) + inner(problem.prior_gradient(x), d)
