"""Bilevel learning by approximate gradients of decreasing errors: HOAG."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from tomolearn._core.checks import check_float, check_int
from tomolearn._core.errors import TomolearnError
from tomolearn.numerics.bilevel.problem import BilevelProblem, BilevelResult, Evaluator


def hoag(
    problem: BilevelProblem,
    start: ArrayLike,
    *,
    bounds: ArrayLike | None = None,
    accuracy: float = 0.1,
    decrease: float = 0.9,
    tolerance: float = 1e-4,
    max_evaluations: int = 100,
) -> BilevelResult:
    """Gradient descent on implicit gradients whose errors decrease by a schedule, HOAG [1]_.

    Step sizes adapt as in the authors' code: they grow a little where the value fell as much as a
    Lipschitz constant of the gradient promises, shrink a little where it did not, and a step that
    makes the value much larger is taken back.

    Parameters
    ----------
    problem : BilevelProblem
        What is minimised.
    start : sequence of float
        First parameters.
    bounds : sequence of (float, float), optional
        Smallest and largest value of each parameter.
    accuracy : float
        Of the first solution of the lower level, and first relative residual of the linear system.
    decrease : float
        Factor by which both shrink at each evaluation, below one.
    tolerance : float
        Largest step, per unit step size, at which it ends.
    max_evaluations : int
        Limit of the evaluations.

    Raises
    ------
    DivergenceError
        If the lower level, or the linear system, does not converge as fast as its constants say.
    TypeError, ValueError
        If an argument is not as above, or the lower level not strongly convex.

    References
    ----------
    .. [1] F. Pedregosa, "Hyperparameter optimization with approximate gradient", ICML 2016,
       arXiv:1602.02355
    """
    epsilon = check_float("accuracy", accuracy, positive=True)
    if not 0 < check_float("decrease", decrease) < 1:
        raise TomolearnError(f"decrease: expected a number in (0, 1), got {decrease}")
    check_float("tolerance", tolerance, positive=True)
    evaluator = Evaluator(problem, start, bounds)
    at = evaluator.evaluate(evaluator.start, tolerance=epsilon)
    gradient = evaluator.hypergradient(at, tolerance=min(epsilon, 0.5))
    size = float(np.linalg.norm(gradient))
    if size == 0:
        return evaluator.result([at], True)
    # the first step is one unit of length
    constant, iterates, converged = size, [at], False
    for _ in range(check_int("max_evaluations", max_evaluations, minimum=1) - 1):
        before, epsilon = epsilon, epsilon * decrease
        theta = evaluator.projected(at.theta - gradient / constant)
        length = float(np.linalg.norm(theta - at.theta))
        if length * constant <= tolerance and epsilon <= tolerance:
            converged = True
            break
        found = evaluator.evaluate(theta, tolerance=epsilon)
        slack = epsilon + before * (1 + length)
        if found.value >= 1.2 * at.value + slack:
            constant *= 2
            continue
        grown = found.value > at.value + slack * length - 0.5 * constant * length**2
        constant *= 1.05 if grown else 0.95
        at = found
        gradient = evaluator.hypergradient(at, tolerance=min(epsilon, 0.5))
        iterates.append(at)
    return evaluator.result(iterates, converged)
