"""Memory: what is not there is refused before anything is allocated, with what to bin."""

import math
import re

import numpy as np
import pytest
import torch
from builders import SPACE

import tomolearn as tl
from tomolearn._core import memory
from tomolearn._core.memory import Arrays, peak_of
from tomolearn.operators.memory import memory_needed

GRID = tl.Grid((24, 32, 32))
SCAN = tl.ConeBeam(20, (30, 40), 2.0, source_to_isocenter=200.0, source_to_detector=400.0)
A = tl.RayTransform(GRID, SCAN)
IMAGE, SINOGRAM = 4 * math.prod(GRID.shape), 4 * math.prod(SCAN.shape)


@pytest.fixture
def available(monkeypatch):
    """A function that sets what is available."""

    def limit(n_bytes: int) -> None:
        monkeypatch.setattr(memory, "_LARGE", 0)
        monkeypatch.setattr(memory, "available_bytes", lambda: n_bytes)

    return limit


COMPUTATIONS = {
    "forward": (lambda: A(torch.zeros(GRID.shape)), SINOGRAM),
    "adjoint": (lambda: A.adjoint(torch.zeros(SCAN.shape)), IMAGE),
    "backproject": (lambda: A.backproject(torch.zeros(SCAN.shape)), IMAGE),
    "gradient": (
        lambda: A(torch.zeros(GRID.shape, requires_grad=True)).sum().backward(),
        IMAGE,
    ),
}


@pytest.mark.parametrize("name", COMPUTATIONS)
def test_output_and_working_memory_have_to_be_there(name, available):
    compute, output = COMPUTATIONS[name]
    working = A.working_bytes(4)
    assert IMAGE < working < 4 * IMAGE
    available(max(output, SINOGRAM) + working)
    compute()
    available(output + working - 1)
    with pytest.raises(tl.TomolearnError, match=r"operator: expected to need no more memory"):
        compute()


@pytest.mark.parametrize("name", SPACE)
def test_double_precision_and_batches_need_more(name):
    operator = tl.RayTransform.derived(*SPACE[name], "auto")
    arrays = Arrays(2, 3)
    single, double, many = (
        memory_needed(operator, arrays, batch, dtype)
        for batch, dtype in ((1, torch.float32), (1, torch.float64), (5, torch.float32))
    )
    assert single.images == 8 * math.prod(operator.domain_shape)
    assert single.sinograms == 12 * math.prod(operator.range_shape)
    assert (double.images, double.sinograms) == (2 * single.images, 2 * single.sinograms)
    assert many[:2] == (5 * single.images, 5 * single.sinograms)
    # volumes are computed by fours, or one ray after the other
    assert single.working <= many.working <= 4 * single.working


def test_what_to_bin_is_what_would_fit(available):
    free = SINOGRAM
    available(free)
    y = torch.zeros(SCAN.shape)
    with pytest.raises(tl.TomolearnError, match=r"fbp: expected .* besides the data") as caught:
        tl.fbp(y, A)
    factor, bins, grid = re.search(
        r"bin the detector by (\d+), to (.*) bins, and choose a grid \d+ times as coarse, (.*)$",
        str(caught.value),
    ).groups()
    factor = int(factor)
    assert bins == " x ".join(str(math.ceil(n / factor)) for n in SCAN.shape[1:])
    shape = tuple(map(int, grid.split(" x ")))
    assert shape == tuple(math.ceil(n / factor) for n in GRID.shape)
    small = tl.RayTransform(
        tl.Grid(shape, float(factor)),
        tl.ConeBeam(
            20,
            tuple(math.ceil(n / factor) for n in SCAN.shape[1:]),
            2.0 * factor,
            source_to_isocenter=200.0,
            source_to_detector=400.0,
        ),
    )
    # the kernels' margins do not shrink with the bins, which are large beside such small volumes
    available(free + small.working_bytes(4))
    tl.fbp(torch.zeros(small.range_shape), small)


def test_a_batch_that_is_too_large_is_computed_in_parts(available):
    available(3 * SINOGRAM + A.working_bytes(4, 3))
    A(torch.zeros(3, *GRID.shape))
    with pytest.raises(tl.TomolearnError, match="compute fewer than 4 images at once"):
        A(torch.zeros(4, *GRID.shape))


def test_nothing_that_could_be_binned(available):
    available(1)
    with pytest.raises(tl.TomolearnError, match="choose a smaller grid and fewer views"):
        A(torch.zeros(GRID.shape))


METHODS = {
    "fbp": tl.fbp,
    "sirt": tl.sirt,
    "cgls": tl.cgls,
    "landweber": tl.landweber,
    "kaczmarz": tl.kaczmarz,
    "mlem": tl.mlem,
    "tikhonov": lambda y, A, **more: tl.tikhonov(y, A, weight=1.0, **more),
    "tv": lambda y, A, **more: tl.total_variation(y, A, weight=1.0, **more),
}


@pytest.mark.parametrize("name", METHODS)
def test_every_method_is_refused_before_it_begins(name, available, monkeypatch):
    y = torch.zeros(SCAN.shape)
    available(A.working_bytes(4) + IMAGE + SINOGRAM)

    def begun(*_):
        raise AssertionError("it has begun")

    monkeypatch.setattr(tl.RayTransform, "_evaluate", begun)
    monkeypatch.setattr(tl.RayTransform, "_evaluate_adjoint", begun)
    with pytest.raises(tl.TomolearnError, match=rf"{name}: expected to need no more memory"):
        METHODS[name](y, A)


class Scaling(tl.LinearOperator):
    """Products with numbers between 0 and 1, and one of them 3."""

    def __init__(self, size):
        super().__init__((size,), (size,))
        self.factors = torch.linspace(0, 1, size)
        self.factors[5] = 3

    def _evaluate(self, x):
        return x * self.factors

    _evaluate_adjoint = _evaluate


def test_memory_held_by_the_norm():
    operator, small = Scaling(2**24), Scaling(100)
    assert small.norm() == pytest.approx(3)  # its libraries are loaded
    norm, peak = peak_of(operator.norm)
    assert norm == pytest.approx(3, rel=1e-6)
    if peak is None:
        pytest.skip("nobody tells how much memory a process has held")
    # three vectors, and what the operator returns
    assert peak < 5 * 4 * 2**24


def test_memory_held_by_fdk():
    grid = tl.Grid((8, 32, 32), 2.0)
    scan = tl.ConeBeam(256, (256, 256), 0.6, 300.0, 500.0)
    operator = tl.RayTransform(grid, scan)
    y = torch.ones(1, 1, *scan.shape)
    expected = tl.fbp(y, operator)
    found, peak = peak_of(lambda: tl.fbp(y, operator))
    assert torch.equal(found, expected)
    if peak is None:
        pytest.skip("nobody tells how much memory a process has held")
    assert tl.get_method("fbp").memory == (1, 2)
    # the allocator may not give back all that was freed meanwhile; all views at once took seven
    assert peak < 3 * 4 * math.prod(scan.shape)


def test_parts_of_views_are_filtered_alike(monkeypatch, rng):
    y = torch.randn(2, 1, *SCAN.shape, generator=rng)
    whole = tl.fbp(y, A)
    monkeypatch.setattr("tomolearn.methods.analytic.filtered_backprojection._PART", 3 * 30 * 40)
    torch.testing.assert_close(tl.fbp(y, A), whole, rtol=1e-6, atol=1e-6)
    with_gradient = y.clone().requires_grad_()
    parts = tl.fbp(with_gradient, A)
    torch.testing.assert_close(parts.detach(), whole, rtol=0, atol=1e-5)
    (gradient,) = torch.autograd.grad(parts, with_gradient, torch.ones_like(parts))
    monkeypatch.undo()
    (expected,) = torch.autograd.grad(
        tl.fbp(with_gradient, A), with_gradient, torch.ones_like(parts)
    )
    torch.testing.assert_close(gradient, expected, rtol=1e-5, atol=1e-5)
    both = torch.vmap(lambda one: tl.fbp(one, A))(y)
    torch.testing.assert_close(both, whole, rtol=1e-5, atol=1e-5)


def test_weights_and_padding_need_more(available):
    y = torch.zeros(SCAN.shape)
    held = tl.get_method("sirt").memory
    need = memory_needed(A, held).total
    available(need)
    tl.sirt(y, A, iterations=1)
    with pytest.raises(tl.TomolearnError, match="sirt: expected to need"):
        tl.sirt(y, A, iterations=1, weights=torch.ones(SCAN.shape))
    with pytest.raises(tl.TomolearnError, match="sirt: expected to need"):
        tl.sirt(y, A, iterations=1, padding=4)


def test_available_is_what_machine_and_container_leave(tmp_path, monkeypatch):
    (tmp_path / "meminfo").write_text("MemTotal: 9000 kB\nMemAvailable:    5000 kB\n")
    monkeypatch.setattr(memory, "_MACHINE", tmp_path / "meminfo")
    monkeypatch.setattr(memory, "_LIMIT", tmp_path / "memory.max")
    assert memory.available_bytes() == 5000 * 1024
    (tmp_path / "memory.max").write_text("4096000\n")
    (tmp_path / "memory.current").write_text("3000000\n")
    (tmp_path / "memory.stat").write_text("anon 2500000\ninactive_file 500000\n")
    assert memory.available_bytes() == 4096000 - 3000000 + 500000
    (tmp_path / "memory.max").write_text("max\n")
    assert memory.available_bytes() == 5000 * 1024
    monkeypatch.setattr(memory, "_MACHINE", tmp_path / "none")
    assert memory.available_bytes() == memory._installed()


# Rays that begin or end where nothing can be measured


@pytest.mark.parametrize(
    "scan",
    [
        tl.ConeBeam(8, (30, 40), 2.0, 200.0, 400.0, detector_offset=(200.0, 0.0)),
        tl.ConeBeam(8, (30, 40), 2.0, 200.0, 400.0, detector_offset=(0.0, 200.0)),
        tl.ConeBeam(8, (30, 40), 2.0, 200.0, 400.0, start_z=150.0),
        tl.ConeBeam(8, (30, 40), 2.0, 200.0, 400.0, start_z=150.0, pitch=10.0),
        tl.ConeBeam(8, (30, 40), 2.0, 200.0, 400.0, start_z=150.0, detector="curved"),
        tl.ConeBeam(
            8, (30, 40), 2.0, 200.0, 400.0, detector="curved", detector_offset=(0.0, 200.0)
        ),
        tl.Views(
            (9, 9),
            [[0.0, 300.0, 0.0]],
            ([[1.0, 0.0, 0.0]], [[0.0, 0.0, 1.0]]),
            source=[[100.0, -300.0, 0.0]],
        ),
    ],
    ids=repr,
)
def test_a_detector_that_misses_the_volume_is_refused(scan):
    matrix = [np.asarray(one) for one in scan.rays()]
    # independently: no point of any ray lies within the box
    points, directions = (one.reshape(-1, 3) for one in matrix)
    for part in np.linspace(0, 1, 101):
        inside = np.abs(points + part * directions) < np.array(GRID.size) / 2
        assert not inside.all(axis=1).any()
    with pytest.raises(tl.TomolearnError, match="scan: expected rays that meet the grid, got none"):
        tl.RayTransform(GRID, scan)


def test_some_views_of_a_helix_may_miss_the_volume():
    scan = tl.ConeBeam(
        12, (30, 40), 2.0, 200.0, 400.0, pitch=100.0, start_z=-200.0, angular_range=8 * math.pi
    )
    operator = tl.RayTransform(GRID, scan)
    y = operator(torch.ones(GRID.shape))
    assert not y[0].any()
    assert y.any()
    # each subset is a view, of which many see nothing
    assert tl.kaczmarz(y, operator, iterations=1, subsets=12).any()


@pytest.mark.parametrize(
    "scan",
    [
        tl.ConeBeam(8, (30, 40), 2.0, 15.0, 400.0),
        tl.ConeBeam(8, (30, 40), 2.0, 15.0, 400.0, detector="curved"),
        tl.ConeBeam(40, (30, 40), 2.0, 15.0, 400.0, pitch=30.0, start_z=-40.0, angular_range=20.0),
        tl.Views(
            (9, 9),
            [[0.0, 300.0, 0.0]],
            ([[1.0, 0.0, 0.0]], [[0.0, 0.0, 1.0]]),
            source=[[3.0, -5.0, 2.0]],
        ),
    ],
    ids=repr,
)
def test_a_source_within_the_volume_is_refused(scan):
    with pytest.raises(tl.TomolearnError, match="scan: expected every source outside of the grid"):
        tl.RayTransform(GRID, scan)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": ([[1.0, 0, 0]], [[-2.0, 0, 0]])}, "steps: expected linearly independent"),
        ({"steps": ([[1.0, 0, 0]], [[0.0, 0, 0]])}, "steps: expected linearly independent"),
        ({"steps": ([[1.0, 1, 0]], [[1.0, 1, 1e-12]])}, "steps: expected linearly independent"),
        ({"source": [[5.0, 300.0, -7.0]]}, "source: expected rays that do not run along"),
        ({"source": None, "direction": [[1.0, 0.0, 2.0]]}, "direction: expected rays that do not"),
        ({"source": None, "direction": [[0.0, 0.0, 0.0]]}, "direction: expected rays that do not"),
    ],
)
def test_dependent_vectors_in_space_are_refused(changes, message):
    given = {
        "detector_shape": (9, 9),
        "detector": [[0.0, 300.0, 0.0]],
        "steps": ([[1.0, 0.0, 0.0]], [[0.0, 0.0, 1.0]]),
        "source": [[0.0, -300.0, 0.0]],
    }
    with pytest.raises(tl.TomolearnError, match=message):
        tl.Views(**(given | changes))
