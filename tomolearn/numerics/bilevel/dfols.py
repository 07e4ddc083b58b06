"""Bilevel learning by DFO-LS, with lower levels of one accuracy."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from tomolearn._core.checks import check_float, check_int
from tomolearn._core.optional import optional_import
from tomolearn.numerics.bilevel.problem import (
    BilevelProblem,
    BilevelResult,
    Evaluation,
    Evaluator,
    Vector,
)


def dfo_ls(
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
    """Minimise by the derivative-free least-squares solver DFO-LS [1]_, for comparison.

    It knows no errors of the values, so that every lower level is solved to the same accuracy, or
    with the same number of iterations; `derivative_free` asks for what it needs.

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
        Bound of the distance of each image to the lower level's solution. Default: 1e-6, if there
        is no number of iterations.
    iterations : int, optional
        Number of iterations of the lower level.
    max_evaluations : int
        Limit of the solutions of the lower level.

    Raises
    ------
    ImportError
        If DFO-LS is not installed.
    DivergenceError
        If the lower level does not converge as fast as its constants say.
    TypeError, ValueError
        If an argument is not as above, or the lower level not strongly convex.

    References
    ----------
    .. [1] C. Cartis et al., "Improving the flexibility and robustness of model-based
       derivative-free optimization solvers", ACM Trans. Math. Softw. 45 (2019),
       doi 10.1145/3338517
    """
    solver = optional_import(
        "dfols", purpose="this comparison", install="pip install 'tomolearn[bilevel]'"
    )
    check_float("radius", radius, positive=True)
    check_float("smallest_radius", smallest_radius, positive=True)
    check_int("max_evaluations", max_evaluations, minimum=1)
    tolerance = 1e-6 if accuracy is None and iterations is None else accuracy
    evaluator = Evaluator(problem, start, bounds)
    seen: list[Evaluation] = []

    def residuals(theta: Vector) -> Vector:
        found = evaluator.evaluate(
            np.array(theta, dtype=np.float64), tolerance=tolerance, iterations=iterations
        )
        seen.append(found)
        return np.append(found.distances, math.sqrt(found.penalty))

    found = solver.solve(
        residuals,
        evaluator.start,
        bounds=None if bounds is None else (evaluator.least, evaluator.most),
        rhobeg=radius,
        rhoend=smallest_radius,
        maxfun=max_evaluations,
        do_logging=False,
    )
    return evaluator.result(seen, found.flag == found.EXIT_SUCCESS)
