"""Proximal gradient descent whose steps are fixed by the data term."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from tomolearn.methods.stopping import Iterate
from tomolearn.methods.variational.algorithms.algorithm import Algorithm
from tomolearn.methods.variational.composite import Composite
from tomolearn.methods.variational.problem import Problem, still


class FixedStep(Algorithm):
    """Proximal gradient descent with the step ``1 / ||A||^2``, whatever the prior's curvature is.

    It is for regularisers that are not bounded below, such as adversarial ones [1]_, which have no
    minimiser worth finding: their descent goes by small even steps, and is ended early, so that the
    number of iterations is part of the method. Steps are those for which the data term alone would
    fall; an objective that ends above that of the start is an error. `Fista` and `NonMonotone` are
    faster for priors that have minimisers.

    References
    ----------
    .. [1] S. Lunz, O. Öktem, C.-B. Schönlieb, "Adversarial regularizers in inverse problems",
       NeurIPS 2018, arXiv:1805.11572
    """

    def obstacle(self, problem: Problem) -> str | None:
        """Return what a problem lacks: a gradient or a proximal map."""
        return Composite.obstacle(problem)

    def is_preferred(self, problem: Problem) -> bool:
        """Return false: others are proven to end at a minimiser or a stationary point."""
        return False

    def iterates(self, problem: Problem, image: torch.Tensor) -> Iterator[Iterate]:
        """Yield the iterates."""
        composite = Composite(problem)
        inverse = composite.data_curvature()
        x = problem.constraint.project(image)
        u = problem.forward(x)
        smooth, gradient = composite.smooth_and_gradient(x, u)
        merit = problem.objective_merit(smooth + composite.rest(x), falls=False)
        while True:
            old = x
            x = composite.step(x, gradient, inverse)
            u = problem.forward(x)
            smooth, gradient = composite.smooth_and_gradient(x, u)
            yield problem.iterate(x, u, merit(smooth + composite.rest(x)), still(x, old))
