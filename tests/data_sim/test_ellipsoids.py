"""Ellipsoids against their definition, quadrature, other closed forms and the projector."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.integrate import quad

from data_sim import (
    Ellipsoids,
    ellipsoid_line_integrals,
    random_ellipsoid_parameters,
    random_ellipsoids,
    rasterise_ellipsoids,
)
from data_sim.helix import CHEST, WATER, Helix, as_ellipsoids, ellipsoid_volume
from tomolearn import ConeBeam, Grid
from tomolearn.simulation import Acquisition, Refinement

BALL = Ellipsoids([2.0], [[0.5, 0.5, 0.5]], [[0.1, -0.2, 0.3]], np.eye(3)[None])
HALF = 40.0


def by_definition(ellipsoids, points):
    """Sum at points (..., 3), from quadratic forms."""
    total = np.zeros(points.shape[:-1])
    for k in range(ellipsoids.n_ellipsoids):
        axes = ellipsoids.rotation[k]
        form = sum(
            np.outer(u, u) / r**2 for u, r in zip(axes, ellipsoids.semi_axes[k], strict=True)
        )
        offset = points - ellipsoids.centre[k]
        fade = 1 - np.einsum("...i,ij,...j", offset, form, offset)
        u = offset @ axes.T / ellipsoids.semi_axes[k]
        oscillation = np.cos(u @ ellipsoids.wave[k] + ellipsoids.phase[k])
        profile = 1 + u @ ellipsoids.ramp[k] + ellipsoids.amplitude[k] * oscillation
        total += np.where(
            fade >= 0,
            ellipsoids.value[k] * np.maximum(fade, 0) ** ellipsoids.power[k] * profile,
            0,
        )
    return total


def test_a_ball_has_the_chords_of_school_geometry(numpy_rng):
    points = numpy_rng.uniform(-HALF, HALF, (50, 3))
    directions = numpy_rng.standard_normal((50, 3))
    found = ellipsoid_line_integrals(BALL, points, directions, half_extent=HALF)
    offset = points - HALF * BALL.centre[0]
    distance = np.linalg.norm(np.cross(offset, directions), axis=1)
    distance /= np.linalg.norm(directions, axis=1)
    chord = 2 * np.sqrt(np.maximum((0.5 * HALF) ** 2 - distance**2, 0))
    assert (chord > 0).sum() > 5
    np.testing.assert_allclose(found, 2 * chord, rtol=0, atol=1e-6)


def test_lines_by_quadrature(numpy_rng):
    drawn = random_ellipsoid_parameters(numpy_rng)
    scan = ConeBeam(4, (3, 5), 30.0, 150.0, 300.0)
    points, directions = scan.rays()
    exact = ellipsoid_line_integrals(drawn, points, directions, half_extent=HALF)
    assert exact.shape == scan.shape
    n, length = 8000, 300.0
    steps = (np.arange(n) + 0.5) * length / n
    for place in [(0, 1, 2), (1, 0, 1), (2, 2, 3), (3, 1, 2)]:
        along = directions[place] / np.linalg.norm(directions[place])
        inside = by_definition(drawn, (points[place] + steps[:, None] * along) / HALF)
        # a jump at either end, and a wave that turns within some hundred steps
        bound = 2 * (2.3 * np.abs(drawn.value)).sum() * length / n
        assert exact[place] == pytest.approx(inside.sum() * length / n, abs=bound)


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0, 3.0])
@pytest.mark.parametrize("wave", [(0.0, 0.0, 0.0), (1.0, -2.0, 0.5), (30.0, 20.0, -40.0)])
def test_a_profile_by_adaptive_quadrature(power, wave, numpy_rng):
    profile = Ellipsoids(
        *([1.5], [[0.3, 0.9, 0.5]], [[0.1, -0.2, 0.3]], _rotation(numpy_rng)),
        power=[power],
        ramp=[[0.3, -0.8, 0.4]],
        wave=[wave],
        amplitude=[0.7],
        phase=[0.4],
    )
    direction = np.array([0.2, -1.0, 0.6]) / np.linalg.norm([0.2, -1.0, 0.6])
    for shift in numpy_rng.uniform(-0.2, 0.2, (3, 3)):
        point = profile.centre[0] + shift
        # where the line enters and leaves, between which the integrand is smooth
        p, q = profile.to_unit_balls()[0] @ shift, profile.to_unit_balls()[0] @ direction
        ends = np.roots([q @ q, 2 * p @ q, p @ p - 1]).real
        expected, error = quad(
            lambda s, at=point: by_definition(profile, at + s * direction), *sorted(ends), limit=500
        )
        found = ellipsoid_line_integrals(profile, point, 3 * direction)
        assert found == pytest.approx(expected, abs=10 * error + 1e-9)


def _rotation(rng):
    return np.linalg.qr(rng.standard_normal((3, 3)))[0][None]


@pytest.mark.parametrize("shape", [(20, 24, 17), (1, 9, 9), (9, 1, 1)])
def test_volumes_are_what_their_definition_says(shape, numpy_rng):
    drawn = random_ellipsoid_parameters(numpy_rng)
    axes = [(2 * np.arange(n) + 1 - n) / n for n in shape]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), -1)
    found = rasterise_ellipsoids(drawn, shape)
    assert (found.dtype, found.shape) == (np.float32, shape)
    np.testing.assert_allclose(found, by_definition(drawn, points), rtol=0, atol=1e-6)


def test_parts_lie_within_the_body_and_the_body_in_the_cube(numpy_rng):
    directions = numpy_rng.standard_normal((500, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    for _ in range(20):
        drawn = random_ellipsoid_parameters(numpy_rng)
        body = drawn.to_unit_balls()[0]
        for k in range(drawn.n_ellipsoids):
            axes = drawn.rotation[k].T * drawn.semi_axes[k]
            surface = drawn.centre[k] + directions @ axes.T
            assert np.linalg.norm(surface @ body.T, axis=1).max() <= 1 + 1e-12
        assert np.linalg.norm(surface, axis=1).max() < 1
    volumes = [random_ellipsoids((16, 16, 16), numpy_rng) for _ in range(40)]
    inner = np.stack(volumes)[:, 5:11, 5:11, 5:11]
    assert (inner >= 0).mean() > 0.95
    assert (inner <= 1).mean() > 0.95
    assert 0.4 < inner.mean() < 0.65


def test_simulated_projections_approach_the_exact_ones(numpy_rng):
    grid = Grid((24, 24, 24), 80 / 24)
    scan = ConeBeam.covering(grid, 5, source_to_isocenter=150.0, source_to_detector=260.0)
    drawn = random_ellipsoid_parameters(numpy_rng)
    exact = ellipsoid_line_integrals(drawn, *scan.rays(), half_extent=40)
    errors = []
    for factor in (1, 2, 4):
        acquisition = Acquisition(scan, refinement=Refinement("average", factor))
        volume = rasterise_ellipsoids(drawn, acquisition.simulation_grid(grid).shape)
        found = acquisition.measure(torch.from_numpy(volume), grid).numpy()
        errors.append(np.linalg.norm(found - exact) / np.linalg.norm(exact))
    assert errors[2] < 0.02
    assert errors[2] < 0.6 * errors[1] < 0.36 * errors[0]


def test_the_helix_and_the_volume_of_the_chest_are_of_one_object():
    # axes of the helix are (x, y, z); its rays end where its lines begin
    chest = as_ellipsoids(CHEST)
    points = np.array([[-70.0, -5.0, 0.0], [0.0, 0.0, 30.0], [80.0, -20.0, -20.0]])
    expected = [by_definition(chest, point) for point in points]
    found = [ellipsoid_volume(*point[:, None], CHEST).item() for point in points]
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    helix = Helix(turns=0.01, rows=3, columns=5, center=(1, 2))
    middle = helix.view(0)[1, 2]
    # along y through the axis: body, vertebra and the part behind the heart, the heart turned
    lines = np.linspace(-200, 200, 40_001)
    _, heights, _ = helix.views()
    on_line = np.stack([0 * lines, lines, heights[0] + 0 * lines], -1)
    quadrature = by_definition(chest, on_line).sum() * 0.01
    assert middle == pytest.approx(quadrature, abs=0.05 * WATER)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"value": [[1.0]]}, ValueError, r"value: expected shape \(1,\), got \(1, 1\)"),
        ({"semi_axes": [[1, 1]]}, ValueError, r"semi_axes: expected shape \(1, 3\), got \(1, 2\)"),
        ({"semi_axes": [[1, 0, 1]]}, ValueError, "semi_axes: expected positive numbers, got 0"),
        ({"centre": [[0, 0, np.nan]]}, ValueError, "centre: expected finite numbers"),
        ({"power": [-0.5]}, ValueError, "power: expected numbers that are not negative, got -0.5"),
        ({"ramp": [1.0]}, ValueError, r"ramp: expected shape \(1, 3\), got \(1,\)"),
        ({"phase": [1j]}, TypeError, "phase: expected real numbers"),
        ({"rotation": 2 * np.eye(3)[None]}, ValueError, "rotation: expected orthonormal .* by 3"),
    ],
)
def test_bad_ellipsoids_are_refused(change, error, message):
    with pytest.raises(error, match=message):
        replace(BALL, **change)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: rasterise_ellipsoids(None, (2, 2, 2)), TypeError, "ellipsoids: expected Ellips"),
        (lambda: rasterise_ellipsoids(BALL, (2, 2)), ValueError, "shape: expected three integers"),
        (lambda: rasterise_ellipsoids(BALL, 2), TypeError, "shape: expected three integers"),
        (lambda: random_ellipsoids((2, 2, 2), None), TypeError, "rng: expected"),
        (
            lambda: ellipsoid_line_integrals(BALL, [0, 0], [0, 0, 1]),
            ValueError,
            r"points: expected shape \(\.\.\., 3\), got \(2,\)",
        ),
        (
            lambda: ellipsoid_line_integrals(BALL, [0, 0, 0], [0, 0, 0]),
            ValueError,
            "directions: expected non-zero vectors, got 1 zeros",
        ),
        (
            lambda: ellipsoid_line_integrals(BALL, np.zeros((2, 3)), np.ones((4, 3))),
            ValueError,
            "points, directions: expected shapes that broadcast",
        ),
        (
            lambda: ellipsoid_line_integrals(BALL, [0, 0, 0], [0, 0, 1], half_extent=0),
            ValueError,
            "half_extent: expected a positive number",
        ),
    ],
)
def test_bad_calls_are_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()
