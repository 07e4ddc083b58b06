"""Total variation against closed forms, an independent solver and its own duality gap."""

import numpy as np
import pytest
import torch
from builders import DenseOperator
from scipy.optimize import minimize

from tomolearn import Grid, ParallelBeam, RayTransform
from tomolearn.methods import History, photon_tv_weight, total_variation
from tomolearn.priors import TotalVariation

STEPS = 1500


def identity(*shape):
    size = int(np.prod(shape))
    return DenseOperator(np.eye(size), shape, shape)


def test_two_pixels():
    # (a - 1)**2 + (b - 5)**2 + w |b - a|: both move by w / 2 until they meet
    y = torch.tensor([[1.0, 5.0]], dtype=torch.float64)
    for weight, expected in ((0.0, [1, 5]), (1.0, [1.5, 4.5]), (4.0, [3, 3]), (9.0, [3, 3])):
        x = total_variation(y, identity(1, 2), weight=weight, iterations=STEPS)
        np.testing.assert_allclose(x.numpy()[0], expected, atol=1e-6)


def test_a_bright_square_shrinks_in_contrast_by_its_perimeter():
    # in one dimension: plateau of 4 pixels with 2 edges loses 2 w / (2 * 4), the rest gains
    y = torch.zeros(12, dtype=torch.float64)
    y[4:8] = 1.0
    x = total_variation(y, identity(12), weight=0.4, iterations=STEPS).numpy()
    np.testing.assert_allclose(x[4:8], 1 - 0.4 * 2 / (2 * 4), atol=1e-6)
    np.testing.assert_allclose(x[:4], 0.4 / (2 * 4), atol=1e-6)


def objective(x, matrix, y, weight, shape, smoothing=0.0):
    """Value and gradient, the lengths of the differences rounded off near zero."""
    image = x.reshape(shape)
    differences = [
        np.diff(image, axis=k, append=np.take(image, [-1], axis=k)) for k in range(len(shape))
    ]
    lengths = np.sqrt(sum(d**2 for d in differences) + smoothing**2)
    residual = matrix @ x - y
    gradient = 2 * matrix.T @ residual
    with np.errstate(invalid="ignore"):
        parts = [np.where(lengths > 0, d / lengths, 0) for d in differences]
    total = np.zeros(shape)
    for k, part in enumerate(parts):
        # the last difference is zero, so rolling it to the front adds nothing
        total += np.roll(part, 1, axis=k) - part
    return residual @ residual + weight * lengths.sum(), gradient + weight * total.ravel()


@pytest.mark.parametrize("nonnegative", [False, True])
@pytest.mark.parametrize("shape", [(5, 4), (3, 2, 3), (7,)])
def test_equals_smooth_minimisation(shape, nonnegative):
    rng = np.random.default_rng(4)
    size = int(np.prod(shape))
    matrix = rng.standard_normal((size + 4, size))
    truth = np.where(rng.random(size) > 0.5, 1.0, -0.5)
    y = matrix @ truth + 0.3 * rng.standard_normal(size + 4)
    weight = 2.0
    history = History(every=STEPS)
    x = total_variation(
        torch.from_numpy(y),
        DenseOperator(matrix, shape, (size + 4,)),
        weight=weight,
        iterations=STEPS,
        nonnegative=nonnegative,
        callback=history,
    )
    start = np.zeros(size)
    for smoothing in 10.0 ** np.arange(-1, -8, -1):
        found = minimize(
            objective,
            start,
            (matrix, y, weight, shape, smoothing),
            jac=True,
            method="L-BFGS-B",
            bounds=[(0 if nonnegative else None, None)] * size,
            options={"maxiter": 5000, "maxfun": 20000, "ftol": 1e-15, "gtol": 1e-10},
        )
        start = found.x
    ours = objective(x.numpy().ravel(), matrix, y, weight, shape)[0]
    theirs = objective(start, matrix, y, weight, shape)[0]
    state = history.states[-1]
    assert state.objective.item() == pytest.approx(ours, rel=1e-9)
    # ours is lower or equal, and the gap says so without knowing theirs
    assert ours <= theirs * (1 + 1e-8)
    assert ours == pytest.approx(theirs, rel=1e-4)
    assert abs(state.gap.item()) < 1e-6 * ours
    np.testing.assert_allclose(x.numpy().ravel(), start, atol=5e-3)
    assert (x >= 0).all() == nonnegative


@pytest.fixture(scope="module")
def problem():
    grid = Grid((24, 24))
    operator = RayTransform(grid, ParallelBeam.covering(grid, 12))
    rng = torch.Generator().manual_seed(3)
    x = torch.zeros(24, 24)
    x[6:15, 8:20] = 1
    y = operator(x)
    return operator, y + 0.2 * torch.randn(y.shape, generator=rng)


def test_gap_bounds_the_distance_from_the_minimum(problem):
    operator, y = problem
    history = History(every=20)
    total_variation(y.double(), operator, weight=1.0, iterations=2000, callback=history)
    objectives, gaps = (
        np.array([float(getattr(state, name)) for state in history.states])
        for name in ("objective", "gap")
    )
    least = objectives.min()
    assert gaps[-1] < 1e-4 * least
    # the bound holds once the image's norm has reached that of the solution
    late = slice(5, None)
    assert (objectives[late] - least <= gaps[late] + 1e-7 * least).all()
    # it falls by orders of magnitude, and so fast
    assert gaps[20] < 3e-3 * least


def test_iterates_follow_the_data_scale(problem):
    operator, y = problem
    images = [
        total_variation(2.0**k * y, operator, weight=2.0**k, iterations=30) / 2.0**k
        for k in (0, 12, -12)
    ]
    torch.testing.assert_close(images[1], images[0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(images[2], images[0], rtol=1e-4, atol=1e-5)


def test_solution_does_not_depend_on_the_start(problem):
    operator, y = problem
    zero = total_variation(y, operator, weight=1.0, tolerance=1e-4, iterations=3000)
    other = total_variation(
        y, operator, weight=1.0, tolerance=1e-4, iterations=3000, x0=torch.full((24, 24), 3.0)
    )
    torch.testing.assert_close(zero, other, rtol=0, atol=5e-3)


def test_extreme_weights(problem):
    operator, y = problem
    flat = total_variation(y, operator, weight=1e4, iterations=3000)
    assert float(flat.std()) < 1e-3
    # the best constant
    ones = operator(torch.ones(24, 24))
    assert float(flat.mean()) == pytest.approx(float((y * ones).sum() / ones.square().sum()), 1e-3)
    assert (total_variation(torch.zeros_like(y), operator, weight=1.0, iterations=5) == 0).all()


def test_no_weight_is_least_squares():
    rng = np.random.default_rng(2)
    matrix = rng.standard_normal((30, 12))
    y = rng.standard_normal(30)
    operator = DenseOperator(matrix, (3, 4), (30,))
    x = total_variation(torch.from_numpy(y), operator, weight=0.0, iterations=1000)
    expected = np.linalg.lstsq(matrix, y, rcond=None)[0]
    np.testing.assert_allclose(x.numpy().ravel(), expected, atol=1e-5)


def test_errors(problem):
    operator, y = problem
    with pytest.raises(ValueError, match="weight: expected a non-negative number, got -2"):
        total_variation(y, operator, weight=-2.0)
    with pytest.raises(ValueError, match="weight: expected a number for tv without photon noise"):
        total_variation(y, operator, weight=None)
    with pytest.raises(ValueError, match="operator: expected one that is not zero"):
        total_variation(torch.ones(3), DenseOperator(np.zeros((3, 2))), weight=1.0)


def vertical_edge_of(spacing, along):
    """An operator that sees an image on pixels of this size, and a step along one axis."""
    grid = Grid((6, 6), spacing)
    y = torch.zeros(grid.shape, dtype=torch.float64)
    (y if along == 0 else y.T)[:3] = 1.0
    operator = identity(6, 6)
    return operator, y, grid


@pytest.mark.parametrize("spacing", [(1.0, 1.0), (2.0, 1.0), (0.5, 3.0)])
@pytest.mark.parametrize("along", [0, 1])
def test_edges_cost_their_length_whatever_the_pixels_aspect(spacing, along):
    operator, y, grid = vertical_edge_of(spacing, along)
    weight = 0.3
    x = total_variation(y, operator, weight=weight, spacing=spacing, iterations=STEPS)
    # per edge pixel, differences across the edge over their distance in mean pixels
    cost = weight * np.sqrt(np.prod(grid.spacing)) / grid.spacing[along]
    inside = (x if along == 0 else x.T)[:3]
    # three pixels on each side of the edge share it
    np.testing.assert_allclose(inside.numpy(), 1 - cost / (2 * 3), atol=3e-4)


@pytest.mark.parametrize(
    "grid", [Grid((7, 6), (2.0, 0.5)), Grid((3, 4, 5), (2.5, 1.0, 0.7)), Grid((5, 1), (1, 3))]
)
def test_objective_counts_physical_distances(grid):
    # the integral of the gradient's length is that of the pixels' size times the sum
    rng = np.random.default_rng(5)
    image = rng.standard_normal(grid.shape)
    slopes = [
        np.diff(image, axis=k, append=np.take(image, [-1], axis=k)) / step
        for k, step in enumerate(grid.spacing)
    ]
    integral = np.sqrt(sum(slope**2 for slope in slopes)).sum() * np.prod(grid.spacing)
    ndim = len(grid.shape)
    edge = np.prod(grid.spacing) ** ((ndim - 1) / ndim)  # the area of a face of a mean pixel
    prior = TotalVariation(ndim=ndim, spacing=grid.spacing)
    value = prior.value(torch.from_numpy(image)).item()
    assert value == pytest.approx(integral / edge, rel=1e-12)
    states = []
    operator = identity(*grid.shape)
    options = {"weight": 0.4, "spacing": grid.spacing, "iterations": 1}
    x0 = torch.from_numpy(image)
    total_variation(0 * x0, operator, x0=x0, callback=states.append, **options)
    expected = image.ravel() @ image.ravel() + 0.4 * integral / edge
    assert states[0].objective.item() == pytest.approx(expected, rel=1e-12)


def test_spacing_is_that_of_the_operators_grid():
    grid = Grid((8, 10), (2.0, 1.0))
    operator = RayTransform(grid, ParallelBeam.covering(grid, 9))
    y = operator(torch.rand(grid.shape, dtype=torch.float64))
    options = {"weight": 0.5, "iterations": 40}
    x = total_variation(y, operator, **options)
    for same in (operator, 2.0 * (0.5 * operator)):
        found = total_variation(y, same, spacing=(4.0, 2.0), **options)
        torch.testing.assert_close(total_variation(y, same, **options), x, rtol=1e-6, atol=1e-8)
        torch.testing.assert_close(found, x, rtol=1e-6, atol=1e-8)
    square = total_variation(y, operator, spacing=1.0, **options)
    assert (square - x).abs().max() > 1e-3
    with pytest.raises(ValueError, match="spacing"):
        total_variation(y, operator, spacing=(1.0, 2.0, 3.0), **options)


def test_proximal_map_with_spacing_is_the_method():
    spacing = (2.0, 0.5)
    image = torch.rand(9, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    ours = TotalVariation(spacing=spacing, tolerance=1e-6, max_iterations=20000)
    # ||x - y||^2 / 2 + t TV(x) is half of the method's objective with weight 2 t
    x = total_variation(image, identity(9, 8), weight=0.2, spacing=spacing, iterations=STEPS)
    torch.testing.assert_close(ours.proximal(image, 0.1), x, rtol=0, atol=3e-4)


@pytest.mark.parametrize("spacing", [1.0, (2.0, 1.0)])
@pytest.mark.parametrize("shape", [(1, 1), (1, 6), (6, 1)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_images_without_neighbours(shape, spacing, dtype):
    y = torch.full((2, *shape), 2.0, dtype=dtype)
    x = total_variation(y, identity(*shape), weight=0.7, spacing=spacing, iterations=STEPS)
    torch.testing.assert_close(x, y, rtol=1e-5, atol=1e-5)


def test_each_image_has_the_weight_of_its_photons(problem):
    operator, y = problem
    data = torch.stack([0.05 * y, 0.02 * y])[None].clamp(min=0)
    weight = photon_tv_weight(data, operator, photons=1e4)
    assert weight.shape == (1, 2)
    options = {"iterations": 60, "nonnegative": True}
    x = total_variation(data, operator, weight=weight, **options)
    assert x.dtype == data.dtype
    for k in range(2):
        alone = total_variation(data[0, k], operator, weight=float(weight[0, k]), **options)
        torch.testing.assert_close(x[0, k], alone, rtol=1e-4, atol=1e-6)
    # of one sinogram it is a tensor without dimensions
    one = photon_tv_weight(data[0, 0], operator, photons=1e4)
    torch.testing.assert_close(
        total_variation(data[0, 0], operator, weight=one, **options), x[0, 0], rtol=1e-4, atol=1e-6
    )
    with pytest.raises(ValueError, match=r"weight: .* shape \(1, 2\) .*, got shape \(2,\)"):
        total_variation(data, operator, weight=weight[0])
    with pytest.raises(ValueError, match="weight: expected positive numbers"):
        total_variation(data, operator, weight=-weight)
