"""Bilevel problems: what is learned from data, and how exactly its value and gradient are known."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from tomolearn._core.checks import check_choice, check_float, check_floats
from tomolearn._core.errors import DivergenceError, TomolearnError, TomolearnTypeError
from tomolearn._core.tensors import check_real_tensor, norm
from tomolearn.numerics.bilevel.lower_level import ALGORITHMS, LowerLevel, solve_lower_level
from tomolearn.numerics.conjugate_gradients import conjugate_gradients

Vector = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class BilevelProblem:
    """The parameters for which the solutions of a lower level are closest to given images.

    With the solutions u_i(theta) for data y_i, and truths u*_i, it is the minimum of ::

        f(theta) = sum_i ||u_i(theta) - u*_i||^2 + condition_weight (L(theta) / mu(theta))^2

    with the lower level's Lipschitz constant and strong convexity: what is badly conditioned takes
    long to solve.

    Parameters
    ----------
    lower : LowerLevel
        Whose parameters are sought.
    measured : torch.Tensor, shape (batch, ...)
        Data.
    truth : torch.Tensor, shape (batch, ...)
        Images.
    condition_weight : float
        Weight of the penalty, beta in [1]_.
    algorithm : {"fista", "gradient"}
        How the lower level is solved, see `solve_lower_level`.

    Raises
    ------
    TypeError, ValueError
        If data and truths are not tensors, as many of the one as of the other, or a setting is not
        as above.

    References
    ----------
    .. [1] M. J. Ehrhardt, L. Roberts, "Inexact derivative-free optimization for bilevel learning",
       J. Math. Imaging Vis. 63 (2021), arXiv:2006.12674, doi 10.1007/s10851-021-01020-8
    """

    lower: LowerLevel
    measured: torch.Tensor
    truth: torch.Tensor
    condition_weight: float = 0.0
    algorithm: str = "fista"

    def __post_init__(self) -> None:
        if not isinstance(self.lower, LowerLevel):
            raise TomolearnTypeError(
                f"lower: expected a LowerLevel, got {type(self.lower).__name__}"
            )
        check_real_tensor("measured", self.measured)
        check_real_tensor("truth", self.truth)
        expected = tuple(self.lower.start(self.measured).shape)
        if self.truth.shape != expected:
            raise TomolearnError(
                f"truth: expected shape {expected}, one image for each data, got "
                f"{tuple(self.truth.shape)}"
            )
        check_float("condition_weight", self.condition_weight, nonnegative=True)
        check_choice("algorithm", self.algorithm, ALGORITHMS)

    def penalty(self, theta: torch.Tensor) -> torch.Tensor:
        """Return ``condition_weight (L / mu)^2``."""
        ratio = self.lower.lipschitz(theta) / self.lower.strong_convexity(theta)
        return self.condition_weight * ratio.square()


@dataclass(frozen=True)
class Evaluation:
    """The value of a bilevel problem at parameters, as far as it is known.

    Attributes
    ----------
    theta : numpy.ndarray, shape (parameters,)
        The parameters.
    distances : numpy.ndarray, shape (batch,)
        ||u_i - u*_i|| of the images found.
    errors : numpy.ndarray, shape (batch,)
        Certified bounds of what the distances are wrong by.
    penalty : float
        Of the parameters.
    image : torch.Tensor, shape (batch, ...), or None
        The images found; results do not keep them.
    """

    theta: Vector
    distances: Vector = field(repr=False)
    errors: Vector = field(repr=False)
    penalty: float = 0.0
    image: torch.Tensor | None = field(repr=False, default=None)

    @property
    def value(self) -> float:
        """Value for the images found."""
        return float((self.distances**2).sum()) + self.penalty

    @property
    def upper(self) -> float:
        """Certified upper bound of the value for the solutions of the lower level."""
        return float(((self.distances + self.errors) ** 2).sum()) + self.penalty

    @property
    def lower(self) -> float:
        """Certified lower bound of the value for the solutions of the lower level."""
        least = np.maximum(self.distances - self.errors, 0.0)
        return float((least**2).sum()) + self.penalty

    @property
    def error(self) -> float:
        """Certified bound of the distance of `value` to the exact one."""
        return max(self.upper - self.value, self.value - self.lower)

    def accuracy_for(self, error: float) -> float:
        """Return how close each image has to be to the solution for an error of the value."""
        if math.isinf(error):
            return error
        total, count = float(self.distances.sum()), len(self.distances)
        # count e^2 + 2 total e = error, without the difference of two large numbers
        return error / (total + math.sqrt(total**2 + count * error))


@dataclass(frozen=True)
class BilevelResult:
    """What an algorithm found, and the work that it took.

    Attributes
    ----------
    theta : numpy.ndarray, shape (parameters,)
        The iterate whose value has the smallest certified bound.
    value : float
        Value there, for images as exact as the algorithm had them.
    error : float
        Certified bound of what this value is wrong by.
    converged : bool
        Whether the algorithm's tolerance was reached, and not its limit of evaluations.
    inner_iterations : int
        Iterations of the lower level, summed over the images.
    linear_iterations : int
        Products with Hessians of the lower level, summed over the images.
    history : tuple of Evaluation
        All evaluations, in their order.
    work : tuple of int
        Inner and linear iterations until after each of them.
    iterates : tuple of Evaluation
        The accepted ones.
    """

    theta: Vector
    value: float
    error: float
    converged: bool
    inner_iterations: int
    linear_iterations: int
    history: tuple[Evaluation, ...] = field(repr=False)
    work: tuple[int, ...] = field(repr=False)
    iterates: tuple[Evaluation, ...] = field(repr=False)

    def work_until(self, value: float) -> int | None:
        """Return the work until a value was certified to be at most this; None: it never was."""
        reached = (w for e, w in zip(self.history, self.work, strict=True) if e.upper <= value)
        return next(reached, None)


class Evaluator:
    """Evaluates a bilevel problem from warm starts, and counts the work.

    Parameters
    ----------
    problem : BilevelProblem
        What is evaluated.
    start : sequence of float
        First parameters, which are checked.
    bounds : sequence of (float, float), optional
        Smallest and largest value of each parameter. Default: none.
    """

    def __init__(
        self,
        problem: BilevelProblem,
        start: ArrayLike,
        bounds: ArrayLike | None,
    ) -> None:
        self.problem = problem
        names = problem.lower.parameters
        self.start: Vector = np.array(check_floats("start", start, length=len(names)))
        limits = [(-math.inf, math.inf)] * len(names) if bounds is None else bounds
        box = np.asarray(limits, dtype=np.float64)
        if box.shape != (len(names), 2) or not (box[:, 0] < box[:, 1]).all():
            raise TomolearnError(
                f"bounds: expected a smallest and a larger largest value for each of "
                f"{', '.join(names)}, got {bounds!r}"
            )
        self.least, self.most = box.T
        if not ((self.least <= self.start) & (self.start <= self.most)).all():
            raise TomolearnError(f"start: expected one within the bounds {bounds!r}, got {start!r}")
        self.inner_iterations = self.linear_iterations = 0
        self.history: list[Evaluation] = []
        self.work: list[int] = []
        self._known: list[tuple[Vector, torch.Tensor]] = []

    def projected(self, theta: Vector) -> Vector:
        """Return the closest parameters within the bounds."""
        return np.clip(theta, self.least, self.most)

    def evaluate(
        self,
        theta: Vector,
        *,
        tolerance: float | None = None,
        iterations: int | None = None,
        start: torch.Tensor | None = None,
    ) -> Evaluation:
        """Solve the lower level.

        To a tolerance, it begins with the given images, or with those that affine interpolation of
        the solutions that are known nearby predicts, whichever are closer to the solution by their
        certified bounds. For a number of iterations, it begins where the lower level says, so that
        the value is a function of the parameters.

        Raises
        ------
        DivergenceError, ValueError
            As `solve_lower_level` does.
        """
        problem = self.problem
        at = torch.from_numpy(theta)
        begin = problem.lower.start(problem.measured)
        if iterations is None:
            begin = self._closer(begin if start is None else start, theta)
        solution = solve_lower_level(
            problem.lower,
            problem.measured,
            at,
            begin,
            tolerance=tolerance,
            iterations=iterations,
            algorithm=problem.algorithm,
        )
        known = [pair for pair in self._known if not np.array_equal(pair[0], theta)]
        self._known = [*known[-2 * len(theta) - 1 :], (theta, solution.image)]
        self.inner_iterations += int(solution.iterations.sum())
        distances = norm(solution.image - problem.truth).cpu().numpy()
        with torch.no_grad():
            penalty = float(problem.penalty(at))
        found = Evaluation(theta, distances, solution.error.cpu().numpy(), penalty, solution.image)
        self.history.append(replace(found, image=None))
        self.work.append(self.inner_iterations + self.linear_iterations)
        return found

    @torch.no_grad()
    def _closer(self, start: torch.Tensor, theta: Vector) -> torch.Tensor:
        """Return those of the images, and of predicted ones, that are closer to the solution."""
        near = sorted(self._known, key=lambda pair: float(np.linalg.norm(pair[0] - theta)))
        if not near:
            return start
        (origin, image), others = near[0], near[1 : len(theta) + 1]
        predicted = image
        if others:
            moves = np.stack([place - origin for place, _ in others])
            parts = np.linalg.lstsq(moves.T, theta - origin, rcond=1e-3)[0]
            for part, (_, other) in zip(parts, others, strict=True):
                predicted = predicted + float(part) * (other - image)
        lower, y, at = self.problem.lower, self.problem.measured, torch.from_numpy(theta)
        candidates = (start, image, predicted)
        errors = torch.stack([norm(lower.gradient(u, y, at)) for u in candidates])
        self.inner_iterations += (len(candidates) - 1) * len(y)  # one of them is the first step's
        best = errors.argmin(0)
        return torch.stack(candidates)[best, torch.arange(len(y), device=best.device)]

    def hypergradient(self, evaluation: Evaluation, *, tolerance: float) -> Vector:
        """Return the gradient of the problem by the implicit function theorem.

        With the Hessian H of the lower level at the images of the evaluation, and the derivative B
        of its gradient with respect to theta, it is ``-B^T q`` with ``H q = 2 (u - u*)``, solved by
        conjugate gradients, plus that of the penalty.

        Parameters
        ----------
        evaluation : Evaluation
            Where.
        tolerance : float
            Largest residual of the linear system, relative to its right side.

        Raises
        ------
        DivergenceError
            If it does not converge as fast as the lower level's constants say.
        ValueError
            If the Hessian has a direction of no positive curvature.
        """
        problem, image = self.problem, evaluation.image
        if image is None:
            raise TomolearnError("evaluation: expected one that has kept its images")
        theta = torch.from_numpy(evaluation.theta)
        right = 2.0 * (image - problem.truth)
        lower, y = problem.lower, problem.measured
        mu, largest = lower.constants(theta)
        ratio = math.sqrt(largest / mu)
        system = conjugate_gradients(
            lambda v: lower.hessian_product(image, y, theta, v),
            right,
            tolerance=tolerance,
            # proven to be enough, rounding aside
            max_iterations=100 + math.ceil(ratio * math.log(2 * ratio / min(tolerance, 1.0))),
        )
        self.linear_iterations += int(system.iterations.sum())
        if not bool(system.converged.all()):
            raise DivergenceError(
                f"hypergradient: conjugate gradients left {float(system.residual.max()):.2g} of "
                f"the right side, more than {tolerance:g}, after as many iterations as "
                f"mu = {mu:.3g} and L = {largest:.3g} need: strong_convexity or lipschitz is "
                "wrong, or the tolerance below the precision of the images"
            )
        found = -lower.mixed_product(image, y, theta, system.state)
        at = theta.clone().requires_grad_()
        if problem.condition_weight:
            (slope,) = torch.autograd.grad(problem.penalty(at), at)
            found = found + slope
        return found.double().cpu().numpy()

    def result(self, iterates: list[Evaluation], converged: bool) -> BilevelResult:
        """Return the iterate that is certified to be the best, and the work so far."""
        best = min(iterates, key=lambda evaluation: evaluation.upper)
        return BilevelResult(
            best.theta,
            best.value,
            best.error,
            converged,
            self.inner_iterations,
            self.linear_iterations,
            tuple(self.history),
            tuple(self.work),
            tuple(replace(evaluation, image=None) for evaluation in iterates),
        )
