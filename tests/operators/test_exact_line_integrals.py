"""Projections against the exact line integrals of ellipses, and against ASTRA's matrix."""

import numpy as np
import pytest
import torch

from data_sim import fan_sinogram, parallel_sinogram, shepp_logan, shepp_logan_ellipses
from tomolearn.geometry import ConeBeam, FanBeam, Grid, ParallelBeam, Views
from tomolearn.operators import RayTransform
from tomolearn.operators.backends.astra import astra_matrix

SIZE = 100.0  # mm
N_ANGLES = 24  # not a multiple of four: no view runs along a row or at 45 degrees
SOURCE = {"source_to_isocenter": 150.0, "source_to_detector": 260.0}


def exact(scan, size):
    ellipses = shepp_logan_ellipses()
    if isinstance(scan, ParallelBeam):
        return parallel_sinogram(
            ellipses, scan.view_angles, scan.detector_positions, half_extent=size / 2
        )
    return fan_sinogram(
        ellipses,
        scan.view_angles,
        scan.detector_positions,
        scan.source_to_isocenter,
        scan.source_to_detector,
        curved=scan.detector == "curved",
        half_extent=size / 2,
    )


def scan_of(name, grid):
    if name == "parallel":
        return ParallelBeam.covering(grid, N_ANGLES - 1)
    return FanBeam.covering(grid, N_ANGLES - 1, detector=name, **SOURCE)


@pytest.mark.parametrize("name", ["parallel", "flat", "curved"])
@pytest.mark.parametrize("backend", ["joseph", "astra"])
def test_error_falls_with_refinement(name, backend):
    if backend == "astra" and name == "curved":
        pytest.skip("ASTRA has no curved detector on a CPU")
    errors = []
    for n in (32, 64, 128, 256):
        grid = Grid((n, n), SIZE / n)
        scan = scan_of(name, grid)
        image = torch.from_numpy(shepp_logan(grid.shape, oversampling=8))
        found = RayTransform(grid, scan, backend=backend)(image).double().numpy()
        expected = exact(scan, SIZE)
        errors.append(np.linalg.norm(found - expected) / np.linalg.norm(expected))
    # Pixels blur edges over their width h. A projection of an ellipse ends like a square root,
    # whose error at the ends is of size h**0.5 over a width of h: order 1 in the mean square.
    orders = np.log2(np.array(errors[:-1]) / errors[1:])
    assert errors[-1] < 0.02
    assert orders.mean() == pytest.approx(1.0, abs=0.3)


@pytest.mark.parametrize(("n", "n_angles"), [(40, 9), (64, 9), (128, 30)])
def test_projection_is_that_of_astras_matrix(n, n_angles, rng):
    grid = Grid((n, n), 1.0)
    scan = ParallelBeam.covering(grid, n_angles)
    noise = torch.rand(n, n, dtype=torch.float64, generator=rng)
    phantom = torch.from_numpy(shepp_logan(grid.shape)).double()
    matrix = astra_matrix(grid, scan)
    A = RayTransform(grid, scan, backend="joseph")
    # ASTRA adds up the steps along a ray in float32, n of them; ours is exact in float64
    tolerance = 2 * n * 2.0**-23
    for image in (phantom, noise):
        theirs = matrix @ image.numpy().ravel()
        ours = A(image).numpy().ravel()
        assert np.linalg.norm(ours - theirs) < tolerance * np.linalg.norm(theirs)


@pytest.mark.parametrize("name", ["circle", "helix", "parallel"])
def test_error_falls_with_refinement_in_space(name):
    scan = ConeBeam(5, (18, 21), 5.0, 150.0, 260.0, pitch=40.0 if name == "helix" else 0.0)
    if name == "parallel":
        views = Views.of(scan)
        source, detector, steps = views.vectors()
        scan = Views((18, 21), detector, steps, direction=detector - source)
    center, radii = np.array([3.0, -6.0, 4.0]), np.array([20.0, 30.0, 24.0])
    points, directions = (a.copy() for a in scan.rays())
    # in units in which the ellipsoid is the unit ball, what a ray has in it is a chord
    p, d = (points - center) / radii, directions / radii
    square, product = (d**2).sum(axis=-1), (p * d).sum(axis=-1)
    half = product**2 - square * ((p**2).sum(axis=-1) - 1)
    exact = 2 * np.sqrt(np.maximum(half, 0)) / square * np.linalg.norm(directions, axis=-1)
    errors = []
    for n in (12, 24, 48):
        fine = Grid((4 * n, 4 * n, 4 * n), 80 / (4 * n))
        axes = np.ix_(*fine.coordinates())
        inside = sum(((a - c) / r) ** 2 for a, c, r in zip(axes, center, radii, strict=True)) <= 1
        volume = inside.reshape(n, 4, n, 4, n, 4).mean(axis=(1, 3, 5))
        A = RayTransform.derived(Grid((n, n, n), 80 / n), scan, "joseph")
        found = A(torch.from_numpy(volume)).numpy()
        errors.append(np.linalg.norm(found - exact) / np.linalg.norm(exact))
    # an edge blurred over the width of a voxel, as in the plane; 48 voxels on 80 mm
    orders = np.log2(np.array(errors[:-1]) / errors[1:])
    assert errors[-1] < 0.04
    assert orders.mean() == pytest.approx(1.0, abs=0.4)
