"""The pixel-driven back-projection, against a loop over pixels that knows only vectors."""

import math

import numpy as np
import pytest
import torch
from builders import ANISOTROPIC, PLANE, SPACE

from tomolearn.geometry import ConeBeam, FanBeam, Grid, ParallelBeam, Scan
from tomolearn.operators import RayTransform
from tomolearn.operators.backends.joseph.space import ColumnProjector
from tomolearn.operators.backprojection import backproject

ALL = {**PLANE, **SPACE}


def interpolate(view: np.ndarray, *indices: float) -> float:
    """(Bi)linear interpolation of an array that is zero outside."""
    lows = [math.floor(index) for index in indices]
    total = 0.0
    for corner in np.ndindex(*(2,) * len(indices)):
        bins = tuple(low + step for low, step in zip(lows, corner, strict=True))
        if all(0 <= b < n for b, n in zip(bins, view.shape, strict=True)):
            share = math.prod(1 - abs(i - b) for i, b in zip(indices, bins, strict=True))
            total += share * view[bins]
    return total


def sample(scan: Scan, view: int, data: np.ndarray, point: np.ndarray) -> float:
    """Weighted value that one view gives to a point, by intersecting lines and planes."""
    if scan.is_curved:
        angle = scan.view_angles[view]
        source = scan.source_to_isocenter * np.array([math.sin(angle), -math.cos(angle)])
        ray = point[-2:] - source
        direction = -source / np.linalg.norm(source)
        turned = direction[1] * ray[0] - direction[0] * ray[1]
        position = scan.source_to_detector * math.atan2(turned, direction @ ray)
        indices = [(position - scan.column_positions[0]) / scan.bin_sizes[-1]]
        if scan.ndim == 3:
            height = (point[0] - scan.sources()[view, 0]) / np.linalg.norm(ray)
            height = height * scan.source_to_detector - scan.detector_positions[0][0]
            indices.insert(0, height / scan.bin_sizes[0])
        return interpolate(data, *indices) * scan.source_to_isocenter**2 / (ray @ ray)
    vectors = scan.vectors()
    start, middle = vectors.source[view], vectors.detector[view]
    steps = np.stack([step[view] for step in vectors.steps])

    def meet(start, ray):
        """Return s and the bins k of start + s ray = middle + steps.T k."""
        s, *bins = np.linalg.solve(np.column_stack([ray, -steps.T]), middle - start)
        return s, [k + (n - 1) / 2 for k, n in zip(bins, scan.detector_shape, strict=True)]

    if scan.is_parallel:
        return interpolate(data, *meet(point, start)[1])
    magnification, indices = meet(start, point - start)
    if magnification <= 0:
        return 0.0
    return interpolate(data, *indices) * (magnification / meet(start, -start)[0]) ** 2


def slow(sinogram: np.ndarray, grid: Grid, scan: Scan) -> np.ndarray:
    image = np.zeros(grid.shape)
    axes = grid.coordinates()
    for pixel in np.ndindex(*grid.shape):
        point = np.array([axis[k] for axis, k in zip(axes, pixel, strict=True)])
        image[pixel] = sum(sample(scan, v, sinogram[v], point) for v in range(scan.n_angles))
    return image


@pytest.mark.parametrize("name", ALL)
def test_equals_loop_over_pixels(name, numpy_rng):
    grid, scan = ALL[name]
    sinogram = numpy_rng.standard_normal(scan.shape)
    expected = slow(sinogram, grid, scan)
    got = backproject(torch.from_numpy(sinogram), grid, scan).numpy()
    # in view of positions in float64 of up to 40 bins
    np.testing.assert_allclose(got, expected, rtol=1e-10, atol=1e-10 * np.abs(expected).max())
    single = backproject(torch.from_numpy(sinogram).float(), grid, scan)
    assert single.dtype == torch.float32
    np.testing.assert_allclose(single.numpy(), expected, atol=1e-4 * max(1, np.abs(expected).max()))


@pytest.mark.parametrize("name", SPACE)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_kernels_in_space_equal_torch(name, dtype, rng):
    grid, scan = SPACE[name]
    A = RayTransform.derived(grid, scan, "joseph")
    # four at once, and one
    y = torch.randn(5, *scan.shape, dtype=dtype, generator=rng)
    expected = backproject(y.double(), grid, scan)
    # positions of up to 40 bins in single precision
    tolerance = (1e-5 if dtype == torch.float32 else 1e-11) * float(expected.abs().max())
    found = A.backproject(y)
    assert found.dtype == dtype
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=tolerance)


def test_which_scans_in_space_have_fast_kernels():
    slow_ones = {"cone_steep", "views_cone", "views_parallel_space"}
    for name, (grid, scan) in SPACE.items():
        assert ColumnProjector.supports(grid, scan) == (name not in slow_ones), name


def test_pixels_behind_and_at_the_source_get_finite_values():
    grid = Grid((21, 21))
    for scan in (
        FanBeam(8, 15, 1.0, 5.0, 9.0, start_angle=-math.pi / 8),
        FanBeam(8, 15, 1.0, 5.0, 9.0, start_angle=-math.pi / 8, detector="curved"),
    ):
        assert torch.isfinite(backproject(torch.ones(scan.shape), grid, scan)).all()


@pytest.mark.parametrize("name", ["parallel_shifted_grid", "fan_curved", "fan_wide", "cone_helix"])
def test_is_linear_with_exact_derivative(name, rng):
    grid, scan = ALL[name]
    y = torch.randn(2, *scan.shape, dtype=torch.float64, generator=rng, requires_grad=True)
    x = torch.randn(2, *grid.shape, dtype=torch.float64, generator=rng, requires_grad=True)
    value = (backproject(y, grid, scan) * x).sum()
    (gradient,) = torch.autograd.grad(value, y, create_graph=True)
    torch.testing.assert_close((gradient * y).sum(), value, rtol=1e-12, atol=0)
    # and a second time: the derivative of the derivative in x is the back-projection
    (again,) = torch.autograd.grad((gradient * y.detach()).sum(), x)
    torch.testing.assert_close(again, backproject(y, grid, scan).detach(), rtol=1e-12, atol=1e-12)


def test_volumes_are_cut_into_chunks_without_a_seam(monkeypatch, rng):
    grid, scan = SPACE["cone_circle"]
    y = torch.randn(scan.shape, generator=rng, dtype=torch.float64)
    whole = backproject(y, grid, scan)
    monkeypatch.setattr("tomolearn.operators.backprojection._CHUNK_PIXELS", 50)
    torch.testing.assert_close(backproject(y, grid, scan), whole, rtol=0, atol=0)


def test_leading_dimensions_and_half_precision(rng):
    grid, scan = PLANE["fan_even"]
    y = torch.randn(2, 3, *scan.shape, generator=rng)
    images = backproject(y, grid, scan)
    assert images.shape == (2, 3, *grid.shape)
    torch.testing.assert_close(images[1, 2], backproject(y[1, 2], grid, scan))
    assert backproject(y.half(), grid, scan).dtype == torch.float32
    assert backproject(y[:0], grid, scan).shape == (0, 3, *grid.shape)


def test_errors():
    grid, scan = PLANE["fan_even"]
    with pytest.raises(ValueError, match=r"expected shape \(\.\.\., 7, \d+\), got \(2, 2\)"):
        backproject(torch.ones(2, 2), grid, scan)
    with pytest.raises(TypeError, match="real floating-point"):
        backproject(torch.ones(scan.shape, dtype=torch.int32), grid, scan)
    with pytest.raises(TypeError, match="scan: expected a scan such as ParallelBeam"):
        backproject(torch.ones(2, 2), grid, "fan")
    with pytest.raises(ValueError, match="grid: expected 3 axes for a ConeBeam"):
        backproject(torch.ones(2, 2), grid, ConeBeam(3, (2, 2), 1.0, 10.0, 20.0))


def test_weights_fall_with_the_distance_from_the_source():
    # one view from below: the pixel at the axis has weight one, the one nearer the source more
    scan = FanBeam(1, 101, 1.0, 10.0, 20.0, start_angle=-math.pi)
    column = backproject(torch.ones(scan.shape, dtype=torch.float64), Grid((1, 9)), scan)[0]
    distances = 10.0 + np.arange(-4, 5)
    np.testing.assert_allclose(column.numpy(), (10 / distances) ** 2, rtol=1e-12)


def test_anisotropic_pixels_are_where_the_grid_says():
    scan = ParallelBeam(None, 401, 0.05, angles=[0.0])
    positions = torch.from_numpy(scan.detector_positions)[None]
    image = backproject(positions, ANISOTROPIC, scan)
    np.testing.assert_allclose(
        image.numpy(), np.repeat(ANISOTROPIC.coordinates()[0][:, None], 10, 1), atol=1e-12
    )
