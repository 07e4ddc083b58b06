"""What ASTRA's GPU projectors are asked for, answered by an emulation of them on the CPU.

The emulation knows ASTRA's documented coordinates and layouts and nothing of ours; what is
expected comes from the scans' definitions and from the integrals of Gaussians, which are known.
"""

import contextlib
import math

import astra
import astra.experimental
import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates

from tomolearn.geometry import ConeBeam, FanBeam, Grid, ParallelBeam, Views
from tomolearn.operators.backends import astra_cuda
from tomolearn.operators.backends.astra_cuda import CudaProjectors

PLANE = Grid((40, 30), (0.7, 1.1), center=(3.0, -2.0))
SPACE = Grid((30, 36, 26), (0.9, 0.7, 1.1), center=(1.0, 2.0, -1.5))
CASES = {
    "parallel": (PLANE, ParallelBeam(7, 41, 1.0, angular_range=5.0, detector_offset=2.0)),
    "fan": (PLANE, FanBeam(7, 41, 1.9, 60.0, 110.0, detector_offset=3.0)),
    "cone": (SPACE, ConeBeam(6, (19, 23), (2.1, 1.7), 60.0, 110.0, detector_offset=(2.0, -3.0))),
    "helix": (SPACE, ConeBeam(6, (19, 23), 1.9, 60.0, 110.0, pitch=4.0, start_z=-2.0)),
}
_CONE = Views.of(CASES["cone"][1])
CASES["views"] = SPACE, _CONE.with_detector_angles(slant=0.1, tilt=-0.2, rotation=0.3)
CASES["views, parallel"] = (
    SPACE,
    Views(
        _CONE.detector_shape,
        _CONE.detector,
        _CONE.steps,
        direction=np.array(_CONE.detector) + np.array([9.0, -12.0, 5.0]),
    ),
)
WIDTH = 4.0  # mm, of the Gaussians


def project(projector, volume, sinogram):
    window = astra.projector3d.volume_geometry(projector)["options"]
    geometry = astra.projector3d.projection_geometry(projector)
    sinogram.copy_(torch.from_numpy(integrals(volume.numpy(), window, geometry)))


def integrals(volume, window, geometry):
    vectors = geometry["Vectors"].reshape(-1, 4, 3, 1, 1)
    first, middle, u, v = vectors.swapaxes(0, 1)
    rows, columns = geometry["DetectorRowCount"], geometry["DetectorColCount"]
    row = np.arange(rows)[:, None] - (rows - 1) / 2
    column = np.arange(columns)[None, :] - (columns - 1) / 2
    bins = middle + row * v + column * u  # (angles, xyz, rows, columns)
    if geometry["type"] == "parallel3d_vec":
        direction = np.broadcast_to(first, bins.shape)
    else:
        direction = bins - first
    direction = direction / np.linalg.norm(direction, axis=1, keepdims=True)
    start = bins - (bins * direction).sum(axis=1, keepdims=True) * direction
    low = np.array([window[f"WindowMin{axis}"] for axis in "XYZ"]).reshape(3, 1, 1)
    high = np.array([window[f"WindowMax{axis}"] for axis in "XYZ"]).reshape(3, 1, 1)
    size = (high - low) / np.array(volume.shape[::-1]).reshape(3, 1, 1)
    total, step = 0.0, 0.25
    for way in np.arange(-40, 40, step):
        x, y, z = np.moveaxis((start + way * direction - low) / size - 0.5, 1, 0)
        total = total + map_coordinates(volume, [z, y, x], order=1, mode="grid-constant") * step
    return np.moveaxis(total, 1, 0)  # (rows, angles, columns)


@pytest.fixture
def emulated(monkeypatch):
    """Emulate ASTRA's GPU; its back-projections number their voxels and note the sinograms."""
    log = []

    def back_project(projector, volume, sinogram):
        log.append(sinogram.clone())
        volume.copy_(torch.arange(volume.numel()).reshape(volume.shape))

    monkeypatch.setattr(astra.experimental, "direct_FP3D", project)
    monkeypatch.setattr(astra.experimental, "direct_BP3D", back_project)
    monkeypatch.setattr(astra, "set_gpu_index", lambda index: None)
    monkeypatch.setattr(torch.cuda, "device", lambda device: contextlib.nullcontext())
    stream = type("Stream", (), {"synchronize": lambda self: None})
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: stream())
    return log


def gaussians(grid, batch):
    """Return images of a Gaussian each, and where they are."""
    places = np.array(grid.center) + np.linspace(-2, 3, batch * grid.ndim).reshape(batch, -1)
    x = np.stack(np.meshgrid(*grid.coordinates(), indexing="ij"), axis=-1)
    squares = ((x - places.reshape(batch, *[1] * grid.ndim, -1)) ** 2).sum(axis=-1)
    return torch.from_numpy(np.exp(-squares / WIDTH**2)).float(), places


def rays(scan):
    """Return points and directions of the rays, (*scan.shape, ndim), from the definition."""
    if not isinstance(scan, ConeBeam):
        return scan.rays()
    angle = scan.view_angles[:, None, None]
    v, u = np.meshgrid(*scan.detector_positions, indexing="ij")
    zero = 0 * angle * u
    along = np.stack([zero, zero - np.sin(angle), zero + np.cos(angle)], axis=-1)
    across = np.stack([zero, zero + np.cos(angle), zero + np.sin(angle)], axis=-1)
    up = np.array([1.0, 0.0, 0.0])
    height = scan.start_z + scan.pitch * angle / (2 * math.pi) + zero
    source = height[..., None] * up - scan.source_to_isocenter * along
    return source, scan.source_to_detector * along + u[..., None] * across + v[..., None] * up


def expected_sinogram(scan, place):
    points, directions = rays(scan)
    directions = directions / np.linalg.norm(directions, axis=-1, keepdims=True)
    away = place - points
    away = away - (away * directions).sum(axis=-1, keepdims=True) * directions
    return WIDTH * math.sqrt(math.pi) * np.exp(-(away**2).sum(axis=-1) / WIDTH**2)


@pytest.mark.parametrize("name", CASES)
def test_projections_of_gaussians(emulated, name):
    grid, scan = CASES[name]
    images, places = gaussians(grid, 3)
    sinograms = CudaProjectors(grid, scan).forward(images)
    assert sinograms.shape == (3, *scan.shape)
    for sinogram, place in zip(sinograms.numpy(), places, strict=True):
        expected = expected_sinogram(scan, place)
        # pixels of a sixth of the width, interpolated linearly
        assert np.abs(sinogram - expected).max() < 0.04 * expected.max()


@pytest.mark.parametrize("name", CASES)
def test_layout_of_back_projections(emulated, name, rng):
    grid, scan = CASES[name]
    sinograms = torch.rand(3, *scan.shape, generator=rng)
    images = CudaProjectors(grid, scan).adjoint(sinograms)
    assert images.shape == (3, *grid.shape)
    if name == "parallel":  # all in one call, the batch as detector rows
        (seen,) = emulated
        np.testing.assert_array_equal(seen, sinograms)
        np.testing.assert_array_equal(images.flatten(), np.arange(images.numel()))
        return
    assert len(emulated) == 3
    for seen, sinogram, image in zip(emulated, sinograms, images, strict=True):
        turned = sinogram[None] if name == "fan" else sinogram.transpose(0, 1)
        np.testing.assert_array_equal(seen, turned)
        np.testing.assert_array_equal(image.flatten(), np.arange(image.numel()))


def test_projectors_are_kept_and_their_number_is_bounded(emulated):
    grid, scan = CASES["parallel"]
    projectors = CudaProjectors(grid, scan)
    for batch in (1, 2, 1, *range(1, 12)):
        projectors.adjoint(torch.ones(batch, *scan.shape))
    kept = projectors._projectors
    assert list(kept) == [4, 5, 6, 7, 8, 9, 10, 11]
    ids = [projector for projector, _, _ in kept.values()]
    del projectors, kept
    for projector in ids:
        with pytest.raises(astra.log.AstraError):
            astra.projector3d.volume_geometry(projector)


@pytest.mark.parametrize("name", CASES)
def test_zeros_are_taken_for_a_failure_and_asked_for_again(emulated, monkeypatch, name):
    grid, scan = CASES[name]
    projectors, asked = CudaProjectors(grid, scan), []

    def answer(projector, volumes, sinograms):
        # linking has checked the shapes against the geometries
        asked.append((astra.data3d.get_shared(volumes[0]), astra.data3d.get_shared(sinograms[0])))

    monkeypatch.setattr(astra.experimental, "do_composite_FP", answer)
    assert (projectors.forward(torch.zeros(2, *grid.shape)) == 0).all()
    assert len(asked) == (1 if name == "parallel" else 2)

    def fail(projector, volumes, sinograms):
        raise astra.log.AstraError("Failed to perform FP: out of memory")

    monkeypatch.setattr(astra.experimental, "do_composite_FP", fail)
    monkeypatch.setattr(astra.experimental, "direct_FP3D", lambda *arguments: None)
    with pytest.raises(astra.log.AstraError, match="out of memory"):
        projectors.forward(torch.ones(2, *grid.shape))


def test_large_batches_are_split(emulated, monkeypatch):
    monkeypatch.setattr(astra_cuda, "_MAX_SLICES", 4)
    grid, scan = CASES["parallel"]
    images = CudaProjectors(grid, scan).adjoint(torch.ones(10, *scan.shape))
    assert [len(seen) for seen in emulated] == [4, 4, 2]
    assert images.shape == (10, *grid.shape)
