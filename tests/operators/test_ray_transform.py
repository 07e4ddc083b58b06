"""The ray transform beyond its backends: norms, devices, precisions and derivatives."""

import pytest
import torch
from builders import PLANE, SPACE, DenseOperator, dense_operator
from torch.autograd import forward_ad

from tomolearn.geometry import ConeBeam, CoverageWarning, Grid
from tomolearn.operators import LinearOperator, RayTransform
from tomolearn.operators.backprojection import backproject

CONE = SPACE["cone_circle"]


@pytest.mark.parametrize("name", ["parallel_even", "fan_even", "fan_curved"])
def test_forward_derivative_of_the_back_projection(name, rng):
    grid, scan = PLANE[name]
    A = RayTransform(grid, scan)
    y = torch.randn(2, *scan.shape, dtype=torch.float64, generator=rng)
    expected = backproject(y, grid, scan)
    with forward_ad.dual_level():
        tangent = forward_ad.unpack_dual(A.backproject(forward_ad.make_dual(y, y))).tangent
    torch.testing.assert_close(tangent, expected)
    torch.testing.assert_close(torch.func.jvp(A.backproject, (y,), (y,))[1], expected)
    torch.testing.assert_close(torch.vmap(A.backproject)(y), expected)


class Elsewhere(DenseOperator):
    """An operator that only a GPU computes."""

    def _norm_device(self):
        return torch.device("cuda")


def test_what_is_built_from_a_gpu_operator_needs_the_gpu():
    matrix = dense_operator().matrix.numpy()
    gpu, cpu = Elsewhere(matrix), DenseOperator(matrix)
    assert cpu._norm_device().type == "cpu"
    for operator in (gpu.T, 2 * gpu, gpu @ gpu.T, cpu.T @ gpu, gpu.T @ cpu, gpu + cpu, cpu - gpu):
        assert operator._norm_device().type == "cuda"


@pytest.mark.skipif(torch.cuda.is_available(), reason="says what happens without a GPU")
def test_norm_without_a_gpu_says_who_could():
    A = RayTransform(*CONE, backend="astra")
    with pytest.raises(ValueError, match=r"'astra': .* only on CUDA.* backend='joseph' can"):
        A.norm()


def test_a_smaller_tolerance_is_not_answered_from_memory(monkeypatch):
    asked = []

    def estimate(operator, tolerance, max_iterations):
        asked.append(tolerance)
        return 1.0

    monkeypatch.setattr("tomolearn.operators.base._largest_singular_value", estimate)
    operator = dense_operator()
    for tolerance in (1e-2, 1e-2, 1e-1, 1e-6, 1e-3):
        operator.norm(tolerance=tolerance)
    assert asked == [1e-2, 1e-6]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"tolerance": 0.0}, ValueError, "tolerance: expected a positive number, got 0.0"),
        ({"tolerance": "1"}, TypeError, "tolerance: expected a positive number, got '1'"),
        ({"max_iterations": 0}, ValueError, "max_iterations: expected an integer >= 1, got 0"),
    ],
)
def test_refusals_of_norm(arguments, error, message):
    with pytest.raises(error, match=message):
        dense_operator().norm(**arguments)


def test_any_lower_precision_is_computed_in_float32():
    grid, scan = PLANE["fan_even"]
    A = RayTransform(grid, scan)
    for dtype in (torch.float16, torch.bfloat16, torch.float8_e4m3fn):
        assert A(torch.ones(grid.shape).to(dtype)).dtype == torch.float32
        assert A.backproject(torch.ones(scan.shape).to(dtype)).dtype == torch.float32


class Total(LinearOperator):
    """The sum of three numbers."""

    def __init__(self):
        super().__init__((3,), ())

    def _evaluate(self, x):
        return x.sum(-1)

    def _evaluate_adjoint(self, y):
        return y[:, None].repeat(1, 3)


def test_a_range_without_axes():
    A = Total()
    assert torch.equal(A(torch.ones(2, 4, 3)), torch.full((2, 4), 3.0))
    assert torch.equal(A(torch.ones(3)), torch.tensor(3.0))
    assert torch.equal(A.adjoint(torch.ones(2, 4)), torch.ones(2, 4, 3))
    assert A.norm() == pytest.approx(3**0.5)


def test_warning_for_cone_beams():
    grid = Grid((10, 8, 8))
    RayTransform(
        grid, ConeBeam.covering(grid, 3, source_to_isocenter=18.0, source_to_detector=31.0)
    )
    for shape in ((10, 40), (40, 10)):
        scan = ConeBeam(3, shape, 1.0, 18.0, 31.0)
        with pytest.warns(CoverageWarning, match=r"misses .* ConeBeam.covering\(grid, ...\)"):
            RayTransform(grid, scan)
