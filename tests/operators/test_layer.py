"""Operators of other packages as layers: ODL's, with and without weights, as matrices."""

import warnings

import numpy as np
import odl
import pytest
import torch
from builders import matrix_of

from tomolearn.operators import OperatorLayer

PLANE = odl.uniform_discr([-1, -1], [1, 2], (3, 4), dtype="float64")
FINER = odl.uniform_discr([-1, -1], [1, 2], (6, 8), dtype="float64")
SINGLE = odl.uniform_discr([-1, -1], [2, 1], (6, 4), dtype="float32")
MATRIX = np.random.default_rng(0).standard_normal((3, 4))
BY_ARRAY = odl.rn(4, weighting=[1.0, 2.0, 3.0, 5.0])
BY_OTHER_ARRAY = odl.rn(3, weighting=[0.5, 2.0, 7.0])
BY_NUMBER = odl.rn(4, weighting=2.5)
SQUARE = odl.uniform_discr([0], [1], 4)


def ray_transform():
    geometry = odl.applications.tomo.parallel_beam_geometry(SINGLE, 4)
    return odl.applications.tomo.RayTransform(SINGLE, geometry, impl="astra_cpu")


def weighted_diagonal():
    """Return an operator between array-weighted spaces whose adjoint minds the weights."""

    class Diagonal(odl.Operator):
        def __init__(self, factors, domain, range):
            super().__init__(domain, range, linear=True)
            self.factors = factors

        def _call(self, x):
            return self.range.element(self.factors * x.asarray())

        @property
        def adjoint(self):
            ratio = self.range.weighting.array / self.domain.weighting.array
            return Diagonal(self.factors * ratio, self.range, self.domain)

    return Diagonal(np.arange(1.0, 5.0), BY_ARRAY, odl.rn(4, weighting=[2.0, 1.0, 4.0, 3.0]))


OPERATORS = {
    "ray_transform": ray_transform,
    "partial_derivative": lambda: odl.PartialDerivative(PLANE, axis=0),
    "gradient": lambda: odl.Gradient(PLANE),
    "gradient_central": lambda: odl.Gradient(PLANE, method="central", pad_mode="symmetric"),
    "divergence": lambda: odl.Divergence(domain=PLANE**2),
    "laplacian": lambda: odl.Laplacian(PLANE),
    "product": lambda: odl.PartialDerivative(PLANE, axis=1) * odl.PartialDerivative(PLANE, axis=0),
    "resizing": lambda: odl.ResizingOperator(PLANE, ran_shp=(5, 6)),
    "sampling": lambda: odl.SamplingOperator(PLANE, [[0, 1], [1, 2]]),
    "matrix": lambda: odl.MatrixOperator(MATRIX),
    "matrix_number_to_array": lambda: odl.MatrixOperator(MATRIX, BY_NUMBER, BY_OTHER_ARRAY),
    "matrix_array_to_array": lambda: odl.MatrixOperator(MATRIX, BY_ARRAY, BY_OTHER_ARRAY),
    "diagonal_array_to_array": weighted_diagonal,
    "multiplication_by_array": lambda: odl.MultiplyOperator(BY_ARRAY.element([1.0, 2.0, 3.0, 4.0])),
    "matrix_discretised": lambda: odl.MatrixOperator(MATRIX @ MATRIX.T, odl.rn(3, weighting=0.2)),
    "component": lambda: odl.ComponentProjection(PLANE**3, 1),
    "weighted_product": lambda: odl.IdentityOperator(
        odl.ProductSpace(PLANE, PLANE, weighting=[1.0, 2.0])
    ),
    "nested_product": lambda: odl.DiagonalOperator(odl.Gradient(SQUARE), 2),
    "zero": lambda: odl.ZeroOperator(PLANE),
}


def part_dtype(space):
    while isinstance(space, odl.ProductSpace):
        space = space[0]
    return getattr(torch, str(np.dtype(space.dtype)))


@pytest.mark.parametrize("name", OPERATORS)
def test_adjoint_is_the_transposed_matrix(name):
    operator = OPERATORS[name]()
    layer = OperatorLayer.from_odl(operator)
    dtype = part_dtype(operator.domain)
    forward = matrix_of(layer, layer.domain_shape, dtype)
    adjoint = matrix_of(layer.adjoint, layer.range_shape, dtype)
    tolerance = (1e-6 if dtype == torch.float32 else 1e-14) * float(forward.abs().max())
    torch.testing.assert_close(adjoint.T, forward, rtol=0, atol=tolerance)
    assert layer.adjoint_is_exact


def test_values_are_those_of_odl(rng):
    operator = odl.Gradient(PLANE)
    layer = OperatorLayer.from_odl(operator)
    x = torch.rand(2, 3, *PLANE.shape, dtype=torch.float64, generator=rng)
    y = layer(x)
    assert y.shape == (2, 3, 2, *PLANE.shape)
    for part, expected in zip(y[1, 2], operator(x[1, 2].numpy()), strict=True):
        np.testing.assert_array_equal(part, expected.asarray())


def test_gradcheck():
    layer = OperatorLayer.from_odl(odl.Gradient(PLANE))
    x = torch.rand(2, *PLANE.shape, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(layer, x)
    assert torch.autograd.gradgradcheck(lambda x: layer(x).pow(3), x)


def test_results_are_fresh():
    layer = OperatorLayer.from_odl(odl.IdentityOperator(PLANE))
    x = torch.rand(1, *PLANE.shape, dtype=torch.float64)
    y = layer(x)
    assert torch.equal(y, x)
    y.zero_()
    assert (x != 0).all()


def test_less_precise_input_comes_back_in_its_own_precision(rng):
    layer = OperatorLayer.from_odl(odl.PartialDerivative(PLANE, axis=0))
    x = torch.rand(*PLANE.shape, generator=rng)
    assert layer(x).dtype == torch.float32
    torch.testing.assert_close(layer(x), layer(x.double()).float())


def test_more_precise_input_is_refused():
    layer = OperatorLayer.from_odl(ray_transform())
    with pytest.raises(TypeError, match=r"x: expected float32.*got float64; .*dtype='float64'"):
        layer(torch.zeros(SINGLE.shape, dtype=torch.float64))
    with pytest.raises(TypeError, match="y: expected float32, the precision of the ODL space"):
        layer.adjoint(torch.zeros(layer.range_shape, dtype=torch.float64))


def test_an_adjoint_that_is_none_is_told():
    operator = odl.Resampling(PLANE, FINER, interp="nearest")
    with pytest.warns(UserWarning, match=r"Resampling.adjoint is not the transpose: .* off by"):
        layer = OperatorLayer.from_odl(operator)
    assert not layer.adjoint_is_exact


def test_no_warning_where_the_adjoint_is_right():
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        OperatorLayer.from_odl(odl.Gradient(PLANE))


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (lambda: np.eye(3), TypeError, "expected an odl.Operator, got ndarray"),
        (lambda: odl.PointwiseNorm(PLANE**2), TypeError, "expected a linear operator"),
        (lambda: odl.ConstantOperator(PLANE.one()), TypeError, "expected a linear operator"),
        (
            lambda: odl.IdentityOperator(odl.cn(3)),
            TypeError,
            "expected a real floating-point domain",
        ),
        (
            lambda: odl.InnerProductOperator(PLANE.one()),
            TypeError,
            "expected a real floating-point range",
        ),
        (
            lambda: odl.IdentityOperator(odl.ProductSpace(odl.rn(2), odl.rn(3))),
            ValueError,
            "expected a domain of parts of equal shape",
        ),
        (
            lambda: odl.IdentityOperator(odl.rn(3, exponent=1.0)),
            ValueError,
            "expected a domain weighted by a number or an array, with exponent 2",
        ),
        (
            lambda: odl.IdentityOperator(odl.rn(3, inner=lambda x, y: 0.0)),
            ValueError,
            "expected a domain weighted by a number or an array",
        ),
    ],
)
def test_refusals(build, error, message):
    with pytest.raises(error, match=message):
        OperatorLayer.from_odl(build())


def test_an_operator_without_adjoint_is_refused():
    class Nothing(odl.Operator):
        def __init__(self):
            super().__init__(odl.rn(2), odl.rn(2), linear=True)

        def _call(self, x):
            return x

    with pytest.raises(TypeError, match="expected one that has an adjoint"):
        OperatorLayer.from_odl(Nothing())


def test_own_maps(rng):
    layer = OperatorLayer(
        lambda x: x.cumsum(-1), lambda y: y.flip(-1).cumsum(-1).flip(-1), (4,), [4]
    )
    forward = matrix_of(layer, (4,), torch.float64)
    torch.testing.assert_close(forward, torch.ones(4, 4, dtype=torch.float64).tril())
    torch.testing.assert_close(matrix_of(layer.adjoint, (4,), torch.float64), forward.T)
    with pytest.raises(TypeError, match="apply_adjoint: expected a callable, got NoneType"):
        OperatorLayer(torch.sin, None, (4,), (4,))
