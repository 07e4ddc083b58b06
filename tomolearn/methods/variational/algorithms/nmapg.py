"""Non-monotone accelerated proximal gradient with Barzilai and Borwein's steps."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from tomolearn._core.tensors import inner
from tomolearn.methods.iteration import per_image
from tomolearn.methods.stopping import Iterate
from tomolearn.methods.variational.algorithms.algorithm import Algorithm
from tomolearn.methods.variational.composite import (
    Composite,
    Searched,
    no_descent,
    tried,
)
from tomolearn.methods.variational.problem import Problem, still

# Weight of the past in the running mean that a step has to get below.
_MEMORY = 0.8
# Part of ||step||^2 / (step length) by which it has to get below.
_DESCENT = 0.05
_SHORTEN = 2.0
_MOST_SHORTENINGS = 40
# Inverse steps stay within so much of the data term's.
_RANGE = 1e4


class NonMonotone(Algorithm):
    """Non-monotone accelerated proximal gradient descent, nmAPG [1]_, for any smooth prior.

    It needs no convexity and no Lipschitz constant: a momentum step counts if it gets below a
    running mean of past objectives, otherwise a proximal gradient step competes with it. Step
    lengths begin with Barzilai and Borwein's and are shortened until they descend. Its limits are
    stationary points. The comparative study of learned regularisers [2]_ solves all its problems by
    this method.

    References
    ----------
    .. [1] H. Li, Z. Lin, "Accelerated proximal gradient methods for nonconvex programming",
       NeurIPS 2015
    .. [2] J. Hertrich et al., "Learning regularization functionals for inverse problems: a
       comparative study" (2025), arXiv:2510.01755
    """

    def obstacle(self, problem: Problem) -> str | None:
        """Return what a problem lacks: a gradient or a proximal map."""
        return Composite.obstacle(problem)

    def iterates(self, problem: Problem, image: torch.Tensor) -> Iterator[Iterate]:
        """Yield the iterates."""
        composite = Composite(problem)
        # certificates of networks are products over layers, by which the steps would be tiny
        first = composite.data_curvature()
        x = problem.constraint.project(image)
        u = problem.forward(x)
        value = composite.smooth(x, u) + composite.rest(x)
        merit = problem.objective_merit(value, falls=False)
        now = Searched(x, u, value, torch.zeros_like(value))
        ahead = now  # the method's z, which may be uphill
        x_old, u_old = x, u
        mean, mass = value, torch.ones_like(value)
        t_old, t = torch.zeros_like(value), torch.ones_like(value)
        y_old = gradient_old = None
        inverse = first
        while True:
            a, b = per_image(t_old / t, x), (t_old - 1) / t
            y = now.x + a * (ahead.x - now.x) + per_image(b, x) * (now.x - x_old)
            a, b = per_image(t_old / t, u), per_image(b, u)
            v = now.u + a * (ahead.u - now.u) + b * (now.u - u_old)
            smooth, gradient = composite.smooth_and_gradient(y, v)
            if y_old is not None and gradient_old is not None:
                inverse = _spectral(y - y_old, gradient - gradient_old, inverse, first)
            level = torch.maximum(mean, smooth + composite.rest(y))
            ahead, inverse = _descending(composite, y, gradient, inverse, level)
            d = ahead.x - y
            target = mean - _DESCENT * inverse * inner(d, d) + composite.rounding(mean)
            index = (~(ahead.value <= target)).nonzero().squeeze(1)
            new = Searched(ahead.x, ahead.u, ahead.smooth, ahead.rest)
            if len(index):
                part = composite.select(index)
                x, u = now.x[index], now.u[index]
                plain, _ = _descending(part, x, part.gradient(x, u), inverse[index], mean[index])
                better = plain.value < ahead.value[index]
                new.put(index[better], plain.select(better))
            y_old, gradient_old = y, gradient
            x_old, u_old, now = now.x, now.u, new
            t_old, t = t, (1 + torch.sqrt(1 + 4 * t**2)) / 2
            mean = _MEMORY * mass * mean + now.value
            mass = _MEMORY * mass + 1
            mean = mean / mass
            yield problem.iterate(now.x, now.u, merit(now.value), still(now.x, x_old))


def _spectral(
    s: torch.Tensor, r: torch.Tensor, inverse: torch.Tensor, first: torch.Tensor
) -> torch.Tensor:
    """Return Barzilai and Borwein's inverse steps <s, r> / <s, s>, the old ones where they fail."""
    product, square = inner(s, r), inner(s, s)
    found = torch.where((product > 0) & (square > 0), product / square, inverse)
    return torch.minimum(torch.maximum(found, first / _RANGE), first * _RANGE)


def _descending(
    composite: Composite,
    x: torch.Tensor,
    gradient: torch.Tensor,
    inverse: torch.Tensor,
    level: torch.Tensor,
) -> tuple[Searched, torch.Tensor]:
    """Return a step from x to sufficiently below a level, and its inverse length."""
    found = tried(composite, x, gradient, inverse)
    allowed = level + composite.rounding(level)
    for _ in range(_MOST_SHORTENINGS):
        d = found.x - x
        failed = ~(found.value <= allowed - _DESCENT * inverse * inner(d, d))
        index = failed.nonzero().squeeze(1)
        if not len(index):
            return found, inverse
        inverse = inverse.clone()
        inverse[index] *= _SHORTEN
        found.put(index, tried(composite.select(index), x[index], gradient[index], inverse[index]))
    raise no_descent()
