"""Bins that are wider than pixels: means of several rays."""

import copy
import math
import pickle

import numpy as np
import pytest
import torch
from builders import PLANE, SPACE, matrix_of

import tomolearn as tl
from tomolearn import FanBeam, Grid, ParallelBeam, RayTransform
from tomolearn.operators.backends import BACKENDS

GRID = Grid((96, 96))


def disc(grid, radius):
    """Return a disc of value 1, pixels at its edge counted by the part that lies within."""
    x, y = (
        c.reshape(s)
        for c, s in zip(grid.refined((960, 960)).coordinates(), ((-1, 1), (1, -1)), strict=True)
    )
    inside = (x**2 + y**2 <= radius**2).astype(float)
    return torch.from_numpy(inside.reshape(96, 10, 96, 10).mean((1, 3)))


def mean_chord(edges, radius):
    """Return the mean of a disc's chords between neighbouring edges, from their integral."""
    s = np.clip(edges / radius, -1, 1)
    integral = radius**2 * (s * np.sqrt(1 - s**2) + np.arcsin(s))
    return np.diff(integral) / np.diff(edges)


@pytest.mark.parametrize("width", [2, 4, 8])
def test_disc_has_the_mean_of_its_chords(width):
    scan = ParallelBeam(7, 96 // width, float(width))
    edges = width * (np.arange(96 // width + 1) - 96 / width / 2)
    expected = torch.from_numpy(mean_chord(edges, 40.0))

    def error(rays):
        found = RayTransform(GRID, scan, rays_per_bin=rays)(disc(GRID, 40.0))
        return float((found - expected).norm() / expected.expand(7, -1).norm())

    # the interpolation between pixels blurs the edge a little, whatever the bins
    assert error(2 * width) < 0.004
    if width > 2:
        assert error(2 * width) < 0.4 * error(1)


@pytest.mark.parametrize("width", [2, 4, 8])
def test_cgls_from_wide_bins(width):
    edges = width * (np.arange(96 // width + 1) - 96 / width / 2)
    row = torch.from_numpy(mean_chord(edges, 40.0))
    scan = ParallelBeam(120, 96 // width, float(width))
    y = row.expand(120, -1).contiguous()
    truth = disc(GRID, 40.0)

    def error(rays):
        A = RayTransform(GRID, scan, rays_per_bin=rays)
        return float((tl.cgls(y, A, iterations=30) - truth).norm() / truth.norm())

    assert error(2 * width) < 0.75 * error(1)


@pytest.mark.parametrize("backend", [name for name in BACKENDS if name != "tomosipo"])
@pytest.mark.parametrize("name", ["parallel_coarse_bins", "fan_even"])
def test_rays_are_those_of_finer_bins(name, backend):
    grid, scan = PLANE[name]
    A = RayTransform.derived(grid, scan, backend, rays_per_bin=3)
    fine = RayTransform.derived(grid, scan.with_columns(3 * scan.shape[-1], 1 / 3, 0.0), backend)
    x = torch.rand(2, *grid.shape)
    expected = fine(x).unflatten(-1, (-1, 3)).mean(-1)
    torch.testing.assert_close(A(x), expected)
    forward = matrix_of(A, A.domain_shape, torch.float32)
    adjoint = matrix_of(A.adjoint, A.range_shape, torch.float32)
    torch.testing.assert_close(adjoint.T, forward, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("case", [*PLANE, *SPACE])
def test_adjoint_is_the_transpose(case, rng):
    A = RayTransform.derived(*{**PLANE, **SPACE}[case], "joseph", rays_per_bin=2)
    x = torch.rand(A.domain_shape, dtype=torch.float64, generator=rng)
    y = torch.rand(A.range_shape, dtype=torch.float64, generator=rng)
    torch.testing.assert_close((A(x) * y).sum(), (x * A.T(y)).sum())


def test_one_ray_is_the_default():
    A = RayTransform(GRID, ParallelBeam(5, 48, 2.0))
    x = torch.rand(96, 96)
    assert torch.equal(A(x), RayTransform(GRID, A.scan, rays_per_bin=1)(x))
    assert "rays_per_bin" not in repr(A)


def test_methods_copies_and_subsets_know_it():
    grid = Grid((16, 16))
    scan = FanBeam(40, 12, 4.0, 60.0, 100.0)
    A = RayTransform.derived(grid, scan, "auto", rays_per_bin=4)
    x = torch.rand(16, 16)
    y = A(x)
    for twin in (copy.deepcopy(A), pickle.loads(pickle.dumps(A))):
        assert twin.rays_per_bin == 4
        assert torch.equal(twin(x), y)
    assert "rays_per_bin=4" in repr(A)
    solved = tl.kaczmarz(y, A, iterations=60)
    assert float((A(solved) - y).norm() / y.norm()) < 0.01
    assert math.isfinite(float(tl.fbp(y, A).norm()))
    torch.testing.assert_close(tl.fbp(y, A), tl.fbp(y, RayTransform.derived(grid, scan, "auto")))


@pytest.mark.parametrize(("rays", "error"), [(0, ValueError), (-1, ValueError), (1.5, TypeError)])
def test_bad_numbers_of_rays(rays, error):
    with pytest.raises(error, match="rays_per_bin: expected"):
        RayTransform(GRID, ParallelBeam(5, 48, 2.0), rays_per_bin=rays)
