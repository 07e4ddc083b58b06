"""Who is where: backends and vectors against independent matrices and against ODL."""

import gc
import time
from concurrent.futures import ThreadPoolExecutor

import astra
import numpy as np
import odl
import pytest
import torch
from builders import PLANE, SPACE, matrix_of
from joseph_reference import joseph_matrix, length_matrix, slopes
from odl.applications.tomo.backends.astra_setup import astra_projection_geometry

from tomolearn.geometry import Grid, ParallelBeam, Views
from tomolearn.operators.backends.astra import AstraBackend, astra_matrix
from tomolearn.operators.backends.astra_geometry import space_geometries, space_vectors
from tomolearn.operators.backends.odl import OdlBackend

CPU = torch.device("cpu")
FLOAT32 = 2.0**-24


def supported(backend, *parallel):
    return [
        name
        for name, (grid, scan) in PLANE.items()
        if scan.is_parallel in parallel and backend.unsupported(grid, scan, CPU) is None
    ]


def float32_tolerance(grid):
    """Error of a weight of ASTRA's: it walks along a ray by adding steps in float32.

    Each of up to n steps rounds a position of up to about 2 n pixels.
    """
    n = 1 + max(grid.shape)
    return 2 * n * n * FLOAT32 * np.sqrt(2) * max(grid.spacing)


@pytest.mark.parametrize("name", supported(AstraBackend, True))
def test_astra_parallel_is_joseph(name):
    grid, scan = PLANE[name]
    # at exactly 45 degrees rounding decides whether rows or columns are sampled
    decided = slopes(grid, scan) < 1 - 1e-6
    expected = joseph_matrix(grid, scan)[decided]
    weights = astra_matrix(grid, scan).toarray()[decided]
    assert decided.mean() > 0.7
    np.testing.assert_allclose(weights, expected, rtol=0, atol=float32_tolerance(grid))


@pytest.mark.parametrize("name", supported(AstraBackend, False))
def test_astra_fan_is_the_length_in_each_pixel(name):
    grid, scan = PLANE[name]
    slope = slopes(grid, scan)
    # a ray along the border of two pixels may count for either; errors grow towards it
    decided = slope > 1e-2
    tolerance = (float32_tolerance(grid) / slope)[decided, None]
    weights, expected = astra_matrix(grid, scan).toarray(), length_matrix(grid, scan)
    assert decided.mean() > 0.7
    assert (np.abs(weights - expected)[decided] < tolerance).all()
    # and therefore not Joseph's weights
    assert np.abs(weights - joseph_matrix(grid, scan)).max() > 0.05 * grid.spacing[0]


@pytest.mark.parametrize("name", supported(AstraBackend, True, False))
def test_astra_projects_with_its_matrix(name):
    grid, scan = PLANE[name]
    A = AstraBackend(grid, scan)
    weights = astra_matrix(grid, scan)
    assert weights.shape == (np.prod(scan.shape), np.prod(grid.shape))
    forward = matrix_of(A.forward, grid.shape, torch.float32).numpy()
    np.testing.assert_allclose(forward, weights.toarray(), rtol=4 * FLOAT32, atol=0)


@pytest.mark.parametrize("name", PLANE)
def test_joseph_is_joseph(name):
    backends = pytest.importorskip("tomolearn.operators.backends.joseph")
    grid, scan = PLANE[name]
    A = backends.JosephBackend(grid, scan)
    decided = slopes(grid, scan) < 1 - 1e-6
    weights = matrix_of(A.forward, grid.shape, torch.float64).numpy()[decided]
    expected = joseph_matrix(grid, scan)[decided]
    np.testing.assert_allclose(weights, expected, rtol=0, atol=1e-11)


@pytest.mark.parametrize("name", SPACE)
@pytest.mark.parametrize("batch", [None, 1])
def test_joseph_in_space_is_joseph(name, batch):
    backends = pytest.importorskip("tomolearn.operators.backends.joseph")
    grid, scan = SPACE[name]
    forward = backends.JosephBackend(grid, scan).forward
    weights = matrix_of(forward, grid.shape, torch.float64, batch)
    expected = joseph_matrix(grid, scan)
    assert (expected > 0).any(axis=0).mean() > 0.5
    np.testing.assert_allclose(weights.numpy(), expected, rtol=0, atol=1e-11)


@pytest.mark.parametrize(
    "name", [name for name, (_, scan) in (PLANE | SPACE).items() if not scan.is_curved]
)
def test_views_one_by_one_are_the_same_scan(name, rng):
    grid, scan = (PLANE | SPACE)[name]
    backends = pytest.importorskip("tomolearn.operators.backends.joseph")
    images = torch.rand(2, *grid.shape, dtype=torch.float64, generator=rng)
    expected = backends.JosephBackend(grid, scan).forward(images)
    views = Views.of(scan)
    if name.endswith("aligned"):
        pytest.skip("rays at exactly 45 degrees step along either axis, depending on rounding")
    found = backends.JosephBackend(grid, views).forward(images)
    torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-11)
    if AstraBackend.unsupported(grid, scan, CPU) is None:
        single = images.float()
        expected = AstraBackend(grid, scan).forward(single)
        found = AstraBackend(grid, views).forward(single)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-4 * float(expected.max()))


@pytest.mark.parametrize("name", supported(OdlBackend, True, False))
def test_odl_agrees_with_astra(name, rng):
    grid, scan = PLANE[name]
    if name.endswith("aligned"):
        pytest.skip("rays between two pixels fall to either side, depending on rounding")
    images = torch.rand(2, *grid.shape, generator=rng)
    expected = AstraBackend(grid, scan).forward(images)
    # ODL's coordinates are in mm, so that ASTRA rounds elsewhere
    torch.testing.assert_close(
        OdlBackend(grid, scan).forward(images), expected, rtol=0, atol=1e-4 * float(expected.max())
    )


def test_odl_drops_the_offset_of_a_parallel_detector():
    # The reason why `OdlBackend` refuses it, and why ASTRA gets our geometries, not ODL's.
    grid, bins = Grid((8, 8)), (5, 12, 1.0)
    with_offset, without = (
        odl.applications.tomo.RayTransform(
            grid.to_odl(), ParallelBeam(*bins, detector_offset=offset).to_odl(), impl="astra_cpu"
        )
        for offset in (3.0, 0.0)
    )
    image = grid.to_odl().one()
    np.testing.assert_array_equal(with_offset(image).asarray(), without(image).asarray())
    scan = ParallelBeam(*bins, detector_offset=3.0)
    assert "drops the detector offset" in OdlBackend.unsupported(grid, scan, CPU)


@pytest.mark.parametrize(
    "name",
    ["parallel_increasing_angles", "parallel_shifted_detector", "fan_shifted_detector"]
    + [n for n, (_, scan) in SPACE.items() if n.startswith("cone") and not scan.is_curved],
)
def test_vectors_are_odls(name):
    grid, scan = (PLANE | SPACE)[name]
    theirs = astra_projection_geometry(scan.to_odl(), "cuda")
    _, ours = space_geometries(grid, scan)
    assert ours["type"] == theirs["type"]
    vectors, expected = space_vectors(scan), theirs["Vectors"].copy()
    if scan.ndim == 2:
        expected[:, 9:] = [0, 0, 1]  # our slices are 1 mm high, ODL's as high as a bin is wide
    if isinstance(scan, ParallelBeam):  # where along its rays the detector is, does not matter
        rays = vectors[:, :3]
        away = ((expected - vectors)[:, 3:6] * rays).sum(axis=1, keepdims=True)
        expected[:, 3:6] -= away * rays
    np.testing.assert_allclose(vectors, expected, rtol=0, atol=1e-12)


def test_slices_of_a_parallel_beam_lie_before_their_detector_rows():
    grid, scan = PLANE["parallel_shifted_grid"]
    volume, projection = space_geometries(grid, scan, 3)
    assert (volume["GridSliceCount"], projection["DetectorRowCount"]) == (3, 3)
    assert (volume["option"]["WindowMinZ"], volume["option"]["WindowMaxZ"]) == (-1.5, 1.5)
    assert (projection["Vectors"][:, [2, 5, 8, 9, 10]] == 0).all()
    assert (projection["Vectors"][:, 11] == 1).all()
    limits = [volume["option"][f"WindowMin{axis}"] for axis in "YX"]
    assert tuple(limits) == grid.lower


def test_space_geometry_of_a_cone_beam():
    grid, scan = SPACE["cone_anisotropic"]
    volume, projection = space_geometries(grid, scan)
    counts = tuple(volume[f"Grid{axis}Count"] for axis in ("Slice", "Row", "Col"))
    assert counts == grid.shape
    assert tuple(volume["option"][f"WindowMax{axis}"] for axis in "ZYX") == grid.upper
    assert (projection["DetectorRowCount"], projection["DetectorColCount"]) == scan.detector_shape


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("parallel_anisotropic", "needs square pixels, got spacing"),
        ("fan_curved", "no curved detector"),
        ("cone_circle", "three dimensions only on CUDA"),
    ],
)
@pytest.mark.parametrize("backend", [AstraBackend, OdlBackend])
def test_unsupported(backend, name, reason):
    grid, scan = (PLANE | SPACE)[name]
    assert reason in backend.unsupported(grid, scan, CPU)
    if backend is AstraBackend:
        with pytest.raises(ValueError, match=reason):
            astra_matrix(grid, scan)


def test_odl_needs_increasing_angles():
    grid, scan = PLANE["parallel_unsorted_angles"]
    assert "increasing angles" in OdlBackend.unsupported(grid, scan, CPU)


@pytest.mark.parametrize("backend", [AstraBackend, OdlBackend])
def test_float64_is_never_converted_silently(backend):
    grid, scan = PLANE["parallel_even"]
    A = backend(grid, scan)
    with pytest.raises(TypeError, match=r"expected float32, .*, got (torch\.)?float64; convert it"):
        A.forward(torch.zeros(1, *grid.shape, dtype=torch.float64))
    with pytest.raises(TypeError, match=r"expected float32, .*, got (torch\.)?float64; convert it"):
        A.adjoint(torch.zeros(1, *scan.shape, dtype=torch.float64))


def test_astra_makes_its_projector_once_and_deletes_it(monkeypatch):
    grid, scan = PLANE["parallel_even"]
    made, create = [], astra.projector.create

    def slow_create(config):
        time.sleep(0.02)
        made.append(create(config))
        return made[-1]

    monkeypatch.setattr(astra.projector, "create", slow_create)
    A = AstraBackend(grid, scan)
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(A.forward, [torch.ones(1, *grid.shape)] * 6))
    (projector,) = made
    assert astra.projector.volume_geometry(projector)["GridColCount"] == grid.shape[1]
    del A
    gc.collect()
    with pytest.raises(astra.log.AstraError):
        astra.projector.volume_geometry(projector)
