"""Finite differences: values, transpose, norm."""

import numpy as np
import pytest
import torch
from builders import matrix_of

from tomolearn.operators import FiniteDifferences

CASES = [
    ((7,), 1.0),
    ((5, 4), 1.0),
    ((4, 6), (0.5, 2.0)),
    ((1, 5), 0.7),
    ((2, 1), (1.0, 3.0)),
    ((1, 1), 1.0),
    ((3, 4, 2), (1.0, 0.7, 2.0)),
]


def reference(shape, spacing):
    """Return the matrix, column by column from the definition."""
    spacing = np.broadcast_to(spacing, len(shape))
    columns = []
    for pixel in np.ndindex(*shape):
        image = np.zeros(shape)
        image[pixel] = 1.0
        parts = [
            np.diff(image, axis=axis, append=image.take([-1], axis=axis)) / spacing[axis]
            for axis in range(len(shape))
        ]
        columns.append(np.stack(parts).ravel())
    return np.stack(columns, axis=1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("shape", "spacing"), CASES)
def test_matrix_and_transpose(shape, spacing, dtype):
    D = FiniteDifferences(shape, spacing)
    expected = torch.from_numpy(reference(shape, spacing))
    tolerance = 1e-6 if dtype == torch.float32 else 1e-15
    forward = matrix_of(D, D.domain_shape, dtype)
    torch.testing.assert_close(forward, expected, rtol=tolerance, atol=0)
    adjoint = matrix_of(D.adjoint, D.range_shape, dtype)
    torch.testing.assert_close(adjoint, expected.T, rtol=tolerance, atol=0)
    assert D.range_shape == (len(shape), *shape)
    assert D.adjoint_is_exact


@pytest.mark.parametrize(("shape", "spacing"), CASES)
def test_norm(shape, spacing):
    norm = np.linalg.norm(reference(shape, spacing), 2)
    assert FiniteDifferences(shape, spacing).norm() == pytest.approx(norm, rel=1e-12, abs=1e-15)
    assert FiniteDifferences(shape, spacing).T.norm() == pytest.approx(norm, rel=1e-12, abs=1e-15)


def test_pairs(rng):
    D = FiniteDifferences((33, 20), (0.7, 1.1))
    x = torch.randn(4, 33, 20, generator=rng)
    y = torch.randn(4, 2, 33, 20, generator=rng)
    gap = (D(x) * y).sum() - (x * D.adjoint(y)).sum()
    assert gap.abs() < 1e-6 * D(x).norm() * y.norm()
    y = torch.rand(4, 2, 33, 20, generator=rng)
    ramp = torch.arange(33.0)[:, None] + torch.arange(20.0)
    in_range, in_domain = (D(ramp) * y).double().sum(), (ramp * D.adjoint(y)).double().sum()
    assert in_domain == pytest.approx(float(in_range), rel=1e-5)


def test_a_constant_has_none_and_a_ramp_its_slope():
    D = FiniteDifferences((4, 5), 0.5)
    assert (D(torch.full((4, 5), 3.0)) == 0).all()
    rows, columns = D(torch.arange(5.0).expand(4, 5))
    assert (rows == 0).all()
    assert (columns[:, :-1] == 2).all()
    assert (columns[:, -1] == 0).all()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((5,), TypeError, "shape: expected a sequence of integers, got 5"),
        (((),), ValueError, "shape: expected at least one axis"),
        (((3, 0),), ValueError, r"shape\[1\]: expected an integer >= 1, got 0"),
        (((3, 2.0),), TypeError, r"shape\[1\]: expected an integer >= 1, got 2.0"),
        (((3, 4), 0.0), ValueError, "spacing: expected a positive number, got 0.0"),
        (((3, 4), (1.0, 2.0, 3.0)), ValueError, "spacing: expected 2 finite numbers"),
        (((3, 4), (1.0, -2.0)), ValueError, r"spacing\[1\]: expected a positive number"),
    ],
)
def test_refusals(arguments, error, message):
    with pytest.raises(error, match=message):
        FiniteDifferences(*arguments)


@pytest.mark.gpu
def test_on_a_gpu(rng):
    D = FiniteDifferences((33, 20), (0.7, 1.1))
    x = torch.randn(4, 33, 20, generator=rng)
    torch.testing.assert_close(D(x.cuda()).cpu(), D(x))
    torch.testing.assert_close(D.adjoint(D(x).cuda()).cpu(), D.adjoint(D(x)))
