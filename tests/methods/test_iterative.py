"""Where the iterative methods end, against dense linear algebra in float64."""

import math

import numpy as np
import pytest
import torch
from builders import DenseOperator, dense_operator, matrix_of

from tomolearn import FiniteDifferences, Grid, ParallelBeam, RayTransform
from tomolearn.methods import cgls, kaczmarz, landweber, sirt, tikhonov
from tomolearn.methods.iterative.subsets import subset_order

GRID = Grid((6, 5), 0.8)
SCAN = ParallelBeam.covering(GRID, 11)


@pytest.fixture
def tall():
    """Full column rank, positive entries, inconsistent data for a batch of three."""
    rng = np.random.default_rng(1)
    matrix = rng.uniform(0.0, 0.2, (20, 6)) + 2 * np.eye(20, 6)
    return DenseOperator(matrix, (3, 2), (20,)), torch.from_numpy(rng.standard_normal((3, 20)))


def solve(matrix, y):
    return np.stack([np.linalg.lstsq(matrix, row, rcond=None)[0] for row in y.numpy()])


@pytest.mark.parametrize(("method", "iterations"), [(landweber, 200), (cgls, 10)])
def test_tends_to_the_least_squares_solution(method, iterations, tall):
    operator, y = tall
    x = method(y, operator, iterations=iterations)
    expected = solve(operator.matrix.numpy(), y)
    np.testing.assert_allclose(x.flatten(1).numpy(), expected, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize(("method", "iterations"), [(landweber, 1000), (cgls, 10)])
def test_tends_to_the_solution_closest_to_the_start(method, iterations, rng):
    operator = dense_operator()
    wide = operator.matrix.numpy()
    y = torch.randn(2, 4, generator=rng, dtype=torch.float64)
    x0 = torch.randn(2, 3, 2, generator=rng, dtype=torch.float64)
    x = method(y, operator, iterations=iterations, x0=x0)
    start = x0.flatten(1).numpy()
    expected = start + (y.numpy() - start @ wide.T) @ np.linalg.pinv(wide).T
    np.testing.assert_allclose(x.flatten(1).numpy(), expected, rtol=1e-8, atol=1e-9)


def test_cgls_ends_after_as_many_iterations_as_there_are_unknowns(tall):
    operator, y = tall
    expected = solve(operator.matrix.numpy(), y)
    for iterations, reached in ((6, True), (4, False)):
        x = cgls(y, operator, iterations=iterations).flatten(1).numpy()
        assert np.allclose(x, expected, rtol=1e-9, atol=1e-10) is reached
    # and stays there, where every direction has length zero
    still = cgls(y * 0, operator, iterations=5)
    assert (still == 0).all()


def test_sirt_tends_to_the_weighted_solution(tall):
    operator, y = tall
    matrix = operator.matrix.numpy()
    root = np.sqrt(1 / matrix.sum(1))
    expected = solve(matrix * root[:, None], y * torch.from_numpy(root))
    for relaxation in (1.0, 1.7):
        x = sirt(y, operator, iterations=400, relaxation=relaxation)
        np.testing.assert_allclose(x.flatten(1).numpy(), expected, rtol=1e-9, atol=1e-10)
    # another problem than that without weights
    assert not np.allclose(expected, solve(matrix, y), rtol=1e-3)


def blocks_of(operator, count):
    matrix = matrix_of(operator, operator.domain_shape, torch.float64).numpy()
    views = matrix.reshape(*operator.range_shape, -1)
    return [views[first::count].reshape(-1, views.shape[-1]) for first in range(count)]


@pytest.mark.parametrize(("subsets", "order"), [(11, "golden"), (3, "sequential"), (1, "golden")])
def test_kaczmarz_goes_block_by_block(subsets, order, rng):
    operator = RayTransform(GRID, SCAN)
    y = torch.rand(2, *operator.range_shape, generator=rng, dtype=torch.float64)
    blocks = blocks_of(operator, subsets)
    expected = np.zeros((30, 2))
    for _ in range(2):
        for first in subset_order(subsets, order):
            block, data = blocks[first], y[:, first::subsets].flatten(1).numpy().T
            with np.errstate(divide="ignore"):
                rows, columns = (
                    np.where(s > 1e-6 * s.max(), 1 / s, 0) for s in (block.sum(1), block.sum(0))
                )
            residual = data - block @ expected
            expected += 0.7 * columns[:, None] * (block.T @ (rows[:, None] * residual))
    options = {"iterations": 2, "subsets": subsets, "order": order, "relaxation": 0.7}
    x = kaczmarz(y, operator, **options)
    np.testing.assert_allclose(x.flatten(1).numpy().T, expected, rtol=1e-6, atol=1e-8)


def test_kaczmarz_with_one_subset_is_sirt(rng):
    operator = RayTransform(GRID, SCAN)
    y = torch.rand(2, *operator.range_shape, generator=rng, dtype=torch.float64)
    torch.testing.assert_close(
        kaczmarz(y, operator, iterations=7, subsets=1, nonnegative=True),
        sirt(y, operator, iterations=7, nonnegative=True),
    )


def test_kaczmarz_solves_consistent_data(rng):
    grid = Grid((6, 6))
    operator = RayTransform(grid, ParallelBeam(16, 19, 0.5))
    x = torch.rand(2, *grid.shape, generator=rng, dtype=torch.float64)
    y = operator(x)
    torch.testing.assert_close(kaczmarz(y, operator, iterations=150), x, rtol=0, atol=1e-10)
    # a pass over many blocks is worth many iterations with one
    few, many = kaczmarz(y, operator, iterations=20), sirt(y, operator, iterations=100)
    assert float((few - x).norm()) < float((many - x).norm())


def test_orders_visit_every_subset_once():
    np.testing.assert_array_equal(subset_order(5, "sequential"), np.arange(5))
    for count in (1, 2, 7, 10, 33):
        assert sorted(subset_order(count, "golden")) == list(range(count))
    # consecutive subsets are far from each other on the circle
    steps = np.diff(subset_order(34, "golden")) % 34
    assert np.minimum(steps, 34 - steps).min() > 8


@pytest.mark.parametrize("regularizer", [None, FiniteDifferences((3, 2)), dense_operator(3)])
@pytest.mark.parametrize("weight", [0.0, 0.3, 20.0])
def test_tikhonov_solves_the_normal_equations(regularizer, weight, tall):
    operator, y = tall
    matrix = operator.matrix.numpy()
    penalty = np.eye(6)
    if regularizer is not None:
        penalty = matrix_of(regularizer, (3, 2), torch.float64).numpy()
    normal = matrix.T @ matrix + weight * penalty.T @ penalty
    expected = np.linalg.solve(normal, matrix.T @ y.numpy().T).T
    for x0 in (None, torch.ones(3, 2, dtype=torch.float64)):
        x = tikhonov(y, operator, weight=weight, regularizer=regularizer, iterations=20, x0=x0)
        np.testing.assert_allclose(x.flatten(1).numpy(), expected, rtol=1e-8, atol=1e-9)


def test_tikhonov_reports_its_objective(tall):
    operator, y = tall
    states = []
    x = tikhonov(y, operator, weight=2.0, iterations=4, callback=states.append)
    misfit = (operator(x) - y).square().sum(-1)
    expected = misfit + 2 * x.square().sum((-1, -2))
    torch.testing.assert_close(states[-1].objective, expected, rtol=1e-9, atol=0)
    torch.testing.assert_close(states[-1].residual, misfit.sqrt(), rtol=1e-9, atol=0)


@pytest.mark.parametrize("method", [landweber, sirt])
def test_nonnegative_solutions_satisfy_their_conditions(method, tall):
    operator, y = tall
    x = method(y, operator, iterations=400, nonnegative=True).flatten(1)
    assert (x >= 0).all()
    assert (x == 0).any()
    rows = 1.0
    if method is sirt:
        rows = 1 / operator.matrix.sum(1)
    slope = (rows * (x @ operator.matrix.T - y)) @ operator.matrix
    assert (slope > -1e-8).all()
    assert (slope[x > 0].abs() < 1e-8).all()


def test_landweber_step(tall):
    operator, y = tall
    x = landweber(y, operator, iterations=1, step=0.01)
    torch.testing.assert_close(x, 0.01 * operator.adjoint(y))
    norm = np.linalg.norm(operator.matrix.numpy(), 2)
    x = landweber(y, operator, iterations=1)
    torch.testing.assert_close(x, operator.adjoint(y) / norm**2, rtol=1e-5, atol=0)


def test_rays_and_pixels_that_miss_each_other_do_not_matter():
    # bins far outside the grid, and a wide grid seen by few of them
    operator = RayTransform(Grid((4, 4)), ParallelBeam(6, 30, 1.0))
    x = torch.rand(4, 4, dtype=torch.float64)
    y = operator(x)
    y[:, 0] = 5.0
    for found in (sirt(y, operator, iterations=2), kaczmarz(y, operator, iterations=2)):
        assert torch.isfinite(found).all()
        assert found.max() < 2


def test_parameters_of_their_own():
    operator = RayTransform(GRID, SCAN)
    y = torch.zeros(operator.range_shape)
    with pytest.raises(ValueError, match="step: expected a positive number"):
        landweber(y, operator, step=-1.0)
    for method in (sirt, kaczmarz):
        with pytest.raises(ValueError, match=r"relaxation: expected a number in \(0, 2\), got 2"):
            method(y, operator, relaxation=2.0)
    with pytest.raises(ValueError, match="subsets: expected at most the 11 views, got 12"):
        kaczmarz(y, operator, subsets=12)
    with pytest.raises(ValueError, match="order: expected one of golden, sequential"):
        kaczmarz(y, operator, order="random")
    with pytest.raises(TypeError, match="operator: expected a RayTransform, got DenseOperator"):
        kaczmarz(torch.zeros(4), dense_operator())
    with pytest.raises(ValueError, match="weight: expected a non-negative number, got -1"):
        tikhonov(y, operator, weight=-1.0)
    with pytest.raises(
        ValueError, match=r"regularizer: expected domain shape \(6, 5\), got \(3, 2"
    ):
        tikhonov(y, operator, weight=1.0, regularizer=dense_operator())
    with pytest.raises(TypeError, match="regularizer: expected a LinearOperator, got str"):
        tikhonov(y, operator, weight=1.0, regularizer="identity")
    zero = DenseOperator(np.zeros((4, 5)))
    with pytest.raises(ValueError, match="operator: expected one that is not zero"):
        landweber(torch.ones(4), zero)
    assert math.isfinite(float(cgls(torch.ones(4), zero).sum()))
