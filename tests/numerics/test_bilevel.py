"""Bilevel learning, against closed forms, dense solutions and finite differences in float64."""

import importlib.util
import math
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar

from tomolearn._core.errors import DivergenceError
from tomolearn.numerics.bilevel import (
    BilevelProblem,
    Evaluator,
    LowerLevel,
    SmoothedVariation,
    derivative_free,
    dfo_ls,
    hoag,
    lbfgsb,
    maid,
    solve_lower_level,
)
from tomolearn.operators import GaussianBlur, Identity

SHAPE, BATCH = (4, 5), 3
LEARNERS = {
    "lbfgsb": lbfgsb,
    "hoag": partial(hoag, max_evaluations=300),
    "maid": maid,
    "dynamic": derivative_free,
    "fixed accuracy": partial(derivative_free, accuracy=1e-7),
    "fixed iterations": partial(derivative_free, iterations=400),
    "dfo_ls": dfo_ls,
}


class Tikhonov(LowerLevel):
    """``||M u - y||^2 / 2 + 10^theta ||u||^2 / 2``, whose solution is known."""

    parameters = ("weight",)
    remedy = "make the weight larger"

    def __init__(self, matrix, smallest):
        self.matrix = matrix
        self.norm = torch.linalg.matrix_norm(matrix, 2) ** 2
        self.smallest = smallest

    def objective(self, u, y, theta):
        misfit = (u @ self.matrix.T - y).square().sum(1)
        return (misfit + 10.0 ** theta[0] * u.square().sum(1)) / 2

    def strong_convexity(self, theta):
        return self.smallest + 10.0 ** theta[0]

    def lipschitz(self, theta):
        return self.norm + 10.0 ** theta[0]

    def start(self, y):
        return y.new_zeros(len(y), self.matrix.shape[1])


def solution(matrix, y, theta):
    """Return the solutions and their derivatives in closed form."""
    weight = 10.0**theta
    normal = matrix.T @ matrix + weight * np.eye(matrix.shape[1])
    u = np.linalg.solve(normal, matrix.T @ y.T).T
    return u, -math.log(10) * weight * np.linalg.solve(normal, u.T).T


@pytest.fixture
def quadratic(numpy_rng):
    """Tikhonov's problem, value and derivative as functions of theta, and its minimum."""
    matrix = numpy_rng.standard_normal((8, 6))
    truth = numpy_rng.standard_normal((BATCH, 6))
    y = truth @ matrix.T + 1.5 * numpy_rng.standard_normal((BATCH, 8))
    problem = BilevelProblem(
        Tikhonov(torch.from_numpy(matrix), 0.0), torch.from_numpy(y), torch.from_numpy(truth)
    )

    def value(theta):
        return float(((solution(matrix, y, theta)[0] - truth) ** 2).sum())

    def slope(theta):
        u, derivative = solution(matrix, y, theta)
        return float((2 * (u - truth) * derivative).sum())

    best = minimize_scalar(value, bounds=(-3, 3), method="bounded", options={"xatol": 1e-10})
    assert -2 < best.x < 2
    return problem, value, slope, best.x


@pytest.fixture
def variation(numpy_rng):
    """Smoothed total variation with all of its parameters and a blur, and where to look at it."""
    lower = SmoothedVariation(GaussianBlur(SHAPE, 0.7))
    truth = torch.from_numpy(numpy_rng.standard_normal((BATCH, *SHAPE)))
    y = lower.operator(truth) + 0.1 * torch.from_numpy(numpy_rng.standard_normal(truth.shape))
    theta = torch.tensor([-0.5, -1.0, -1.2], dtype=torch.float64)
    return BilevelProblem(lower, y, truth, condition_weight=1e-5), theta


def dense_hessians(lower, u, y, theta):
    units = torch.eye(math.prod(SHAPE), dtype=torch.float64).reshape(-1, 1, *SHAPE)
    columns = [lower.hessian_product(u, y, theta, unit.expand_as(u)).flatten(1) for unit in units]
    return torch.stack(columns, 2)


def newton(lower, y, theta):
    """Return solutions by Newton's method with dense matrices, damped at first."""
    u = lower.start(y)
    for k in range(300):
        g = lower.gradient(u, y, theta)
        if g.abs().max() < 1e-13:
            break
        change = torch.linalg.solve(dense_hessians(lower, u, y, theta), g.flatten(1)[..., None])
        step = 1.0
        while step > 1e-6 and k < 100:  # as far as every objective falls
            trial = lower.objective(u - step * change.reshape(u.shape), y, theta)
            if (trial <= lower.objective(u, y, theta) + 1e-15).all():
                break
            step /= 2
        u = u - step * change.reshape(u.shape)
    assert lower.gradient(u, y, theta).abs().max() < 1e-11
    return u


def test_closed_forms_are_the_derivatives_of_the_objective(variation, numpy_rng):
    problem, theta = variation
    lower, u = problem.lower, problem.truth
    v = torch.from_numpy(numpy_rng.standard_normal(u.shape))
    arguments = (u, problem.measured, theta)
    torch.testing.assert_close(
        lower.gradient(*arguments), LowerLevel.gradient(lower, *arguments), rtol=1e-12, atol=1e-12
    )
    torch.testing.assert_close(
        lower.hessian_product(*arguments, v),
        LowerLevel.hessian_product(lower, *arguments, v),
        rtol=1e-12,
        atol=1e-12,
    )
    # and those by automatic differentiation against finite differences
    h = 1e-6
    for k in range(3):
        unit = torch.zeros(3, dtype=torch.float64)
        unit[k] = h
        ahead, behind = (
            (lower.gradient(u, problem.measured, at) * v).sum()
            for at in (theta + unit, theta - unit)
        )
        found = lower.mixed_product(*arguments, v)[k]
        assert found == pytest.approx(float((ahead - behind) / (2 * h)), rel=1e-7)


@pytest.mark.parametrize("operator", [GaussianBlur(SHAPE, 0.7), Identity(SHAPE)])
def test_constants_bound_the_spectrum_of_hessians(operator, numpy_rng):
    lower = SmoothedVariation(operator)
    for scale in (0.0, 1e-2, 1.0):
        u = scale * torch.from_numpy(numpy_rng.standard_normal((2, *SHAPE)))
        theta = torch.from_numpy(numpy_rng.uniform(-2, 0, 3))
        values = torch.linalg.eigvalsh(dense_hessians(lower, u, u, theta))
        mu, largest = lower.constants(theta)
        assert mu <= values.min() * (1 + 1e-12)
        assert values.max() <= largest * (1 + 1e-12)
        if scale == 0:  # where the bound is met
            assert values.max() > 0.7 * largest


@pytest.mark.parametrize("algorithm", ["fista", "gradient"])
@pytest.mark.parametrize("tolerance", [1.0, 1e-2, 1e-5])
def test_distances_to_the_solution_are_within_their_bounds(variation, algorithm, tolerance):
    problem, theta = variation
    exact = newton(problem.lower, problem.measured, theta)
    begin = problem.lower.start(problem.measured)
    found = solve_lower_level(
        problem.lower, problem.measured, theta, begin, tolerance=tolerance, algorithm=algorithm
    )
    distances = (found.image - exact).flatten(1).norm(dim=1)
    assert (distances <= found.error).all()
    assert (found.error <= tolerance).all()
    alone = solve_lower_level(
        problem.lower,
        problem.measured[1:2],
        theta,
        begin[1:2],
        tolerance=tolerance,
        algorithm=algorithm,
    )
    assert alone.iterations[0] == found.iterations[1]
    torch.testing.assert_close(alone.image[0], found.image[1], rtol=1e-12, atol=1e-12)


def test_fista_keeps_its_rate_and_gradient_descent_its_own(variation):
    problem, theta = variation
    lower, y = problem.lower, problem.measured
    exact, begin = newton(lower, y, theta), lower.start(y)
    mu, largest = lower.constants(theta)
    first = (begin - exact).flatten(1).norm(dim=1)
    for count in (1, 10, 100):
        plain = solve_lower_level(
            lower, y, theta, begin, iterations=count, algorithm="gradient"
        ).image
        rate = ((largest - mu) / (largest + mu)) ** count
        assert ((plain - exact).flatten(1).norm(dim=1) <= rate * first).all()
        u = begin
        for _ in range(count):
            u = u - 2 / (largest + mu) * lower.gradient(u, y, theta)
        torch.testing.assert_close(plain, u, rtol=1e-10, atol=1e-12)
        fast = solve_lower_level(lower, y, theta, begin, iterations=count).image
        q = mu / largest
        rate = (1 - math.sqrt(q)) ** (count / 2) * math.sqrt((1 + math.sqrt(q)) / q)
        assert ((fast - exact).flatten(1).norm(dim=1) <= rate * first).all()
    assert (fast - exact).norm() < 0.3 * (plain - exact).norm()


def test_values_are_within_their_bounds(variation):
    problem, theta = variation
    exact = newton(problem.lower, problem.measured, theta)
    value = float((exact - problem.truth).square().sum() + problem.penalty(theta))
    evaluator = Evaluator(problem, theta.numpy(), None)
    for tolerance in (3.0, 0.3, 1e-2, 1e-4, 1e-8):
        found = evaluator.evaluate(theta.numpy(), tolerance=tolerance, start=problem.truth)
        assert found.lower <= value <= found.upper
        assert abs(found.value - value) <= found.error
        assert found.error <= 2.01 * tolerance * found.distances.sum() + BATCH * tolerance**2
        # what is asked for is what comes
        wanted = found.accuracy_for(1e-3)
        total = 2 * wanted * found.distances.sum() + BATCH * wanted**2
        assert total == pytest.approx(1e-3)
    assert found.value == pytest.approx(value, rel=1e-7)


def test_hypergradients_of_the_closed_form(quadratic):
    problem, value, slope, _ = quadratic
    for theta in (-1.0, 0.3, 1.5):
        evaluator = Evaluator(problem, [theta], None)
        found = evaluator.evaluate(np.array([theta]), tolerance=1e-11)
        assert found.value == pytest.approx(value(theta), rel=1e-9)
        gradient = evaluator.hypergradient(found, tolerance=1e-12)
        assert gradient[0] == pytest.approx(slope(theta), rel=1e-8)


def test_hypergradients_against_finite_differences(variation):
    problem, theta = variation
    evaluator = Evaluator(problem, theta.numpy(), None)
    found = evaluator.evaluate(theta.numpy(), tolerance=1e-10)
    gradient = evaluator.hypergradient(found, tolerance=1e-11)

    def exact(at):
        u = newton(problem.lower, problem.measured, at)
        return float((u - problem.truth).square().sum() + problem.penalty(at))

    h = 1e-4
    for k in range(3):
        unit = torch.zeros(3, dtype=torch.float64)
        unit[k] = h
        # of fourth order, so that neither rounding nor the step counts
        near = exact(theta + unit) - exact(theta - unit)
        far = exact(theta + 2 * unit) - exact(theta - 2 * unit)
        expected = (8 * near - far) / (12 * h)
        assert gradient[k] == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("name", LEARNERS)
def test_all_algorithms_find_the_minimum(quadratic, name):
    problem, value, _, best = quadratic
    for start in (-1.5, 2.0):
        result = LEARNERS[name](problem, [start], bounds=[(-3.0, 3.0)])
        assert result.converged
        assert value(result.theta[0]) <= value(best) + 2e-4 * value(start)
        assert abs(result.value - value(result.theta[0])) <= result.error * (1 + 1e-6)
        assert result.inner_iterations + result.linear_iterations >= result.work[-1]
        assert len(result.history) == len(result.work)
        reached = result.work_until(value(start) * 10)
        assert reached is not None
        assert reached <= result.work[-1]
        assert result.work_until(value(best) / 2) is None


@pytest.mark.parametrize("name", ["maid", "dynamic"])
def test_algorithms_learn_several_parameters_within_bounds(variation, name):
    problem, theta = variation
    bounds = [(-3.0, 1.0), (-2.0, 0.0), (-3.0, 0.0)]
    result = LEARNERS[name](problem, theta.numpy(), bounds=bounds, max_evaluations=30)
    reference = lbfgsb(
        problem, [-1.0, -0.5, -2.0], bounds=bounds, accuracy=1e-5, max_evaluations=20
    )
    first = Evaluator(problem, theta.numpy(), None).evaluate(theta.numpy(), tolerance=1e-6)
    assert all(low <= x <= high for x, (low, high) in zip(result.theta, bounds, strict=True))
    assert result.value - reference.value < 0.1 * (first.value - reference.value)


def test_steps_of_maid_are_true_descent(quadratic, variation):
    problem, value, _, _ = quadratic
    result = maid(problem, [2.0])
    values = [value(iterate.theta[0]) for iterate in result.iterates]
    assert len(values) > 3
    assert (np.diff(values) < 0).all()
    problem, theta = variation
    evaluator = Evaluator(problem, theta.numpy(), None)
    result = maid(problem, theta.numpy(), max_evaluations=20)
    values = [evaluator.evaluate(i.theta, tolerance=1e-9).value for i in result.iterates]
    assert len(values) > 2
    assert (np.diff(values) < 0).all()


def test_dynamic_accuracy_takes_less_work_than_one_accuracy(quadratic):
    problem = quadratic[0]
    dynamic = derivative_free(problem, [2.0], bounds=[(-3.0, 3.0)])
    fixed = derivative_free(problem, [2.0], bounds=[(-3.0, 3.0)], iterations=200)
    assert 5 * dynamic.inner_iterations < fixed.inner_iterations
    assert dynamic.linear_iterations == fixed.linear_iterations == 0


def test_the_published_problem():
    # values of the authors' results, github.com/lindonroberts/inexact_dfo_bilevel_learning
    path = Path(__file__).parents[2] / "examples" / "bilevel_1d.py"
    spec = importlib.util.spec_from_file_location("bilevel_1d", path)
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    problem = example.problem()
    evaluator = Evaluator(problem, [0.0], None)
    at = np.array([-0.31490941399514405])
    assert evaluator.evaluate(at, tolerance=1e-7).value == pytest.approx(1.371488834, abs=1e-6)
    at = np.array([-0.4629362397158935])
    assert evaluator.evaluate(at, tolerance=1e-7).value == pytest.approx(1.45205, abs=5e-3)
    few = evaluator.evaluate(np.array([0.0]), iterations=200).value
    # their step size is that of ||D||^2 = 4, which is a little larger than the norm of D squared
    assert few == pytest.approx(124.677, rel=2e-4)
    found = derivative_free(problem, [-1.0], bounds=[(-7.0, 7.0)])
    assert found.value + found.error <= 1.3720
    assert found.theta[0] == pytest.approx(-0.315, abs=0.005)


def test_a_lower_level_that_is_not_strongly_convex_is_refused(quadratic):
    y = torch.rand(2, *SHAPE, dtype=torch.float64)
    lower = SmoothedVariation(GaussianBlur(SHAPE, 0.7), free=("alpha", "nu"), xi=0.0)
    with pytest.raises(ValueError, match=r"strongly convex.* got mu = 0 .*alpha=-1.*add xi"):
        lbfgsb(BilevelProblem(lower, y, y), [-1.0, -1.0])
    problem = quadratic[0]
    concave = Tikhonov(problem.lower.matrix, -1.0)
    with pytest.raises(ValueError, match="make the weight larger"):
        maid(BilevelProblem(concave, problem.measured, problem.truth), [-2.0])


@pytest.mark.parametrize("limit", [{"tolerance": 1e-6}, {"iterations": 300}])
@pytest.mark.parametrize("algorithm", ["fista", "gradient"])
def test_constants_that_do_not_hold_are_noticed(quadratic, limit, algorithm):
    problem = quadratic[0]
    lower = Tikhonov(problem.lower.matrix, 0.0)
    lower.norm = lower.norm / 10
    with pytest.raises(
        DivergenceError, match=r"lower level: after .* strong_convexity or lipschitz"
    ):
        solve_lower_level(
            lower,
            problem.measured,
            torch.zeros(1, dtype=torch.float64),
            lower.start(problem.measured),
            algorithm=algorithm,
            **limit,
        )


def test_an_accuracy_below_rounding_is_an_error_that_ends(quadratic):
    problem = quadratic[0]
    with pytest.raises(DivergenceError, match="below the precision"):
        lbfgsb(problem, [0.0], accuracy=1e-25)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda p: BilevelProblem(5, p.measured, p.truth), "lower: expected a LowerLevel, got int"),
        (lambda p: BilevelProblem(p.lower, p.measured, p.truth[:1]), "truth: expected shape"),
        (lambda p: lbfgsb(p, [0.0, 1.0]), "start: expected 1 finite numbers"),
        (
            lambda p: maid(p, [0.0], bounds=[(1.0, -1.0)]),
            "bounds: expected a smallest and a larger",
        ),
        (lambda p: maid(p, [5.0], bounds=[(-1.0, 1.0)]), "start: expected one within the bounds"),
        (lambda p: hoag(p, [0.0], decrease=1.0), "decrease: expected a number in"),
        (
            lambda p: derivative_free(p, [0.0], accuracy=1.0, iterations=2),
            "expected one of the two",
        ),
        (lambda p: Evaluator(p, [0.0], None).evaluate(np.zeros(1)), "expected one of the two"),
        (lambda p: SmoothedVariation(Identity((3,)), free=("beta",)), "free: expected some of"),
        (lambda p: SmoothedVariation(Identity((3,)), free=("xi", "xi")), "each once"),
        (
            lambda p: SmoothedVariation(Identity((3,)), differences=Identity((4,))),
            "differences: expected an operator on images",
        ),
    ],
)
def test_wrong_arguments(quadratic, make, words):
    with pytest.raises(ValueError, match=words):
        make(quadratic[0])
