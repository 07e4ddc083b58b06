"""The Joseph kernels: symmetries, precision, threads, the kernels' cache."""

import json
import math
import multiprocessing
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from builders import PLANE, SPACE
from joseph_reference import joseph_matrix

from tomolearn.geometry import ConeBeam, FanBeam, Grid, ParallelBeam
from tomolearn.kernels.lanes import _widest_vector
from tomolearn.operators import RayTransform
from tomolearn.operators.backends.joseph import JosephBackend, rays, views
from tomolearn.operators.backends.joseph.backend import _sizes
from tomolearn.operators.backends.joseph.images import ImageLanes, lanes_of
from tomolearn.operators.backends.joseph.symmetry import GROUPS, cluster, orbits, placement
from tomolearn.operators.backprojection import backproject

SQUARE = Grid((16, 16))
WIDE = Grid((12, 16), 1.1)
FAN = {"source_to_isocenter": 60.0, "source_to_detector": 100.0}

# name -> grid, scan, lanes of the ray tables, lanes of the view table
SYMMETRIC = {
    "parallel, even angles": (SQUARE, ParallelBeam.covering(SQUARE, 12), 8, 8),
    "parallel, odd angles": (SQUARE, ParallelBeam.covering(SQUARE, 9), 4, 4),
    "parallel, from angle 0": (SQUARE, ParallelBeam(8, 24, 1.0, start_angle=-math.pi / 16), 8, 8),
    "parallel, full turn": (SQUARE, ParallelBeam(12, 24, 1.0, angular_range=2 * math.pi), 8, 8),
    "parallel, rectangle": (WIDE, ParallelBeam.covering(WIDE, 12), 4, 4),
    "parallel, any angles": (SQUARE, ParallelBeam(None, 23, 1.0, angles=[0.2, 1.9, 2.2]), 2, 2),
    "parallel, shifted detector": (SQUARE, ParallelBeam(12, 24, 1.0, detector_offset=0.25), 8, 4),
    "fan, fourfold": (SQUARE, FanBeam.covering(SQUARE, 8, **FAN), 8, 8),
    "fan, odd": (SQUARE, FanBeam.covering(SQUARE, 7, **FAN), 4, 4),
    "fan, rectangle": (WIDE, FanBeam.covering(WIDE, 8, **FAN), 4, 4),
    "fan, quarter bin": (SQUARE, FanBeam(8, 30, 1.5, 60.0, 100.0, detector_offset=0.375), 4, 4),
    "fan, curved": (SQUARE, FanBeam.covering(SQUARE, 8, detector="curved", **FAN), 8, 8),
    "fan, shifted grid": (
        Grid((10, 10), center=(1.0, 2.0)),
        FanBeam.covering(Grid((10, 10), center=(1.0, 2.0)), 8, **FAN),
        1,
        1,
    ),
}  # fmt: skip
each_symmetric = pytest.mark.parametrize(
    ("grid", "scan", "ray_lanes", "view_lanes"), SYMMETRIC.values(), ids=SYMMETRIC
)


@each_symmetric
def test_symmetries_are_found(grid, scan, ray_lanes, view_lanes):
    backend = JosephBackend(grid, scan)
    assert {table.n_lanes for table in backend.ray_tables} == {ray_lanes}
    assert backend.view_table.n_lanes == view_lanes


@each_symmetric
def test_every_ray_is_in_one_table_once(grid, scan, ray_lanes, view_lanes):
    members = [table.members.ravel() for table in JosephBackend(grid, scan).ray_tables]
    listed = np.concatenate(members)
    assert sorted(listed[listed >= 0]) == list(range(math.prod(scan.shape)))


@each_symmetric
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_symmetries_do_not_change_the_result(
    grid, scan, ray_lanes, view_lanes, dtype, monkeypatch, rng
):
    x = torch.rand(3, *grid.shape, dtype=dtype, generator=rng)
    y = torch.rand(3, *scan.shape, dtype=dtype, generator=rng)
    fast = JosephBackend(grid, scan)
    found = fast.forward(x), fast.adjoint(y), fast.backproject(y)
    for module in (rays, views):
        monkeypatch.setattr(module, "GROUPS", GROUPS[-1:])
    plain = JosephBackend(grid, scan)
    assert {table.n_lanes for table in plain.ray_tables} == {1}
    expected = plain.forward(x), plain.adjoint(y), plain.backproject(y)
    tolerance = 2e-6 if dtype == torch.float32 else 1e-12
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=tolerance * float(other.abs().max()))


@each_symmetric
def test_the_matrix_is_josephs(grid, scan, ray_lanes, view_lanes):
    columns = torch.eye(math.prod(grid.shape), dtype=torch.float64).reshape(-1, *grid.shape)
    matrix = JosephBackend(grid, scan).forward(columns).flatten(1).T.numpy()
    expected = joseph_matrix(grid, scan)
    # a ray at 45 degrees may step along rows or columns; either is Joseph's
    _, directions = scan.rays()
    reach = np.abs(directions).reshape(-1, 2)
    clear = np.abs(reach[:, 0] - reach[:, 1]) > 1e-6 * reach.max(axis=1)
    assert clear.mean() > 0.6
    np.testing.assert_allclose(matrix[clear], expected[clear], rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", ["parallel", "fan", "curved"])
def test_single_precision_is_kept_on_large_grids(name, rng):
    grid = Grid((400, 400), 0.7)
    scan = {
        "parallel": ParallelBeam.covering(grid, angles=[0.01, 0.7, 1.2, 2.9]),
        "fan": FanBeam.covering(grid, 4, source_to_isocenter=575.0, source_to_detector=1050.0),
        "curved": FanBeam.covering(
            grid, 4, source_to_isocenter=575.0, source_to_detector=1050.0, detector="curved"
        ),
    }[name]
    backend = JosephBackend(grid, scan)
    x = torch.randn(1, *grid.shape, dtype=torch.float64, generator=rng)
    y = torch.randn(1, *scan.shape, dtype=torch.float64, generator=rng)
    for function, value in ((backend.forward, x), (backend.adjoint, y)):
        exact, single = function(value), function(value.float()).double()
        # weights within 1e-6 and a few hundred roundings that mostly cancel
        assert (single - exact).norm() < 2e-6 * exact.norm()


@pytest.mark.parametrize(
    ("name", "batch"),
    [
        *(("fan_even", batch) for batch in (1, 2, 3, 5, 7, 8, 16, 17, 33)),
        *((name, batch) for name in SPACE for batch in (1, 2, 3, 5, 8)),
    ],
)
def test_any_batch_size(name, batch, rng):
    grid, scan = (PLANE | SPACE)[name]
    backend = JosephBackend(grid, scan)
    x = torch.rand(batch, *grid.shape, generator=rng)
    y = torch.rand(batch, *scan.shape, generator=rng)
    for function, values in ((backend.forward, x), (backend.adjoint, y), (backend.backproject, y)):
        together = function(values)
        if together is None:  # no fast back-projection
            continue
        apart = torch.cat([function(value[None]) for value in values])
        torch.testing.assert_close(together, apart, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("most", [1, 2, 8, 16])
@pytest.mark.parametrize("lanes", [1, 2, 4, 8])
def test_batches_are_parted_at_least_cost(most, lanes):
    # parts of a power of two cost a weight each and their lanes, empty ones too
    powers = [n for n in (1, 2, 4, 8, 16) if n <= most]
    least = [0]
    for batch in range(1, 40):
        parts = _sizes(batch, most, lanes)
        assert sum(parts) == batch
        assert max(parts) <= most
        cheapest = (8 + lanes * n + least[max(0, batch - n)] for n in powers)
        least.append(min(cheapest))
        assert sum(8 + lanes * lanes_of(n) for n in parts) == least[batch]


def test_empty_lanes_are_empty(rng):
    grid = Grid((16, 16))
    scan = FanBeam.covering(
        grid, angles=[0.1, 0.7], source_to_isocenter=30.0, source_to_detector=50.0
    )
    backend = JosephBackend(grid, scan)
    x, y = torch.rand(7, *grid.shape, generator=rng), torch.rand(7, *scan.shape, generator=rng)
    for function, values in ((backend.forward, x), (backend.adjoint, y), (backend.backproject, y)):
        expected = function(values)
        function(torch.full_like(values, torch.nan))
        # neither from the call before nor from one image to another
        torch.testing.assert_close(function(values), expected, rtol=0, atol=0)


def test_the_number_of_threads_does_not_matter(rng):
    grid = Grid((130, 130))
    scan = FanBeam.covering(grid, 37, source_to_isocenter=300.0, source_to_detector=500.0)
    backend = JosephBackend(grid, scan)
    x = torch.rand(2, *grid.shape, generator=rng)
    threads = torch.get_num_threads()
    results = []
    try:
        for count in (1, 2, 3, 7):
            torch.set_num_threads(count)
            y = backend.forward(x)
            results.append((y, backend.adjoint(y), backend.backproject(y)))
    finally:
        torch.set_num_threads(threads)
    for result in results[1:]:
        for one, other in zip(result, results[0], strict=True):
            assert torch.equal(one, other)


def test_the_number_of_threads_does_not_matter_in_space(rng):
    grid = Grid((9, 40, 33))
    scan = ConeBeam.covering(grid, 7, source_to_isocenter=100.0, source_to_detector=150.0)
    x = torch.rand(5, *grid.shape, generator=rng)
    threads = torch.get_num_threads()
    results = []
    try:
        for count in (1, 2, 3, 50):
            torch.set_num_threads(count)
            A = JosephBackend(grid, scan)
            y = A.forward(x)
            results.append((y, A.adjoint(y)))
    finally:
        torch.set_num_threads(threads)
    for result in results[1:]:
        for one, other in zip(result, results[0], strict=True):
            assert torch.equal(one, other)


def _projected_sum():
    # many small images on two threads; numpy, because torch's OpenMP does not survive a fork
    grid = Grid((64, 64))
    A = RayTransform(grid, ParallelBeam.covering(grid, 90))
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        images = torch.from_numpy(np.ones((64, 64, 64), np.float32))
        return float(np.sum(A(images).numpy()))
    finally:
        torch.set_num_threads(threads)


def _project_in_child(queue):
    queue.put(_projected_sum())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_works_after_a_fork():
    # data loaders fork processes that have projected before
    expected = _projected_sum()
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_project_in_child, args=(queue,), daemon=True)
    child.start()
    assert queue.get(timeout=20) == pytest.approx(expected, rel=1e-6)
    child.join(timeout=20)
    assert child.exitcode == 0


CACHE_PROBE = """
import json, torch
from tomolearn import Grid, ParallelBeam, RayTransform
from tomolearn.kernels import joseph as kernels
A = RayTransform(Grid((8, 8)), ParallelBeam(3, 9, 1.0))
y = A(torch.ones(1, 8, 8))
A.adjoint(y)
stats = [kernel.stats for kernel in (kernels.project, kernels.scatter)]
print(json.dumps([[sum(s.cache_hits.values()), sum(s.cache_misses.values())] for s in stats]))
"""


def test_the_second_process_does_not_compile(tmp_path):
    environment = dict(os.environ, NUMBA_CACHE_DIR=str(tmp_path))
    runs = [
        json.loads(
            subprocess.run(
                [sys.executable, "-c", CACHE_PROBE],
                env=environment,
                capture_output=True,
                text=True,
                check=True,
            ).stdout
        )
        for _ in range(2)
    ]
    assert runs[0] == [[0, 1], [0, 1]]
    assert runs[1] == [[1, 0], [1, 0]]


def test_memory_of_a_large_scan():
    # 64 MB for tables and workspace: a stored matrix would take gigabytes
    grid = Grid((362, 362), 260 / 362)
    backend = JosephBackend(grid, ParallelBeam.covering(grid, 1000))
    backend.adjoint(backend.forward(torch.ones(4, 362, 362)))
    assert 0 < backend.nbytes < 64e6


def test_clusters_join_what_rounding_tells_apart():
    values = np.array([1.0, 3.0, 1.0 + 1e-12, 2.0, 3.0 - 1e-12])
    assert cluster(values, 1e-9).tolist() == [0, 2, 0, 1, 2]


def test_orbits_keep_repeated_things_apart():
    keys, lanes = np.array([5, 5, 7, 5, 7]), np.array([0, 1, 1, 0, 1])
    members, first = orbits(keys, lanes, 2)
    assert members.tolist() == [[0, 1], [-1, 2], [3, -1], [-1, 4]]
    assert first.tolist() == [0, 2, 3, 4]


@pytest.mark.parametrize("element", GROUPS[0].lanes)
def test_placement_of_pixels(element):
    image = np.arange(12).reshape(3, 4)
    transposed, flip_rows, flip_columns = element
    expected = image.T if transposed else image
    expected = expected[::-1] if flip_rows else expected
    expected = expected[:, ::-1] if flip_columns else expected
    offset, down, right = placement(image.shape, element, padding=0)
    lane = np.empty(12, int)
    i, j = np.indices(image.shape)
    lane[offset + i * down + j * right] = image
    np.testing.assert_array_equal(lane.reshape(expected.shape), expected)


STRAIGHT, TURNED = GROUPS[1].lanes, [(1, r, c) for _, r, c in GROUPS[1].lanes]


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("accumulate", [False, True])
@pytest.mark.parametrize(
    ("shape", "elements", "batch"),
    [
        ((16, 16), GROUPS[0].lanes, 1),
        ((13, 13), GROUPS[0].lanes, 2),
        ((9, 14), STRAIGHT, 2),
        ((9, 14), TURNED, 2),
    ],
)
def test_sums_of_copies_by_eights_of_pixels(shape, elements, batch, accumulate, threads, numpy_rng):
    lanes = ImageLanes(shape, np.array(elements), 1, batch, np.dtype(np.float64), threads)
    lanes.flat[:] = numpy_rng.standard_normal(lanes.flat.size)
    assert lanes._eights
    found = numpy_rng.standard_normal((batch, *shape))
    expected = found * accumulate
    by_copy = lanes.flat.reshape(-1, len(elements), batch)
    i, j = np.indices(shape)
    for number, element in enumerate(elements):
        offset, down, right = placement(shape, element, padding=1)
        expected += by_copy[offset + i * down + j * right, number].transpose(2, 0, 1)
    lanes.sum_into(found, threads, accumulate)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("features", "width"),
    [({"avx2": True, "avx512f": True}, 256), ({"avx2": True, "avx512f": False}, 128), ({}, 256)],
)
def test_lanes_fill_the_registers_that_there_are(features, width):
    assert _widest_vector(features) == width


def test_nothing_is_seen_behind_the_source():
    # a source within the grid: the rest of the plane is behind it
    grid, scan = Grid((24, 24)), FanBeam(5, 30, 0.9, 6.0, 14.0)
    backend = JosephBackend(grid, scan)
    y = torch.ones(1, *scan.shape, dtype=torch.float64)
    found, expected = backend.backproject(y), backproject(y, grid, scan)
    near = expected > 1e3  # next to the source the weight has no bound
    torch.testing.assert_close(found[~near], expected[~near], rtol=1e-9, atol=1e-9)
    assert near.sum() < 20


def test_idle_memory_is_bounded(monkeypatch):
    limit = 300_000
    monkeypatch.setattr("tomolearn.operators.backends.joseph.backend._KEPT", limit)
    grid = Grid((60, 60))
    backend = JosephBackend(grid, ParallelBeam.covering(grid, 8))
    backend.forward(torch.ones(4, 60, 60))
    tables = sum(table.nbytes for table in backend.ray_tables) + backend.view_table.nbytes
    one = backend.nbytes - tables
    assert one > limit / 2
    for batch in (1, 2, 4, 8):
        backend.forward(torch.ones(batch, 60, 60))
    assert backend.nbytes - tables <= max(limit, 2 * one)


def test_an_empty_batch():
    grid, scan = PLANE["fan_even"]
    backend = JosephBackend(grid, scan)
    assert backend.forward(torch.empty(0, *grid.shape)).shape == (0, *scan.shape)
    assert backend.adjoint(torch.empty(0, *scan.shape)).shape == (0, *grid.shape)
