"""Operators as torch layers: algebra, derivatives, transforms of torch, shapes and copies."""

import copy
import gc
import pickle
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from builders import PLANE, DenseOperator, dense_operator, matrix_of

from tomolearn.operators import LinearOperator, RayTransform
from tomolearn.operators.autograd import _operators
from tomolearn.operators.base import Transpose

TOLERANCE = {torch.float32: 1e-6, torch.float64: 1e-14}


@pytest.fixture
def operator():
    return dense_operator()


@pytest.fixture
def x(operator, rng):
    return torch.randn(5, *operator.domain_shape, dtype=torch.float64, generator=rng)


def dense(operator: LinearOperator) -> torch.Tensor:
    return matrix_of(operator, operator.domain_shape, torch.float64)


class TestAlgebra:
    def test_transpose_of_the_transpose_is_the_operator(self, operator):
        assert operator.T.T is operator
        assert operator.T is operator.T
        assert operator.T.domain_shape == operator.range_shape
        torch.testing.assert_close(dense(operator.T), operator.matrix.T)

    def test_adjoint_is_the_transpose(self, operator, rng):
        y = torch.randn(2, 4, dtype=torch.float64, generator=rng)
        torch.testing.assert_close(operator.adjoint(y), operator.T(y))

    @pytest.mark.parametrize(
        ("build", "expected"),
        [
            (lambda A, B: A @ B.T, lambda a, b: a @ b.T),
            (lambda A, B: A.T @ B, lambda a, b: a.T @ b),
            (lambda A, B: A + B, lambda a, b: a + b),
            (lambda A, B: A - B, lambda a, b: a - b),
            (lambda A, B: 2 * A, lambda a, b: 2 * a),
            (lambda A, B: A * np.float32(0.5), lambda a, b: a / 2),
            (lambda A, B: A / 4, lambda a, b: a / 4),
            (lambda A, B: -A, lambda a, b: -a),
            (lambda A, B: (A.T @ A + 3 * (B.T @ B)) / 2, lambda a, b: (a.T @ a + 3 * b.T @ b) / 2),
        ],
    )
    def test_expressions(self, build, expected):
        A, B = dense_operator(0), dense_operator(1)
        built, matrix = build(A, B), expected(A.matrix, B.matrix)
        torch.testing.assert_close(dense(built), matrix)
        torch.testing.assert_close(dense(built.T), matrix.T)
        assert built.T.T is built
        assert built.adjoint_is_exact
        assert built.norm() == pytest.approx(float(torch.linalg.matrix_norm(matrix, 2)), rel=1e-5)

    def test_exactness_of_the_parts_is_that_of_the_whole(self):
        A, B = dense_operator(0), dense_operator(1)
        wholes = [A @ B.T, A + B, 2 * A, A.T]
        A.adjoint_is_exact = False  # as a transform that goes to a GPU
        assert not any(whole.adjoint_is_exact for whole in wholes)

    @pytest.mark.parametrize(
        ("build", "error", "message"),
        [
            (lambda A: A @ A, ValueError, r"inner: expected range shape \(3, 2\), got \(4,\)"),
            (lambda A: A + A.T, ValueError, r"second: expected shapes \(3, 2\) -> \(4,\), got"),
            (lambda A: A * float("nan"), ValueError, "factor: expected a finite number, got nan"),
            (lambda A: A @ torch.eye(6), TypeError, r"A\(x\) applies A to a tensor"),
            (lambda A: A + 1, TypeError, "unsupported operand"),
            (lambda A: A * "2", TypeError, "unsupported operand|can't multiply"),
        ],
    )
    def test_refusals(self, operator, build, error, message):
        with pytest.raises(error, match=message):
            build(operator)

    @pytest.mark.parametrize("shape", [(1, 1), (2, 3), (3, 2), (30, 20)])
    def test_norm(self, shape, numpy_rng):
        matrix = numpy_rng.standard_normal(shape)
        operator = DenseOperator(matrix)
        assert operator.norm() == pytest.approx(np.linalg.norm(matrix, 2), rel=1e-5)
        assert operator.T.norm() == operator.norm()

    def test_norm_of_zero(self):
        assert DenseOperator(np.zeros((5, 6))).norm() == 0
        assert DenseOperator(np.zeros((5, 2))).norm() == 0

    def test_norm_of_what_is_not_finite(self):
        with pytest.raises(RuntimeError, match="norm: expected an operator of finite values"):
            DenseOperator(np.full((5, 6), np.nan)).norm()

    def test_norm_that_does_not_converge(self, numpy_rng):
        with pytest.raises(RuntimeError, match="norm: no convergence to 1e-14 in 1 iterations"):
            DenseOperator(numpy_rng.standard_normal((90, 80))).norm(
                tolerance=1e-14, max_iterations=1
            )


class TestShapes:
    @pytest.mark.parametrize("leading", [(), (1,), (5,), (2, 3), (0,), (2, 0, 3), (1, 2, 1, 2)])
    def test_leading_dimensions_are_a_batch(self, operator, leading, rng):
        x = torch.randn(*leading, 3, 2, dtype=torch.float64, generator=rng)
        torch.testing.assert_close(operator(x), x.flatten(-2) @ operator.matrix.T)
        x.requires_grad_()
        operator(x).sum().backward()
        assert x.grad.shape == x.shape

    def test_strides_do_not_matter(self, operator, rng):
        wide = torch.randn(2, 3, 4, 5, dtype=torch.float64, generator=rng)
        for x in (wide.permute(0, 3, 1, 2)[..., ::2], wide[..., :1].expand(2, 3, 4, 2)[:, :, 0]):
            assert not x.is_contiguous()
            torch.testing.assert_close(operator(x), operator(x.contiguous()))
            assert operator(x).is_contiguous()

    def test_results_are_fresh(self, operator, x):
        first, kept = operator(x), operator(x).clone()
        second = operator(2 * x)
        assert first.data_ptr() != second.data_ptr()
        torch.testing.assert_close(first, kept, rtol=0, atol=0)
        before = x.clone()
        operator(x).zero_()
        assert torch.equal(x, before)

    @pytest.mark.parametrize(
        ("x", "error", "message"),
        [
            (np.zeros((3, 2)), TypeError, "x: expected a torch.Tensor, got ndarray"),
            (torch.zeros(3, 2, dtype=torch.int64), TypeError, "x: expected a real floating-point"),
            (torch.zeros(3, 2, dtype=torch.complex64), TypeError, "got torch.complex64"),
            (torch.zeros(2, 3), ValueError, r"x: expected shape \(..., 3, 2\), got \(2, 3\)"),
            (torch.zeros(2), ValueError, r"x: expected shape \(..., 3, 2\), got \(2,\)"),
        ],
    )
    def test_refusals(self, operator, x, error, message):
        with pytest.raises(error, match=message):
            operator(x)
        with pytest.raises(error):
            operator.adjoint(x)

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
    def test_half_is_computed_in_single(self, operator, dtype, rng):
        x = torch.randn(5, 3, 2, generator=rng).to(dtype).requires_grad_()
        y = operator(x)
        assert y.dtype == torch.float32
        torch.testing.assert_close(y, operator(x.float()))
        y.sum().backward()
        assert x.grad.dtype == dtype

    def test_autocast(self, operator, rng):
        layer = torch.nn.Linear(2, 2)
        x = torch.randn(5, 3, 2, generator=rng)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            hidden = layer(x)
            y = operator(hidden)
        assert hidden.dtype == torch.bfloat16
        assert y.dtype == torch.float32
        y.square().sum().backward()
        assert torch.isfinite(layer.weight.grad).all()

    def test_repr_names_the_shapes(self, operator):
        assert "(3, 2) -> (4,)" in repr(operator)
        assert "(3, 2) -> (4,)" in repr(operator.T)


class TestCopies:
    @pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda A: pickle.loads(pickle.dumps(A))])
    def test_copies_work_and_are_their_own(self, duplicate, x):
        for original in (dense_operator(), dense_operator().T, 2 * dense_operator()):
            value = x if original.domain_shape == (3, 2) else x[:, :2, :].flatten(1)
            original.T.norm()
            twin = duplicate(original)
            torch.testing.assert_close(twin(value), original(value))
            assert twin is not original
            assert twin.T is not original.T
            assert twin.T.T is twin
            assert twin._number != original._number
            assert _operators[twin._number] is twin

    @pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda A: pickle.loads(pickle.dumps(A))])
    def test_an_operator_and_its_transpose_stay_together(self, duplicate, x):
        A = dense_operator()
        model = duplicate(torch.nn.Sequential(A, A.T))
        torch.testing.assert_close(model(x), A.T(A(x)))
        assert model[1] is model[0].T

    @pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda A: pickle.loads(pickle.dumps(A))])
    def test_ray_transforms_that_have_projected(self, duplicate):
        grid, scan = PLANE["parallel_even"]
        A = RayTransform(grid, scan, backend="astra")
        x = torch.ones(grid.shape)
        y = A(x)
        twin = duplicate(A)
        torch.testing.assert_close(twin(x), y)
        assert twin.backend_on("cpu") is not A.backend_on("cpu")
        assert (twin.grid, twin.scan, twin.backend) == (grid, scan, "astra")

    def test_operators_that_are_gone_leave_nothing(self):
        operator = dense_operator()
        numbers = operator._number, operator.T._number
        assert all(number in _operators for number in numbers)
        del operator
        gc.collect()
        assert not any(number in _operators for number in numbers)

    def test_in_a_model(self, operator, x):
        model = torch.nn.Sequential(operator, torch.nn.Linear(4, 4).double(), operator.T)
        model(x).sum().backward()
        assert len(list(model.parameters())) == 2
        assert set(model.state_dict()) == {"1.weight", "1.bias"}
        assert model.eval().to("cpu")(x).shape == x.shape


def test_threads_share_one_transpose(x, monkeypatch):
    class Slow(Transpose):  # so that every thread is making one before the first is done
        def __init__(self, operator: LinearOperator) -> None:
            super().__init__(operator)
            time.sleep(0.02)

    monkeypatch.setattr("tomolearn.operators.base.Transpose", Slow)
    operator = dense_operator()
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda _: (operator.T, operator(x)), range(8)))
    assert len({id(transpose) for transpose, _ in results}) == 1
    assert all(torch.equal(value, results[0][1]) for _, value in results)
