"""What the detector sees: covering detectors, the field of view, and the warning."""

import itertools
import math

import numpy as np
import pytest

from tomolearn.geometry import (
    ConeBeam,
    CoverageWarning,
    FanBeam,
    Grid,
    ParallelBeam,
    Views,
    coverage_gap,
    field_of_view,
)
from tomolearn.operators import RayTransform

PLANES = {
    "centred": Grid((12, 12)),
    "odd": Grid((9, 9), 1.3),
    "wide": Grid((6, 21), 0.7),
    "shifted": Grid((8, 9), 0.8, center=(2.5, -3.1)),
    "anisotropic": Grid((8, 10), (1.0, 0.6)),
    "away from the axis": Grid((4, 4), (0.5, 1.0), center=(-9.0, 6.0)),
    "one pixel": Grid((1, 1), 2.0),
}
VOLUMES = {
    "centred": Grid((5, 6, 7)),
    "shifted": Grid((4, 6, 5), 0.8, center=(3.0, 2.5, -3.1)),
    "anisotropic": Grid((9, 4, 6), (0.3, 1.0, 0.6), center=(-1.0, 0.0, 0.0)),
    "flat": Grid((1, 8, 8), (4.0, 1.0, 1.0)),
    "fine": Grid((3, 30, 30), 0.5),
}
FAN = {"source_to_isocenter": 18.0, "source_to_detector": 31.0}
# views that face every side and every corner
ANGLES = {
    "many": {"n_angles": 37, "angular_range": 2 * math.pi},
    "listed": {"angles": [0.0, math.pi / 4, math.pi / 2, 2.0, math.pi, -math.pi / 4]},
    "short": {"n_angles": 16, "angular_range": math.pi + 0.8, "start_angle": 0.3},
}


def parallel(grid, **angles):
    return ParallelBeam.covering(grid, **angles)


def fan(grid, **angles):
    return FanBeam.covering(grid, **FAN, **angles)


def curved_fan(grid, **angles):
    return FanBeam.covering(grid, **FAN, **angles, detector="curved")


def few_bins(grid, **angles):
    return FanBeam.covering(grid, **FAN, **angles, n_detectors=3)


def cone(grid, **angles):
    return ConeBeam.covering(grid, **FAN, **angles)


CASES = [
    *itertools.product(PLANES.values(), (parallel, fan, curved_fan, few_bins)),
    *itertools.product(VOLUMES.values(), (cone,)),
]
each_case = pytest.mark.parametrize(
    ("grid", "covering"), CASES, ids=[f"{make.__name__}-{grid.shape}" for grid, make in CASES]
)
each_angles = pytest.mark.parametrize("angles", ANGLES.values(), ids=ANGLES)


def bins_of(scan, points):
    """Return the bins (not whole) where points are projected, shape (angles, points, axes).

    The rays of `vectors`, or on a curved detector the angle to the central ray, are solved for
    the bin. Where a point is not in front of the source, the bin is not a number.
    """
    if scan.is_curved and scan.ndim == 3:
        return _bins_on_a_cylinder(scan, points)
    if scan.is_curved:
        flat = FanBeam(
            n_detectors=1, detector_spacing=1.0, angles=scan.view_angles, **_distances(scan)
        )
        slopes = bins_of(flat, points) / scan.source_to_detector
        positions = np.arctan(slopes) * scan.source_to_detector - scan.detector_offset
        return positions / scan.detector_spacing + (scan.n_detectors - 1) / 2
    vectors = scan.vectors()
    middle = (np.array(scan.detector_shape) - 1) / 2
    result = np.empty((scan.n_angles, len(points), len(middle)))
    for view in range(scan.n_angles):
        steps = [step[view] for step in vectors.steps]
        source, detector = vectors.source[view], vectors.detector[view]
        if scan.is_parallel:
            # point + s * direction = detector + sum of bins * step
            matrix = np.column_stack([*steps, source])
            result[view] = np.linalg.solve(matrix, (points - detector).T)[:-1].T
        else:
            # source + (point - source) / s = detector + sum of bins * step, in front if s > 0
            matrix = np.column_stack([*steps, detector - source])
            solved = np.linalg.solve(matrix, (points - source).T)
            with np.errstate(divide="ignore", invalid="ignore"):
                result[view] = np.where(solved[-1] > 0, solved[:-1] / solved[-1], np.nan).T
    return result + middle


def _bins_on_a_cylinder(scan, points):
    ways = points - scan.sources()[:, None]
    x, y = ways[..., 1], ways[..., 2]
    cos, sin = np.cos(scan.view_angles)[:, None], np.sin(scan.view_angles)[:, None]
    across = np.arctan2(x * cos + y * sin, y * cos - x * sin) * scan.source_to_detector
    up = ways[..., 0] / np.hypot(x, y) * scan.source_to_detector
    rows, columns = scan.detector_positions
    bins = np.stack([up - rows[0], across - columns[0]], axis=-1)
    return bins / scan.detector_spacing


def _distances(scan):
    return {name: getattr(scan, name) for name in ("source_to_isocenter", "source_to_detector")}


def on_detector(scan, points, tolerance=0.0):
    bins = bins_of(scan, points)
    ends = np.array(scan.detector_shape) - 0.5
    return ((bins >= -0.5 - tolerance) & (bins <= ends + tolerance)).all(axis=(0, 2))


def corners(grid):
    edges = [
        np.linspace(low, high, n + 1)
        for low, high, n in zip(grid.lower, grid.upper, grid.shape, strict=True)
    ]
    return np.stack(np.meshgrid(*edges, indexing="ij"), axis=-1).reshape(-1, grid.ndim)


def centres(grid):
    return np.stack(np.meshgrid(*grid.coordinates(), indexing="ij"), axis=-1)


@each_angles
@each_case
def test_every_corner_of_every_pixel_is_seen(grid, covering, angles):
    scan = covering(grid, **angles)
    assert on_detector(scan, corners(grid), tolerance=1e-9).all()
    assert field_of_view(grid, scan).all()
    assert coverage_gap(grid, scan) <= 1e-9 * grid.radius


@each_case
def test_the_covering_detector_is_not_much_too_wide(grid, covering):
    # Seen from all around, the farthest corner comes to the very edge of a plane's detector. A
    # cone's has whole bins of the voxels' size, on both sides of the middle.
    scan = covering(grid, n_angles=3600, angular_range=2 * math.pi)
    bins = bins_of(scan, corners(grid))[..., -1]
    margin = 2.0 if covering is cone else 1e-3 * scan.n_detectors
    n = scan.detector_shape[-1]
    assert bins.min() < -0.5 + margin
    assert bins.max() > n - 0.5 - margin


@pytest.mark.parametrize("grid", PLANES.values(), ids=PLANES)
def test_bins_have_the_pixels_size_on_the_axis(grid):
    magnification = FAN["source_to_detector"] / FAN["source_to_isocenter"]
    for scan, size in (
        (parallel(grid, n_angles=3), 1.0),
        (fan(grid, n_angles=3), magnification),
        (curved_fan(grid, n_angles=3), magnification),
    ):
        assert scan.detector_spacing <= size * min(grid.spacing) * (1 + 1e-12)
    assert few_bins(grid, n_angles=3).n_detectors == 3


LOOSE = {
    "parallel": (PLANES["shifted"], ParallelBeam(11, 9, 1.1, detector_offset=-0.7)),
    "parallel, listed": (PLANES["wide"], ParallelBeam(None, 7, 1.0, angles=[0.2, 1.9, 1.1])),
    "fan": (PLANES["centred"], FanBeam(7, 11, 1.4, 18.0, 31.0, detector_offset=2.0)),
    "fan, short": (
        PLANES["anisotropic"],
        FanBeam(7, 9, 1.4, 18.0, 31.0, angular_range=math.pi + 0.4),
    ),
    "curved": (
        PLANES["shifted"],
        FanBeam(7, 11, 1.4, 18.0, 31.0, detector="curved", detector_offset=-1.0),
    ),
    "source within": (Grid((21, 21)), FanBeam(4, 15, 1.0, 5.0, 9.0)),
    "curved, source within": (
        Grid((21, 21)),
        FanBeam(4, 15, 1.0, 5.0, 9.0, start_angle=0.2, detector="curved"),
    ),
    "views": (
        PLANES["shifted"],
        Views.of(FanBeam(7, 11, 1.2, 18.0, 31.0)).with_detector_angles(slant=0.3),
    ),
    "views, parallel": (
        PLANES["wide"],
        Views.of(ParallelBeam(5, 9, 0.9)).with_detector_angles(slant=-0.2),
    ),
    "views in space": (
        VOLUMES["shifted"],
        Views.of(ConeBeam(9, (6, 9), (1.6, 1.2), 18.0, 31.0)).with_detector_angles(
            slant=0.1, tilt=0.2, rotation=np.linspace(-0.2, 0.2, 9)
        ),
    ),
    "cone": (VOLUMES["shifted"], ConeBeam(9, (6, 9), (1.6, 1.2), 18.0, 31.0)),
    "cone, offset": (
        VOLUMES["anisotropic"],
        ConeBeam(9, (3, 4), 1.5, 18.0, 31.0, detector_offset=(-0.8, 0.6), start_z=-0.3),
    ),
    "cone, curved": (
        VOLUMES["anisotropic"],
        ConeBeam(9, (3, 4), 1.5, 18.0, 31.0, detector_offset=(-0.8, 0.6), detector="curved"),
    ),
    "helix": (
        Grid((9, 6, 7)),
        ConeBeam(9, (8, 9), 1.5, 18.0, 31.0, pitch=4.0, start_z=-2.0),
    ),
}


@pytest.mark.parametrize(("grid", "scan"), LOOSE.values(), ids=LOOSE)
def test_field_of_view_is_what_every_view_sees(grid, scan):
    mask = field_of_view(grid, scan)
    assert mask.shape == grid.shape
    assert mask.dtype == bool
    expected = on_detector(scan, centres(grid).reshape(-1, grid.ndim)).reshape(grid.shape)
    np.testing.assert_array_equal(mask, expected)
    # neither all nor nothing, or it would prove little
    assert 0 < mask.sum() < mask.size


def test_the_field_of_view_of_a_full_turn_is_a_disc():
    grid = Grid((40, 40))
    mask = field_of_view(grid, FanBeam(360, 20, 1.0, 40.0, 70.0))
    radius = np.hypot(*np.moveaxis(centres(grid), -1, 0))
    edge = 40.0 * math.sin(math.atan(10 / 70))
    assert mask[radius < edge - 0.01].all()
    assert not mask[radius > edge + 0.01].any()


@pytest.mark.parametrize("kind", ["parallel", "fan", "curved"])
@pytest.mark.parametrize("missing", [-0.3, 0.4])
def test_the_gap_is_what_the_detector_lacks(kind, missing):
    grid = Grid((20, 20), center=(0.0, 0.0))
    width = {
        "parallel": 10.0,
        "fan": 31.0 * math.tan(math.asin(10 / 18)),
        "curved": 31.0 * math.asin(10 / 18),
    }[kind]
    bins = {"n_detectors": 50, "detector_spacing": (width - missing) / 25}
    if kind == "parallel":
        scan = ParallelBeam(180, **bins, angular_range=2 * math.pi)
    else:
        detector = "curved" if kind == "curved" else "flat"
        scan = FanBeam(180, **bins, **FAN, detector=detector)
    # the circle is looked at in steps of two degrees
    assert coverage_gap(grid, scan) == pytest.approx(missing, abs=0.01)


def test_the_gap_of_a_detector_moved_aside_is_its_offset():
    grid = Grid((20, 20))
    for offset in (3.0, -3.0):
        scan = ParallelBeam(180, 20, 1.0, detector_offset=offset)
        assert coverage_gap(grid, scan) == pytest.approx(3.0, abs=0.01)


def test_a_gap_in_one_view_of_many_is_found():
    # the grid lies aside: only views along one direction miss it by that much
    grid = Grid((4, 4), center=(6 * math.cos(1.0), 6 * math.sin(1.0)))
    scan = ParallelBeam(1000, 10, 1.0)
    assert coverage_gap(grid, scan) == pytest.approx(3.0, abs=0.05)


def test_the_gap_of_a_cone_beam():
    grid = Grid((10, 8, 8))
    wide = {"n_angles": 16, "detector_spacing": 1.0, **FAN}
    # the ends of the axis are magnified by 31 / 18
    low = ConeBeam(detector_shape=(10, 40), **wide)
    assert coverage_gap(grid, low) == pytest.approx(5 * 31 / 18 - 5)
    narrow = ConeBeam(detector_shape=(40, 10), **wide)
    edge = 31 * math.tan(math.asin(4 / 18))
    assert coverage_gap(grid, narrow) == pytest.approx(edge - 5, abs=0.01)
    # a helix sees each slice in some views only
    assert coverage_gap(grid, ConeBeam(detector_shape=(10, 40), pitch=5.0, **wide)) < 0


@pytest.mark.parametrize(("grid", "scan"), LOOSE.values(), ids=LOOSE)
def test_views_one_by_one_miss_as_much(grid, scan):
    if not scan.is_curved:
        expected = coverage_gap(grid, scan)
        assert coverage_gap(grid, Views.of(scan)) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("detector", ["flat", "curved"])
def test_a_source_within_the_grid_is_an_infinite_gap(detector):
    scan = FanBeam(4, 15, 1.0, 5.0, 9.0, detector=detector)
    assert coverage_gap(Grid((21, 21)), scan) == math.inf


@pytest.mark.parametrize("grid", PLANES.values(), ids=PLANES)
@pytest.mark.parametrize("covering", [parallel, fan, curved_fan])
def test_no_warning_for_covering_detectors(grid, covering):
    RayTransform(grid, covering(grid, **ANGLES["many"]))  # a warning would be an error


def test_no_warning_for_corners_outside_the_circle():
    grid = Grid((20, 20))
    RayTransform(grid, ParallelBeam(30, 20, 1.0))
    assert not field_of_view(grid, ParallelBeam(30, 20, 1.0)).all()


@pytest.mark.parametrize(
    ("scan", "message"),
    [
        (
            ParallelBeam(30, 15, 1.0),
            r"detector misses .* by 2.49[0-9] mm in some views; ParallelBeam.covering\(grid, ...\)",
        ),
        (FanBeam(30, 15, 1.0, 18.0, 31.0), r"by 13.21 mm .* FanBeam.covering\(grid, ...\) chooses"),
        (Views.of(ParallelBeam(30, 15, 1.0)), "by 2.49[0-9] mm .*; more or larger bins see it"),
        (
            Views((9,), [[18.0, 0.0]], [[[0.0, 4.0]]], source=[[15.0, 0.0]]),
            "part of the grid's inscribed circle lies beside or behind the source in some views",
        ),
    ],
)
def test_warning_with_the_remedy(scan, message):
    with pytest.warns(CoverageWarning, match=message) as caught:
        RayTransform(Grid((20, 20)), scan)
    assert [warning.filename for warning in caught] == [__file__]


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (
            lambda: parallel(VOLUMES["flat"], n_angles=3),
            ValueError,
            r"grid: expected a 2-D grid, got shape \(1, 8, 8\)",
        ),
        (lambda: fan(VOLUMES["flat"], n_angles=3), ValueError, "grid: expected a 2-D grid"),
        (lambda: cone(PLANES["odd"], n_angles=3), ValueError, r"expected a 3-D grid.*\(9, 9\)"),
        (lambda: parallel((9, 9), n_angles=3), TypeError, "grid: expected a Grid, got tuple"),
        (lambda: fan(None, n_angles=3), TypeError, "grid: expected a Grid, got NoneType"),
        (lambda: cone("grid", n_angles=3), TypeError, "grid: expected a Grid, got str"),
        (
            lambda: fan(Grid((40, 40)), n_angles=3),
            ValueError,
            "source_to_isocenter: expected more than the grid's radius 28.2843 mm, got 18.0",
        ),
        (
            lambda: cone(Grid((1, 40, 40)), n_angles=3),
            ValueError,
            "source_to_isocenter: expected more than the grid's radius 28.2843 mm, got 18.0",
        ),
        (
            lambda: FanBeam.covering(
                PLANES["odd"], 3, source_to_isocenter="18", source_to_detector=31.0
            ),
            TypeError,
            "source_to_isocenter: expected a positive number, got '18'",
        ),
        (
            lambda: FanBeam.covering(PLANES["odd"], 3, **FAN, n_detectors=0),
            ValueError,
            "n_detectors: expected an integer >= 1, got 0",
        ),
        (
            lambda: FanBeam.covering(PLANES["odd"], 3, **FAN, detector="round"),
            ValueError,
            "detector: expected one of flat, curved",
        ),
        (lambda: parallel(PLANES["odd"]), TypeError, "n_angles: expected an integer >= 1"),
        (
            lambda: field_of_view(VOLUMES["flat"], ParallelBeam(3, 4, 1.0)),
            ValueError,
            "grid: expected a 2-D grid, got shape",
        ),
        (
            lambda: coverage_gap(PLANES["odd"], ConeBeam(3, (2, 2), 1.0, 18.0, 31.0)),
            ValueError,
            "grid: expected a 3-D grid, got shape",
        ),
        (
            lambda: field_of_view(PLANES["odd"], "scan"),
            TypeError,
            "scan: expected a scan such as ParallelBeam, .*, got str",
        ),
        (lambda: coverage_gap("grid", ParallelBeam(3, 4, 1.0)), TypeError, "grid: expected a Grid"),
    ],
)
def test_refusals(make, error, message):
    with pytest.raises(error, match=message):
        make()


@pytest.mark.parametrize(
    "scan",
    [
        FanBeam(4, 15, 1.0, 5.0, 9.0),
        FanBeam(4, 15, 1.0, 5.0, 9.0, detector="curved"),
        Views((9,), [[8.0, 0.0]], [[[0.0, 1.0]]], source=[[-3.0, 1.0]]),
    ],
)
def test_a_source_within_the_grid_is_refused(scan):
    with pytest.raises(ValueError, match="scan: expected every source outside of the grid"):
        RayTransform(Grid((20, 20)), scan)
