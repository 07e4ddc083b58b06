"""Bilevel learning by inexact descent with adaptive accuracies: MAID."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from tomolearn._core.checks import check_float, check_int
from tomolearn.numerics.bilevel.problem import BilevelProblem, BilevelResult, Evaluation, Evaluator

# What the accuracies are multiplied by after a line search that failed, and one that succeeded;
# the step sizes within a line search, and after one; the part of the predicted decrease to be met.
_TIGHTER, _LOOSER = 0.25, 1.5
_SHORTER, _LONGER = 0.5, 2.0
_SUFFICIENT = 0.3
# Part of the predicted decrease that a value may be wrong by where bounds have overlapped.
_UNCERTAIN = 0.1
_TRIALS = 6


def maid(
    problem: BilevelProblem,
    start: ArrayLike,
    *,
    bounds: ArrayLike | None = None,
    accuracy: float = 0.1,
    linear_accuracy: float = 0.1,
    step: float | None = None,
    tolerance: float = 1e-3,
    max_evaluations: int = 100,
) -> BilevelResult:
    """Minimise by the method of adaptive inexact descent, MAID [1]_.

    Gradient steps with a backtracking line search. Accuracies of the lower level and of the linear
    system are made smaller where no step is accepted, and larger again after each step. A step is
    accepted only if the upper bound of the value after it is below the lower bound of the value
    before it by a part of what the gradient predicts: the exact value falls with certainty,
    whatever the gradient's error, of which no more is asked than that.

    Parameters
    ----------
    problem : BilevelProblem
        What is minimised.
    start : sequence of float
        First parameters.
    bounds : sequence of (float, float), optional
        Smallest and largest value of each parameter; steps are projected.
    accuracy, linear_accuracy : float
        First bound of the distance of each image to the lower level's solution; first relative
        residual of the linear system.
    step : float, optional
        First step size. Default: a step as long as one.
    tolerance : float
        It ends where the gradient's norm, of the part within the bounds, is at most this and was
        computed as accurately.
    max_evaluations : int
        Limit of the solutions of the lower level.

    Raises
    ------
    DivergenceError
        If the lower level, or the linear system, does not converge as fast as its constants say.
    TypeError, ValueError
        If an argument is not as above, or the lower level not strongly convex.

    References
    ----------
    .. [1] M. S. Salehi, S. Mukherjee, L. Roberts, M. J. Ehrhardt, "An adaptively inexact
       first-order method for bilevel optimization with application to hyperparameter learning",
       arXiv:2308.10098
    """
    epsilon = check_float("accuracy", accuracy, positive=True)
    delta = check_float("linear_accuracy", linear_accuracy, positive=True)
    size = None if step is None else check_float("step", step, positive=True)
    check_float("tolerance", tolerance, positive=True)
    check_int("max_evaluations", max_evaluations, minimum=1)
    evaluator = Evaluator(problem, start, bounds)
    at = evaluator.evaluate(evaluator.start, tolerance=epsilon)
    iterates, converged = [at], False

    def look_closer(error: float = math.inf) -> Evaluation:
        """Solve the lower level again, for a value that is wrong by no more than an error."""
        nonlocal epsilon, delta
        epsilon, delta = min(epsilon * _TIGHTER, at.accuracy_for(error)), delta * _TIGHTER
        iterates[-1] = evaluator.evaluate(at.theta, tolerance=epsilon, start=at.image)
        return iterates[-1]

    while len(evaluator.history) < max_evaluations and not converged:
        gradient = evaluator.hypergradient(at, tolerance=delta)
        moved = float(np.linalg.norm(evaluator.projected(at.theta - gradient) - at.theta))
        if moved <= tolerance:
            converged = max(epsilon, delta) <= tolerance
            if not converged:
                at = look_closer()
            continue
        first = size = 1.0 / moved if size is None else size
        for _ in range(_TRIALS):
            theta = evaluator.projected(at.theta - size * gradient)
            predicted = float(np.square(theta - at.theta).sum()) / size
            wanted = _SUFFICIENT * predicted
            found = evaluator.evaluate(theta, tolerance=epsilon, start=at.image)
            if found.upper + wanted <= at.lower:
                at, size = found, size * _LONGER
                iterates.append(at)
                epsilon, delta = epsilon * _LOOSER, min(delta * _LOOSER, linear_accuracy)
                break
            if found.lower + wanted > at.upper:  # certainly not low enough
                size *= _SHORTER
            else:
                at = look_closer(_UNCERTAIN * predicted)
        else:
            size = first * _SHORTER
            at = look_closer()
    return evaluator.result(iterates, converged)
