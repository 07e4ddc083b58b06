"""Gaussian blur: values of SciPy, transpose, norm."""

import numpy as np
import pytest
import torch
from builders import matrix_of
from scipy.ndimage import gaussian_filter

from tomolearn.operators import GaussianBlur

CASES = [((9,), 1.3), ((5, 7), 0.8), ((6, 4), (2.5, 0.0)), ((3, 4, 2), (1.0, 0.7, 2.0))]
BOUNDARIES = ["reflect", "constant", "wrap"]


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize(("shape", "sigma"), CASES)
def test_matrix_is_that_of_scipy_and_its_transpose(shape, sigma, boundary):
    A = GaussianBlur(shape, sigma, boundary=boundary)
    units = np.eye(int(np.prod(shape))).reshape(-1, *shape)
    columns = [gaussian_filter(unit, sigma, mode=boundary).ravel() for unit in units]
    expected = torch.from_numpy(np.stack(columns, axis=1))
    torch.testing.assert_close(matrix_of(A, shape, torch.float64), expected, rtol=1e-13, atol=1e-15)
    torch.testing.assert_close(
        matrix_of(A.adjoint, shape, torch.float64), expected.T, rtol=1e-13, atol=1e-15
    )
    assert A.norm() == pytest.approx(np.linalg.norm(expected.numpy(), 2), rel=1e-12)


def test_float32_images_of_a_batch(rng):
    x = torch.rand(2, 3, 20, 30, generator=rng)
    found = GaussianBlur((20, 30), 2.0)(x)
    assert found.dtype == torch.float32
    expected = gaussian_filter(x.double().numpy(), (0, 0, 2.0, 2.0))
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-6)


def test_a_constant_stays_where_the_image_goes_on():
    ones = torch.ones(8, 8, dtype=torch.float64)
    torch.testing.assert_close(GaussianBlur((8, 8), 3.0)(ones), ones)
    assert GaussianBlur((8, 8), 3.0, boundary="constant")(ones)[0, 0] < 0.5


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((4, 1.0), "shape: expected a sequence of integers"),
        (((4, 4), -1.0), "sigma: expected a non-negative number"),
        (((4, 4), (1.0, -1.0)), "sigma: expected non-negative numbers"),
        (((4, 4), (1.0,)), "sigma: expected 2 finite numbers"),
    ],
)
def test_wrong_arguments(arguments, words):
    with pytest.raises(ValueError, match=words):
        GaussianBlur(*arguments)


def test_an_unknown_boundary():
    with pytest.raises(ValueError, match="boundary: expected one of reflect, constant, wrap"):
        GaussianBlur((4, 4), 1.0, boundary="mirror")
