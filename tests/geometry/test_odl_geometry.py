"""Every ray is where ODL's geometry says."""

import math

import numpy as np
import odl
import pytest

from tomolearn.geometry import ConeBeam, FanBeam, Grid, ParallelBeam

OFFSETS = [0.0, 1.3]
LISTED = [-0.3, 0.4, 2.9, 7.0]
ANGLES = {
    "n_angles": {"n_angles": 5},
    "part of a turn": {"n_angles": 5, "angular_range": 2.2, "start_angle": -0.7},
    "listed": {"angles": LISTED},
}
each_angles = pytest.mark.parametrize("angles", ANGLES.values(), ids=ANGLES)
FAN = {"source_to_isocenter": 40.0, "source_to_detector": 70.0}


def rays_of(geometry, unit=1.0):
    """Return a point and the unit direction of each ray, arrays (angles, *bins, ndim)."""
    grids = np.meshgrid(*geometry.det_grid.coord_vectors, indexing="ij")
    bins = np.stack([axis.ravel() for axis in grids]) * unit
    bins = bins if len(bins) > 1 else bins[0]
    points, directions = [], []
    for angle in geometry.angles:
        points.append(np.atleast_2d(geometry.det_point_position(angle, bins)))
        towards = geometry.det_to_src(angle, bins)
        directions.append(-np.broadcast_to(towards, points[-1].shape))
    shape = (len(geometry.angles), *geometry.det_partition.shape, -1)
    return np.reshape(points, shape), np.reshape(directions, shape)


def assert_same_lines(found, expected):
    """Compare lines given by points and directions."""
    (points, directions), (other_points, other_directions) = found, expected
    directions = directions / np.linalg.norm(directions, axis=-1, keepdims=True)
    np.testing.assert_allclose(directions, other_directions, atol=1e-12)
    between = points - other_points
    along = (between * directions).sum(axis=-1, keepdims=True) * directions
    np.testing.assert_allclose(between, along, atol=1e-11)


@each_angles
@pytest.mark.parametrize("offset", OFFSETS)
def test_parallel(angles, offset):
    scan = ParallelBeam(n_detectors=6, detector_spacing=1.7, detector_offset=offset, **angles)
    geometry = scan.to_odl()
    np.testing.assert_allclose(geometry.angles, scan.view_angles)
    np.testing.assert_allclose(geometry.det_grid.coord_vectors[0], scan.detector_positions)
    assert_same_lines(scan.rays(), rays_of(geometry))


@each_angles
@pytest.mark.parametrize("offset", OFFSETS)
@pytest.mark.parametrize("detector", ["flat", "curved"])
def test_fan(angles, offset, detector):
    scan = FanBeam(
        n_detectors=6,
        detector_spacing=7.0,
        detector=detector,
        detector_offset=offset,
        **FAN,
        **angles,
    )
    geometry = scan.to_odl()
    np.testing.assert_allclose(geometry.angles, scan.view_angles)
    assert_same_lines(scan.rays(), rays_of(geometry))
    unit = 70.0 if detector == "curved" else 1.0
    np.testing.assert_allclose(
        geometry.det_grid.coord_vectors[0] * unit, scan.detector_positions, atol=1e-13
    )


@each_angles
@pytest.mark.parametrize("offset", OFFSETS)
@pytest.mark.parametrize("kind", ["parallel", "fan"])
def test_vectors_and_rays_are_the_same_lines(kind, angles, offset):
    bins = {"n_detectors": 6, "detector_spacing": 1.7, "detector_offset": offset}
    scan = (
        ParallelBeam(**bins, **angles) if kind == "parallel" else FanBeam(**bins, **FAN, **angles)
    )
    vectors = scan.vectors()
    steps = np.arange(6)[:, None] - 2.5
    points = vectors.detector[:, None] + steps * vectors.steps[0][:, None]
    source = np.broadcast_to(vectors.source[:, None], points.shape)
    directions = source if kind == "parallel" else points - source
    directions = directions / np.linalg.norm(directions, axis=-1, keepdims=True)
    assert_same_lines(scan.rays(), (points, directions))


@each_angles
@pytest.mark.parametrize("offset", [(0.0, 0.0), (0.9, -1.3)])
@pytest.mark.parametrize("pitch", [0.0, 5.0, -3.0])
def test_cone(angles, offset, pitch):
    scan = ConeBeam(
        detector_shape=(3, 4),
        detector_spacing=(2.0, 1.7),
        detector_offset=offset,
        pitch=pitch,
        start_z=-1.5,
        **FAN,
        **angles,
    )
    geometry = scan.to_odl()
    np.testing.assert_allclose(geometry.angles, scan.view_angles)
    vectors = scan.vectors()
    rows, columns = np.arange(3)[:, None, None] - 1.0, np.arange(4)[:, None] - 1.5
    middle, (down, across) = vectors.detector[:, None, None], vectors.steps
    bins = middle + rows * down[:, None, None] + columns * across[:, None, None]
    sources = np.broadcast_to(vectors.source[:, None, None], bins.shape)
    expected_bins, expected_directions = rays_of(geometry)
    np.testing.assert_allclose(bins, expected_bins, atol=1e-11)
    assert_same_lines((bins, bins - sources), (expected_bins, expected_directions))
    np.testing.assert_allclose(vectors.source, geometry.src_position(geometry.angles), atol=1e-11)


def test_a_helix_climbs_by_its_pitch():
    scan = ConeBeam(
        angles=[0.0, 2 * math.pi, 3 * math.pi],
        detector_shape=(2, 2),
        detector_spacing=1.0,
        pitch=4.0,
        start_z=-3.0,
        **FAN,
    )
    np.testing.assert_allclose(scan.vectors().source[:, 0], [-3.0, 1.0, 3.0])


@pytest.mark.parametrize(
    "grid", [Grid((4, 6), (0.5, 2.0), center=(1.0, -3.0)), Grid((2, 4, 6), 0.5)]
)
def test_pixels_are_where_odls_are(grid):
    space = grid.to_odl()
    assert space.shape == grid.shape
    assert space.dtype == np.float32
    assert grid.to_odl(dtype="float64").dtype == np.float64
    for ours, theirs in zip(grid.coordinates(), space.grid.coord_vectors, strict=True):
        np.testing.assert_allclose(ours, theirs)


def test_the_covering_detector_is_odls():
    for grid in (Grid((30, 44), 0.7), Grid((9, 9), 1.3, center=(2.0, -1.0))):
        theirs = odl.applications.tomo.parallel_beam_geometry(grid.to_odl(), 7)
        ours = ParallelBeam.covering(grid, 7).to_odl()
        assert ours.det_partition.shape == theirs.det_partition.shape
        np.testing.assert_allclose(ours.det_partition.extent, theirs.det_partition.extent)
        np.testing.assert_allclose(ours.angles, theirs.angles)


def test_one_listed_angle():
    scan = ParallelBeam(angles=[0.3], n_detectors=5, detector_spacing=1.0)
    np.testing.assert_allclose(scan.to_odl().angles, [0.3])


@pytest.mark.parametrize("angles", [[0.0, 2.0, 1.0], [0.0, 0.0]])
def test_unsorted_angles_are_refused(angles):
    scan = ParallelBeam(angles=angles, n_detectors=5, detector_spacing=1.0)
    with pytest.raises(ValueError, match="angles: expected increasing angles for ODL, got"):
        scan.to_odl()
