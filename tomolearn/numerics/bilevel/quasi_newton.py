"""Bilevel learning by a quasi-Newton method on implicit gradients of one accuracy."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from tomolearn._core.checks import check_float, check_int
from tomolearn.numerics.bilevel.problem import (
    BilevelProblem,
    BilevelResult,
    Evaluation,
    Evaluator,
    Vector,
)


def lbfgsb(
    problem: BilevelProblem,
    start: ArrayLike,
    *,
    bounds: ArrayLike | None = None,
    accuracy: float = 1e-8,
    tolerance: float = 1e-6,
    max_evaluations: int = 100,
) -> BilevelResult:
    """L-BFGS-B of SciPy on implicit gradients, every lower level solved to the same accuracy.

    Parameters
    ----------
    problem : BilevelProblem
        What is minimised.
    start : sequence of float
        First parameters.
    bounds : sequence of (float, float), optional
        Smallest and largest value of each parameter.
    accuracy : float
        Bound of the distance of each image to the lower level's solution, and relative residual of
        the linear systems.
    tolerance : float
        Largest entry of the projected gradient.
    max_evaluations : int
        Limit of the evaluations of value and gradient.

    Raises
    ------
    DivergenceError
        If the lower level, or the linear system, does not converge as fast as its constants say.
    TypeError, ValueError
        If an argument is not as above, or the lower level not strongly convex.
    """
    from scipy.optimize import minimize

    check_float("accuracy", accuracy, positive=True)
    check_float("tolerance", tolerance, positive=True)
    evaluator = Evaluator(problem, start, bounds)
    seen: list[Evaluation] = []

    def function(theta: Vector) -> tuple[float, Vector]:
        found = evaluator.evaluate(theta.copy(), tolerance=accuracy)
        seen.append(found)
        return found.value, evaluator.hypergradient(found, tolerance=accuracy)

    limits = np.stack((evaluator.least, evaluator.most), 1)
    options = {
        "gtol": tolerance,
        "ftol": 0.0,
        "maxfun": check_int("max_evaluations", max_evaluations, minimum=1),
    }
    found = minimize(
        function, evaluator.start, jac=True, method="L-BFGS-B", bounds=limits, options=options
    )
    return evaluator.result(seen, bool(found.success))
