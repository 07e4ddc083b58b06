"""Minimisers as differentiable layers, and the conjugate gradients behind their derivatives."""

import pytest
import torch

from tomolearn import ConvergenceWarning
from tomolearn.numerics import IndefiniteError, conjugate_gradients, implicit_minimiser


@pytest.fixture
def problem(rng):
    """A smooth, strongly convex objective with parameters, and its gradient."""
    A = torch.randn(7, 5, generator=rng, dtype=torch.float64)
    W = torch.randn(4, 5, generator=rng, dtype=torch.float64)
    y = torch.randn(3, 7, generator=rng, dtype=torch.float64)
    weight = torch.tensor([0.3, 1.0, 2.0], dtype=torch.float64)

    def gradient(x, y, weight, W):
        ridge = torch.tanh(x @ W.T) @ W
        return (x @ A.T - y) @ A + weight[:, None] * ridge + 0.1 * x

    return gradient, y, weight, W


def newton(gradient, *context, start=None):
    x = torch.zeros(3, 5, dtype=torch.float64) if start is None else start
    for _ in range(30 if start is None else 4):
        jacobian = torch.autograd.functional.jacobian(lambda x: gradient(x, *context).sum(0), x)
        x = x - torch.linalg.solve(jacobian.movedim(1, 0), gradient(x, *context)[..., None])[..., 0]
    assert gradient(x, *context).abs().max() < 1e-12
    return x.detach()


def layer(gradient, *context, start=None):
    x = newton(gradient, *(one.detach() for one in context), start=start)
    return implicit_minimiser(gradient, x, *context, tolerance=1e-12)


def test_gradients_are_finite_differences(problem):
    gradient, *context = problem
    start = newton(gradient, *context)
    context = [one.requires_grad_() for one in context]
    # the jacobian is compared with finite differences of minimisers found anew
    assert torch.autograd.gradcheck(
        lambda *c: layer(gradient, *c, start=start), context, rtol=1e-6, atol=1e-8
    )


def test_what_the_function_closes_over_gets_gradients(problem):
    gradient, y, weight, W = problem
    W.requires_grad_()
    x = newton(lambda x: gradient(x, y, weight, W.detach()))
    closed = implicit_minimiser(lambda x: gradient(x, y, weight, W), x, tolerance=1e-12)
    named = layer(gradient, y, weight, W)
    (a,) = torch.autograd.grad(closed.square().sum(), W)
    (b,) = torch.autograd.grad(named.square().sum(), W)
    torch.testing.assert_close(a, b)
    assert torch.equal(closed, x)


def test_entries_that_are_held_do_not_move(problem):
    # with bounds: the derivative of the minimiser among the images that keep the held entries
    gradient, y, weight, W = problem
    free = torch.ones(3, 5, dtype=torch.bool)
    free[:, 2] = False
    keep = [0, 1, 3, 4]

    def reduced(z, y):
        x = torch.zeros(3, 5, dtype=torch.float64)
        x[:, keep] = z
        return gradient(x, y, weight, W)[:, keep]

    z = torch.zeros(3, 4, dtype=torch.float64)
    for _ in range(30):
        jacobian = torch.autograd.functional.jacobian(lambda z: reduced(z, y).sum(0), z)
        z = z - torch.linalg.solve(jacobian.movedim(1, 0), reduced(z, y)[..., None])[..., 0]
    x = torch.zeros(3, 5, dtype=torch.float64)
    x[:, keep] = z.detach()
    y.requires_grad_()
    held = implicit_minimiser(
        lambda x, y: gradient(x, y, weight, W), x, y, free=free, tolerance=1e-12
    )
    small = implicit_minimiser(reduced, z, y, tolerance=1e-12)
    target = torch.arange(15, dtype=torch.float64).reshape(3, 5)
    (a,) = torch.autograd.grad((held * target).sum(), y)
    (b,) = torch.autograd.grad((small * target[:, keep]).sum(), y)
    torch.testing.assert_close(a, b)


def test_what_is_not_strongly_convex_is_an_error(problem):
    _, y, _, _ = problem
    y = y[:, :5].clone().requires_grad_()
    curvatures = torch.tensor([1.0, 2.0, 3.0, -0.5, 4.0], dtype=torch.float64)
    x = implicit_minimiser(lambda x, y: curvatures * x - y, y.detach() / curvatures, y)
    with pytest.raises(IndefiniteError, match=r"not strongly convex there: a term such as"):
        x.sum().backward()
    with pytest.raises(ValueError, match="gradient: expected values of the shape"):
        implicit_minimiser(lambda x, y: y[:, :2], y, y)


def test_gradients_can_be_had_once_and_in_reverse(problem):
    gradient, y, weight, W = problem
    y.requires_grad_()
    x = layer(gradient, y, weight, W)
    (g,) = torch.autograd.grad(x.square().sum(), y, create_graph=True)
    with pytest.raises(ValueError, match="cannot be differentiated again"):
        g.sum().backward()
    with torch.no_grad():
        assert not layer(gradient, y, weight, W).requires_grad


def test_a_system_that_was_not_solved_is_warned_of_or_reported(problem):
    gradient, y, weight, W = problem
    y.requires_grad_()
    x = newton(gradient, y.detach(), weight, W)
    with pytest.warns(ConvergenceWarning, match="did not converge to 1e-12 within 1 iterations"):
        implicit_minimiser(
            gradient, x, y, weight, W, tolerance=1e-12, max_iterations=1
        ).sum().backward()
    reports = []
    implicit_minimiser(
        gradient, x, y, weight, W, tolerance=1e-12, max_iterations=1, report=reports.append
    ).sum().backward()
    assert not reports[0].converged.any()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_conjugate_gradients_solve_what_a_dense_solver_does(rng, dtype):
    matrices = torch.randn(3, 8, 8, generator=rng, dtype=torch.float64)
    matrices = matrices @ matrices.mT + 0.5 * torch.eye(8, dtype=torch.float64)
    b = torch.randn(3, 8, generator=rng, dtype=torch.float64) * torch.tensor([[1], [1e5], [1e-5]])
    exact = torch.linalg.solve(matrices, b[..., None])[..., 0]
    M = matrices.to(dtype)
    tolerance = 1e-12 if dtype == torch.float64 else 1e-6
    for start in (None, (1.5 * exact).to(dtype)):
        found = conjugate_gradients(
            lambda x: (M @ x[..., None])[..., 0], b.to(dtype), start=start, tolerance=tolerance
        )
        assert found.converged.all()
        error = (found.state - exact).norm(dim=1) / exact.norm(dim=1)
        assert error.max() < 1e3 * tolerance
    alone = conjugate_gradients(
        lambda x: (M[1:2] @ x[..., None])[..., 0], b[1:2].to(dtype), tolerance=tolerance
    )
    assert alone.iterations[0] <= 12
    zero = conjugate_gradients(lambda x: (M @ x[..., None])[..., 0], torch.zeros(3, 8, dtype=dtype))
    assert zero.converged.all()
    assert (zero.state == 0).all()
