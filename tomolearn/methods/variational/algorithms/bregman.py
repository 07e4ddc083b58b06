"""Linearised Bregman iteration."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from tomolearn.methods.checks import positive_norm
from tomolearn.methods.iteration import per_image
from tomolearn.methods.stopping import Iterate
from tomolearn.methods.variational.algorithms.algorithm import Algorithm
from tomolearn.methods.variational.problem import Problem


class LinearisedBregman(Algorithm):
    """Linearised Bregman iteration [1]_, to be stopped by the discrepancy principle.

    ``v <- v + step A.T W (y - A u)``, ``u = prox(v)`` of ``weight * R``: gradient ascent for
    ``||u||^2 / 2 + weight * R(u)`` under ``A u = y``. It is an iterative regularisation and tends
    to fit the data, whatever the weight; stopped early, it keeps the contrast that the minimiser of
    a penalised problem loses.

    References
    ----------
    .. [1] J.-F. Cai, S. Osher, Z. Shen, "Linearized Bregman iterations for compressed sensing",
       Math. Comp. 78 (2009), doi 10.1090/S0025-5718-08-02189-3
    """

    def obstacle(self, problem: Problem) -> str | None:
        """Return what a problem lacks: a convex prior's proximal map, least squares, freedom."""
        prior = problem.prior
        if prior is None:
            return "weight: expected a positive number"
        if not prior.has_proximal:
            return f"prior: expected one with a proximal map, got {type(prior).__name__}"
        if prior.convexity is None or prior.convexity < 0:
            return f"prior: expected one certified to be convex, got {type(prior).__name__}"
        if problem.constraint:
            return "minimum, maximum and support: expected none"
        if not problem.data.is_quadratic:
            return f"data: expected least squares, got {type(problem.data).__name__}"
        return None

    def is_preferred(self, problem: Problem) -> bool:
        """Return that it is not: what it tends to is the solution of another problem."""
        return False

    def iterates(self, problem: Problem, image: torch.Tensor) -> Iterator[Iterate]:
        """Yield the iterates."""
        curvature = problem.data.curvature()
        largest = torch.ones_like(problem.weight) if curvature is None else curvature
        step = per_image(
            1 / (largest.clamp_min(1e-30) * positive_norm(problem.operator) ** 2), image
        )
        v = image
        one = torch.ones_like(problem.weight)
        x = problem.prior_proximal(v, one)
        while True:
            u = problem.forward(x)
            v = torch.addcmul(v, step, problem.data_gradient(u), value=-1)
            x = problem.prior_proximal(v, one)
            yield Iterate(
                x,
                lambda x=x: problem.forward(x) - problem.data.y,  # type: ignore[misc]
                lambda x=x: (problem.objective(x, problem.forward(x)), None),  # type: ignore[misc]
            )
