"""A variational problem as primal-dual algorithms and ADMM take it apart."""

from __future__ import annotations

import math

import torch

from tomolearn._core.tensors import inner, norm
from tomolearn.methods.checks import positive_norm
from tomolearn.methods.iteration import per_image
from tomolearn.methods.state import Merit
from tomolearn.methods.stopping import Iterate
from tomolearn.methods.variational.problem import Problem
from tomolearn.operators import Identity, LinearOperator
from tomolearn.priors.composed import ComposedRegulariser


class Splitting:
    """The prior as ``phi(K X)``: X are the images, with the auxiliary ones of the prior if any.

    phi is used by the proximal map of its conjugate. A prior that is composed says what phi and K
    are; any other with a proximal map is taken with the identity for K.

    Parameters
    ----------
    problem : Problem
        One for which `obstacle` is None.
    """

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        prior, shape = problem.prior, problem.operator.domain_shape
        ndim = len(shape) if prior is None else prior.ndim
        self._composed = prior if isinstance(prior, ComposedRegulariser) else None
        self.extra = 0 if self._composed is None else self._composed.extra
        self._axis = -ndim - 1
        self.K: LinearOperator | None = None
        if self._composed is not None:
            self.K = self._composed.analysis(shape[len(shape) - ndim :])
        elif prior is not None:
            self.K = Identity(shape)

    @staticmethod
    def obstacle(problem: Problem) -> str | None:
        """Return what a problem lacks for this form, or None."""
        prior = problem.prior
        if prior is None or isinstance(prior, ComposedRegulariser):
            return None
        if not prior.has_proximal:
            return f"prior: expected one with a proximal map, got {type(prior).__name__}"
        if prior.convexity is None or prior.convexity < 0:
            return (
                "prior: expected one that is certified to be convex, got "
                f"{type(prior).__name__} with convexity {prior.convexity}"
            )
        return None

    def start(self, x: torch.Tensor) -> torch.Tensor:
        """Return X with auxiliary images of zero."""
        if not self.extra:
            return x
        x = x.unsqueeze(self._axis)
        shape = list(x.shape)
        shape[self._axis] = self.extra
        return torch.cat((x, x.new_zeros(shape)), self._axis)

    def image(self, X: torch.Tensor) -> torch.Tensor:
        """Return the images of X, a view of it."""
        return X.select(self._axis, 0) if self.extra else X

    def with_image(self, X: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """Return X with other images and the same auxiliary ones."""
        if not self.extra:
            return x
        rest = X.narrow(self._axis, 1, self.extra)
        return torch.cat((x.unsqueeze(self._axis), rest), self._axis)

    def image_size(self) -> torch.Tensor:
        """Return the root mean square that an image of these data has at least, (batch,)."""
        operator = self.problem.operator
        pixels = math.prod(operator.domain_shape)
        return norm(self.problem.data.y) / (operator.norm() * math.sqrt(pixels))

    def norm(self) -> float:
        """Return the norm of K, zero without a prior or where nothing has neighbours."""
        return 0.0 if self.K is None else self.K.norm()

    def dual_proximal(self, q: torch.Tensor, step: torch.Tensor) -> torch.Tensor:
        """Return the proximal points of the conjugate of ``weight * phi``, with steps (batch,)."""
        if self._composed is not None:
            weight = per_image(self.problem.weight, q)
            return self._composed.dual_proximal(q, per_image(step, q), weight)
        s = per_image(step, q)
        return q - s * self.problem.prior_proximal(q / s, 1 / step)

    def proximal(self, c: torch.Tensor, step: torch.Tensor) -> torch.Tensor:
        """Return the proximal points of ``step * weight * phi``, with steps (batch,)."""
        if self._composed is not None:
            s = per_image(step, c)
            return c - s * self.dual_proximal(c / s, 1 / step)
        return self.problem.prior_proximal(c, step)

    def value(self, X: torch.Tensor) -> torch.Tensor:
        """Return ``weight * phi(K X)`` of each image in float64."""
        problem = self.problem
        if self._composed is None or self.K is None:
            return problem.prior_value(X)
        return problem.weighted(self._composed.analysis_value(self.K(X)))

    def dual_value(self, q: torch.Tensor) -> torch.Tensor | None:
        """Return the conjugate of ``weight * phi`` where it is finite; None: not known."""
        if self._composed is None:
            return None
        value = self._composed.dual_value(q, per_image(self.problem.weight, q))
        return value.reshape(len(q), -1).sum(1, dtype=torch.float64)

    def gap(
        self, X: torch.Tensor, u: torch.Tensor, p: torch.Tensor, q: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Return the objective at X with u = A x, and its duality gap to dual points, if known.

        Where nothing bounds the image, it is that of images of at most the norm of X, which is a
        bound if the minimiser is no larger.
        """
        problem = self.problem
        objective = problem.data.value(u) + self.value(X)
        conjugate = problem.data.conjugate(p)
        slope = self.start(problem.operator.adjoint(p))
        if q is not None and self.K is not None:
            more = self.dual_value(q)
            if more is None:
                return objective, None
            conjugate, slope = conjugate + more, slope + self.K.adjoint(q)
        x = self.image(slope)
        bound = problem.constraint.support_function(-x, norm(self.image(X)))
        if self.extra:
            free = slope.narrow(self._axis, 1, self.extra)
            bound = bound + norm(free) * norm(X.narrow(self._axis, 1, self.extra))
        return objective, objective + conjugate + bound

    def iterate(
        self, variables: Variables, u: torch.Tensor, merit: Merit, settled: torch.Tensor
    ) -> Iterate:
        """Return an iterate for u = A x."""
        X, p, q = variables
        y = self.problem.data.y
        image = self.image(X).contiguous()
        return Iterate(image, lambda: u - y, lambda: self.gap(X, u, p, q), merit, settled)

    def balance(self) -> torch.Tensor:
        """Return the primal step in units of the data's Lipschitz constant, (batch,).

        It grows with the images' expected size over the weight: dual variables of a norm are as
        large as the weight, whatever the images.
        """
        problem = self.problem
        size = self.image_size() * problem.data.typical_curvature()
        ratio = size / problem.weight.clamp_min(1e-30)
        return (_BALANCE * problem.operator.norm() * ratio.sqrt()).clamp(0.2, 2e3)

    def steps(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return primal step, data's and prior's dual step of each image, (batch,) each.

        Found by trial for total variation, see `primal_dual`; the data's curvature makes them
        independent of the unit of the weights.
        """
        problem = self.problem
        A, K = positive_norm(problem.operator), self.norm()
        curvature = problem.data.typical_curvature()
        balance = self.balance()
        share = torch.where((problem.weight > 0) & (K > 0), _SHARE, 0.0).to(balance)
        prior_step = _SAFETY * share * curvature * (A / max(K, 1e-30)) ** 2 / balance
        return (
            balance / (curvature * A**2),
            _SAFETY * (1 - share) * curvature / balance,
            torch.where(share > 0, prior_step, 1.0),
        )


# As for total variation, whose objective is twice this one: `methods.variational.primal_dual`.
_BALANCE, _SHARE = 0.64, 0.4
# keeps the product of the steps below its bound although the norms are rounded
_SAFETY = 0.99


Variables = tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]
"""Primal variable, dual variable of the data, dual variable of the prior if there is one."""


def weighted_size(variables: Variables, steps: tuple[torch.Tensor, ...]) -> torch.Tensor:
    """Return the norm of primal and dual variables, each counted in its step, (batch,)."""
    X, p, q = variables
    total = inner(X, X) / steps[0] + inner(p, p) / steps[1]
    if q is not None:
        total = total + inner(q, q) / steps[2]
    return total.sqrt()


def change_merit(
    moved: Variables, variables: Variables, steps: tuple[torch.Tensor, ...], start: torch.Tensor
) -> Merit:
    """Return the merit of methods whose variables move no further than in their first step."""
    return Merit(
        "change per iteration",
        lambda: weighted_size(moved, steps),
        start,
        lambda: weighted_size(variables, steps),
        falls=False,
    )
