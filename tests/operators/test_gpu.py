"""GPU projectors: their geometries, and on a machine with a GPU their values."""

import math

import pytest
import torch
from builders import PLANE, SPACE

from tomolearn.geometry import ConeBeam, FanBeam, Grid, ParallelBeam
from tomolearn.operators.backends.astra import AstraBackend
from tomolearn.operators.backends.astra_geometry import space_geometries

FLAT = [name for name, (_, scan) in SPACE.items() if not scan.is_curved]
CUDA = torch.device("cuda")
SHIFTED = Grid((60, 50), 0.8, center=(3.0, -2.0))
TURN = {"angular_range": 2 * math.pi, "n_angles": 40}
SCANS = {
    "parallel": ParallelBeam(**TURN, n_detectors=90, detector_spacing=0.9, detector_offset=2.0),
    "fan": FanBeam(
        **TURN,
        n_detectors=90,
        detector_spacing=1.8,
        source_to_isocenter=100.0,
        source_to_detector=190.0,
        detector_offset=3.0,
    ),
}


def blob(grid: Grid, batch: int) -> torch.Tensor:
    """Return smooth images, whose projections do not depend on how pixels are weighted."""
    axes = [
        torch.from_numpy(axis).float() - centre + 2.0
        for axis, centre in zip(grid.coordinates(), grid.center, strict=True)
    ]
    radius = sum(axis**2 for axis in torch.meshgrid(*axes, indexing="ij"))
    width = min(grid.size) / 8
    sizes = torch.linspace(1.0, 2.0, batch).reshape(-1, *[1] * grid.ndim)
    return torch.exp(-radius / (sizes * width) ** 2)


def relative(difference: torch.Tensor, expected: torch.Tensor) -> float:
    return float(difference.norm() / expected.norm())


@pytest.mark.gpu
@pytest.mark.parametrize("name", SCANS)
def test_plane_on_a_gpu_is_that_on_a_cpu(name):
    A = AstraBackend(SHIFTED, SCANS[name])
    assert A.unsupported(SHIFTED, SCANS[name], CUDA) is None
    images = blob(SHIFTED, 5)
    sinograms = A.forward(images)
    assert A.adjoint_is_exact
    on_gpu = A.forward(images.cuda())
    assert on_gpu.is_cuda
    assert not A.adjoint_is_exact
    # textures interpolate with 8 bits; the fan beams weight pixels differently
    assert relative(on_gpu.cpu() - sinograms, sinograms) < 1e-2
    smooth = A.adjoint(sinograms)
    # a fan's cosines are missing in the weights of ASTRA's back-projection on a GPU
    assert relative(A.adjoint(sinograms.cuda()).cpu() - smooth, smooth) < 3e-2


@pytest.mark.gpu
@pytest.mark.parametrize("name", [*FLAT, "parallel_anisotropic", "parallel_shifted_detector"])
def test_pairs_on_a_gpu(name):
    grid, scan = (SPACE | PLANE)[name]
    A = AstraBackend(grid, scan)
    images = torch.rand(3, *grid.shape, device=CUDA)
    sinograms = A.forward(images)
    assert sinograms.shape == (3, *scan.shape)
    apart = torch.cat([A.forward(image[None]) for image in images])
    torch.testing.assert_close(sinograms, apart)
    weights = torch.rand_like(sinograms)
    in_range = (sinograms * weights).double().sum()
    in_domain = (images * A.adjoint(weights)).double().sum()
    assert in_domain == pytest.approx(float(in_range), rel=0.1)


@pytest.mark.gpu
def test_other_streams_are_waited_for():
    grid = Grid((256, 256))
    A = AstraBackend(grid, ParallelBeam.covering(grid, 60))
    image = torch.rand(1, 256, 256, device=CUDA)
    expected = A.forward(image)
    with torch.cuda.stream(torch.cuda.Stream()):
        for _ in range(5):
            late = image.clone()
            for _ in range(200):
                late = late + 0.0 * late.flip(-1)
            torch.testing.assert_close(A.forward(late), expected)


@pytest.mark.gpu
def test_many_threads_share_the_gpu():
    from concurrent.futures import ThreadPoolExecutor

    pairs = [PLANE[name] for name in ("parallel_even", "fan_even", "parallel_wide")] * 4
    backends = [AstraBackend(grid, scan) for grid, scan in pairs]
    images = [torch.rand(2, *grid.shape, device=CUDA) for grid, _ in pairs]
    expected = [A.forward(image) for A, image in zip(backends, images, strict=True)]
    with ThreadPoolExecutor(6) as pool:
        results = list(pool.map(lambda A, x: A.forward(x), backends, images))
    for result, value in zip(results, expected, strict=True):
        torch.testing.assert_close(result, value)


@pytest.mark.parametrize(
    ("name", "slices"), [("parallel_shifted_detector", 3), *((name, 1) for name in FLAT)]
)
def test_tomosipo_geometries_are_those_of_astra(name, slices):
    pytest.importorskip("tomosipo")
    from tomolearn.operators.backends.tomosipo import tomosipo_geometries

    grid, scan = (PLANE | SPACE)[name]
    theirs = [part.to_astra() for part in tomosipo_geometries(grid, scan, slices)]
    ours = space_geometries(grid, scan, slices)
    vectors = theirs[1].pop("Vectors"), ours[1].pop("Vectors")
    torch.testing.assert_close(*map(torch.from_numpy, vectors), rtol=0, atol=1e-12)
    limits = theirs[0].pop("option"), ours[0].pop("option")
    assert limits[0] == pytest.approx(limits[1])
    assert theirs[0].items() >= ours[0].items()
    assert theirs[1] == ours[1]


def test_tomosipo_refuses():
    pytest.importorskip("tomosipo")
    from tomolearn.operators.backends.tomosipo import TomosipoBackend

    assert "square of the magnification" in TomosipoBackend.unsupported(*PLANE["fan_odd"], CUDA)
    cpu = torch.device("cpu")
    assert "CUDA only" in TomosipoBackend.unsupported(*PLANE["parallel_odd"], cpu)


def test_missing_tomosipo_is_named(monkeypatch):
    import sys

    from tomolearn.operators.backends import load_backend

    monkeypatch.setitem(sys.modules, "tomosipo", None)
    monkeypatch.delitem(sys.modules, "tomolearn.operators.backends.tomosipo", raising=False)
    with pytest.raises(ImportError, match=r"backend 'tomosipo' needs.*github.com/ahendriksen"):
        load_backend("tomosipo")


def test_astra_says_that_there_is_no_gpu():
    if torch.cuda.is_available():
        pytest.skip("there is one")
    grid, scan = SPACE["cone_circle"]
    assert isinstance(scan, ConeBeam)
    assert "no CUDA device" in AstraBackend.unsupported(grid, scan, CUDA)
