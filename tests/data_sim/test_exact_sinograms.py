"""Closed-form sinograms against other closed forms, quadrature and ODL's scanners."""

import numpy as np
import pytest
from ellipse_sums import from_rows, one_of
from odl import uniform_partition
from odl.applications.tomo import FanBeamGeometry, Parallel2dGeometry

from data_sim import (
    fan_sinogram,
    line_integrals,
    parallel_sinogram,
    random_ellipse_parameters,
    shepp_logan_ellipses,
)

ANGLES = np.array([0.0, 0.3, np.pi / 2, 2.0, np.pi, 4.1, 6.0])
POSITIONS = np.linspace(-80, 80, 33)
HALF = 50.0


def by_quadrature(ellipses, start, direction, half_extent, length, n=40_000):
    """Midpoint rule for one phantom along a ray of the given length in mm."""
    step = length / n
    s = (np.arange(n) + 0.5) * step
    points = (start + s[:, None] * direction / np.linalg.norm(direction)) / half_extent
    total = 0.0
    for k in range(ellipses.n_ellipses):
        dx, dy = (points - ellipses.centre[k]).T
        cos, sin = np.cos(ellipses.rotation[k]), np.sin(ellipses.rotation[k])
        a, b = ellipses.semi_axes[k]
        inside = ((dx * cos + dy * sin) / a) ** 2 + ((dy * cos - dx * sin) / b) ** 2 <= 1
        total += ellipses.value[k] * inside.sum() * step
    return total, np.abs(ellipses.value).sum() * step


def test_disc_has_the_chord_of_school_geometry():
    radius, x, y = 0.3, 0.21, -0.37  # No ray is a tangent, where rounding counts by its root.
    disc = from_rows([[2.5, radius, radius, x, y, 0.7]])
    sinogram = parallel_sinogram(disc, ANGLES, POSITIONS, half_extent=HALF)
    offset = POSITIONS - HALF * (x * np.cos(ANGLES) + y * np.sin(ANGLES))[:, None]
    chord = 2 * np.sqrt(np.maximum((HALF * radius) ** 2 - offset**2, 0))
    assert (chord > 0).sum() > 20
    np.testing.assert_allclose(sinogram, 2.5 * chord, rtol=0, atol=1e-11)


def test_every_projection_holds_the_mass_of_the_phantom():
    ellipses = shepp_logan_ellipses()
    u = np.linspace(-HALF, HALF, 20_001)
    sinogram = parallel_sinogram(ellipses, ANGLES, u, half_extent=HALF)
    mass = HALF**2 * np.sum(ellipses.value * np.pi * ellipses.semi_axes.prod(axis=1))
    # Square-root ends: the error of the sum is of order (step / width)^1.5.
    np.testing.assert_allclose(sinogram.sum(axis=1) * (u[1] - u[0]), mass, rtol=1e-5)


@pytest.mark.parametrize("half_extent", [HALF, (40.0, 65.0)])
def test_parallel_lines_by_quadrature(half_extent, numpy_rng):
    one = one_of(random_ellipse_parameters(1, numpy_rng), 0)
    sinogram = parallel_sinogram(one, ANGLES, POSITIONS, half_extent=half_extent)
    for k, m in [(0, 16), (1, 3), (2, 20), (3, 16), (5, 25), (6, 10)]:
        t, u = ANGLES[k], POSITIONS[m]
        # A line given by its equation: foot of the perpendicular, then 400 mm to each side.
        along = np.array([-np.sin(t), np.cos(t)])
        start = u * np.array([np.cos(t), np.sin(t)]) - 400 * along
        value, bound = by_quadrature(one, start, along, half_extent, 800)
        assert sinogram[k, m] == pytest.approx(value, abs=bound)


@pytest.mark.parametrize("curved", [False, True])
def test_fan_rays_by_quadrature(curved, numpy_rng):
    one = one_of(random_ellipse_parameters(1, numpy_rng), 0)
    radius, distance = 300.0, 500.0
    sinogram = fan_sinogram(
        one, ANGLES, POSITIONS, radius, distance, curved=curved, half_extent=HALF
    )
    for k, m in [(0, 16), (1, 3), (2, 20), (3, 16), (5, 25), (6, 10)]:
        t, u = ANGLES[k], POSITIONS[m]
        source = radius * np.array([np.sin(t), -np.cos(t)])
        # The fan angle turns the beam, clockwise for positive u.
        fan = u / distance if curved else np.arctan2(u, distance)
        direction = np.array([-np.sin(t - fan), np.cos(t - fan)])
        value, bound = by_quadrature(one, source, direction, HALF, 600)
        assert sinogram[k, m] == pytest.approx(value, abs=bound)


@pytest.mark.parametrize("kind", ["parallel", "flat", "curved"])
def test_rays_are_odls(kind):
    ellipses = shepp_logan_ellipses()
    angles = uniform_partition(0, 2 * np.pi, 12)
    detector = uniform_partition(-80, 77, 31)
    t, u = angles.meshgrid[0], detector.meshgrid[0]
    if kind == "parallel":
        geometry = Parallel2dGeometry(angles, detector)
        ours = parallel_sinogram(ellipses, t, u, half_extent=HALF)
    else:
        geometry = FanBeamGeometry(
            angles, detector, 300.0, 200.0, det_curvature_radius=500.0 if kind == "curved" else None
        )
        ours = fan_sinogram(ellipses, t, u, 300.0, 500.0, curved=kind == "curved", half_extent=HALF)
    # A curved detector of ODL is parametrised by the angle.
    parameters = u / 500 if kind == "curved" else u
    for k in range(t.size):
        for m in range(u.size):
            point = geometry.det_point_position(t[k], parameters[m])
            if kind == "parallel":
                direction = geometry.det_to_src(t[k], parameters[m])
            else:
                direction = point - geometry.src_position(t[k])
            theirs = line_integrals(ellipses, point, direction, half_extent=HALF)
            assert ours[k, m] == pytest.approx(float(theirs), abs=1e-9)


def test_batches_equal_their_phantoms(numpy_rng):
    batch = random_ellipse_parameters(3, numpy_rng)
    sinograms = parallel_sinogram(batch, ANGLES, POSITIONS, half_extent=HALF)
    assert sinograms.shape == (3, 7, 33)
    assert sinograms.dtype == np.float64
    for k in range(3):
        one = parallel_sinogram(one_of(batch, k), ANGLES, POSITIONS, half_extent=HALF)
        assert one.shape == (7, 33)
        np.testing.assert_allclose(sinograms[k], one, rtol=0, atol=1e-11)


def test_lines_do_not_depend_on_their_point_or_the_length_of_their_direction(numpy_rng):
    ellipses = shepp_logan_ellipses()
    points = numpy_rng.uniform(-0.5, 0.5, (4, 5, 2))
    directions = numpy_rng.standard_normal((5, 2))
    values = line_integrals(ellipses, points, directions)
    assert values.shape == (4, 5)
    assert (values > 0.1).all()
    np.testing.assert_allclose(
        values, line_integrals(ellipses, points + 1e4 * directions, -7 * directions), atol=1e-7
    )


def test_a_far_source_loses_no_digits():
    # At 10^6 mm the usual discriminant would be good to 1e-4 relative at best.
    disc = from_rows([[1, 0.001, 0.001, 0, 0, 0]])
    value = line_integrals(disc, [0, -1e6], [0, 1])
    assert value == pytest.approx(0.002, rel=1e-12)


DISC = from_rows([[1, 0.5, 0.5, 0, 0, 0]])


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"ellipses": None}, TypeError, "ellipses: expected Ellipses, got NoneType"),
        ({"angles": [[0.0]]}, ValueError, "angles: expected a one-dimensional array, got"),
        ({"angles": [np.inf]}, ValueError, "angles: expected finite numbers, got 1 others"),
        ({"angles": ["0"]}, TypeError, "angles: expected real numbers, got dtype"),
        ({"detector_positions": 3.0}, ValueError, "detector_positions: expected a one-dim"),
        ({"source_to_isocenter": 0}, ValueError, "source_to_isocenter: .* positive .* got 0"),
        ({"source_to_isocenter": 4.9}, ValueError, "expected more than the phantom's reach of 5"),
        ({"source_to_detector": "9"}, TypeError, "source_to_detector: expected a positive number"),
        ({"source_to_detector": np.nan}, ValueError, "source_to_detector: .* positive .* got nan"),
        ({"curved": 1}, TypeError, "curved: expected a bool, got 1"),
        ({"half_extent": -1}, ValueError, "half_extent: expected positive numbers, got -1"),
        ({"half_extent": (1, 2, 3)}, ValueError, "half_extent: expected a number or a pair"),
        (
            {"curved": True, "detector_positions": [32.0]},
            ValueError,
            "detector_positions: .* less than half a turn, up to 31.4159 mm .* got 32",
        ),
    ],
)
def test_bad_scans_are_refused(change, error, message):
    good = {
        "ellipses": DISC,
        "angles": [0.0],
        "detector_positions": [0.0],
        "source_to_isocenter": 10.0,
        "source_to_detector": 20.0,
        "half_extent": 10.0,
    }
    with pytest.raises(error, match=message):
        fan_sinogram(**{**good, **change})


@pytest.mark.parametrize(
    ("points", "directions", "message"),
    [
        ([0, 0], [0, 0], "directions: expected non-zero vectors, got 1 zeros"),
        ([0, 0, 0], [0, 1], r"points: expected shape \(\.\.\., 2\), got \(3,\)"),
        (np.zeros((3, 2)), np.ones((4, 2)), r"broadcast .* got \(3, 2\) and \(4, 2\)"),
    ],
)
def test_bad_lines_are_refused(points, directions, message):
    with pytest.raises(ValueError, match=message):
        line_integrals(DISC, points, directions)
