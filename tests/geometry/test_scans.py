"""The scans as values: what they hold, how they compare and print, what they refuse."""

import dataclasses
import math
import pickle

import numpy as np
import pytest
import torch

from tomolearn.geometry import ConeBeam, FanBeam, Grid, ParallelBeam

FAN = {"source_to_isocenter": 40.0, "source_to_detector": 70.0}
KINDS = {
    "parallel": (ParallelBeam, {"n_detectors": 9, "detector_spacing": 1.5}),
    "fan": (FanBeam, {"n_detectors": 9, "detector_spacing": 1.5, **FAN}),
    "cone": (ConeBeam, {"detector_shape": (4, 9), "detector_spacing": 1.5, **FAN}),
}
each_kind = pytest.mark.parametrize(("kind", "needed"), KINDS.values(), ids=KINDS)
NAN = float("nan")


@each_kind
def test_fields_are_plain_numbers(kind, needed):
    given = {
        name: np.array(value) if isinstance(value, tuple) else np.float64(value)
        for name, value in needed.items()
        if name != "n_detectors"
    }
    if "n_detectors" in needed:
        given["n_detectors"] = np.int64(9)
    scan = kind(np.int32(6), **given, start_angle=np.float32(0.5))
    assert scan == kind(6, **needed, start_angle=0.5)
    assert hash(scan) == hash(kind(6, **needed, start_angle=0.5))
    plain = {int, float, str, type(None)}
    for field in dataclasses.fields(scan):
        value = getattr(scan, field.name)
        parts = value if isinstance(value, tuple) else (value,)
        assert {type(part) for part in parts} <= plain, field.name


@each_kind
def test_view_angles_are_the_middles_of_equal_parts(kind, needed):
    scan = kind(4, **needed, angular_range=2.0, start_angle=-1.0)
    np.testing.assert_allclose(scan.view_angles, [-0.75, -0.25, 0.25, 0.75])
    assert scan.view_angles.dtype == np.float64
    full = math.pi if kind is ParallelBeam else 2 * math.pi
    assert kind(5, **needed) == kind(5, **needed, angular_range=full, start_angle=0)
    np.testing.assert_allclose(kind(5, **needed).view_angles, (np.arange(5) + 0.5) * full / 5)


@each_kind
@pytest.mark.parametrize("make", [tuple, list, np.array, torch.tensor])
def test_listed_angles(kind, needed, make):
    listed = [3.0, -1.0, 0.5]
    scan = kind(angles=make(listed), **needed)
    assert scan == kind(3, angles=listed, **needed)
    assert scan.n_angles == 3
    assert scan.shape == (3, *scan.detector_shape)
    np.testing.assert_allclose(scan.view_angles, listed, rtol=1e-6)
    assert scan != kind(3, **needed)


@each_kind
def test_view_angles_cannot_change_the_scan(kind, needed):
    scan = kind(angles=[0.0, 1.0], **needed)
    scan.view_angles[0] = 5.0
    assert scan.view_angles[0] == 0.0


@each_kind
def test_is_frozen(kind, needed):
    with pytest.raises(dataclasses.FrozenInstanceError):
        kind(6, **needed).n_angles = 7
    with pytest.raises(dataclasses.FrozenInstanceError):
        del kind(6, **needed).detector_spacing


@each_kind
def test_survives_pickling(kind, needed):
    for scan in (kind(6, **needed), kind(angles=[0.1, 0.7], **needed)):
        copy = pickle.loads(pickle.dumps(scan))
        assert copy == scan
        assert hash(copy) == hash(scan)


@each_kind
def test_every_field_counts(kind, needed):
    scan = kind(6, **needed)
    changed = [kind(7, **needed), kind(angles=scan.view_angles, **needed)]
    others = {"angular_range": 1.0, "start_angle": 0.1, "detector_spacing": 2.0}
    if kind is ConeBeam:
        others |= {"detector_shape": (4, 8), "detector_offset": (0.0, 0.5)}
        others |= {"pitch": 1.0, "start_z": 1.0}
    else:
        others |= {"n_detectors": 8, "detector_offset": 0.5}
    if kind is not ParallelBeam:
        others |= {"detector": "curved"}
        others |= {"source_to_isocenter": 41.0, "source_to_detector": 71.0}
    changed += [kind(6, **(needed | {name: value})) for name, value in others.items()]
    assert len({scan, *changed}) == len(changed) + 1
    # all that is left are the angles, which exclude n_angles' range
    assert {"n_angles", "angles", *others} == {f.name for f in dataclasses.fields(scan)}


def test_kinds_differ_from_each_other():
    parallel = ParallelBeam(6, 9, 1.5, angular_range=2 * math.pi)
    fan = FanBeam(6, 9, 1.5, 40.0, 70.0)
    assert len({parallel, fan, ConeBeam(6, (1, 9), 1.5, 40.0, 70.0)}) == 3


@each_kind
def test_repr(kind, needed):
    scan = kind(6, **needed, start_angle=0.5)
    assert repr(scan).startswith(f"{kind.__name__}(n_angles=6, ")
    assert "angles=None" not in repr(scan)
    assert "offset" not in repr(scan)
    assert "detector_offset=" in repr(
        kind(6, **needed, detector_offset=(1.0, 0.0) if kind is ConeBeam else 1.0)
    )
    # thousands of angles must not fill the screen
    listed = kind(angles=np.linspace(-0.1, 3.0, 5000), **needed)
    assert "angles=<5000 from -5.73 to 171.9 degrees>" in repr(listed)
    assert len(repr(listed)) < 250


def test_repr_builds_it_again():
    scan = ParallelBeam(6, 9, 1.5, angular_range=3.0, start_angle=0.5, detector_offset=0.2)
    assert eval(repr(scan)) == scan
    helix = ConeBeam(6, (4, 9), (1.5, 2.0), 40.0, 70.0, pitch=3.0, start_z=-1.0)
    assert eval(repr(helix)) == helix


@pytest.mark.parametrize("offset", [0.0, 0.4])
def test_detector_positions(offset):
    expected = offset + np.array([-3.0, -1.5, 0.0, 1.5, 3.0])
    for scan in (
        ParallelBeam(3, 5, 1.5, detector_offset=offset),
        FanBeam(3, 5, 1.5, 40.0, 70.0, detector_offset=offset),
    ):
        np.testing.assert_allclose(scan.detector_positions, expected, atol=1e-15)
        assert scan.detector_shape == (5,)
        assert (scan.ndim, scan.shape) == (2, (3, 5))
    cone = ConeBeam(3, (2, 5), (2.0, 1.5), 40.0, 70.0, detector_offset=(1.0, offset))
    rows, columns = cone.detector_positions
    np.testing.assert_allclose(rows, [0.0, 2.0])
    np.testing.assert_allclose(columns, expected, atol=1e-15)
    assert (cone.ndim, cone.shape) == (3, (3, 2, 5))


def test_fan_angles():
    flat = FanBeam(3, 5, 1.5, 40.0, 70.0, detector_offset=0.4)
    np.testing.assert_allclose(np.tan(flat.fan_angles) * 70.0, flat.detector_positions)
    curved = dataclasses.asdict(flat) | {"detector": "curved"}
    curved = FanBeam(**{name: value for name, value in curved.items() if value is not None})
    np.testing.assert_allclose(curved.fan_angles * 70.0, flat.detector_positions)


@pytest.mark.parametrize("detector", ["flat", "curved"])
def test_a_short_scan_sees_every_line_once_and_a_shorter_one_does_not(detector):
    grid = Grid((20, 20))
    scan = FanBeam.covering(grid, 1, **FAN, detector=detector)
    edge = math.asin(grid.radius / 40.0)  # of the fan that touches the grid's circle
    assert scan.short_scan_range == pytest.approx(math.pi + 2 * edge)
    # line (normal's angle, fan angle g) is seen from view angle - g, and backwards from + pi + g
    normals, fans = np.meshgrid(np.linspace(-4, 4, 401), np.linspace(-edge, edge, 41))

    def seen(arc):
        turn = 2 * math.pi
        views = (normals - fans) % turn, (normals + math.pi + fans) % turn
        return (np.minimum(*views) <= arc).all()

    assert seen(scan.short_scan_range)
    assert not seen(scan.short_scan_range - 0.05)


def test_an_offset_lengthens_the_short_scan():
    centred, moved = (
        FanBeam(8, 20, 1.0, 40.0, 70.0, detector_offset=offset) for offset in (0.0, -0.25)
    )
    assert centred.short_scan_range == pytest.approx(math.pi + 2 * math.atan(10 / 70))
    assert moved.short_scan_range == pytest.approx(math.pi + 2 * math.atan(10.25 / 70))


def test_curved_detector_has_no_vectors():
    with pytest.raises(ValueError, match="detector: expected a flat detector, got 'curved'"):
        FanBeam(3, 5, 1.5, 40.0, 70.0, detector="curved").vectors()
    cone = ConeBeam(3, (2, 5), 1.5, 40.0, 70.0, detector="curved")
    with pytest.raises(ValueError, match="detector: expected a flat detector, got 'curved'"):
        cone.vectors()
    with pytest.raises(ValueError, match="detector: expected a flat detector for ODL"):
        cone.to_odl()


def test_curved_rows_are_arcs_about_the_source():
    cone = ConeBeam(
        4, (3, 5), (2.0, 1.5), 40.0, 70.0, detector_offset=(1.0, 0.3), detector="curved", pitch=9.0
    )
    points, ways = cone.rays()
    np.testing.assert_allclose(np.linalg.norm(ways[..., 1:], axis=-1), 70.0)
    np.testing.assert_allclose(
        ways[..., 0], np.broadcast_to(cone.detector_positions[0][:, None], cone.shape)
    )
    # neighbours are as far apart on the arc as bins are
    angles = np.arctan2(ways[..., 2], ways[..., 1])
    np.testing.assert_allclose(np.diff(np.unwrap(angles)) * 70.0, -1.5)
    np.testing.assert_allclose(points[:, 0, 0], cone.sources())
    for view, seen in enumerate(cone.project_points(*np.moveaxis(points + 0.4 * ways, -1, 0))):
        row, column = np.indices(cone.detector_shape)
        np.testing.assert_allclose(seen.bins[0][view], row, atol=1e-9)
        np.testing.assert_allclose(seen.bins[1][view], column, atol=1e-9)


@each_kind
@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"n_angles": None}, TypeError, "n_angles: expected an integer >= 1, or a list of angles"),
        ({"n_angles": 0}, ValueError, "n_angles: expected an integer >= 1, got 0"),
        ({"n_angles": 2.0}, TypeError, r"n_angles: expected an integer >= 1, got 2.0 \(float\)"),
        ({"n_angles": True}, TypeError, "n_angles: expected an integer >= 1, got True"),
        ({"angles": [0.0, 1.0]}, ValueError, "n_angles: expected 2 or nothing, got 6"),
        ({"n_angles": None, "angles": []}, ValueError, "angles: expected a non-empty sequence"),
        ({"n_angles": None, "angles": [0.0, NAN]}, ValueError, "angles: .* got nan at index 1"),
        ({"n_angles": None, "angles": [-math.inf]}, ValueError, "angles: .* -inf at index 0"),
        ({"n_angles": None, "angles": [[0.0]]}, ValueError, r"angles: .* got shape \(1, 1\)"),
        ({"n_angles": None, "angles": ["0"]}, TypeError, r"angles: expected .* got \['0'\]"),
        ({"n_angles": None, "angles": "0"}, TypeError, r"angles: expected .* got '0' \(str\)"),
        ({"n_angles": None, "angles": 1.0}, TypeError, r"angles: expected .* \(float\)"),
        ({"n_angles": None, "angles": np.array([1j])}, TypeError, "angles: expected a non-empty"),
        (
            {"n_angles": None, "angles": torch.ones(2, requires_grad=True)},
            TypeError,
            "angles: expected a non-empty sequence",
        ),
        (
            {"n_angles": None, "angles": [0.0], "angular_range": 1.0},
            ValueError,
            "angles: expected either a list of angles or n_angles with .* got both",
        ),
        ({"n_angles": None, "angles": [0.0], "start_angle": 1.0}, ValueError, "got both"),
        ({"angular_range": 0.0}, ValueError, "angular_range: expected a positive number, got 0"),
        ({"angular_range": -1.0}, ValueError, "angular_range: expected a positive number"),
        ({"angular_range": NAN}, ValueError, "angular_range: expected a positive number, got nan"),
        ({"start_angle": NAN}, ValueError, "start_angle: expected a finite number, got nan"),
        ({"start_angle": "0"}, TypeError, "start_angle: expected a finite number, got '0'"),
        ({"detector_spacing": 0.0}, ValueError, "detector_spacing: expected a positive number"),
        ({"detector_spacing": -1.5}, ValueError, "detector_spacing: .* got -1.5"),
        ({"detector_spacing": NAN}, ValueError, "detector_spacing: .* got nan"),
        ({"detector_spacing": None}, TypeError, "detector_spacing: .* got None"),
        ({"detector_spacing": 10**400}, ValueError, "detector_spacing: expected a positive"),
        ({"detector_offset": "1"}, TypeError, "detector_offset: expected .* got '1'"),
    ],
)
def test_refusals_of_all(kind, needed, arguments, error, message):
    with pytest.raises(error, match=message):
        kind(**({"n_angles": 6} | needed | arguments))


@pytest.mark.parametrize("name", ["parallel", "fan"])
@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"n_detectors": None}, TypeError, "n_detectors: expected an integer >= 1, got None"),
        ({"n_detectors": 0}, ValueError, "n_detectors: expected an integer >= 1, got 0"),
        ({"n_detectors": 9.0}, TypeError, "n_detectors: expected an integer >= 1, got 9.0"),
        ({"detector_spacing": (1.0, 2.0)}, TypeError, r"detector_spacing: .* \(tuple\)"),
        ({"detector_offset": NAN}, ValueError, "detector_offset: expected a finite number"),
        ({"pitch": 1.0}, TypeError, "unexpected keyword argument 'pitch'"),
    ],
)
def test_refusals_in_the_plane(name, arguments, error, message):
    kind, needed = KINDS[name]
    with pytest.raises(error, match=message):
        kind(**({"n_angles": 6} | needed | arguments))


@pytest.mark.parametrize("name", ["fan", "cone"])
@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"source_to_isocenter": None}, TypeError, "source_to_isocenter: .* got None"),
        ({"source_to_isocenter": 0.0}, ValueError, "source_to_isocenter: .* positive .* got 0.0"),
        ({"source_to_isocenter": math.inf}, ValueError, "source_to_isocenter: .* got inf"),
        ({"source_to_detector": -70.0}, ValueError, "source_to_detector: .* got -70.0"),
        (
            {"source_to_detector": 39.0},
            ValueError,
            "source_to_detector: expected at least source_to_isocenter = 40.0, got 39.0",
        ),
    ],
)
def test_refusals_of_distances(name, arguments, error, message):
    kind, needed = KINDS[name]
    with pytest.raises(error, match=message):
        kind(6, **(needed | arguments))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"detector": "round"}, "detector: expected one of flat, curved, got 'round'"),
        ({"detector": None}, "detector: expected one of flat, curved, got None"),
        (
            {"detector": "curved", "n_detectors": 160},
            "detector: expected a curved detector within 90 degrees .* got 97.61 degrees",
        ),
    ],
)
def test_refusals_of_fan_detectors(arguments, message):
    with pytest.raises(ValueError, match=message):
        FanBeam(6, **(KINDS["fan"][1] | arguments))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"detector_shape": None}, TypeError, "detector_shape: expected 2 integers >= 1, got None"),
        ({"detector_shape": 4}, TypeError, r"detector_shape: expected 2 .* got 4 \(int\)"),
        ({"detector_shape": (4,)}, ValueError, r"detector_shape: expected 2 .* got \(4,\)"),
        ({"detector_shape": (4, 0)}, ValueError, r"detector_shape\[1\]: .* got 0"),
        ({"detector_shape": (4.5, 4)}, TypeError, r"detector_shape\[0\]: .* got 4.5"),
        ({"detector_spacing": (1.0,)}, ValueError, r"detector_spacing: expected 2 .* \(1,\)"),
        ({"detector_spacing": (0.0, 1.0)}, ValueError, r"detector_spacing\[0\]: .* got 0.0"),
        ({"detector_offset": 1.0}, TypeError, "detector_offset: expected 2 finite numbers"),
        ({"detector_offset": (1.0, NAN)}, ValueError, "detector_offset: .* nan at index 1"),
        ({"pitch": NAN}, ValueError, "pitch: expected a finite number, got nan"),
        ({"start_z": "0"}, TypeError, "start_z: expected a finite number, got '0'"),
        ({"detector": "round"}, ValueError, "detector: expected one of flat, curved, got 'round'"),
        (
            {"detector": "curved", "detector_shape": (4, 160)},
            ValueError,
            "detector: expected a curved detector within 90 degrees .* got 97.61 degrees",
        ),
    ],
)
def test_refusals_of_cones(arguments, error, message):
    with pytest.raises(error, match=message):
        ConeBeam(6, **(KINDS["cone"][1] | arguments))


@each_kind
def test_a_subset_has_the_vectors_of_its_views(kind, needed):
    scan = kind(7, **needed, start_angle=0.3)
    for views in (slice(1, None, 3), [5, 0], np.arange(7) % 2 == 0, -1):
        part = scan.subset(views)
        chosen = np.atleast_1d(np.arange(7)[views])
        assert part.n_angles == len(chosen)
        ours, theirs = part.vectors(), scan.vectors()
        for one, all_views in zip((*ours[:2], *ours[2]), (*theirs[:2], *theirs[2]), strict=True):
            np.testing.assert_allclose(one, all_views[chosen], rtol=0, atol=1e-13)
    with pytest.raises(ValueError, match=r"views: expected an index into the 7 views, got \[9\]"):
        scan.subset([9])
    with pytest.raises(ValueError, match="views: expected at least one of 7, got none"):
        scan.subset(slice(9, None))


@each_kind
@pytest.mark.parametrize("center", [4.0, 3.25, -2.0])
def test_the_axis_is_projected_onto_the_center(kind, needed, center):
    scan = kind(5, **needed).with_center(center)
    assert scan.center_bin == pytest.approx(center, abs=1e-12)
    # the middle of bin k of n is at offset + (k - (n - 1) / 2) spacing: the axis is at 0
    n, spacing = scan.shape[-1], np.atleast_1d(scan.detector_spacing)[-1]
    offset = np.atleast_1d(scan.detector_offset)[-1]
    assert offset + (center - (n - 1) / 2) * spacing == pytest.approx(0, abs=1e-12)
    for seen in scan.project_points(*np.zeros(scan.ndim)):
        assert seen.bins[-1] == pytest.approx(center, abs=1e-12)
        assert seen.magnification == pytest.approx(scan.magnification, rel=1e-12)
    assert kind(5, **needed).with_center((n - 1) / 2) == kind(5, **needed)


@each_kind
def test_points_of_a_ray_are_seen_where_it_ends(kind, needed, numpy_rng):
    scan = kind(4, **needed)
    starts, directions = scan.rays()
    middle = np.sqrt((directions**2).sum(axis=-1, keepdims=True))
    points = starts + directions / middle * numpy_rng.uniform(30, 50, (*scan.shape, 1))
    for view, seen in enumerate(scan.project_points(*np.moveaxis(points, -1, 0)[:, :, None])):
        expected = np.indices(scan.detector_shape)
        for bins, index in zip(seen.bins, expected, strict=True):
            np.testing.assert_allclose(bins[view, 0], index, rtol=0, atol=1e-10)


@pytest.mark.parametrize("angles", [{"angles": [0.1, 0.4, 1.2]}, {"n_angles": 5}])
@pytest.mark.parametrize("name", ["parallel", "fan"])
def test_a_turned_scan_has_the_turned_rays(name, angles):
    kind, needed = KINDS[name]
    scan = kind(**angles, **needed)
    turned = scan.turned(0.7)
    np.testing.assert_allclose(turned.view_angles, scan.view_angles + 0.7)
    cos, sin = math.cos(0.7), math.sin(0.7)
    turn = np.array([[cos, -sin], [sin, cos]])
    for before, after in zip(scan.rays(), turned.rays(), strict=True):
        np.testing.assert_allclose(after, before @ turn.T, atol=1e-9)
    assert turned.turned(-0.7).shape == scan.shape
