"""Accelerated proximal gradient with restart and backtracking (FISTA)."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from tomolearn.methods.iteration import per_image
from tomolearn.methods.stopping import Iterate
from tomolearn.methods.variational.algorithms.algorithm import Algorithm
from tomolearn.methods.variational.composite import Composite, majorised_step
from tomolearn.methods.variational.problem import Problem, still
from tomolearn.priors.composed import ComposedRegulariser


class Fista(Algorithm):
    """Accelerated proximal gradient descent, FISTA [1]_, with adaptive restart [2]_.

    It takes convex priors with a gradient or a proximal map. Where a Lipschitz constant of the
    gradient is certified, steps are its inverse; otherwise they are found by backtracking. A step
    that would raise the objective is made again without momentum, so that it falls throughout.

    References
    ----------
    .. [1] A. Beck, M. Teboulle, "A fast iterative shrinkage-thresholding algorithm for linear
       inverse problems", SIAM J. Imaging Sci. 2 (2009), doi 10.1137/080716542
    .. [2] B. O'Donoghue, E. Candes, "Adaptive restart for accelerated gradient schemes", Found.
       Comput. Math. 15 (2015), doi 10.1007/s10208-013-9150-3
    """

    def obstacle(self, problem: Problem) -> str | None:
        """Return what a problem lacks: a gradient or proximal map, or convexity."""
        prior = problem.prior
        if prior is not None and (prior.convexity is None or prior.convexity < 0):
            return (
                "prior: expected one that is certified to be convex for momentum without a line "
                f"search, got {type(prior).__name__} with convexity {prior.convexity}"
            )
        return Composite.obstacle(problem)

    def is_preferred(self, problem: Problem) -> bool:
        """Return whether no proximal map has to be found by inner iterations."""
        composed = isinstance(problem.prior, ComposedRegulariser)
        return not composed or Composite(problem).prior_is_smooth

    def iterates(self, problem: Problem, image: torch.Tensor) -> Iterator[Iterate]:
        """Yield the iterates."""
        composite = Composite(problem)
        inverse, certain = composite.curvature()
        x = problem.constraint.project(image)
        u = problem.forward(x)
        value = composite.smooth(x, u) + composite.rest(x)
        merit = problem.objective_merit(value, falls=composite.prior_is_smooth)
        x_old, u_old, t = x, u, torch.ones_like(value)
        while True:
            t_next = (1 + torch.sqrt(1 + 4 * t**2)) / 2
            momentum = (t - 1) / t_next
            z, w = _beyond(x, x_old, momentum), _beyond(u, u_old, momentum)
            found, inverse = majorised_step(composite, z, w, inverse, certain)
            uphill = (found.value > value + composite.rounding(value)) & (momentum > 0)
            index = uphill.nonzero().squeeze(1)
            if len(index):
                part = composite.select(index)
                again, inverse[index] = majorised_step(
                    part, x[index], u[index], inverse[index], certain
                )
                found.put(index, again)
                t_next = torch.where(uphill, 1.0, t_next)
            x_old, u_old, t = x, u, t_next
            x, u, value = found.x, found.u, found.value
            yield problem.iterate(x, u, merit(value), still(x, x_old))


def _beyond(new: torch.Tensor, old: torch.Tensor, momentum: torch.Tensor) -> torch.Tensor:
    return torch.addcmul(new, per_image(momentum, new), new - old)
