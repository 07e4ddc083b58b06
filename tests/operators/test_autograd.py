"""Derivatives of operators, and torch's transforms of functions that contain them."""

import pytest
import torch
from builders import PLANE, dense_operator

from tomolearn.operators import FiniteDifferences, LinearOperator, RayTransform


def ray_transform() -> LinearOperator:
    return RayTransform(*PLANE["parallel_even"], backend="astra")


@pytest.fixture(params=["dense", "transposed", "expression", "differences"])
def operator(request):
    A = dense_operator()
    return {
        "dense": A,
        "transposed": A.T,
        "expression": 2 * (A.T @ A) - dense_operator(1).T @ dense_operator(1),
        "differences": FiniteDifferences((3, 2), 0.5),
    }[request.param]


@pytest.fixture
def x(operator, rng):
    return torch.randn(
        2, *operator.domain_shape, dtype=torch.float64, generator=rng
    ).requires_grad_()


def test_gradients_of_first_and_second_order(operator, x):
    assert torch.autograd.gradcheck(operator, x, check_forward_ad=True)

    def quartic(x: torch.Tensor) -> torch.Tensor:
        return operator(x).pow(4).sum()

    assert torch.autograd.gradcheck(quartic, x)
    assert torch.autograd.gradgradcheck(quartic, x, check_fwd_over_rev=True)


def test_gradient_of_a_least_squares_term_is_the_normal_equation(operator, x):
    loss = operator(x).square().sum() / 2
    (gradient,) = torch.autograd.grad(loss, x, create_graph=True)
    torch.testing.assert_close(gradient, operator.adjoint(operator(x)))
    (hessian_x,) = torch.autograd.grad((gradient * x.detach()).sum(), x)
    torch.testing.assert_close(hessian_x, operator.adjoint(operator(x)))


def test_forward_mode(operator, x):
    tangent = torch.ones_like(x)
    value, derivative = torch.func.jvp(operator, (x,), (tangent,))
    torch.testing.assert_close(value, operator(x))
    torch.testing.assert_close(derivative, operator(tangent))


@pytest.mark.parametrize("in_dim", [0, 1, -1])
def test_vmap(operator, in_dim, rng):
    many = torch.randn(5, 2, *operator.domain_shape, dtype=torch.float64, generator=rng)
    moved = many.movedim(0, in_dim)
    torch.testing.assert_close(torch.vmap(operator, in_dims=in_dim)(moved), operator(many))


@pytest.mark.parametrize("jacobian", [torch.func.jacrev, torch.func.jacfwd])
def test_jacobians(operator, jacobian):
    x = torch.zeros(operator.domain_shape, dtype=torch.float64)
    matrix = jacobian(operator)(x)
    size = x.numel()
    columns = operator(torch.eye(size, dtype=torch.float64).reshape(size, *x.shape))
    torch.testing.assert_close(matrix.flatten(-x.ndim), columns.movedim(0, -1))


def test_hessian(operator):
    x = torch.zeros(operator.domain_shape, dtype=torch.float64)
    hessian = torch.func.hessian(lambda x: operator(x).square().sum() / 2)(x)
    size = x.numel()
    identity = torch.eye(size, dtype=torch.float64).reshape(size, *x.shape)
    expected = operator.adjoint(operator(identity)).reshape(size, size)
    torch.testing.assert_close(hessian.reshape(size, size), expected)


@pytest.mark.parametrize("build", [dense_operator, ray_transform])
def test_compile_forward_and_backward(build, rng):
    operator = build()

    def residual(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return operator.adjoint(operator(torch.sin(x)) - y).square().sum()

    compiled = torch.compile(residual, fullgraph=True, backend="aot_eager")
    for batch in (2, 3):  # the second shape may make it a symbolic one
        x = torch.randn(batch, *operator.domain_shape, generator=rng).requires_grad_()
        y = torch.randn(batch, *operator.range_shape, generator=rng)
        values = [function(x, y) for function in (residual, compiled)]
        gradients = [torch.autograd.grad(value, x)[0] for value in values]
        torch.testing.assert_close(values[1], values[0])
        torch.testing.assert_close(gradients[1], gradients[0])


def test_compiled_code_follows_the_operator(rng):
    first, second = dense_operator(0), dense_operator(1)
    compiled = torch.compile(lambda A, x: A(x), fullgraph=True, backend="aot_eager")
    x = torch.randn(2, 3, 2, generator=rng)
    for operator in (first, second, first):
        torch.testing.assert_close(compiled(operator, x), operator(x))
    assert compiled(first, x.half()).dtype == torch.float32


def test_gradient_of_a_ray_transform(rng):
    A = ray_transform()
    x = torch.rand(2, 1, *A.domain_shape, generator=rng).requires_grad_()
    y = torch.rand(2, 1, *A.range_shape, generator=rng)
    (gradient,) = torch.autograd.grad((A(x) - y).square().sum() / 2, x)
    torch.testing.assert_close(gradient, A.adjoint(A(x.detach()) - y))
