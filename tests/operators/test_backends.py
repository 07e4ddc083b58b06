"""What every backend must hold, on every geometry that it can project on this machine."""

import itertools
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from builders import PLANE, SPACE, matrix_of

from tomolearn.geometry import FanBeam, Grid, ParallelBeam
from tomolearn.operators import RayTransform
from tomolearn.operators.backends import BACKENDS, Backend, Capabilities, load_backend

CPU = torch.device("cpu")
# Rounding of one result that sums a few dozen products, relative to the sum of their sizes.
# some units in the last place of the largest weight; how many is the processor's: 1.1e-6 with AVX2
ROUNDING = {torch.float32: 2e-6, torch.float64: 1e-12}
PRECISIONS = {"joseph": (torch.float32, torch.float64)}


def backend_class(name: str) -> type[Backend] | None:
    try:
        return load_backend(name)
    except ImportError:
        return None


def all_cases() -> list[object]:
    cases = []
    for name, (geometry, (grid, scan)) in itertools.product(BACKENDS, (PLANE | SPACE).items()):
        backend = backend_class(name)
        if backend is None or backend.unsupported(grid, scan, CPU) is not None:
            continue
        for dtype in PRECISIONS.get(name, (torch.float32,)):
            label = f"{name}-{geometry}-{str(dtype).removeprefix('torch.')}"
            cases.append(pytest.param(backend, grid, scan, dtype, id=label))
    return cases


each_case = pytest.mark.parametrize(("backend", "grid", "scan", "dtype"), all_cases())


@each_case
def test_adjoint_of_gaussian_pairs(backend, grid, scan, dtype, rng):
    A = backend(grid, scan)
    x = torch.randn(3, *grid.shape, dtype=dtype, generator=rng)
    y = torch.randn(3, *scan.shape, dtype=dtype, generator=rng)
    forward, adjoint = A.forward(x).double(), A.adjoint(y).double()
    gap = ((forward * y).sum() - (x * adjoint).sum()).abs()
    assert gap < ROUNDING[dtype] * forward.norm() * y.double().norm()


@each_case
def test_adjoint_of_positive_pairs(backend, grid, scan, dtype, rng):
    A = backend(grid, scan)
    x = torch.rand(2, *grid.shape, dtype=dtype, generator=rng)
    y = torch.rand(2, *scan.shape, dtype=dtype, generator=rng)
    in_range = (A.forward(x).double() * y).sum()
    in_domain = (x * A.adjoint(y).double()).sum()
    assert in_range > 0
    assert (in_range - in_domain).abs() < ROUNDING[dtype] * in_range


@each_case
@pytest.mark.parametrize("batch", [None, 1])
def test_adjoint_is_the_transposed_matrix(backend, grid, scan, dtype, batch):
    A = backend(grid, scan)
    forward = matrix_of(A.forward, grid.shape, dtype, batch)
    adjoint = matrix_of(A.adjoint, scan.shape, dtype, batch)
    assert A.adjoint_is_exact
    assert (forward - adjoint.T).abs().max() < ROUNDING[dtype] * forward.max()


@each_case
def test_one_batch_is_many_images(backend, grid, scan, dtype, rng):
    A = backend(grid, scan)
    images = torch.rand(5, *grid.shape, dtype=dtype, generator=rng)
    together = A.forward(images)
    apart = torch.cat([A.forward(image[None]) for image in images])
    assert together.shape == (5, *scan.shape)
    assert together.dtype == dtype
    torch.testing.assert_close(together, apart, rtol=10 * ROUNDING[dtype], atol=ROUNDING[dtype])


@pytest.mark.parametrize("name", BACKENDS)
def test_capabilities_are_described(name):
    backend = backend_class(name)
    if backend is None:
        pytest.skip(f"the package of backend {name!r} is not installed")
    assert backend.name == name
    assert isinstance(backend.capabilities, Capabilities)
    assert all(backend.capabilities)


@pytest.mark.parametrize("name", BACKENDS)
def test_threads_get_what_one_thread_gets(name, rng):
    backend = backend_class(name)
    grid, scan = PLANE["parallel_even"]
    if backend is None or backend.unsupported(grid, scan, CPU) is not None:
        pytest.skip(f"backend {name!r} does not project on this CPU")
    images = torch.rand(16, *grid.shape, generator=rng)
    expected = backend(grid, scan).forward(images)
    back = backend(grid, scan).adjoint(expected)

    def both(A: Backend, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        sinogram = A.forward(image[None])
        return sinogram, A.adjoint(sinogram)

    with ThreadPoolExecutor(8) as pool:
        for _ in range(3):
            shared = backend(grid, scan)  # first used by all threads at once
            sinograms, images_back = zip(*pool.map(both, [shared] * 16, images), strict=True)
            torch.testing.assert_close(torch.cat(sinograms), expected)
            torch.testing.assert_close(torch.cat(images_back), back)
        # backends come and go while others project
        sinograms, _ = zip(
            *pool.map(both, (backend(grid, scan) for _ in range(16)), images), strict=True
        )
        torch.testing.assert_close(torch.cat(sinograms), expected)


@pytest.mark.parametrize("name", ["astra", "odl"])
def test_refusal_names_who_can(name):
    grid, scan = PLANE["fan_curved"]
    if backend_class("joseph") is None:
        pytest.skip("the joseph backend is missing")
    with pytest.raises(ValueError, match=rf"'{name}'.*no curved detector.*'joseph'"):
        RayTransform(grid, scan, backend=name)(torch.zeros(grid.shape))


def test_auto_says_why_no_backend_can():
    A = RayTransform(*PLANE["fan_curved"])
    with pytest.raises(ValueError, match=r"none can project FanBeam on mps; joseph: computes on a"):
        A.backend_on("mps")


def test_a_backend_of_gpus_only_has_no_exact_adjoint():
    grid, scan = SPACE["cone_circle"]
    A = RayTransform(grid, scan, backend="astra")
    with pytest.raises(ValueError, match=r"'astra': .*move the tensors to .*'joseph'.* can"):
        A(torch.zeros(grid.shape))
    assert not A.adjoint_is_exact


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((0, PLANE["fan_odd"][1]), TypeError, "grid: expected a Grid, got int"),
        ((Grid((4, 4)), "fan"), TypeError, "scan: expected .*, got str"),
        ((Grid((4, 4, 4)), ParallelBeam(3, 9, 1.0)), ValueError, "grid: expected 2 axes"),
        ((Grid((4, 4)), SPACE["cone_helix"][1]), ValueError, "grid: expected 3 axes"),
        ((Grid((4, 4)), ParallelBeam(3, 9, 1.0), "gpu"), ValueError, "backend: expected auto"),
    ],
)
def test_ray_transform_refuses(arguments, error, message):
    with pytest.raises(error, match=message):
        RayTransform(*arguments)


def test_unknown_backend():
    with pytest.raises(ValueError, match=r"backend: expected auto or one of joseph.*, got 'gpu'"):
        load_backend("gpu")


def test_fan_beams_of_the_builders_are_seen_whole():
    for name, (grid, scan) in PLANE.items():
        if isinstance(scan, FanBeam):
            assert grid.radius < scan.source_to_isocenter, name
