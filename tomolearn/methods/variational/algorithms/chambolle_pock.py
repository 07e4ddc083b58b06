"""The primal-dual method of Chambolle and Pock, relaxed."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from tomolearn.methods.iteration import per_image
from tomolearn.methods.stopping import Iterate
from tomolearn.methods.variational.algorithms.algorithm import Algorithm
from tomolearn.methods.variational.problem import Problem, still
from tomolearn.methods.variational.splitting import Splitting, change_merit, weighted_size

_RELAXATION = 1.8
# A step moves the variables no further than the one before, in a norm in which images and dual
# variables are correlated by the root of the steps' product; so much it differs from one without.
_SLACK = 20.0


class ChambollePock(Algorithm):
    """Primal-dual hybrid gradient [1]_, relaxed, with dual variables of data and prior.

    It takes every data term, composed priors such as total variation and TGV, and convex priors
    with a proximal map, all with constraints. Neither inner iterations nor gradients are needed.

    References
    ----------
    .. [1] A. Chambolle, T. Pock, "A first-order primal-dual algorithm for convex problems with
       applications to imaging", J. Math. Imaging Vis. 40 (2011), doi 10.1007/s10851-010-0251-1
    """

    def obstacle(self, problem: Problem) -> str | None:
        """Return what a problem lacks: a composed prior, or a convex one with a proximal map."""
        return Splitting.obstacle(problem)

    def iterates(self, problem: Problem, image: torch.Tensor) -> Iterator[Iterate]:
        """Yield the iterates."""
        split = Splitting(problem)
        steps = tau, sigma, sigma_prior = split.steps()
        A, K, constraint = problem.operator, split.K, problem.constraint
        X = split.start(image)
        u = A(image)
        p = torch.zeros_like(u)
        q = None if K is None else torch.zeros_like(K(X))
        s = per_image(sigma, u)
        start = None
        new = X
        while True:
            slope = split.start(A.adjoint(p))
            if q is not None and K is not None:
                slope = slope + K.adjoint(q)
            old, new = new, torch.addcmul(X, per_image(tau, X), slope, value=-1)
            if constraint:
                split.image(new).copy_(constraint.project(split.image(new)))
            ahead = 2 * new - X
            u_ahead = A(split.image(ahead))
            u_new = (u_ahead + u) / 2
            p_new = problem.data.conjugate_proximal(p + s * u_ahead, s)
            q_new = None
            if q is not None and K is not None:
                ascent = torch.addcmul(q, per_image(sigma_prior, q), K(ahead))
                q_new = split.dual_proximal(ascent, sigma_prior)
            moved = (new - X, p_new - p, None if q is None or q_new is None else q_new - q)
            variables = (new, p_new, q_new)
            if start is None:
                start = _SLACK * weighted_size(moved, steps)
            merit = change_merit(moved, variables, steps, start)
            settled = still(new, old) & still(p_new, p)
            X = torch.lerp(X, new, _RELAXATION)
            u, p = torch.lerp(u, u_new, _RELAXATION), torch.lerp(p, p_new, _RELAXATION)
            q = None if q is None or q_new is None else torch.lerp(q, q_new, _RELAXATION)
            yield split.iterate(variables, u_new, merit, settled)
