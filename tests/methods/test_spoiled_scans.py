"""A slightly spoiled scan gives a slightly worse image, or an error, by filtered back-projection.

Discs, and balls in the plane of the source, have closed-form projections; their value is 1.
"""

import math
import warnings

import numpy as np
import pytest
import torch

from tomolearn import ConeBeam, CoverageWarning, FanBeam, Grid, ParallelBeam, RayTransform
from tomolearn.methods import fbp

TURN = 2 * math.pi
RADIUS = 25.0
PLANE = Grid((60, 60))
SPACE = Grid((1, 60, 60))
FAN = {"source_to_isocenter": 100.0, "source_to_detector": 170.0}
NEEDED = math.pi + 2 * math.asin(30 / 100)


def parallel(n_detectors=65, offset=0.0, **views):
    return ParallelBeam(
        n_detectors=n_detectors, detector_spacing=1.0, detector_offset=offset, **views
    )


def fan(n_detectors=90, offset=0.0, **views):
    return FanBeam(
        n_detectors=n_detectors, detector_spacing=1.2, detector_offset=offset, **FAN, **views
    )


def curved(**views):
    return fan(detector="curved", **views)


def cone(n_detectors=90, offset=0.0, **views):
    return ConeBeam(
        detector_shape=(4, n_detectors),
        detector_spacing=1.2,
        detector_offset=(0.0, offset),
        **FAN,
        **views,
    )


def displaced(make, offset, n_detectors):
    return lambda **views: make(n_detectors=n_detectors, offset=offset, **views)


# kind of scan: the scan of given views, and its arc
KINDS = {
    "parallel": (parallel, math.pi),
    "parallel_turn": (parallel, TURN),
    "parallel_displaced": (displaced(parallel, 14.0, 37), TURN),
    "fan": (fan, TURN),
    "fan_short": (fan, NEEDED),
    "fan_overscan": (fan, NEEDED + 0.6),
    "fan_displaced": (displaced(fan, -20.4, 56), TURN),
    "curved": (curved, TURN),
    "curved_short": (curved, NEEDED),
    "curved_displaced": (displaced(curved, 20.4, 56), TURN),
    "cone": (cone, TURN),
    "cone_short": (cone, NEEDED),
    "cone_displaced": (displaced(cone, 20.4, 56), TURN),
}


def sinogram(scan):
    """Return chords of the disc, or ball, about the axis."""
    if scan.ndim == 2:
        distance = scan.detector_positions
        if not isinstance(scan, ParallelBeam):
            distance = scan.source_to_isocenter * np.sin(scan.fan_angles)
        chords = 2 * np.sqrt(np.maximum(RADIUS**2 - distance**2, 0))
    else:
        rows, columns = scan.detector_positions
        squared = rows[:, None] ** 2 + columns**2
        squared = scan.source_to_isocenter**2 * squared / (scan.source_to_detector**2 + squared)
        chords = 2 * np.sqrt(np.maximum(RADIUS**2 - squared, 0))
    return torch.from_numpy(np.broadcast_to(chords, scan.shape).copy())


def rings(scan):
    """Return the means in rings of 5 mm about the axis."""
    grid = PLANE if scan.ndim == 2 else SPACE
    image = fbp(sinogram(scan), RayTransform(grid, scan), filter="hann")
    image = image.numpy().reshape(60, 60)
    radius = np.hypot(*np.meshgrid(*PLANE.coordinates(), indexing="ij"))
    inner = (0, 5, 10, 15)
    return np.array([image[(radius >= a) & (radius < a + 5)].mean() for a in inner])


def frames(arc, missing, n_angles=360):
    """Return angles of which runs of frames are missing: (first, number) each."""
    gone = [np.arange(first, first + number) for first, number in missing]
    return np.delete((np.arange(n_angles) + 0.3) * arc / n_angles, np.concatenate(gone))


MISSING = {
    **{f"{n}_frames": [(100, n)] for n in (1, 3, 4, 5, 8, 12)},
    "first_frames": [(0, 6)],
    "last_frames": [(353, 7)],
    "two_runs": [(80, 5), (200, 9)],
    "opposite_runs": [(40, 6), (218, 6)],
    "five_runs": [(20 + 70 * k, 4) for k in range(5)],
}


@pytest.mark.filterwarnings("ignore::tomolearn.CoverageWarning")
@pytest.mark.parametrize(
    ("kind", "missing"),
    # cones share the weights of fans and take their time
    [
        (kind, missing)
        for kind in KINDS
        for missing in (MISSING if "cone" not in kind else ("5_frames", "12_frames", "two_runs"))
    ],
)
def test_missing_frames(kind, missing):
    make, arc = KINDS[kind]
    np.testing.assert_allclose(rings(make(angles=frames(arc, MISSING[missing]))), 1, atol=0.01)


@pytest.mark.filterwarnings("ignore::tomolearn.CoverageWarning")
@pytest.mark.parametrize(
    ("kind", "shorter"),
    [
        (kind, shorter)
        for kind in KINDS
        for shorter in ([0, 1e-9, 1e-6, 1e-4, 3e-3, 1e-2] if "cone" not in kind else [1e-9, 1e-2])
    ],
)
def test_a_shorter_arc(kind, shorter):
    make, arc = KINDS[kind]
    scan = make(n_angles=300, angular_range=arc - TURN * shorter, start_angle=0.4)
    np.testing.assert_allclose(rings(scan), 1, atol=0.006)


@pytest.mark.filterwarnings("ignore::tomolearn.CoverageWarning")
@pytest.mark.parametrize("kind", [name for name in KINDS if "short" not in name])
def test_arcs_from_half_a_turn_to_a_whole_one(kind):
    make = KINDS[kind][0]
    for degrees in range(180, 361, 60 if "cone" in kind else 15):
        scan = make(n_angles=degrees, angular_range=math.radians(degrees))
        if "displaced" in kind and degrees < 348:
            with pytest.raises(ValueError, match="scan: expected views all around"):
                rings(scan)
            continue
        # the lines that a fan of a half turn lacks are those of the outermost rays only
        np.testing.assert_allclose(rings(scan), 1, atol=0.006 if degrees > 180 else 0.04)


ARCS = {
    "two_of_a_short_scan": ((0.0, 2.4), (2.5, 4.6)),
    "opposite_halves": ((0.0, 1.7), (math.pi, math.pi + 1.7), (1.65, 3.2)),
    "in_a_full_turn": ((0.0, 1.0), (1.1, 2.9), (3.0, 6.2)),
    "overlapping": ((0.0, 3.0), (2.0, 5.0)),
    "of_other_steps": ((0.0, 2.0), (2.0, 4.4, 90)),
}


@pytest.mark.parametrize("arcs", ARCS)
@pytest.mark.parametrize("make", [parallel, fan, curved, cone])
def test_several_arcs(make, arcs):
    angles = [np.linspace(a, b, *(n or (150,)), endpoint=False) for a, b, *n in ARCS[arcs]]
    np.testing.assert_allclose(rings(make(angles=np.concatenate(angles))), 1, atol=0.008)


def test_several_arcs_do_not_make_up_for_a_moved_detector():
    scan = displaced(fan, 20.4, 56)(angles=np.r_[0:2.0:0.01, math.pi : math.pi + 2 : 0.01])
    with pytest.warns(CoverageWarning, match=r"views all around, of which 1\d\d.* are missing"):
        operator = RayTransform(PLANE, scan)
    message = r"scan: .*only the upper side .* further than 7\.74\d mm .*none over .*full turn"
    with pytest.raises(ValueError, match=message):
        fbp(sinogram(scan), operator)


def test_off_the_axis_a_few_missing_frames_do_little_harm():
    grid, centre, radius = PLANE, np.array([12.0, -9.0]), 8.0
    x, y = grid.coordinates()
    distance = np.hypot(x[:, None] - centre[0], y - centre[1])
    for kind in ("parallel", "fan", "fan_short", "curved"):
        make, arc = KINDS[kind]
        images = []
        for views in ({"n_angles": 360, "angular_range": arc}, {"angles": frames(arc, [(90, 6)])}):
            scan = make(**views)
            points, beams = scan.rays()
            beams = beams / np.linalg.norm(beams, axis=-1, keepdims=True)
            away = centre - points
            across = away[..., 0] * beams[..., 1] - away[..., 1] * beams[..., 0]
            values = 2 * np.sqrt(np.maximum(radius**2 - across**2, 0))
            operator = RayTransform(grid, scan)
            images.append(fbp(torch.from_numpy(values), operator, filter="hann").numpy())
        whole, spoiled = images
        assert abs(spoiled[distance < radius - 2].mean() - 1) < 0.01
        assert np.sqrt(np.mean((spoiled - whole) ** 2)) < 0.03


@pytest.mark.parametrize("kind", [name for name in KINDS if "displaced" in name])
def test_a_displaced_full_turn_is_right_and_said_to_be(kind):
    make, arc = KINDS[kind]
    np.testing.assert_allclose(rings(make(n_angles=300, angular_range=arc)), 1, atol=0.006)
    # half a step of slack: the last view is missing from the list, or there twice
    rings(make(angles=np.linspace(0, TURN, 300)))
    rings(make(angles=np.linspace(0, TURN, 300, endpoint=False)[:-1]))


@pytest.mark.filterwarnings("ignore::tomolearn.CoverageWarning")
@pytest.mark.parametrize("overlap", [0.05, 0.25, 0.75, 1.25, 1.75])
@pytest.mark.parametrize("make", [parallel, fan, cone])
def test_too_few_bins_on_the_shorter_side(make, overlap):
    spacing = 1.0 if make is parallel else 1.2
    scan = make(n_detectors=50, offset=(25 - overlap) * spacing, n_angles=180, angular_range=TURN)
    operator = RayTransform(PLANE if scan.ndim == 2 else SPACE, scan)
    with pytest.raises(ValueError, match=rf"detector_offset: .* 2 or more .* got {overlap} \("):
        fbp(sinogram(scan), operator)


@pytest.mark.filterwarnings("ignore::tomolearn.CoverageWarning")
@pytest.mark.parametrize("overlap", [0.5, 1.0, 1.5, 2.0, 2.25, 3.6])
@pytest.mark.parametrize("make", [parallel, fan, cone])
def test_few_bins_on_the_shorter_side(make, overlap):
    spacing = 1.0 if make is parallel else 1.2
    scan = make(n_detectors=60, offset=(30 - overlap) * spacing, n_angles=360, angular_range=TURN)
    np.testing.assert_allclose(rings(scan), 1, atol=0.01)


def test_the_objects_field_decides_which_arc_is_long_enough():
    # empty bins further out do not matter
    for n_detectors in (60, 80, 128, 200):
        scan = FanBeam(
            300, n_detectors, 1.6, **FAN, angular_range=math.radians(205), detector_offset=0.4
        )
        small = Grid((36, 36))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore" if n_detectors < 60 else "error", CoverageWarning)
            image = fbp(sinogram(scan), RayTransform(small, scan), filter="hann").numpy()
        radius = np.hypot(*np.meshgrid(*small.coordinates(), indexing="ij"))
        assert image[radius < 18].mean() == pytest.approx(1, abs=0.006)


@pytest.mark.parametrize("make", [fan, curved, cone])
def test_limited_angle(make):
    scan = make(n_angles=130, angular_range=math.radians(130))
    message = r"further than 0 mm .* up to 8\d\.\d* degrees.*; 214\.9 degrees of views see all"
    with pytest.warns(CoverageWarning, match=message) as caught:
        found = rings(scan)
    assert [one.filename for one in caught] == [__file__]
    # near the axis, the part of the half turn that was scanned
    assert found[0] == pytest.approx(130 / 180, abs=0.03)


def test_a_wide_gap_between_parallel_views():
    angles = np.delete(np.arange(180) * math.pi / 180, np.arange(60, 90))
    with pytest.warns(CoverageWarning, match="missing over 30 degrees between others"):
        found = rings(parallel(angles=angles))
    np.testing.assert_allclose(found, 5 / 6, atol=0.02)
    # the arc that one chose is no mistake
    np.testing.assert_allclose(rings(parallel(angles=angles - (angles > 1.3) * math.pi)), found)
