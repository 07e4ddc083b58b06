"""Alternating direction method of multipliers (ADMM)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch

from tomolearn._core.tensors import norm
from tomolearn.methods.checks import positive_norm
from tomolearn.methods.iteration import per_image
from tomolearn.methods.stopping import Iterate
from tomolearn.methods.variational.algorithms.algorithm import Algorithm
from tomolearn.methods.variational.problem import Problem, still
from tomolearn.methods.variational.splitting import Splitting
from tomolearn.numerics.conjugate_gradients import conjugate_gradients

# Of the linear system in each iteration, begun at the last image.
_INNER_TOLERANCE, _INNER_ITERATIONS = 1e-10, 10
# Penalties are balanced between primal and dual residuals every so many iterations, at first.
_BALANCE_EVERY, _BALANCE_UNTIL, _IMBALANCE = 10, 200, 3.0


class _Block:
    """One split variable: L X is kept equal to z, at which its function has a proximal map."""

    def __init__(
        self,
        forward: Callable[[torch.Tensor], torch.Tensor],
        adjoint: Callable[[torch.Tensor], torch.Tensor],
        proximal: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
        penalty: torch.Tensor,
        X: torch.Tensor,
    ) -> None:
        self.forward, self.adjoint, self.proximal = forward, adjoint, proximal
        self.penalty = penalty
        self.z = forward(X)
        self.d = torch.zeros_like(self.z)  # the dual variable over the penalty

    def right(self) -> torch.Tensor:
        """Return the block's part of the right side of the linear system."""
        return self.adjoint(per_image(self.penalty, self.z) * (self.z - self.d))

    def normal(self, X: torch.Tensor) -> torch.Tensor:
        """Return the block's part of its left side."""
        image = self.forward(X)
        return self.adjoint(per_image(self.penalty, image) * image)

    def update(self, X: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Make the proximal and the dual step; return the squares of the two residuals."""
        image, old = self.forward(X), self.z
        self.z = self.proximal(image + self.d, 1 / self.penalty)
        primal = image - self.z
        self.d = self.d + primal
        # both in units of penalty times square
        moved = norm(self.z - old)
        return self.penalty * norm(primal) ** 2, self.penalty * moved**2

    def rescale(self, factor: torch.Tensor) -> None:
        """Multiply the penalty, and keep the dual variable."""
        self.penalty = self.penalty * factor
        self.d = self.d / per_image(factor, self.d)


class ADMM(Algorithm):
    """Alternating direction method of multipliers [1]_, its linear systems by conjugate gradients.

    It takes every data term, composed priors and convex priors with a proximal map, all with
    constraints. Each iteration solves a least-squares problem, which takes several projections, so
    that fewer iterations are needed than by primal-dual methods.

    References
    ----------
    .. [1] S. Boyd et al., "Distributed optimization and statistical learning via the alternating
       direction method of multipliers", Found. Trends Mach. Learn. 3 (2011), doi 10.1561/2200000016
    """

    def obstacle(self, problem: Problem) -> str | None:
        """Return what a problem lacks: a composed prior, or a convex one with a proximal map."""
        return Splitting.obstacle(problem)

    def iterates(self, problem: Problem, image: torch.Tensor) -> Iterator[Iterate]:
        """Yield the iterates."""
        split = Splitting(problem)
        A, K, data, constraint = problem.operator, split.K, problem.data, problem.constraint
        curvature = data.typical_curvature()
        steep = curvature * positive_norm(A) ** 2
        X = split.start(image)
        blocks: list[_Block] = []

        def project(X: torch.Tensor) -> torch.Tensor:
            return A(split.image(X).contiguous())

        def unproject(p: torch.Tensor) -> torch.Tensor:
            return split.start(A.adjoint(p))

        if K is not None:
            penalty = 3 * problem.weight / split.image_size().clamp_min(1e-30)
            penalty = torch.where(penalty > 0, penalty, 1e-3 * steep)
            blocks.append(_Block(K, K.adjoint, split.proximal, penalty, X))
        if constraint:
            blocks.append(
                _Block(
                    split.image,
                    split.start,
                    lambda x, step: constraint.project(x),
                    0.03 * steep,
                    X,
                )
            )
        if not data.is_quadratic:
            blocks.append(
                _Block(
                    project,
                    unproject,
                    lambda u, step: _data_proximal(problem, u, step),
                    curvature,
                    X,
                )
            )

        def left(X: torch.Tensor) -> torch.Tensor:
            total = torch.zeros_like(X)
            if data.is_quadratic:
                u = project(X)
                total = total + unproject(data.gradient(u) - data.gradient(torch.zeros_like(u)))
            for block in blocks:
                total = total + block.normal(X)
            return total

        fixed = torch.zeros_like(X)
        if data.is_quadratic:
            fixed = unproject(-data.gradient(torch.zeros_like(data.y)))
        iteration = 0
        while True:
            iteration += 1
            old = X
            right = fixed
            for block in blocks:
                right = right + block.right()
            X = conjugate_gradients(
                left, right, start=X, tolerance=_INNER_TOLERANCE, max_iterations=_INNER_ITERATIONS
            ).state
            primal = dual = torch.zeros_like(steep)
            for block in blocks:
                r, s = block.update(X)
                primal, dual = primal + r, dual + s
            if iteration % _BALANCE_EVERY == 0 and iteration <= _BALANCE_UNTIL:
                factor = torch.ones_like(primal)
                factor = torch.where(primal > _IMBALANCE**2 * dual, 2.0, factor)
                factor = torch.where(dual > _IMBALANCE**2 * primal, 0.5, factor)
                for block in blocks:
                    block.rescale(factor)
            x = split.image(X)
            x = constraint.project(x).contiguous().clone()
            yield Iterate(
                x,
                lambda x=x: problem.forward(x) - data.y,  # type: ignore[misc]
                lambda v=(X, x): (  # type: ignore[misc]
                    data.value(problem.forward(v[1])) + split.value(split.with_image(*v)),
                    None,
                ),
                settled=still(X, old) & (primal + dual == 0),
            )


def _data_proximal(problem: Problem, u: torch.Tensor, step: torch.Tensor) -> torch.Tensor:
    """Return the proximal points of ``step * h``, by Moreau's identity."""
    s = per_image(step, u)
    return u - s * problem.data.conjugate_proximal(u / s, 1 / s)
