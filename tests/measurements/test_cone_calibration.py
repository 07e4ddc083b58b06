"""Cone beams from their data: line integrals of Gaussians in closed form, poses by hand."""

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

import tomolearn as tl
from tomolearn.measurements.calibration.parameters import Unknowns
from tomolearn.measurements.calibration.stages import Binning

GRID = tl.Grid((24, 24, 24), 4 / 3)
DEGREE = np.pi / 180


def cone(**changes):
    settings = {
        "n_angles": 20,
        "detector_shape": (28, 32),
        "detector_spacing": 2.2,
        "source_to_isocenter": 90.0,
        "source_to_detector": 150.0,
    }
    return tl.ConeBeam(**(settings | changes))


def exact(scan):
    """Return line integrals of Gaussians of different places, widths and heights."""
    numbers = np.random.default_rng(1)
    points, directions = (array.copy() for array in scan.rays())
    directions /= np.linalg.norm(directions, axis=-1, keepdims=True)
    total = np.zeros(scan.shape)
    for _ in range(14):
        center, width = numbers.uniform(-8, 8, 3), numbers.uniform(1.8, 3.2)
        away = center - points
        square = (away**2).sum(-1) - (away * directions).sum(-1) ** 2
        total += numbers.uniform(0.3, 1) * width * np.exp(-square / (2 * width**2))
    return torch.from_numpy(total.astype(np.float32))


def posed(scan, **angles):
    """Return a scan with some angles of the detector or of the axis."""
    return Unknowns(scan, tuple(angles)).scan_at(np.array(list(angles.values())))


def test_offset_and_rotation_of_the_detector():
    truth = posed(cone(detector_offset=(0.0, 1.5 * 2.2)), detector_rotation=DEGREE)
    free = ("detector_rotation", "detector_offset")
    found = tl.calibrate(exact(truth), GRID, cone(), free=free, search=4.4, inner_iterations=8)
    assert found.converged
    assert isinstance(found.scan, tl.Views)
    assert found.values["detector_offset"] == pytest.approx(1.5 * 2.2, abs=0.1 * 2.2)
    assert found.values["detector_rotation"] == pytest.approx(DEGREE, abs=0.1 * DEGREE)
    assert found.residual_after < 0.1 * found.residual_before
    assert found.left_out_after < 0.5 * found.left_out_before


def test_offset_and_an_axis_that_leans():
    truth = posed(cone(detector_offset=(0.0, 1.5 * 2.2)), axis_tilt=DEGREE)
    free = ("detector_offset", "axis_tilt")
    found = tl.calibrate(exact(truth), GRID, cone(), free=free, search=0, inner_iterations=8)
    assert found.values["detector_offset"] == pytest.approx(1.5 * 2.2, abs=0.1 * 2.2)
    assert found.values["axis_tilt"] == pytest.approx(DEGREE, abs=0.1 * DEGREE)


def test_both_offsets_and_rotation():
    truth = posed(cone(detector_offset=(3.3, 3.3)), detector_rotation=DEGREE)
    free = ("detector_rotation", "row_offset", "detector_offset")
    found = tl.calibrate(exact(truth), GRID, cone(), free=free, search=0, inner_iterations=8)
    assert found.values["row_offset"] == pytest.approx(3.3, abs=0.1 * 2.2)
    assert found.values["detector_offset"] == pytest.approx(3.3, abs=0.1 * 2.2)
    assert found.values["detector_rotation"] == pytest.approx(DEGREE, abs=0.1 * DEGREE)
    # the object moved along z makes up for most of it
    assert found.seen["row_offset"] < 0.1 < found.seen["detector_offset"]


def test_distance_and_dead_bins_are_those_of_a_cone():
    truth = cone(source_to_isocenter=97.0, source_to_detector=97.0 / 0.6, detector_offset=(0, -1.1))
    y, weights = exact(truth), torch.ones(truth.shape)
    y[:, 9, 12], weights[:, 9, 12] = torch.nan, 0
    free = ("detector_offset", "source_to_isocenter")
    settings = {"weights": weights, "search": 0, "inner_iterations": 8}
    found = tl.calibrate(y, GRID, cone(), free=free, **settings)
    assert isinstance(found.scan, tl.ConeBeam)
    assert found.values["detector_offset"] == pytest.approx(-1.1, abs=0.02)
    assert found.values["source_to_isocenter"] == pytest.approx(97, rel=0.01)


def centers(scan):
    """Return the places of all bins, (views, rows, columns, 3)."""
    _, middle, (row, column) = scan.vectors()
    rows, columns = (np.arange(n) - (n - 1) / 2 for n in scan.detector_shape)
    across = middle[:, None] + columns[:, None] * column[:, None]
    return across[:, None] + (rows[:, None] * row[:, None])[:, :, None]


@pytest.mark.parametrize("angles", [{}, {"detector_rotation": 0.1, "axis_tilt": 0.05}])
def test_joined_bins_are_in_the_middle_of_their_parts(angles):
    scan = posed(cone(detector_shape=(29, 32), detector_offset=(1.0, 2.0)), **angles)
    joined = Binning(2, slice(None, None, 5))(scan)
    parts = centers(scan)[::5, :28].reshape(4, 14, 2, 16, 2, 3)
    np.testing.assert_allclose(centers(joined), parts.mean(axis=(2, 4)), atol=1e-9)


def test_an_axis_that_leans_is_a_turn_of_source_and_detector():
    scan = cone(detector_offset=(3.0, -2.0))
    angles = scan.view_angles
    # (z, x, y) is an even permutation of (x, y, z)
    turn = Rotation.from_rotvec(0.1 * np.stack([0 * angles, np.cos(angles), np.sin(angles)], 1))
    source, detector, steps = posed(scan, axis_tilt=0.1).vectors()
    given = scan.vectors()
    assert source[0, 0] < 0 < detector[0, 0]
    for ours, before in zip(
        (source, detector, *steps), (given.source, given.detector, *given.steps), strict=True
    ):
        np.testing.assert_allclose(ours, turn.apply(before), atol=1e-12)


def test_an_axis_that_leans_is_a_detector_tilted_and_moved():
    scan, angle = cone(), 1e-3
    leaning = posed(scan, axis_tilt=angle).vectors()
    moved = cone(detector_offset=(scan.source_to_detector * angle, 0.0))
    tilted = tl.Views.of(moved).with_detector_angles(tilt=angle).vectors()
    up = np.array([scan.source_to_isocenter * angle, 0, 0])  # the object is lower
    np.testing.assert_allclose(leaning.source + up, tilted.source, atol=1e-4)
    np.testing.assert_allclose(leaning.detector + up, tilted.detector, atol=1e-4)
    for ours, theirs in zip(leaning.steps, tilted.steps, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


@pytest.mark.parametrize(
    ("scan", "free", "message"),
    [
        (cone(), ("row_offset", "axis_tilt"), "expected one of row_offset and axis_tilt, got both"),
        (cone(), ("detector_tilt",), "expected parameters that data can tell, got 'detector_tilt'"),
        (cone(), ("shifts",), "'shifts' of a flat detector .* got a ConeBeam"),
        (cone(detector="curved"), ("axis_tilt",), "'axis_tilt', which flat ones have"),
        (
            cone(pitch=9.0),
            ("detector_offset",),
            "expected .* a ConeBeam of pitch 0, got .* pitch=9",
        ),
        (
            cone(detector_shape=(3, 32), detector_spacing=(24.0, 2.2)),
            ("row_offset",),
            "bins: expected so many that",
        ),
    ],
)
def test_refusals(scan, free, message):
    bins = 8 if scan.detector_shape[0] == 3 else None
    with pytest.raises(ValueError, match=message):
        tl.calibrate(torch.ones(scan.shape), GRID, scan, free=free, bins=bins)


def test_fan_beams_have_no_tilt():
    fan = tl.FanBeam(9, 16, 2.0, 90.0, 150.0)
    with pytest.raises(ValueError, match="'axis_tilt', which cone beams have"):
        tl.calibrate(torch.ones(fan.shape), tl.Grid((16, 16)), fan, free=("axis_tilt",))
