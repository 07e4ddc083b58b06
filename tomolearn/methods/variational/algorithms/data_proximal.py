"""Accelerated proximal gradient whose proximal map is that of the data term."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch

from tomolearn._core.tensors import inner
from tomolearn.methods.iteration import per_image
from tomolearn.methods.stopping import Iterate
from tomolearn.methods.variational.algorithms.algorithm import Algorithm
from tomolearn.methods.variational.composite import no_descent, rounding
from tomolearn.methods.variational.problem import Problem, still
from tomolearn.numerics.conjugate_gradients import conjugate_gradients

# A step is a part of the certified one to begin with, since curvature is mostly far below its
# bound, and becomes longer by so much where the prior allows it.
_BEGIN, _LENGTHEN, _SHORTEN = 0.25, 0.9, 2.0
_MOST_SHORTENINGS = 60
# Conjugate gradients of a step end at this part of their first residual: the next step begins
# where they ended.
_RESIDUAL, _MOST_PRODUCTS = 1e-2, 30


class DataProximal(Algorithm):
    """Steps along the prior's gradient, each followed by a least-squares fit to the data.

    Forward-backward splitting [1]_ with the roles of data term and prior exchanged, momentum and
    restart: ``x = argmin of data(A x) + weight <R'(z), x> + r ||x - z||^2 / 2``, by conjugate
    gradients. The iterations are as many as the prior's curvature asks for, not the operator's, so
    that it suits priors whose gradient costs more than a few projections, as that of most networks
    does. Steps are found by backtracking on the prior.

    References
    ----------
    .. [1] P. L. Combettes, V. R. Wajs, "Signal recovery by proximal forward-backward splitting",
       Multiscale Model. Simul. 4 (2005), doi 10.1137/050626090
    """

    def obstacle(self, problem: Problem) -> str | None:
        """Return what a problem lacks: a prior with a gradient, squared residuals, no bounds."""
        prior = problem.prior
        if prior is not None and not prior.has_gradient:
            return f"prior: expected one with a gradient, got {type(prior).__name__}"
        if not problem.data.is_quadratic:
            return "data: expected least-squares, whose minimum is that of a linear system"
        if problem.constraint:
            return "minimum, maximum, support: expected none"
        return None

    def iterates(self, problem: Problem, image: torch.Tensor) -> Iterator[Iterate]:
        """Yield the iterates."""
        x, u = image, problem.forward(image)
        value = problem.objective(x, u)
        merit = problem.objective_merit(value, falls=False)
        certified = problem.prior_lipschitz()
        guess = problem.data.typical_curvature() * problem.operator.norm() ** 2 / 100
        r = (guess if certified is None else certified) * _BEGIN
        r = r.clamp_min(torch.finfo(torch.float32).tiny)
        z, v, t = x, u, torch.ones_like(value)
        while True:
            new, r = _step(problem, z, v, r)
            d = new - x
            # momentum that points against the step is forgotten
            against = inner(z - new, d) > 0
            t_next = (1 + torch.sqrt(1 + 4 * t**2)) / 2
            momentum = torch.where(against, 0.0, (t - 1) / t_next)
            t = torch.where(against, 1.0, t_next)
            old, u_old = x, u
            x, u = new, problem.forward(new)
            z = torch.addcmul(x, per_image(momentum, x), d)
            v = torch.addcmul(u, per_image(momentum, u), u - u_old)
            # the objective is asked for rarely, and looked at where it is
            now = partial(problem.objective, x, u)
            yield problem.iterate(x, u, merit(value)._replace(now=now), still(x, old))


def _step(
    problem: Problem, z: torch.Tensor, v: torch.Tensor, r: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the step from z, with v = A z, below the quadratic majorant of the prior there."""
    value, slope = problem.prior_value_and_gradient(z)
    gradient = problem.data_gradient(v) + slope
    r = r * _LENGTHEN
    for _ in range(_MOST_SHORTENINGS):
        d = solved(problem, -gradient, r)
        bound = value + inner(slope, d) + r / 2 * inner(d, d)
        failed = ~(problem.prior_value(z + d) <= bound + rounding(value, z.dtype))
        if not bool(failed.any()):
            return z + d, r
        r = torch.where(failed, _SHORTEN * r, r)
    raise no_descent()


def solved(problem: Problem, b: torch.Tensor, r: torch.Tensor) -> torch.Tensor:
    """Return ``(A.T W A + r)^-1 b`` roughly, with r (batch,) for each image."""

    def apply(p: torch.Tensor) -> torch.Tensor:
        fit = problem.operator.adjoint(problem.data.weighted(problem.forward(p)))
        return torch.addcmul(fit, per_image(r, p), p)

    return conjugate_gradients(apply, b, tolerance=_RESIDUAL, max_iterations=_MOST_PRODUCTS).state
