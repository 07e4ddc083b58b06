"""Bilevel learning without derivatives: a trust region that demands the accuracy it needs."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import ArrayLike

from tomolearn._core.checks import check_float, check_int
from tomolearn._core.errors import TomolearnError
from tomolearn._core.tensors import norm
from tomolearn.numerics.bilevel.problem import (
    BilevelProblem,
    BilevelResult,
    Evaluation,
    Evaluator,
    Vector,
)

# Part of the predicted decrease that must be met, and that doubles the radius; part of it that both
# values may be wrong by.
_ACCEPTED, _GOOD, _UNCERTAIN = 0.1, 0.7, 0.1
# Smallest predicted decrease, relative to the value, for which the lower level is solved again.
_SMALLEST = 1e-9
# Accuracy of the images, relative to their distances to the truths, over the square of the radius,
# which is what models are wrong by; and the most.
_PER_SQUARE, _COARSEST = 0.1, 0.05
# Solutions are asked for to a little more than what is needed, lest they be asked for again.
_MARGIN = 0.9


def derivative_free(
    problem: BilevelProblem,
    start: ArrayLike,
    *,
    bounds: ArrayLike | None = None,
    radius: float = 1.0,
    smallest_radius: float = 3e-3,
    accuracy: float | None = None,
    iterations: int | None = None,
    max_evaluations: int = 100,
) -> BilevelResult:
    """Derivative-free trust region with dynamic accuracy of the lower level [1]_.

    The distances of the images to the truths are interpolated by affine functions of the
    parameters, as in DFO-LS [2]_. The sum of their squares, with the smallest change of its Hessian
    that interpolates the values at further points, too, is minimised in a box around the best
    parameters; without that change it would know nothing of the curvature of the distances, which
    are far from zero. Values at the two ends of a step are made as accurate as the decrease that it
    predicts asks for, those of the interpolation as accurate as the radius does. Far from the
    solution, that is not much.

    Parameters
    ----------
    problem : BilevelProblem
        What is minimised.
    start : sequence of float
        First parameters.
    bounds : sequence of (float, float), optional
        Smallest and largest value of each parameter.
    radius, smallest_radius : float
        Of the trust region at first, and where it ends.
    accuracy : float, optional
        One bound of the distance of each image to the lower level's solution, for all evaluations,
        in place of dynamic accuracy.
    iterations : int, optional
        One number of iterations of the lower level for all evaluations, in place of dynamic
        accuracy. Nothing then says whether they are enough.
    max_evaluations : int
        Limit of the solutions of the lower level.

    Raises
    ------
    DivergenceError
        If the lower level does not converge as fast as its constants say.
    TypeError, ValueError
        If an argument is not as above, or the lower level not strongly convex.

    References
    ----------
    .. [1] M. J. Ehrhardt, L. Roberts, "Inexact derivative-free optimization for bilevel learning",
       J. Math. Imaging Vis. 63 (2021), arXiv:2006.12674, doi 10.1007/s10851-021-01020-8
    .. [2] C. Cartis et al., "Improving the flexibility and robustness of model-based
       derivative-free optimization solvers", ACM Trans. Math. Softw. 45 (2019),
       doi 10.1145/3338517
    """
    check_float("radius", radius, positive=True)
    check_float("smallest_radius", smallest_radius, positive=True)
    check_int("max_evaluations", max_evaluations, minimum=1)
    if accuracy is not None and iterations is not None:
        raise TomolearnError("accuracy, iterations: expected one of the two at most, got both")
    evaluator = Evaluator(problem, start, bounds)
    region = _Region(evaluator, radius, accuracy, iterations)
    converged = False
    while len(evaluator.history) < max_evaluations:
        if region.radius < smallest_radius:
            converged = True
            break
        region.step()
    return evaluator.result(region.iterates, converged)


class _Region:
    """The trust region: a centre, one more point for each parameter, and a radius."""

    def __init__(
        self, evaluator: Evaluator, radius: float, accuracy: float | None, iterations: int | None
    ) -> None:
        self._evaluator, self.radius = evaluator, radius
        self._accuracy, self._iterations = accuracy, iterations
        problem = evaluator.problem
        far = norm(problem.lower.start(problem.measured) - problem.truth)
        self._scale = float(far.mean())
        self.centre = self._evaluate(evaluator.start, self._needed_for_models())
        self._scale = float(self.centre.distances.mean())
        self.iterates = [self.centre]
        self._points: list[Evaluation] = []

    def step(self) -> None:
        """Improve the model, or take a step, or shrink."""
        missing = self._missing_direction()
        if missing is not None:
            self._explore(missing)
            return
        self._scale = float(self.centre.distances.mean())
        if self._is_dynamic and self.centre.errors.max() > self._needed_for_models():
            self._sharpen(0.25 * self._needed_for_models())
        move, predicted = self._model_step()
        length = float(np.abs(move).max())
        if predicted <= _SMALLEST * self.centre.value or length < 0.1 * self.radius:
            # at the minimum of the model, which is as good as its points are close
            self.radius *= 0.25
            return
        if self._is_dynamic and self.centre.error > _UNCERTAIN * predicted:
            self._sharpen(0.5 * self.centre.accuracy_for(_UNCERTAIN * predicted))
            move, again = self._model_step()
            if again < predicted / 2:  # the model has changed with it
                return
            predicted = again
        theta = self._evaluator.projected(self.centre.theta + move)
        needed = min(self.centre.accuracy_for(_UNCERTAIN * predicted), self._needed_for_models())
        found = self._evaluate(theta, needed)
        ratio = (self.centre.value - found.value) / predicted
        if ratio >= _ACCEPTED:
            self._points.append(self.centre)
            self.centre = found
            self.iterates.append(found)
        else:
            self._points.append(found)
        if ratio >= _GOOD:
            self.radius *= 2.0
        elif ratio < _ACCEPTED:
            self.radius *= 0.5

    @property
    def _is_dynamic(self) -> bool:
        return self._accuracy is None and self._iterations is None

    def _needed_for_models(self) -> float:
        return min(_PER_SQUARE * self.radius**2, _COARSEST) * self._scale

    def _evaluate(self, theta: Vector, needed: float) -> Evaluation:
        if self._iterations is not None:
            return self._evaluator.evaluate(theta, iterations=self._iterations)
        wanted = _MARGIN * needed if self._accuracy is None else self._accuracy
        return self._evaluator.evaluate(theta, tolerance=wanted)

    def _sharpen(self, needed: float) -> None:
        """Solve the lower level at the centre again, more accurately."""
        tolerance = _MARGIN * min(needed, float(self.centre.errors.max()))
        self.centre = self._evaluator.evaluate(
            self.centre.theta, tolerance=tolerance, start=self.centre.image
        )
        self.iterates[-1] = self.centre

    def _missing_direction(self) -> Vector | None:
        """Keep close points, the first of which span the space; return a direction that lacks one.

        They are within two radii, and the first, in units of it, no closer than 0.1 to the span of
        those before them.
        """
        size = len(self.centre.theta)
        basis = np.zeros((0, size))
        spanning: list[Evaluation] = []
        further: list[Evaluation] = []

        def distance(point: Evaluation) -> float:
            return float(np.abs(point.theta - self.centre.theta).max())

        for point in sorted(reversed(self._points), key=distance):
            if distance(point) > 2.0 * self.radius:
                break
            offset = point.theta - self.centre.theta
            rest = offset - basis.T @ (basis @ offset)
            length = float(np.linalg.norm(rest))
            if length >= 0.1 * self.radius:
                spanning.append(point)
                basis = np.vstack((basis, rest / length))
            elif distance(point) >= 0.1 * self.radius:
                further.append(point)
        # as many in all as determine a quadratic function
        self._points = spanning + further[: size * (size + 1) // 2]
        if len(spanning) == size:
            return None
        rests = np.eye(size) - basis.T @ basis
        longest: Vector = rests[np.argmax(np.linalg.norm(rests, axis=1))]
        return longest / np.linalg.norm(longest)

    def _explore(self, direction: Vector) -> None:
        """Add a point in this direction or the opposite one, the one that is solved faster."""
        lower = self._evaluator.problem.lower

        def worth(end: Vector) -> tuple[float, float]:
            mu, largest = lower.constants(torch.from_numpy(end))
            far = float(np.linalg.norm(end - self.centre.theta))
            return round(far / self.radius, 3), -largest / mu

        ends = [
            self._evaluator.projected(self.centre.theta + sign * self.radius * direction)
            for sign in (1.0, -1.0)
        ]
        found = self._evaluate(max(ends, key=worth), self._needed_for_models())
        if found.value < self.centre.value:
            self._points.append(self.centre)
            self.centre = found
            self.iterates.append(found)
        else:
            self._points.append(found)

    def _model_step(self) -> tuple[Vector, float]:
        """Return the step to the minimum of the model within the region, and what it predicts."""
        from scipy.optimize import minimize

        slope, hessian = self._model()

        def model(move: Vector) -> tuple[float, Vector]:
            product = hessian @ move
            return float(slope @ move + move @ product / 2), slope + product

        centre = self.centre.theta
        least = np.maximum(self._evaluator.least - centre, -self.radius)
        most = np.minimum(self._evaluator.most - centre, self.radius)
        # it may have several minima at the border of the box
        downhill = np.clip(-self.radius * np.sign(slope), least, most)
        found = [
            minimize(model, at, jac=True, method="L-BFGS-B", bounds=np.stack((least, most), 1))
            for at in (np.zeros_like(slope), downhill)
        ]
        best = min(found, key=lambda solution: float(solution.fun))
        return best.x, -float(best.fun)

    def _model(self) -> tuple[Vector, Vector]:
        """Return gradient and Hessian of the quadratic model of the values around the centre."""
        size = len(self.centre.theta)
        moves = np.stack([point.theta - self.centre.theta for point in self._points])
        residuals = self._residuals(self.centre)
        changes = np.stack([self._residuals(point) - residuals for point in self._points[:size]])
        jacobian = np.linalg.solve(moves[:size], changes).T
        squares = jacobian.T @ jacobian
        values = np.array([point.value for point in self._points]) - self.centre.value
        # least change E of the Hessian 2 J^T J: E = sum l_i s_i s_i^T, with multipliers l
        right = values - np.einsum("ij,jk,ik->i", moves, squares, moves)
        system = np.block([[(moves @ moves.T) ** 2 / 2, moves], [moves.T, np.zeros((size, size))]])
        solution = np.linalg.lstsq(system, np.append(right, np.zeros(size)), rcond=1e-12)[0]
        multipliers, slope = solution[: len(moves)], solution[len(moves) :]
        return slope, 2 * squares + moves.T @ (multipliers[:, None] * moves)

    @staticmethod
    def _residuals(evaluation: Evaluation) -> Vector:
        return np.append(evaluation.distances, math.sqrt(evaluation.penalty))
