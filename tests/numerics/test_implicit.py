"""Gradients through fixed points, against long unrollings and finite differences."""

import itertools

import pytest
import torch

from tomolearn import ConvergenceWarning, DivergenceError
from tomolearn.numerics import Backward, equilibrium

FORWARD = ["picard", "anderson", "broyden"]
BACKWARD = ["picard", "anderson", "broyden", "gmres"]


class Problem:
    """u = tanh(W u + V y): not affine, with parameters and a context, a contraction of 0.7."""

    def __init__(self, rng, n=3, size=6):
        W = torch.randn(size, size, generator=rng, dtype=torch.float64)
        self.W = (0.7 * W / torch.linalg.matrix_norm(W, 2)).requires_grad_()
        self.V = torch.randn(size, 4, generator=rng, dtype=torch.float64).requires_grad_()
        self.y = torch.randn(n, 4, generator=rng, dtype=torch.float64).requires_grad_()
        self.weights = torch.randn(n, size, generator=rng, dtype=torch.float64)
        self.start = torch.zeros(n, size, dtype=torch.float64)

    def function(self, u, y):
        return torch.tanh(u @ self.W.T + y @ self.V.T)

    def gradients(self, backward, **options):
        found = equilibrium(self.function, self.start, self.y, backward=backward, **options)
        loss = (self.weights * found.state).sum()
        return torch.autograd.grad(loss, (self.W, self.V, self.y))


def relative(found, expected):
    difference = sum(float((a - b).square().sum()) for a, b in zip(found, expected, strict=True))
    return (difference / sum(float(b.square().sum()) for b in expected)) ** 0.5


@pytest.mark.parametrize(("forward", "backward"), list(itertools.product(FORWARD, BACKWARD)))
def test_implicit_gradients_are_those_of_a_long_unrolling(forward, backward, rng):
    problem = Problem(rng)
    unrolled = problem.gradients(Backward("unrolled"), max_iterations=500)
    implicit = problem.gradients(
        Backward("implicit", backward, tolerance=1e-10),
        solver=forward,
        tolerance=1e-10,
        max_iterations=300,
    )
    # tolerances divided by 1 - 0.7
    assert relative(implicit, unrolled) < 1e-9


@pytest.mark.parametrize("backward", BACKWARD)
def test_gradcheck(backward, rng):
    problem = Problem(rng, n=2, size=3)

    def layer(W, V, y):
        return equilibrium(
            lambda u, y: torch.tanh(u @ W.T + y @ V.T),
            problem.start,
            y,
            tolerance=1e-13,
            max_iterations=300,
            backward=Backward("implicit", backward, tolerance=1e-12, max_iterations=300),
        ).state

    assert torch.autograd.gradcheck(layer, (problem.W, problem.V, problem.y))


def test_jacobian_free_is_one_application(rng):
    problem = Problem(rng)
    found = problem.gradients(Backward("jfb"), tolerance=1e-12, max_iterations=300)
    with torch.no_grad():
        u = equilibrium(problem.function, problem.start, problem.y, tolerance=1e-12).state
    loss = (problem.weights * problem.function(u, problem.y)).sum()
    expected = torch.autograd.grad(loss, (problem.W, problem.V, problem.y))
    assert relative(found, expected) < 1e-10
    # which is not the gradient, but less than a right angle away
    exact = problem.gradients(Backward("implicit", tolerance=1e-10), tolerance=1e-10)
    assert relative(found, exact) > 0.05
    assert sum(float((a * b).sum()) for a, b in zip(found, exact, strict=True)) > 0


def test_phantom_gradients_come_nearer_with_more_steps(rng):
    problem = Problem(rng)
    exact = problem.gradients(Backward("implicit", tolerance=1e-12), tolerance=1e-12)
    errors = [
        relative(
            problem.gradients(Backward("phantom", steps=k, damping=0.9), tolerance=1e-12), exact
        )
        for k in (1, 4, 16, 64)
    ]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 1e-6
    # one step without damping is the Jacobian-free gradient
    one = problem.gradients(Backward("phantom", steps=1, damping=1.0), tolerance=1e-12)
    free = problem.gradients(Backward("jfb"), tolerance=1e-12)
    assert relative(one, free) < 1e-10


def test_start_gets_no_gradient_but_in_unrolled(rng):
    problem = Problem(rng)
    start = problem.start.requires_grad_()
    found = equilibrium(problem.function, start, problem.y, backward=Backward("implicit"))
    (gradient,) = torch.autograd.grad(found.state.sum(), start, allow_unused=True)
    assert gradient is None
    found = equilibrium(
        problem.function, start, problem.y, backward=Backward("unrolled"), max_iterations=3
    )
    (gradient,) = torch.autograd.grad(found.state.sum(), start)
    assert gradient.abs().sum() > 0


def test_without_gradients_nothing_is_recorded(rng):
    problem = Problem(rng)
    with torch.no_grad():
        found = equilibrium(problem.function, problem.start, problem.y)
    assert not found.state.requires_grad


@pytest.mark.parametrize("mode", ["implicit", "jfb", "phantom"])
def test_memory_does_not_grow_with_iterations(mode, rng):
    problem = Problem(rng)

    def kept(iterations):
        sizes = []
        with torch.autograd.graph.saved_tensors_hooks(
            lambda t: sizes.append(t.numel()) or t, lambda t: t
        ):
            equilibrium(
                problem.function,
                problem.start,
                problem.y,
                tolerance=0,
                max_iterations=iterations,
                backward=Backward(mode),
            )
        return sum(sizes)

    assert kept(200) == kept(20) > 0
    mode = "unrolled"
    assert kept(200) > 9 * kept(20)


@pytest.mark.parametrize("solver", BACKWARD)
def test_gradients_that_are_not_finite_stay_so(solver, rng):
    # a scaler of losses, or the check of a gradient's norm, has to see them
    problem = Problem(rng)
    found = equilibrium(
        problem.function, problem.start, problem.y, backward=Backward("implicit", solver)
    )
    (gradient,) = torch.autograd.grad(found.state.sum() * torch.inf, problem.W)
    assert gradient.isnan().any()


@pytest.mark.parametrize("mode", ["implicit", "jfb", "phantom", "unrolled"])
def test_divergence_raises_in_all_modes(mode, rng):
    y = torch.ones(1, 2, requires_grad=True)
    with pytest.raises(DivergenceError, match="not finite"):
        equilibrium(
            lambda u, y: torch.log1p(u) - y,
            torch.ones(1, 2),
            y,
            solver="picard",
            max_iterations=200,
            backward=Backward(mode),
        )


def test_a_function_that_ignores_the_state(rng):
    W = torch.randn(3, generator=rng, requires_grad=True)
    y = torch.ones(2, 3)
    found = equilibrium(lambda u, y: y * W, y, y)
    (gradient,) = torch.autograd.grad(found.state.sum(), W)
    assert gradient.tolist() == [2.0] * 3


@pytest.mark.parametrize("solver", BACKWARD)
def test_unsolved_backward_systems_are_told(solver, rng):
    problem = Problem(rng)
    short = Backward("implicit", solver, tolerance=1e-12, max_iterations=2)
    with pytest.warns(ConvergenceWarning, match="backward pass: 3 of 3 did not converge"):
        problem.gradients(short, tolerance=1e-10)
    reports = []
    problem.gradients(short, tolerance=1e-10, report=reports.append)
    assert [report.converged.tolist() for report in reports] == [[False] * 3]


@pytest.mark.parametrize("solver", BACKWARD)
def test_singular_backward_systems_are_told(solver):
    # u = u + 0 y: every u is a fixed point, and (1 - J) is zero
    y = torch.ones(1, 2, dtype=torch.float64, requires_grad=True)
    start = torch.ones(1, 2, dtype=torch.float64)
    mode = Backward("implicit", solver, max_iterations=20)
    found = equilibrium(lambda u, y: u + 0 * y, start, y, backward=mode)
    with pytest.warns(ConvergenceWarning, match="backward pass"):
        found.state.sum().backward()


def test_backward_in_the_precision_of_the_forward_pass(rng):
    # Outside of autocast the function would give other values, and other products.
    W = (0.3 * torch.randn(8, 8, generator=rng) / 3).requires_grad_()
    y = torch.randn(2, 8, generator=rng)
    seen = []

    def function(u, y):
        value = u @ W.T
        seen.append(value.dtype)
        return value.to(u.dtype) + y

    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = equilibrium(function, y, y, tolerance=1e-2, backward=Backward(tolerance=1e-2))
    found.state.sum().backward()
    assert set(seen) == {torch.bfloat16}
    mixed, W.grad = W.grad, None
    equilibrium(lambda u, y: u @ W.T + y, y, y).state.sum().backward()
    # tolerances of 1e-2, rounding of 2**-9
    assert relative([mixed], [W.grad]) < 0.05


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mode": "exact"}, "mode: expected one of"),
        ({"solver": "cg"}, "solver: expected one of"),
        ({"solver": 7}, "solver: expected"),
        ({"tolerance": -1e-3}, "tolerance: expected"),
        ({"max_iterations": 0}, "max_iterations: expected"),
        ({"steps": 0}, "steps: expected"),
        ({"damping": 0.0}, "damping: expected"),
        ({"damping": 1.1}, r"damping: expected one in \(0, 1\], got 1.1"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises((TypeError, ValueError), match=message):
        Backward(**options)
