"""Solvers of fixed points against linear algebra and scipy."""

import numpy as np
import pytest
import torch
from scipy.optimize import brentq

from tomolearn import DivergenceError
from tomolearn.numerics import Anderson, Broyden, Picard, fixed_point, gmres

SOLVERS = ["picard", "anderson", "broyden"]
each_solver = pytest.mark.parametrize("solver", SOLVERS)


def affine(rng, n=4, size=12, norm=0.8):
    """One contraction u -> M u + b per entry of a batch, and its fixed point."""
    M = torch.randn(n, size, size, generator=rng, dtype=torch.float64)
    M = norm * M / torch.linalg.matrix_norm(M, 2)[:, None, None]
    b = torch.randn(n, size, generator=rng, dtype=torch.float64)
    solution = torch.linalg.solve(torch.eye(size, dtype=torch.float64) - M, b)

    def function(u, M, b):
        return torch.einsum("nij,nj->ni", M, u) + b

    return function, M, b, solution


@each_solver
def test_affine_maps_end_where_linear_algebra_says(solver, rng):
    function, M, b, solution = affine(rng)
    found = fixed_point(
        function, torch.zeros_like(b), M, b, solver=solver, tolerance=1e-12, max_iterations=400
    )
    assert found.converged.all()
    # distance <= residual ||f(u)|| / (1 - 0.8)
    torch.testing.assert_close(found.state, solution, rtol=0, atol=5e-12 * float(solution.norm()))


@each_solver
def test_residual_is_that_of_the_state(solver, rng):
    function, M, b, _ = affine(rng)
    found = fixed_point(
        function, torch.zeros_like(b), M, b, solver=solver, tolerance=1e-5, max_iterations=300
    )
    f = function(found.state, M, b)
    expected = (f - found.state).norm(dim=1) / f.norm(dim=1)
    torch.testing.assert_close(found.residual, expected, rtol=1e-6, atol=0)
    assert (found.residual <= 1e-5).all()


@each_solver
def test_nonlinear_equations(solver):
    # u = cos(a u), each number of the batch by itself, against scipy's root finder
    a = torch.linspace(0.1, 0.95, 7, dtype=torch.float64)[:, None]
    found = fixed_point(
        lambda u, a: torch.cos(a * u),
        torch.zeros_like(a),
        a,
        solver=solver,
        tolerance=1e-13,
        max_iterations=500,
    )
    expected = [brentq(lambda u, a=float(a): u - np.cos(a * u), 0, 1, xtol=1e-15) for a in a]
    assert found.converged.all()
    np.testing.assert_allclose(found.state[:, 0], expected, rtol=1e-11)


@each_solver
def test_entries_of_a_batch_do_not_meet(solver, rng):
    function, M, b, _ = affine(rng)
    M[1] *= 0.1  # stops long before the others
    start = torch.randn(b.shape, generator=rng, dtype=torch.float64)
    limits = {"solver": solver, "tolerance": 1e-9, "max_iterations": 300}
    together = fixed_point(function, start, M, b, **limits)
    assert together.iterations[1] < together.iterations[[0, 2, 3]].min()
    for i in range(4):
        alone = fixed_point(function, start[i : i + 1], M[i : i + 1], b[i : i + 1], **limits)
        assert alone.iterations[0] == together.iterations[i]
        torch.testing.assert_close(alone.state[0], together.state[i], rtol=1e-10, atol=1e-10)


def test_entries_that_stopped_are_not_computed(rng):
    function, M, b, _ = affine(rng)
    M[1] *= 0.1
    sizes = []

    def counting(u, M, b):
        sizes.append(len(u))
        return function(u, M, b)

    found = fixed_point(counting, torch.zeros_like(b), M, b, tolerance=1e-9)
    assert sizes[0] == 4
    assert sizes[-1] < 4
    assert sum(sizes) == int(found.iterations.sum())
    # and their residuals end there
    assert found.history.isfinite().sum(0).tolist() == found.iterations.tolist()


def test_anderson_needs_no_more_than_krylov(rng):
    # On affine maps, Anderson with an unlimited history is GMRES one step later (Walker, Ni).
    function, M, b, _ = affine(rng, n=1, norm=0.95)
    options = Anderson(history=50, regularisation=0.0)
    anderson = fixed_point(function, b, M, b, solver=options, tolerance=1e-10)
    krylov = gmres(lambda v: v - torch.einsum("nij,nj->ni", M, v), b, tolerance=1e-10, restart=50)
    assert krylov.iterations[0] <= 12
    assert anderson.iterations[0] <= krylov.iterations[0] + 2
    assert fixed_point(
        function, b, M, b, solver="picard", tolerance=1e-10, max_iterations=1000
    ).iterations[0] > 2 * int(anderson.iterations[0])


@pytest.mark.parametrize("solver", [Anderson(), Broyden()])
def test_acceleration_converges_where_iteration_does_not(solver, rng):
    function, M, b, _ = affine(rng, n=3)
    M = -1.5 * torch.eye(12, dtype=torch.float64) + 0.3 * M
    solution = torch.linalg.solve(torch.eye(12, dtype=torch.float64) - M, b)
    found = fixed_point(function, torch.zeros_like(b), M, b, solver=solver, tolerance=1e-10)
    assert found.converged.all()
    torch.testing.assert_close(found.state, solution, rtol=0, atol=1e-8)
    plain = fixed_point(function, torch.zeros_like(b), M, b, solver="picard", max_iterations=50)
    assert not plain.converged.any()


def test_damping_makes_iteration_converge(rng):
    function, M, b, _ = affine(rng, n=2)
    M = -1.5 * torch.eye(12, dtype=torch.float64) + 0.1 * M
    damped = fixed_point(
        function, torch.zeros_like(b), M, b, solver=Picard(damping=0.4), tolerance=1e-10
    )
    assert damped.converged.all()


@each_solver
def test_limit_of_iterations_is_told(solver, rng):
    function, M, b, _ = affine(rng)
    found = fixed_point(
        function, torch.zeros_like(b), M, b, solver=solver, tolerance=1e-12, max_iterations=4
    )
    assert not found.converged.any()
    assert found.iterations.tolist() == [4] * 4
    # the best state, not the last one
    torch.testing.assert_close(found.residual, found.history.amin(0), rtol=0, atol=0)


def test_zero_tolerance_runs_on(rng):
    function, M, b, _ = affine(rng)
    found = fixed_point(
        function, torch.zeros_like(b), M, b, solver="picard", tolerance=0, max_iterations=37
    )
    assert found.iterations.tolist() == [37] * 4


@each_solver
def test_a_solution_as_start_is_one_evaluation(solver, rng):
    function, M, b, solution = affine(rng)
    found = fixed_point(function, solution, M, b, solver=solver, tolerance=1e-10)
    assert found.iterations.tolist() == [1] * 4
    assert torch.equal(found.state, solution)
    # zero as a fixed point: no division of zero by zero
    zero = fixed_point(function, 0 * b, M, 0 * b, solver=solver)
    assert zero.residual.tolist() == [0.0] * 4


def test_an_empty_batch_is_no_work():
    found = fixed_point(lambda u: u, torch.zeros(0, 3))
    assert found.state.shape == (0, 3)
    assert found.converged.shape == (0,)


@each_solver
def test_divergence_raises(solver):
    # no real fixed point, and no finite value below -1
    with pytest.raises(DivergenceError, match=r"evaluation \d+ gave values that are not finite"):
        fixed_point(
            lambda u: torch.log1p(u) - 1, torch.ones(1, 4), solver=solver, max_iterations=200
        )


def test_images_keep_their_shape(rng):
    x = torch.rand(2, 1, 3, 4, generator=rng)
    found = fixed_point(lambda u, x: 0.5 * u + x, x, x, tolerance=1e-6)
    assert found.state.shape == x.shape
    torch.testing.assert_close(found.state, 2 * x, rtol=1e-5, atol=0)


def test_gmres_solves_what_linear_algebra_solves(rng):
    A = torch.randn(3, 15, 15, generator=rng, dtype=torch.float64)
    A += 10 * torch.eye(15, dtype=torch.float64)
    b = torch.randn(3, 15, generator=rng, dtype=torch.float64)
    apply = lambda v: torch.einsum("nij,nj->ni", A, v)  # noqa: E731
    found = gmres(apply, b, tolerance=1e-12)
    assert found.converged.all()
    assert (found.iterations <= 15).all()
    torch.testing.assert_close(found.state, torch.linalg.solve(A, b), rtol=0, atol=1e-10)
    restarted = gmres(apply, b, tolerance=1e-10, restart=5, max_iterations=500)
    assert restarted.converged.all()
    torch.testing.assert_close(restarted.state, torch.linalg.solve(A, b), rtol=0, atol=1e-8)


def test_gmres_tells_of_singular_systems(rng):
    A = torch.diag(torch.tensor([1.0, 2.0, 0.0], dtype=torch.float64))
    found = gmres(lambda v: v @ A, torch.tensor([[1.0, 1.0, 0.0], [1.0, 1.0, 1.0]]).double())
    # the first right side is in the range, the second one is not
    assert found.converged.tolist() == [True, False]
    assert float(found.residual[1]) == pytest.approx(3**-0.5)
    assert found.state.isfinite().all()


def test_gmres_of_zero():
    found = gmres(lambda v: v, torch.zeros(2, 3))
    assert not found.state.any()
    assert found.converged.all()
    assert found.iterations.tolist() == [0, 0]


@pytest.mark.parametrize("solver", [Anderson(history=2), Broyden(history=2)])
def test_short_memories_wrap_around(solver, rng):
    function, M, b, solution = affine(rng, norm=0.95)
    found = fixed_point(function, 0 * b, M, b, solver=solver, tolerance=1e-10, max_iterations=1000)
    assert found.converged.all()
    assert found.iterations.min() > 6
    torch.testing.assert_close(found.state, solution, rtol=0, atol=1e-7)


def test_norms_of_half_precision_do_not_overflow():
    found = fixed_point(
        lambda u: 0.5 * u + 150, torch.zeros(1, 65536).half(), solver="picard", tolerance=1e-2
    )
    assert float(found.state[0, 0]) == pytest.approx(300, rel=0.02)


def test_gmres_does_not_take_what_is_not_finite():
    with pytest.raises(DivergenceError, match="gmres: the right side or a product"):
        gmres(lambda v: v, torch.full((1, 3), torch.nan))
    with pytest.raises(DivergenceError, match="gmres: the right side or a product"):
        gmres(lambda v: v / 0, torch.ones(1, 3))


def test_a_function_of_another_shape():
    with pytest.raises(ValueError, match=r"function: expected values of the shape .* got \(1, 2\)"):
        fixed_point(lambda u: u[:, :2], torch.zeros(1, 3))
    with pytest.raises(TypeError, match="start"):
        fixed_point(lambda u: u, torch.zeros(1, 3, dtype=torch.int64))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"solver": "newton"}, "solver: expected one of"),
        ({"solver": 3}, "solver: expected one of picard, anderson, broyden, or a solver, got int"),
        ({"tolerance": -1.0}, "tolerance: expected"),
        ({"max_iterations": 0}, "max_iterations: expected"),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises((TypeError, ValueError), match=message):
        fixed_point(lambda u: u, torch.zeros(1, 2), **options)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Picard(damping=1.5), r"damping: expected one in \(0, 1\], got 1.5"),
        (lambda: Picard(damping=0.0), "damping: expected"),
        (lambda: Anderson(history=0), "history: expected"),
        (lambda: Anderson(mixing=-1.0), "mixing: expected"),
        (lambda: Anderson(regularisation=-1.0), "regularisation: expected"),
        (lambda: Broyden(history=0), "history: expected"),
    ],
)
def test_bad_solvers(make, message):
    with pytest.raises(ValueError, match=message):
        make()
