"""Projections against the exact line integrals of ellipses, and against ASTRA's matrix."""

import numpy as np
import pytest
import torch

from data_sim import fan_sinogram, parallel_sinogram, shepp_logan, shepp_logan_ellipses
from tomolearn.geometry import FanBeam, Grid, ParallelBeam
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
