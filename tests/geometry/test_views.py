"""Views given one by one: what they are, how they move, and what is refused."""

import math

import numpy as np
import pytest
import torch

from tomolearn import ConeBeam, FanBeam, Grid, ParallelBeam, RayTransform, fbp
from tomolearn.geometry import Views, geometry_from_dict

FAN = FanBeam(6, 9, 1.5, 40.0, 70.0)
CONE = ConeBeam(5, (4, 9), (2.0, 1.5), 40.0, 70.0, pitch=3.0)
SCANS = {"parallel": ParallelBeam(6, 9, 1.5), "fan": FAN, "cone": CONE}
each_scan = pytest.mark.parametrize("scan", SCANS.values(), ids=SCANS)
ONE = {"detector_shape": (9,), "detector": [[30.0, 0.0]], "steps": [[[0.0, 1.5]]]}


@each_scan
def test_views_of_a_scan_have_its_vectors(scan):
    views = Views.of(scan)
    assert (views.shape, views.ndim, views.n_angles) == (scan.shape, scan.ndim, scan.n_angles)
    assert views.is_parallel == scan.is_parallel
    assert views.bin_sizes == pytest.approx(scan.bin_sizes)
    ours, theirs = views.vectors(), scan.vectors()
    for one, other in zip((*ours[:2], *ours[2]), (*theirs[:2], *theirs[2]), strict=True):
        np.testing.assert_array_equal(one, other)
    (points, ours), (more, theirs) = views.rays(), scan.rays()
    np.testing.assert_allclose(points, more, atol=1e-12)
    units = [d / np.linalg.norm(d, axis=-1, keepdims=True) for d in (ours, theirs)]
    np.testing.assert_allclose(*units, atol=1e-12)


@each_scan
def test_equality_and_round_trip(scan):
    views = Views.of(scan)
    same = geometry_from_dict(views.to_dict())
    assert same == views
    assert hash(same) == hash(views)
    assert Views.from_json(views.to_json()) == views
    assert views != views.with_center(1.0)
    assert views.subset([0]) != views
    assert repr(views).startswith(f"Views({scan.n_angles} views, ")


@each_scan
def test_what_moves_a_scan_moves_its_views(scan):
    def gap(one, other):
        one, other = one.vectors(), other.vectors()
        pairs = zip((*one[:2], *one[2]), (*other[:2], *other[2]), strict=True)
        return max(np.abs(a - b).max() for a, b in pairs)

    views = Views.of(scan)
    assert views.center_bin == pytest.approx(scan.center_bin)
    for views_too, scan_too in (
        (views.subset(slice(1, None, 2)), scan.subset(slice(1, None, 2))),
        (views.with_center(2.5), scan.with_center(2.5)),
        (views.refined(3, 2), scan.refined(3, 2)),
    ):
        assert views_too.shape == scan_too.shape
        assert gap(views_too, scan_too) < 1e-12
    if scan.ndim == 3:
        assert gap(views.with_rows(1, 2.0, -0.5), scan.with_rows(1, 2.0, -0.5)) < 1e-12
    else:
        for one in (views, scan):
            with pytest.raises(ValueError, match="scan: expected a ConeBeam or Views to choose"):
                one.with_rows(1, 2.0, -0.5)


@pytest.mark.parametrize("pitch", [0.0, 6.0])
def test_the_level_row_of_a_circle_is_a_fan_beam(pitch):
    scan = ConeBeam(5, (3, 8), 1.5, 40.0, 70.0, pitch=pitch, detector_offset=(0.0, 0.4))
    assert scan.is_circular is (pitch == 0)
    fan = scan.level_fan()
    if pitch:
        assert fan is None
        return
    points, ways = (rays[:, 1] for rays in scan.rays())
    ways = ways / np.linalg.norm(ways, axis=-1, keepdims=True)
    assert not ways[..., 0].any()
    for found, expected in zip(fan.rays(), (points, ways), strict=True):
        np.testing.assert_allclose(found, expected[..., 1:], atol=1e-12)


def test_a_bright_pixel_is_seen_where_the_line_through_it_ends():
    # source at (0, -10), detector along x at y = 20: the pixel at (2, 0) is seen at x = 6
    scan = Views((51,), [[0.0, 20.0]], [[[1.0, 0.0]]], source=[[0.0, -10.0]])
    grid = Grid((9, 9))
    image = torch.zeros(grid.shape)
    image[4 + 2, 4] = 1.0
    sinogram = RayTransform(grid, scan)(image)
    assert sinogram[0].argmax() == 25 + 6
    # the detector turned by 45 degrees counter-clockwise meets that ray elsewhere
    turned = scan.with_detector_angles(slant=math.pi / 4)
    # (s, 20 + s) = (0, -10) + t (2, 10) for s = u / sqrt(2): 10 + 5 s = 30 + s ... s = 7.5
    (seen,) = turned.project_points(np.array(2.0), np.array(0.0))
    assert seen.bins[0] == pytest.approx(25 + 7.5 * math.sqrt(2))
    assert RayTransform.derived(grid, turned, "auto")(image)[0].argmax() == round(
        25 + 7.5 * math.sqrt(2)
    )


def test_a_bright_voxel_is_seen_on_a_rotated_detector():
    grid = Grid((7, 7, 7))
    volume = torch.zeros(grid.shape)
    volume[3 + 2, 3 + 1, 3] = 1.0  # z = 2, x = 1
    # rays along y; rows step along z, columns along x
    scan = Views(
        (9, 9), [[0.0, 0.0, 20.0]], [[[1.0, 0, 0]], [[0, 1.0, 0]]], direction=[[0, 0, 1.0]]
    )

    def place(scan):
        return divmod(int(RayTransform.derived(grid, scan, "auto")(volume).argmax()), 9)

    assert place(scan) == (4 + 2, 4 + 1)
    # steps turn from rows (z) to columns (x): by a quarter turn rows step along x, columns along -z
    assert place(scan.with_detector_angles(rotation=math.pi / 2)) == (4 + 1, 4 - 2)


@pytest.mark.parametrize("angle", [0.3, np.linspace(-0.4, 0.5, 5)])
@pytest.mark.parametrize("name", ["slant", "tilt", "rotation"])
def test_turned_steps_keep_their_lengths_and_the_right_angle(name, angle):
    views = Views.of(CONE)
    rows, columns = views.with_detector_angles(**{name: angle}).vectors().steps
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 2.0)
    np.testing.assert_allclose(np.linalg.norm(columns, axis=1), 1.5)
    np.testing.assert_allclose((rows * columns).sum(axis=1), 0, atol=1e-12)
    old_rows, old_columns = views.vectors().steps
    cosine = np.cos(np.broadcast_to(angle, 5))
    turned_rows = 1.0 if name == "slant" else cosine
    turned_columns = 1.0 if name == "tilt" else cosine
    np.testing.assert_allclose((rows * old_rows).sum(axis=1) / 4.0, turned_rows)
    np.testing.assert_allclose((columns * old_columns).sum(axis=1) / 2.25, turned_columns)


def test_filtered_back_projection_refuses():
    grid = Grid((8, 8))
    A = RayTransform(grid, Views.of(FanBeam(30, 40, 1.0, 40.0, 70.0)))
    with pytest.raises(ValueError, match=r"scan: expected a parallel, .* got Views; iterative m"):
        fbp(torch.zeros(A.range_shape), A)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({}, ValueError, "source: expected either source or direction .* got neither"),
        (
            {"source": [[0.0, 0.0]], "direction": [[1.0, 0.0]]},
            ValueError,
            "expected either source or direction .* got both",
        ),
        ({"source": [[30.0, 7.0]]}, ValueError, "source: expected rays that do not run along"),
        ({"direction": [[0.0, -2.0]]}, ValueError, "direction: expected rays .* got view 0"),
        ({"direction": [[0.0, 0.0]]}, ValueError, "direction: expected rays .* got view 0"),
        ({"direction": [[1.0, 0.0]] * 2}, ValueError, r"direction: .* \(1, 2\), got .* \(2, 2\)"),
        ({"source": [[0.0, math.nan]]}, ValueError, r"source: .* got \[0.0, nan\] in view 0"),
        ({"source": "here"}, TypeError, r"source: expected finite numbers .* got str"),
        (
            {"source": [[0.0, 0.0]], "steps": [[[0.0, 0.0]]]},
            ValueError,
            "steps: expected linearly independent steps that are not zero, got view 0",
        ),
        (
            {"source": [[0.0, 0.0]], "steps": [[0.0, 1.0]]},
            ValueError,
            r"steps\[0\]: expected finite numbers of shape \(1, 2\), got shape \(2,\)",
        ),
        (
            {"source": [[0.0, 0.0]], "steps": [[[0.0, 1.0]]] * 2},
            ValueError,
            r"steps: expected 1 arrays, one per detector axis",
        ),
        ({"source": [[0.0, 0.0]], "detector": []}, ValueError, "detector: expected finite"),
        ({"source": [[0.0, 0.0]], "detector_shape": (1, 1, 1)}, ValueError, "detector_shape: "),
        (
            {
                "detector_shape": (3, 4),
                "detector": np.ones((2, 3)),
                "steps": (np.ones((2, 3)), np.array([[1.0, 0, 0], [2.0, 2.0, 2.0]])),
                "source": np.zeros((2, 3)),
            },
            ValueError,
            "steps: expected linearly independent steps .* got view 1",
        ),
    ],
)
def test_refusals(arguments, error, message):
    with pytest.raises(error, match=message):
        Views(**(ONE | arguments))


def test_refusals_of_what_is_made_from_others():
    with pytest.raises(ValueError, match="expected a flat detector, got 'curved'"):
        Views.of(FanBeam(6, 9, 1.5, 40.0, 70.0, detector="curved"))
    with pytest.raises(TypeError, match="scan: expected a scan such as"):
        Views.of("fan")
    with pytest.raises(ValueError, match="tilt: expected no tilt and no rotation in the plane"):
        Views.of(FAN).with_detector_angles(tilt=0.1)
    with pytest.raises(ValueError, match="scan: ODL has no geometry for Views"):
        Views.of(FAN).to_odl()
