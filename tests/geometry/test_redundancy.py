"""Weights of the measurements of a scan, against what they have to add up to."""

import math

import numpy as np
import pytest

from tomolearn.geometry import ConeBeam, FanBeam, ParallelBeam
from tomolearn.geometry.redundancy import TURN, redundancy, view_circle

GOLDEN = math.pi * (math.sqrt(5) - 1) / 2
FAN = {"source_to_isocenter": 50.0, "source_to_detector": 80.0}


def parallel(angles, **options):
    return ParallelBeam(None, 9, 1.0, angles=angles, **options)


def cells(scan, period=math.pi):
    circle = view_circle(scan, period)
    return circle.per_view(circle.cells())


@pytest.mark.parametrize(
    "angles",
    [
        np.arange(7) * math.pi / 7,
        np.linspace(0, math.pi, 8),
        np.linspace(0, TURN, 8, endpoint=False),
        np.linspace(0, TURN, 9, endpoint=False),
        -3 - np.arange(50) * GOLDEN,
        np.random.default_rng(1).uniform(0, 9, 200),
        (np.linspace(1, 3, 50) ** 2 - 1) * math.pi / 8.2,
        [0.3],
        [0.3, 0.3 + math.pi],
        [0.0, math.pi - 1e-16, 1.0, 2.0],
        [0.2, 1.9, 0.7, 2.6, 1.2],
    ],
)
def test_cells_fill_the_half_circle(angles):
    assert view_circle(parallel(angles), math.pi).lengths.size == 0
    widths = cells(parallel(angles))
    assert widths.sum() == pytest.approx(math.pi, rel=1e-12)
    assert (widths > 0).all()


def test_cells_end_half_way_to_the_neighbours():
    wrap = (math.pi - 2.0) / 2
    expected = [0.75, wrap + 0.25, 0.75, wrap + 0.25]
    np.testing.assert_allclose(cells(parallel([2.0, 0.5, 1.0, 2.5])), expected)


def test_views_of_one_direction_share_their_cell():
    widths = cells(parallel([0.0, 1.0, 2.0, 1.0 + math.pi, 1.0 - math.pi]))
    np.testing.assert_allclose(widths[[1, 3, 4]], 1 / 3)
    # also across the seam of the circle
    widths = cells(parallel([0.0, math.pi - 1e-15, 1.0, 2.0]))
    assert widths[0] == pytest.approx(widths[1])


def test_a_wedge_that_was_not_scanned_stays_empty():
    scan = parallel(np.array([0.3, 0.1, 0.2, 0.0]) + 3.0)
    circle = view_circle(scan, math.pi)
    np.testing.assert_allclose(cells(scan), 0.1)
    assert circle.starts == pytest.approx(3.35 - math.pi)
    assert circle.lengths == pytest.approx(math.pi - 0.4)
    declared = ParallelBeam(4, 9, 1.0, angular_range=1.2, start_angle=0.5)
    np.testing.assert_allclose(cells(declared), 0.3)
    np.testing.assert_allclose(cells(ParallelBeam(1, 9, 1.0, angular_range=0.3)), 0.3)


def test_what_views_stand_for_changes_continuously_with_the_gap():
    angles = np.arange(180) * math.pi / 180
    missing = [cells(parallel(angles[n:])).sum() for n in range(60)]
    assert np.all(np.abs(np.diff(missing)) <= 4 * math.pi / 180)
    np.testing.assert_allclose(missing[:12], math.pi)
    np.testing.assert_allclose(missing[-1], math.pi * 121 / 180, rtol=1e-9)


def oriented_sums(scan, weights):
    """Return, per distance from the axis, over which angle its lines are measured in all."""
    sums = weights.sum(axis=0)
    return sums + sums[::-1]


@pytest.mark.parametrize("length", [0.0, 0.2, 1.0, 2.2])
def test_short_scans_have_the_weights_of_parker(length):
    scan = FanBeam(4000, 40, 1.0, **FAN)
    fan = math.atan(20 / 80)
    length = min(math.pi + 2 * fan + length, TURN - 4 * fan)
    scan = FanBeam(4000, 40, 1.0, **FAN, angular_range=length, start_angle=5.0)
    passed, gamma = scan.view_angles[:, None] - 5.0, scan.fan_angles
    first, last = length - math.pi + 2 * gamma, length - math.pi - 2 * gamma
    # with this package's sign of the fan angle
    expected = np.sin(math.pi / 2 * np.clip(passed / first, 0, 1)) ** 2
    expected *= np.sin(math.pi / 2 * np.clip((length - passed) / last, 0, 1)) ** 2
    weights = redundancy(scan).weights
    np.testing.assert_allclose(weights / (length / 4000), expected, atol=1e-9)
    np.testing.assert_allclose(oriented_sums(scan, weights), TURN, rtol=1e-6)


@pytest.mark.parametrize("offset", [6.0, -6.0])
def test_full_turns_of_a_displaced_detector_have_the_weights_of_wang(offset):
    scans = (
        ParallelBeam(80, 20, 1.0, angular_range=TURN, detector_offset=offset),
        FanBeam(80, 20, 1.0, **FAN, detector_offset=offset),
        ConeBeam(80, (2, 20), 1.0, **FAN, detector_offset=(0.0, offset)),
    )
    for scan in scans:
        weights, missing = redundancy(scan)
        assert missing == 2 * offset
        x = scan.column_positions / 4.0 * np.sign(offset)
        expected = (1 + np.sin(math.pi / 2 * np.clip(x, -1, 1))) / 2
        np.testing.assert_allclose(weights / (TURN / 80), np.tile(expected, (80, 1)), atol=1e-9)


def test_centred_and_nearly_centred_detectors_weigh_alike():
    centred = redundancy(FanBeam(8, 20, 1.0, **FAN))
    np.testing.assert_allclose(centred.weights, TURN / 16)
    assert centred.missing_bins == 0
    quarter = redundancy(FanBeam(8, 20, 1.0, **FAN, detector_offset=0.25))
    np.testing.assert_allclose(quarter.weights[:, 2:-2], TURN / 16)
    assert quarter.missing_bins == 0


SPOILED = {
    "a row": np.r_[0:100, 107:720],
    "two rows": np.r_[0:100, 107:400, 404:720],
    "opposite rows": np.r_[0:100, 107:460, 467:720],
    "overlapping opposite rows": np.r_[0:100, 107:457, 463:720],
    "no end": np.r_[0:700],
    "half a degree": np.r_[0:719],
    "many": np.delete(np.arange(720), np.arange(20, 700, 13)),
}


@pytest.mark.parametrize("offset", [0.0, 6.0, -6.0])
@pytest.mark.parametrize("detector", ["parallel", "flat", "curved"])
@pytest.mark.parametrize("spoiled", SPOILED)
def test_every_line_counts_once(spoiled, detector, offset):
    angles = np.arange(720)[SPOILED[spoiled]] * TURN / 720
    bins = {"n_detectors": 20, "detector_spacing": 1.0, "detector_offset": offset}
    if detector == "parallel":
        scan = ParallelBeam(angles=angles, **bins)
    else:
        scan = FanBeam(angles=angles, **bins, **FAN, detector=detector)
    weights, missing = redundancy(scan)
    if missing > 0:
        weights = np.pad(weights, ((0, 0), (missing, 0)))
    elif missing < 0:
        weights = np.pad(weights, ((0, 0), (0, -missing)))
    # views next to a gap stand for lines that others measure, too, up to a part of their cell
    np.testing.assert_allclose(oriented_sums(scan, weights), TURN, rtol=0.003)


def test_weights_depend_continuously_on_the_arc():
    scans = [
        FanBeam(360, 40, 1.0, **FAN, angular_range=TURN * (1 - part), detector_offset=2.0)
        for part in (0, 1e-9, 1e-6, 1e-4)
    ]
    first, *others = (redundancy(scan).weights for scan in scans)
    for weights in others:
        np.testing.assert_allclose(weights, first, rtol=0.02)


@pytest.mark.parametrize("offset", [0.25, 1.3, -6.0])
def test_without_views_all_around_the_shorter_side_counts_in_full(offset):
    half = ParallelBeam(40, 20, 1.0, detector_offset=offset)
    np.testing.assert_allclose(redundancy(half).weights, math.pi / 40)
    arc = {"angular_range": math.pi + 0.6}
    centred, moved = (FanBeam(40, 20, 1.0, **FAN, **arc, detector_offset=x) for x in (0, offset))
    inner = np.abs(moved.column_positions) < 10 - abs(offset)
    weights = redundancy(moved).weights[:, inner]
    positions = moved.column_positions[inner]
    expected = [np.interp(positions, centred.column_positions, w) for w in redundancy(centred)[0]]
    np.testing.assert_allclose(weights, expected, atol=2e-4)
