"""Low-dose scans of a slice: that they are scans of it, and where errors are measured."""

import numpy as np
import pytest
import torch

from tomolearn.dicom import MU_WATER_PER_MM, CTSlice
from tomolearn.evaluation.low_dose import Settings, simulate, within_border


@pytest.fixture
def disc() -> CTSlice:
    """Water in a disc of 30 mm within air, with pixels that are not square."""
    rows = (np.arange(60) - 29.5)[:, None] * 0.8
    columns = (np.arange(50) - 24.5) * 0.9
    inside = rows**2 + columns**2 < 15**2
    image = np.where(inside, 0, -1000).astype(np.float32)
    return CTSlice(image, (0.8, 0.9), np.zeros((60, 50), bool))


def test_simulated_scan_is_that_of_the_slice(disc: CTSlice) -> None:
    measurement = simulate(disc, Settings(16, 1e12, 0.0, 0, 1.0, 1))
    scan = measurement.operator.scan
    rays = measurement.sinogram.double().numpy()
    # The central ray crosses 30 mm of water, in the middle of the detector.
    middle = rays.shape[1] // 2
    np.testing.assert_allclose(rays[:, middle], 30 * MU_WATER_PER_MM, rtol=0.05)
    points, directions = scan.rays()
    cross = points[..., 0] * directions[..., 1] - points[..., 1] * directions[..., 0]
    chord = 2 * np.sqrt(np.maximum(15**2 - cross**2, 0))
    # staircase of the disc's edge: its pixels are 0.8 mm
    assert np.abs(rays - MU_WATER_PER_MM * chord).mean() < 0.5 * 0.8 * MU_WATER_PER_MM
    # The operator that reconstructs did not make the data: it alone would fit them to rounding.
    misfit = (measurement.operator(measurement.truth) - measurement.sinogram).abs().max()
    assert misfit > 1e-3 * measurement.sinogram.max()


def test_within_border() -> None:
    image = np.arange(100).reshape(10, 10)
    np.testing.assert_array_equal(within_border(image), [[44, 45], [54, 55]])
    assert within_border(torch.from_numpy(image)).tolist() == [[44, 45], [54, 55]]
