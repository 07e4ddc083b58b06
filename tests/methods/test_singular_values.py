"""Truncation, closed forms and Picard's condition, against NumPy's dense linear algebra."""

import numpy as np
import pytest
import torch
from builders import DenseOperator, matrix_of

import tomolearn as tl
from tomolearn.methods import SingularSystem, singular_system

GRID = tl.Grid((9, 10))
SCAN = tl.ParallelBeam.covering(GRID, 12)


@pytest.fixture(scope="module")
def operator():
    return tl.RayTransform(GRID, SCAN)


@pytest.fixture(scope="module")
def matrix(operator):
    return matrix_of(operator, GRID.shape, torch.float64).numpy()


def test_decomposition_is_that_of_the_matrix(operator, matrix):
    system = singular_system(operator)
    left, right = system.left.flatten(1).numpy(), system.right.flatten(1).numpy()
    np.testing.assert_allclose((left.T * system.values.numpy()) @ right, matrix, atol=1e-12)
    np.testing.assert_allclose(left @ left.T, np.eye(len(left)), atol=1e-12)
    assert singular_system(operator) is system
    assert singular_system(tl.RayTransform(GRID, SCAN)) is not system
    assert system.rank == np.linalg.matrix_rank(matrix)


@pytest.mark.parametrize("threshold", [0.3, 0.05])
def test_truncation_is_the_pseudo_inverse_with_a_cutoff(operator, matrix, threshold, rng):
    y = torch.randn(2, 3, *operator.range_shape, generator=rng, dtype=torch.float64)
    found = tl.tsvd(y, operator, threshold=threshold)
    inverse = np.linalg.pinv(matrix, rcond=threshold)
    expected = y.flatten(2).numpy() @ inverse.T
    np.testing.assert_allclose(found.flatten(2).numpy(), expected, atol=1e-11)
    single = tl.tsvd(y.float(), operator, threshold=threshold)
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), found, rtol=1e-4, atol=1e-5)


def test_rank_limits_the_singular_values(operator, rng):
    y = torch.randn(operator.range_shape, generator=rng, dtype=torch.float64)
    images = torch.stack([tl.tsvd(y, operator, rank=k) for k in range(1, 9)])
    assert int(torch.linalg.matrix_rank(images.flatten(1))) == 8
    assert torch.equal(tl.tsvd(y, operator, rank=10**6), tl.tsvd(y, operator))


def test_closed_form_of_tikhonov_is_that_of_the_method(operator, matrix, rng):
    y = torch.randn(2, *operator.range_shape, generator=rng, dtype=torch.float64)
    found = singular_system(operator).tikhonov(y, weight=0.7)
    normal = matrix.T @ matrix + 0.7 * np.eye(matrix.shape[1])
    expected = np.linalg.solve(normal, matrix.T @ y.flatten(1).numpy().T).T
    np.testing.assert_allclose(found.flatten(1).numpy(), expected, atol=1e-12)
    iterated = tl.tikhonov(y, operator, weight=0.7, iterations=200)
    torch.testing.assert_close(found, iterated, rtol=0, atol=1e-6)


def test_operators_without_full_rank_have_the_solution_of_least_norm(numpy_rng):
    low = numpy_rng.standard_normal((6, 2)) @ numpy_rng.standard_normal((2, 9))
    A = DenseOperator(low)
    y = torch.from_numpy(numpy_rng.standard_normal(6))
    system = singular_system(A)
    assert system.rank == 2
    np.testing.assert_allclose(system.truncated(y).numpy(), np.linalg.pinv(low) @ y.numpy())
    assert len(system.picard(y).singular_values) == 2


def decaying(n=400):
    """A diagonal system whose data fall as s_i^2 and are below noise of 1e-4 from a known place."""
    values = torch.logspace(0, -6, n, dtype=torch.float64)
    basis = torch.eye(n, dtype=torch.float64)
    return SingularSystem(values, basis, basis), values.square()


def test_picard_finds_where_noise_takes_over(rng):
    system, clean = decaying()
    place = int((clean > 1e-4).sum())
    noise = 1e-4 * torch.randn(clean.shape, generator=rng, dtype=torch.float64)
    for picard in (system.picard(clean + noise), system.picard(clean + noise, noise_level=1e-4)):
        assert picard.noise_level == pytest.approx(1e-4, rel=0.3)
        assert abs(picard.fails_from - place) <= 8
    torch.testing.assert_close(picard.projections, (clean + noise).abs())
    torch.testing.assert_close(picard.coefficients, (clean + noise).abs() / system.values)
    assert system.picard(clean, noise_level=0.0).fails_from is None
    axes = picard.figure().axes[0]
    assert {line.get_label() for line in axes.lines} >= {"$s_i$", f"noise from {picard.fails_from}"}


def test_picard_knows_the_noise_of_what_no_image_explains(operator, rng):
    x = torch.rand(GRID.shape, generator=rng, dtype=torch.float64)
    noise = 0.3 * torch.randn(operator.range_shape, generator=rng, dtype=torch.float64)
    assert singular_system(operator).picard(operator(x) + noise).noise_level == pytest.approx(
        0.3, rel=0.2
    )


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (
            lambda A, y: tl.tsvd(
                torch.zeros(4, 97), tl.RayTransform(tl.Grid((65, 64)), tl.ParallelBeam(4, 97, 1.0))
            ),
            r"operator: expected at most 4096 pixels .* got 4160 pixels .* GB; tikhonov and cgls",
        ),
        (lambda A, y: tl.tsvd(y, A, rank=0), "rank: expected an integer >= 1"),
        (lambda A, y: tl.tsvd(y, A, threshold=2.0), r"threshold: expected a number in \(0, 1\]"),
        (lambda A, y: tl.tsvd(y[:3], A), r"sinogram: expected shape"),
        (lambda A, y: singular_system(A).tikhonov(y, weight=0.0), "weight: expected a positive"),
        (lambda A, y: singular_system(A).picard(y[None]), "sinogram: expected one of shape"),
        (lambda A, y: singular_system(y), "operator: expected a LinearOperator"),
    ],
)
def test_errors(operator, call, match):
    with pytest.raises(ValueError, match=match):
        call(operator, torch.zeros(operator.range_shape))
