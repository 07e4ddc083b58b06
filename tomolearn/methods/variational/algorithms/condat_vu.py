"""The primal-dual method of Condat and Vu: the data term by its gradient."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from tomolearn.methods.checks import positive_norm
from tomolearn.methods.iteration import per_image
from tomolearn.methods.stopping import Iterate
from tomolearn.methods.variational.algorithms.algorithm import Algorithm
from tomolearn.methods.variational.problem import Problem, still
from tomolearn.methods.variational.splitting import Splitting, change_merit, weighted_size

_SAFETY = 0.99
# A step's change in the method's norm against that without correlations; see `chambolle_pock`.
_SLACK = 30.0


class CondatVu(Algorithm):
    """Primal-dual forward-backward splitting [1]_ [2]_: only the prior has dual variables.

    It takes what `chambolle-pock` takes, for data terms whose gradient has a Lipschitz constant;
    it has no dual variable as large as the data.

    References
    ----------
    .. [1] L. Condat, "A primal-dual splitting method for convex optimization involving
       Lipschitzian, proximable and linear composite terms", J. Optim. Theory Appl. 158 (2013),
       doi 10.1007/s10957-012-0245-9
    .. [2] B. C. Vu, "A splitting algorithm for dual monotone inclusions involving cocoercive
       operators", Adv. Comput. Math. 38 (2013), doi 10.1007/s10444-011-9254-8
    """

    def obstacle(self, problem: Problem) -> str | None:
        """Return what a problem lacks: a Lipschitz constant of the data term, or a dual prior."""
        if problem.data.curvature() is None:
            return (
                "data: expected a term whose gradient has a Lipschitz constant, got "
                f"{type(problem.data).__name__}"
            )
        return Splitting.obstacle(problem)

    def iterates(self, problem: Problem, image: torch.Tensor) -> Iterator[Iterate]:
        """Yield the iterates."""
        split = Splitting(problem)
        A, K, constraint = problem.operator, split.K, problem.constraint
        curvature = problem.data.curvature()
        norm_of_A, norm_of_K = positive_norm(A), split.norm()
        smoothness = torch.zeros_like(problem.weight) if curvature is None else curvature
        smoothness = (smoothness * norm_of_A**2).clamp_min(1e-30)
        # at most an equal share of data and prior in the bound of the primal step
        sigma = smoothness / 2 / max(norm_of_K, 1e-30) ** 2 / split.balance().clamp_min(1.0)
        tau = _SAFETY / (smoothness / 2 + sigma * norm_of_K**2)
        X = split.start(constraint.project(image))
        u = A(split.image(X).contiguous())
        q = None if K is None else torch.zeros_like(K(X))
        start = None
        steps = (tau, torch.ones_like(tau), sigma)
        nothing = u.new_zeros(len(u), 0)
        while True:
            slope = split.start(problem.data_gradient(u))
            if q is not None and K is not None:
                slope = slope + K.adjoint(q)
            old, X = X, torch.addcmul(X, per_image(tau, X), slope, value=-1)
            if constraint:
                split.image(X).copy_(constraint.project(split.image(X)))
            q_old = q
            if q is not None and K is not None:
                ascent = torch.addcmul(q, per_image(sigma, q), K(2 * X - old))
                q = split.dual_proximal(ascent, sigma)
            u = A(split.image(X).contiguous())
            # the data have no variable, their dual one is that of the image
            p = problem.data.gradient(u)
            moved = X - old, nothing, None if q is None or q_old is None else q - q_old
            settled = still(X, old)
            if q is not None and q_old is not None:
                settled = settled & still(q, q_old)
            if start is None:
                start = _SLACK * weighted_size(moved, steps)
            merit = change_merit(moved, (X, nothing, q), steps, start)
            yield split.iterate((X, p, q), u, merit, settled)
