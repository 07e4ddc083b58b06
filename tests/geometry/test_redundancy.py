"""Weights of views and rays, against what they have to add up to."""

import math

import numpy as np
import pytest

from tomolearn.geometry import FanBeam, ParallelBeam
from tomolearn.geometry.redundancy import (
    angular_cells,
    is_full_turn,
    missing_bins,
    offset_weights,
    parker_weights,
)

TURN = 2 * math.pi
GOLDEN = math.pi * (math.sqrt(5) - 1) / 2


def parallel(angles, **options):
    return ParallelBeam(None, 9, 1.0, angles=angles, **options)


@pytest.mark.parametrize(
    "angles",
    [
        np.arange(7) * math.pi / 7,
        np.linspace(0, math.pi, 8),
        np.linspace(0, TURN, 8, endpoint=False),
        np.linspace(0, TURN, 9, endpoint=False),
        -3 - np.arange(50) * GOLDEN,
        [0.3],
        [0.3, 0.3 + math.pi],
        [0.0, math.pi - 1e-16, 1.0, 2.0],
        [0.2, 1.9, 0.7, 2.6, 1.2],
    ],
)
def test_cells_fill_the_half_circle(angles):
    cells = angular_cells(parallel(angles), math.pi)
    assert cells.widths.sum() == pytest.approx(math.pi, rel=1e-12)
    assert cells.length == math.pi
    assert (cells.widths > 0).all()


def test_cells_end_half_way_to_the_neighbours():
    cells = angular_cells(parallel([2.0, 0.5, 1.0, 2.5]), math.pi)
    wrap = (math.pi - 2.0) / 2
    np.testing.assert_allclose(cells.widths, [0.75, wrap + 0.25, 0.75, wrap + 0.25])


def test_views_of_one_direction_share_their_cell():
    angles = [0.0, 1.0, 2.0, 1.0 + math.pi, 1.0 - math.pi]
    widths = angular_cells(parallel(angles), math.pi).widths
    np.testing.assert_allclose(widths[[1, 3, 4]], 1 / 3)
    # also across the seam of the circle
    widths = angular_cells(parallel([0.0, math.pi - 1e-15, 1.0, 2.0]), math.pi).widths
    assert widths[0] == pytest.approx(widths[1])


def test_a_wedge_that_was_not_scanned_stays_empty():
    angles = np.array([0.3, 0.1, 0.2, 0.0]) + 3.0
    cells = angular_cells(parallel(angles), math.pi)
    np.testing.assert_allclose(cells.widths, 0.1)
    assert cells.start == pytest.approx(2.95)
    assert cells.length == pytest.approx(0.4)
    scan = ParallelBeam(4, 9, 1.0, angular_range=1.2, start_angle=0.5)
    cells = angular_cells(scan, math.pi)
    np.testing.assert_allclose(cells.widths, 0.3)
    assert (cells.start, cells.length) == (0.5, 1.2)


def test_full_turn():
    assert is_full_turn(FanBeam(9, 5, 1.0, 10.0, 20.0))
    assert is_full_turn(FanBeam(9, 5, 1.0, 10.0, 20.0, angular_range=7.0))
    assert is_full_turn(FanBeam(None, 5, 1.0, 10.0, 20.0, angles=np.arange(40) * 2 * GOLDEN))
    assert not is_full_turn(FanBeam(9, 5, 1.0, 10.0, 20.0, angular_range=6.0))
    assert not is_full_turn(FanBeam(None, 5, 1.0, 10.0, 20.0, angles=np.linspace(0, 4, 50)))


@pytest.mark.parametrize("excess", [0.0, 0.2, 1.0, 2.2])
def test_parker_weights_of_a_line_add_up_to_one(excess, numpy_rng):
    fan = 0.4
    length = min(math.pi + 2 * fan + excess, TURN)
    angle = numpy_rng.uniform(0, length, 2000)
    gamma = numpy_rng.uniform(-fan, fan, 2000)

    def weight(t, g):
        t = np.mod(t, TURN)
        pairs = zip(t, g, strict=True)
        values = [parker_weights(np.array([a + 5.0]), np.array([b]), 5.0, length) for a, b in pairs]
        return np.where(t <= length, np.ravel(values), 0.0)

    total = weight(angle, gamma) + weight(angle - 2 * gamma + math.pi, -gamma)
    np.testing.assert_allclose(total, 1, atol=1e-9)


def test_parker_weights_are_the_published_ones_at_minimal_length():
    fan = 0.35
    gamma = np.linspace(-fan, fan, 21)[1:-1]
    length = math.pi + 2 * fan
    t = np.linspace(0, length, 301)[:, None]
    # with this package's sign of the fan angle
    first = np.sin(math.pi / 4 * t / (fan + gamma)) ** 2
    last = np.sin(math.pi / 4 * (math.pi + 2 * fan - t) / (fan - gamma)) ** 2
    expected = np.where(t < 2 * (fan + gamma), first, np.where(t < math.pi + 2 * gamma, 1, last))
    got = parker_weights(t[:-1, 0], gamma, 0.0, length)
    np.testing.assert_allclose(got, expected[:-1], atol=1e-12)


def test_offset_weights_of_a_line_add_up_to_one():
    scan = ParallelBeam(8, 20, 1.0, angular_range=TURN, detector_offset=6.0)
    assert missing_bins(scan) == 12
    weights, positions = offset_weights(scan), scan.detector_positions
    np.testing.assert_allclose(np.interp(-positions[:8], positions, weights), 1 - weights[:8])
    np.testing.assert_array_equal(weights[8:], 1)
    mirrored = ParallelBeam(8, 20, 1.0, angular_range=TURN, detector_offset=-6.0)
    assert missing_bins(mirrored) == -12
    np.testing.assert_allclose(offset_weights(mirrored), weights[::-1])


def test_a_quarter_bin_is_no_missing_side():
    scan = FanBeam(8, 20, 1.0, 50.0, 80.0, detector_offset=0.25)
    assert missing_bins(scan) == 0
    np.testing.assert_array_equal(offset_weights(scan), 0.5)
    assert missing_bins(ParallelBeam(8, 20, 1.0, detector_offset=6.0)) == 0


def test_a_detector_all_on_one_side_is_an_error():
    scan = FanBeam(8, 20, 1.0, 50.0, 80.0, detector_offset=12.0)
    with pytest.raises(ValueError, match="detector_offset: expected bins on both sides"):
        missing_bins(scan)
