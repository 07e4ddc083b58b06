"""Eight neighbouring rays, or pixels, as lanes: the same rays as ever, whatever lies where."""

import math

import numpy as np
import pytest
import torch
from joseph_reference import joseph_matrix, slopes

from tomolearn.geometry import FanBeam, Grid, ParallelBeam
from tomolearn.operators.backends.joseph import JosephBackend, backend, packets
from tomolearn.operators.backends.joseph.rays import ray_tables
from tomolearn.operators.backends.joseph.symmetry import GROUPS
from tomolearn.operators.backprojection import backproject

GRID = Grid((11, 13), (1.0, 1.2), center=(0.3, -0.2))
ANGLES = [0.1, 0.9, 1.5, 2.2, 3.9, 5.6]
FAN = {"source_to_isocenter": 30.0, "source_to_detector": 50.0}
SCANS = {
    "parallel": ParallelBeam(None, 21, 1.0, angles=ANGLES, detector_offset=0.2),
    "parallel, bins of FBP": ParallelBeam(None, 35, 0.6, angles=ANGLES),
    "parallel, narrow bins": ParallelBeam(None, 60, 0.3, angles=ANGLES),
    "parallel, few narrow bins": ParallelBeam(None, 11, 0.35, angles=ANGLES, detector_offset=1.0),
    "parallel, very narrow bins": ParallelBeam(None, 80, 0.2, angles=ANGLES),
    "parallel, wide bins": ParallelBeam(None, 9, 2.9, angles=ANGLES),
    "parallel, very wide bins": ParallelBeam(None, 3, 20.0, angles=ANGLES, detector_offset=4.0),
    "fan": FanBeam(None, 27, 1.5, angles=ANGLES, **FAN),
    "fan, narrow bins": FanBeam(None, 45, 0.9, angles=ANGLES, **FAN),
    "fan, few narrow bins": FanBeam(None, 15, 0.8, angles=ANGLES, **FAN),
    "fan, very narrow bins": FanBeam(None, 80, 0.4, angles=ANGLES, **FAN),
    "fan, wide bins": FanBeam(None, 10, 4.0, angles=ANGLES, **FAN),
    "fan, curved": FanBeam(None, 27, 1.5, angles=ANGLES, detector="curved", **FAN),
    "fan, curved, narrow bins": FanBeam(None, 40, 1.0, angles=ANGLES, detector="curved", **FAN),
}
# rays cross in the grid, and pixels are seen from behind
WITHIN = FanBeam(None, 30, 0.9, 5.0, 14.0, angles=ANGLES)


@pytest.fixture
def always(monkeypatch):
    """Neighbours are lanes even where other kernels are faster."""
    monkeypatch.setattr(packets, "_PACKET_COST", 0)
    monkeypatch.setattr(packets, "_PIXEL_COST", dict.fromkeys(packets._PIXEL_COST, 0))


@pytest.mark.parametrize("scan", [*SCANS.values(), WITHIN], ids=[*SCANS, "fan, source within"])
def test_packets_have_josephs_matrix(scan, always):
    A = JosephBackend(GRID, scan)
    pixels = torch.eye(math.prod(GRID.shape)).reshape(-1, 1, *GRID.shape)
    matrix = torch.cat([A.forward(pixel) for pixel in pixels]).flatten(1).T
    assert A._packets
    clear = slopes(GRID, scan) < 1 - 1e-6
    assert clear.all()
    # positions in a packet are exact to 1e-6 pixels, a step is at most 1.7 mm long
    np.testing.assert_allclose(matrix.numpy(), joseph_matrix(GRID, scan), rtol=0, atol=4e-6)


@pytest.mark.parametrize("scan", [*SCANS.values(), WITHIN], ids=[*SCANS, "fan, source within"])
def test_every_ray_is_in_one_packet(scan):
    found = packets.ray_packets(GRID, scan, ray_tables(GRID, scan))
    listed = np.concatenate([some.rays.ravel() for some in found])
    assert sorted(listed[listed >= 0]) == list(range(math.prod(scan.shape)))


def test_rays_far_apart_are_in_small_packets():
    sizes = {}
    for name in ("parallel", "parallel, wide bins", "parallel, very wide bins"):
        tables = ray_tables(GRID, SCANS[name], GROUPS[-1:])
        found = packets.ray_packets(GRID, SCANS[name], tables)
        sizes[name] = max((some.rays >= 0).sum(axis=1).max() for some in found)
    assert list(sizes.values()) == [8, 4, 1]


@pytest.mark.parametrize("name", SCANS)
def test_eights_of_pixels_are_back_projected(name, always, rng):
    scan = SCANS[name]
    A = JosephBackend(GRID, scan)
    y = torch.randn(2, *scan.shape, dtype=torch.float64, generator=rng)
    expected = backproject(y, GRID, scan)
    found = A.backproject(y.float())
    # single precision of a bin's position, below 64 or 128, times what two bins differ by, times
    # the views
    precision = 4e-6 if scan.n_detectors <= 60 else 8e-6
    tolerance = 6 * precision * 2 * float(y.abs().max())
    weight = (30 / 20) ** 2 if isinstance(scan, FanBeam) else 1
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=tolerance * weight)
    # eight pixels are seen by too many narrow bins
    assert bool(A._pixels) == ("very narrow" not in name)


def test_no_eights_of_pixels_beside_a_source(always, rng):
    A = JosephBackend(GRID, WITHIN)
    y = torch.ones(1, *WITHIN.shape)
    other = JosephBackend(GRID, WITHIN, neighbours=False)
    assert torch.equal(A.backproject(y), other.backproject(y))
    assert A._pixels == []


@pytest.mark.parametrize("name", ["parallel", "fan", "fan, curved"])
def test_neighbours_do_not_change_the_result(name, rng):
    grid = Grid((150, 130), 0.7)
    angles = torch.rand(9, generator=rng, dtype=torch.float64).numpy() * 2 * math.pi
    scan = {
        "parallel": ParallelBeam.covering(grid, angles=angles),
        "fan": FanBeam.covering(grid, angles=angles, n_detectors=200, **_far()),
        "fan, curved": FanBeam.covering(
            grid, angles=angles, n_detectors=200, detector="curved", **_far()
        ),
    }[name]
    A, B = JosephBackend(grid, scan), JosephBackend(grid, scan, neighbours=False)
    x = torch.rand(3, *grid.shape, generator=rng)
    y = torch.rand(3, *scan.shape, generator=rng)
    for batch, one, other, tolerance in (
        (1, A.forward(x[:1]), B.forward(x[:1]), 2e-6),
        (3, A.forward(x), B.forward(x), 2e-6),
        (1, A.backproject(y[:1]), B.backproject(y[:1]), 1e-5),
        (3, A.backproject(y), B.backproject(y), 1e-5),
    ):
        if batch == 1:
            assert not torch.equal(one, other)  # other kernels
        torch.testing.assert_close(one, other, rtol=0, atol=tolerance * float(other.abs().max()))


def _far():
    return {"source_to_isocenter": 250.0, "source_to_detector": 400.0}


def test_the_number_of_threads_does_not_matter(monkeypatch, rng):
    monkeypatch.setattr(backend, "_SMALL_WORK", 0)
    grid = Grid((60, 50))
    scan = FanBeam.covering(grid, angles=np.linspace(0.1, 5.9, 40), n_detectors=90, **_far())
    A = JosephBackend(grid, scan)
    x, y = torch.rand(1, *grid.shape, generator=rng), torch.rand(1, *scan.shape, generator=rng)
    threads, results = torch.get_num_threads(), []
    try:
        for count in (1, 2, 3, 50):
            torch.set_num_threads(count)
            results.append((A.forward(x), A.backproject(y)))
    finally:
        torch.set_num_threads(threads)
    assert A._packets
    assert A._pixels
    for result in results[1:]:
        assert all(map(torch.equal, result, results[0]))


def test_neighbours_are_lanes_where_there_are_few():
    grid = Grid((64, 64))
    listed = FanBeam.covering(grid, angles=[0.1, 0.7, 1.2], **_far())
    symmetric = FanBeam.covering(grid, 8, **_far())
    single, double = np.dtype(np.float32), np.dtype(np.float64)
    few, many = JosephBackend(grid, listed), JosephBackend(grid, symmetric)
    assert [bool(few._ray_packets(n, single)) for n in (1, 4, 8, 16)] == [True, True, False, False]
    assert not few._ray_packets(1, double)
    assert not many._ray_packets(1, single)
    assert not JosephBackend(grid, listed, neighbours=False)._ray_packets(1, single)
    views = few.view_table
    assert [bool(few._pixel_views(views, n, single)) for n in (1, 4, 8)] == [True, True, False]
    assert not few._pixel_views(views, 1, double)
    # as FBP has them: twice as many bins
    parallel = ParallelBeam(None, 190, 0.5, angles=[0.1, 0.7, 1.2])
    fine = JosephBackend(grid, parallel)
    assert [bool(fine._pixel_views(fine.view_table, n, single)) for n in (1, 4)] == [True, False]
    before = JosephBackend(grid, listed).nbytes
    assert few.nbytes > before


def test_nothing_is_left_of_the_image_before(rng):
    grid = Grid((40, 40))
    scan = FanBeam.covering(grid, angles=[0.1, 0.7], **_far())
    A = JosephBackend(grid, scan)
    x, y = torch.rand(1, *grid.shape, generator=rng), torch.rand(1, *scan.shape, generator=rng)
    for function, values in ((A.forward, x), (A.backproject, y)):
        expected = function(values)
        function(torch.full_like(values, torch.nan))
        assert torch.equal(function(values), expected)
