"""Rings: the data term against dense covariances, filters against algotom itself."""

import copy
import pickle

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter1d

from tomolearn import Grid, ParallelBeam, RayTransform, TomolearnError, tikhonov, total_variation
from tomolearn.measurements import RingOffsets, remove_stripes

VIEWS, BINS = 7, 9
OPERATOR = RayTransform(Grid((6, 6), 1.0), ParallelBeam(VIEWS, BINS, 1.0))


def rough(smooth: float, bins: int = BINS) -> np.ndarray:
    return np.eye(bins) - gaussian_filter1d(np.eye(bins), smooth, axis=0)


def same_in_every_view(bins: int = BINS, views: int = VIEWS) -> np.ndarray:
    return np.tile(np.eye(bins), (views, 1))


def dense(operator) -> np.ndarray:
    size = int(np.prod(operator.domain_shape))
    columns = operator(torch.eye(size, dtype=torch.float64).reshape(-1, *operator.domain_shape))
    return columns.reshape(size, -1).T.numpy()


def test_squares_to_the_inverse_covariance(rng: torch.Generator) -> None:
    weights = torch.rand(VIEWS, BINS, generator=rng, dtype=torch.float64) + 0.1
    matrix = dense(RingOffsets((VIEWS, BINS), 2.0, smooth=3.0, weights=weights))
    ones = same_in_every_view()
    noise = np.diag(1 / weights.numpy().ravel())
    common = 2.0 * ones @ rough(3.0)
    covariance = noise + common @ common.T
    np.testing.assert_allclose(matrix.T @ matrix, np.linalg.inv(covariance), atol=1e-10)


def test_adjoint_and_dead_bins(rng: torch.Generator) -> None:
    weights = torch.rand(VIEWS, BINS, generator=rng, dtype=torch.float64)
    weights[:, 4], weights[2, 5] = 0, 0
    rings = RingOffsets((VIEWS, BINS), weights=weights)
    x, y = (torch.randn(VIEWS, BINS, generator=rng, dtype=torch.float64) for _ in range(2))
    torch.testing.assert_close((rings(x) * y).sum(), (x * rings.adjoint(y)).sum())
    spoilt = torch.where(weights > 0, x, 1e6)
    torch.testing.assert_close(rings(x), rings(spoilt))
    for copied in (copy.deepcopy(rings), pickle.loads(pickle.dumps(rings))):
        torch.testing.assert_close(copied(x), rings(x))


def test_image_and_offsets_are_those_of_the_joint_problem(rng: torch.Generator) -> None:
    """min |A x + H z - y|^2_w + |z / 2|^2 + 0.3 |x|^2 over x and z, solved at once."""
    weights = torch.rand(VIEWS, BINS, generator=rng, dtype=torch.float64) + 0.1
    y = torch.randn(VIEWS, BINS, generator=rng, dtype=torch.float64)
    rings = RingOffsets((VIEWS, BINS), 2.0, smooth=3.0, weights=weights)
    x = tikhonov(rings(y), rings @ OPERATOR, weight=0.3, iterations=200, tolerance=1e-12)
    a, ones, w = dense(OPERATOR), same_in_every_view(), weights.numpy().ravel()
    both = np.hstack([a, ones @ rough(3.0)])
    normal = both.T @ (w[:, None] * both)
    normal[:36, :36] += 0.3 * np.eye(36)
    normal[36:, 36:] += np.eye(BINS) / 2.0**2
    expected = np.linalg.solve(normal, both.T @ (w * y.numpy().ravel()))
    np.testing.assert_allclose(x.ravel(), expected[:36], atol=1e-6)
    offsets = rings.offsets(y - OPERATOR(x))
    np.testing.assert_allclose(offsets, rough(3.0) @ expected[36:], atol=1e-6)


def ringed(rng: np.random.Generator) -> tuple[RayTransform, torch.Tensor, torch.Tensor, np.ndarray]:
    """Operator, image, sinogram and its offsets: a disc aside of the axis and a small one."""
    operator = RayTransform(Grid((64, 64), 1.0), ParallelBeam(120, 91, 1.0))
    rows, columns = (torch.from_numpy(axis) for axis in operator.grid.coordinates())
    image = 0.02 * (torch.hypot(rows[:, None] - 3, columns + 5) < 20).double()
    image += 0.02 * (torch.hypot(rows[:, None] - 8, columns) < 5)
    offsets = np.where(rng.random(91) < 0.2, rng.normal(0, 0.05, 91), 0)
    noise = rng.normal(0, 0.003, operator.range_shape)
    return operator, image, operator(image) + torch.from_numpy(offsets + noise), offsets


def test_rings_are_found_along_with_the_image(numpy_rng: np.random.Generator) -> None:
    operator, image, y, offsets = ringed(numpy_rng)
    rings = RingOffsets(operator.range_shape, 5.0)
    plain = total_variation(y, operator, weight=0.02, iterations=150)
    found = total_variation(rings(y), rings @ operator, weight=0.02, iterations=150)
    assert (found - image).norm() < 0.2 * (plain - image).norm()
    estimate = rings.offsets(y - operator(found)).numpy()
    inside = slice(15, -15)  # where the image is
    assert np.corrcoef(estimate[inside], offsets[inside])[0, 1] > 0.9


def test_filters_are_those_of_algotom(numpy_rng: np.random.Generator) -> None:
    removal = pytest.importorskip("algotom.prep.removal")
    _, _, y, _ = ringed(numpy_rng)
    expected = removal.remove_stripe_based_sorting(y.numpy(), 11)
    np.testing.assert_array_equal(remove_stripes(y.numpy(), "sorting", size=11), expected)
    stack = remove_stripes(torch.stack([y, 2 * y], 1), "sorting", size=11)
    torch.testing.assert_close(stack[:, 0], torch.from_numpy(expected))
    torch.testing.assert_close(stack[:, 1], 2 * stack[:, 0])
    with pytest.raises(TypeError, match="settings: expected those of"):
        remove_stripes(y.numpy(), "sorting", sizes=11)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RingOffsets((3, 4, 5)), "scan_shape: expected"),
        (lambda: RingOffsets((3, 4), 0.0), "size: expected"),
        (lambda: RingOffsets((3, 4), smooth=-1.0), "smooth: expected"),
        (lambda: RingOffsets((3, 4), weights=torch.ones(4, 3)), "weights: expected shape"),
        (lambda: RingOffsets((3, 4), weights=-torch.ones(3, 4)), "weights: expected shape"),
        (lambda: remove_stripes(np.ones((3, 4)), "magic"), "method: expected"),
        (lambda: remove_stripes(np.full((3, 4), np.nan)), "line_integrals: expected finite"),
        (lambda: remove_stripes([[1.0]]), r"numpy\.ndarray"),
    ],
)
def test_what_will_not_do_is_named(make, message: str) -> None:
    with pytest.raises(TomolearnError, match=message):
        make()
