"""Lower levels of bilevel learning: smooth, strongly convex problems, and how they are solved."""

from __future__ import annotations

import abc
import math
from dataclasses import dataclass

import torch

from tomolearn._core.checks import check_choice, check_float, check_int
from tomolearn._core.errors import DivergenceError, TomolearnError
from tomolearn._core.tensors import norm

ALGORITHMS = ("fista", "gradient")
"""How lower levels are solved."""

# How much worse than its proven rate an iteration may be, for rounding and for FISTA's
# extrapolated points, which the rate is not about, before its constants are called wrong.
_SLACK, _EXTRA_ITERATIONS = 10.0, 100


class LowerLevel(abc.ABC):
    """Smooth and strongly convex functions of images that depend on parameters theta.

    For each data y of a batch, an image u(theta) minimises ``objective(u, y, theta)``. Its
    constants have to be proven, for all images: error bounds and step sizes rest on them. The
    parameters are a tensor (parameters,) in double precision. Derivatives are by automatic
    differentiation where a subclass has no closed form.
    """

    parameters: tuple[str, ...]
    """Names of the parameters, in their order in theta."""
    remedy: str = "change the parameters"
    """What would make it strongly convex, for the error of one that is not."""

    @abc.abstractmethod
    def objective(self, u: torch.Tensor, y: torch.Tensor, theta: torch.Tensor) -> torch.Tensor:
        """Return the values (batch,) at images (batch, ...)."""

    @abc.abstractmethod
    def strong_convexity(self, theta: torch.Tensor) -> torch.Tensor:
        """Return mu for which ``objective - mu ||u||^2 / 2`` is convex, differentiable in theta."""

    @abc.abstractmethod
    def lipschitz(self, theta: torch.Tensor) -> torch.Tensor:
        """Return a Lipschitz constant of the gradient, differentiable in theta."""

    @abc.abstractmethod
    def start(self, y: torch.Tensor) -> torch.Tensor:
        """Return images with which to begin, of the shape of the solutions for the data y."""

    def gradient(self, u: torch.Tensor, y: torch.Tensor, theta: torch.Tensor) -> torch.Tensor:
        """Return the gradients with respect to the images, themselves differentiable in theta."""
        recorded = torch.is_grad_enabled()
        with torch.enable_grad():
            point = u if u.requires_grad else u.detach().requires_grad_()
            value = self.objective(point, y, theta).sum()
            (found,) = torch.autograd.grad(value, point, create_graph=recorded)
        return found

    def hessian_product(
        self, u: torch.Tensor, y: torch.Tensor, theta: torch.Tensor, v: torch.Tensor
    ) -> torch.Tensor:
        """Return the Hessians with respect to the images times images v."""
        with torch.enable_grad():
            point = u.detach().requires_grad_()
            slope = self.gradient(point, y, theta.detach())
            (found,) = torch.autograd.grad(slope, point, v, materialize_grads=True)
        return found

    def mixed_product(
        self, u: torch.Tensor, y: torch.Tensor, theta: torch.Tensor, q: torch.Tensor
    ) -> torch.Tensor:
        """Return the derivative with respect to theta of ``<gradient(u, y, theta), q>``, summed."""
        with torch.enable_grad():
            at = theta.detach().requires_grad_()
            slope = self.gradient(u.detach(), y, at)
            (found,) = torch.autograd.grad(slope, at, q, materialize_grads=True)
        return found

    def constants(self, theta: torch.Tensor) -> tuple[float, float]:
        """Return strong convexity and Lipschitz constant.

        Raises
        ------
        ValueError
            If it is not strongly convex at these parameters.
        """
        with torch.no_grad():
            mu, largest = float(self.strong_convexity(theta)), float(self.lipschitz(theta))
        if not mu > 0 or not math.isfinite(largest):
            pairs = zip(self.parameters, theta.tolist(), strict=True)
            at = ", ".join(f"{name}={value:.3g}" for name, value in pairs)
            raise TomolearnError(
                f"lower level: expected a strongly convex one, mu > 0, got mu = {mu:.3g} and "
                f"L = {largest:.3g} at {at}; {self.remedy}"
            )
        return mu, largest


@dataclass(frozen=True)
class LowerSolution:
    """Solutions of a lower level, one per entry of the batch.

    Attributes
    ----------
    image : torch.Tensor, shape (batch, ...)
        Where the iteration ended.
    error : torch.Tensor of float64, shape (batch,)
        Certified bounds of the distance to the solution, ``||gradient|| / mu``.
    iterations : torch.Tensor of int64, shape (batch,)
        Steps of the iteration.
    """

    image: torch.Tensor
    error: torch.Tensor
    iterations: torch.Tensor


@torch.no_grad()
def solve_lower_level(
    lower: LowerLevel,
    y: torch.Tensor,
    theta: torch.Tensor,
    start: torch.Tensor,
    *,
    tolerance: float | None = None,
    iterations: int | None = None,
    algorithm: str = "fista",
) -> LowerSolution:
    """Solve a lower level to an accuracy, or for a number of iterations.

    Strong convexity bounds the distance to the solution, ``||u - u*|| <= ||gradient(u)|| / mu``;
    each entry stops by this bound on its own.

    Parameters
    ----------
    lower : LowerLevel
        What is solved.
    y : torch.Tensor, shape (batch, ...)
        Data.
    theta : torch.Tensor, shape (parameters,)
        Parameters.
    start : torch.Tensor, shape (batch, ...)
        Images with which to begin.
    tolerance : float, optional
        Largest bound of the distance to the solution.
    iterations : int, optional
        Number of iterations, in place of a tolerance.
    algorithm : {"fista", "gradient"}
        Accelerated gradient descent of rate ``1 - sqrt(mu / L)`` [1]_, or plain gradient descent
        with steps ``2 / (L + mu)``.

    Raises
    ------
    DivergenceError
        If values are not finite, or convergence is slower than `strong_convexity` and `lipschitz`
        guarantee.
    TypeError, ValueError
        If the lower level is not strongly convex, or an argument is not as above.

    References
    ----------
    .. [1] A. Chambolle, T. Pock, "An introduction to continuous optimization for imaging", Acta
       Numerica 25 (2016), algorithm 5, doi 10.1017/S096249291600009X
    """
    check_choice("algorithm", algorithm, ALGORITHMS)
    if (tolerance is None) == (iterations is None):
        raise TomolearnError(
            f"tolerance, iterations: expected one of the two, got {tolerance} and {iterations}"
        )
    mu, largest = lower.constants(theta)
    step = _Fista(mu, largest) if algorithm == "fista" else _Gradient(mu, largest)
    u = start.detach().clone()
    if iterations is not None:
        count = check_int("iterations", iterations, minimum=0)
        first = norm(lower.gradient(u, y, theta)) / mu
        for _ in range(count):
            u = step.descend(u, lower.gradient(u, y, theta))
        u = step.image(u)
        error = norm(lower.gradient(u, y, theta)) / mu
        rounding = torch.finfo(u.dtype).eps * (norm(u) + norm(y))
        promised = step.promised(count) * first + rounding
        within = error <= _SLACK * largest / mu * promised
        if not (within & error.isfinite()).all():
            raise _diverged(lower, theta, count)
        return LowerSolution(u, error, torch.full((len(u),), count, dtype=torch.int64))
    goal = check_float("tolerance", tolerance, positive=True)
    found, errors = u.clone(), torch.zeros(len(u), dtype=torch.float64)
    counts = torch.zeros(len(u), dtype=torch.int64)
    index, k, limit = torch.arange(len(u)), 0, math.inf
    while True:
        g = lower.gradient(u, y, theta)
        error = norm(g).cpu() / mu
        if k == 0:
            limit = step.needed(float(error.max()), goal * mu / largest / _SLACK)
        going = ~(error <= goal)  # what is not a number goes on, to be an error
        ended = index[~going]
        found[ended], errors[ended], counts[ended] = u[~going], error[~going], k
        if not len(ended) < len(index):
            return LowerSolution(found, errors, counts)
        if k >= limit or not torch.isfinite(error).all():
            raise _diverged(lower, theta, k)
        if len(ended):
            u, y, g, index = u[going], y[going], g[going], index[going]
            step.keep(going)
        u = step.descend(u, g)
        k += 1


def _diverged(lower: LowerLevel, theta: torch.Tensor, count: int) -> DivergenceError:
    mu, largest = lower.constants(theta)
    return DivergenceError(
        f"lower level: after {count} iterations at theta = {[round(x, 4) for x in theta.tolist()]} "
        f"it has not converged as mu = {mu:.3g} and L = {largest:.3g} guarantee: "
        "strong_convexity or lipschitz is wrong, or the tolerance below the precision of the images"
    )


class _Gradient:
    """Gradient descent with steps 2 / (L + mu)."""

    def __init__(self, mu: float, largest: float) -> None:
        self._step, self._rate = 2.0 / (largest + mu), (largest - mu) / (largest + mu)

    def descend(self, u: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
        return u - self._step * g

    def image(self, u: torch.Tensor) -> torch.Tensor:
        return u

    def keep(self, going: torch.Tensor) -> None:
        pass

    def promised(self, count: int) -> float:
        """Return the proven factor of the distance to the solution after some iterations."""
        return self._rate**count

    def needed(self, first: float, goal: float) -> float:
        """Return how many iterations are proven to bring a distance to a goal, and some more."""
        if self._rate <= 0 or first <= goal:
            return _EXTRA_ITERATIONS
        return _EXTRA_ITERATIONS + 2 * math.log(goal / first) / math.log(self._rate)


class _Fista(_Gradient):
    """FISTA for strongly convex functions; what is handed around are the extrapolated points."""

    def __init__(self, mu: float, largest: float) -> None:
        self._step, self._ratio = 1.0 / largest, min(mu / largest, 1.0)
        self._rate = math.sqrt(1.0 - math.sqrt(self._ratio))
        self._t = 1.0
        self._last: torch.Tensor | None = None

    def descend(self, u: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
        q, t = self._ratio, self._t
        image = u - self._step * g
        shrunk = 1.0 - q * t**2
        following = (shrunk + math.sqrt(shrunk**2 + 4.0 * t**2)) / 2.0
        last, self._last, self._t = self._last, image, following
        if last is None or q == 1.0:  # at first t is one and there is nothing to extrapolate
            return image
        return torch.lerp(
            last, image, 1.0 + (t - 1.0) * (1.0 - q * following) / (following * (1.0 - q))
        )

    def image(self, u: torch.Tensor) -> torch.Tensor:
        return u if self._last is None else self._last

    def keep(self, going: torch.Tensor) -> None:
        if self._last is not None:
            self._last = self._last[going]

    def promised(self, count: int) -> float:
        return self._rate**count * math.sqrt((1 + math.sqrt(self._ratio)) / self._ratio)

    def needed(self, first: float, goal: float) -> float:
        return super().needed(first * self.promised(0), goal)
