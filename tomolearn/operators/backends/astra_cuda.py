"""ASTRA's CUDA projectors on torch tensors, in two and three dimensions."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator, Sequence
from typing import Any

import astra
import astra.experimental
import torch

from tomolearn.geometry import Grid, Scan
from tomolearn.operators.backends.astra_geometry import space_geometries

# ASTRA keeps the views in constant memory of the device, one set for all projectors.
device_lock = threading.Lock()
# Slices of one call: bounds ASTRA's own copy of its input, which torch's allocator cannot give.
_MAX_SLICES = 256
_MAX_PROJECTORS = 8


class CudaProjectors:
    """ASTRA's three-dimensional projectors of one grid and one scan with a flat detector.

    All images of a batch of a parallel beam in the plane go through one call, on top of each other
    as the slices of a volume; other scans take one image per call.
    """

    def __init__(self, grid: Grid, scan: Scan) -> None:
        self.grid, self.scan = grid, scan
        self._per_call = _MAX_SLICES if scan.is_parallel and scan.ndim == 2 else 1
        self._projectors: dict[int, tuple[int, dict[str, Any], dict[str, Any]]] = {}
        weakref.finalize(self, _delete, self._projectors)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the sinograms of contiguous float32 images on a GPU."""
        sinograms = images.new_empty((images.shape[0], *self.scan.shape))
        for part in self._parts(images.shape[0]):
            # ASTRA's sinograms are (rows, angles, columns). In the plane its rows are our batch,
            # and it writes right into ours; a cone beam's are turned afterwards.
            flat = self.scan.ndim == 2
            target = sinograms[part] if flat else _turned(sinograms[part.start])
            volume = images[part] if flat else images[part.start]
            self._project("FP", volume, target)
            if not flat:
                sinograms[part.start].copy_(target.transpose(0, 1))
        return sinograms

    def adjoint(self, sinograms: torch.Tensor) -> torch.Tensor:
        """Return the back-projections of contiguous float32 sinograms on a GPU."""
        images = sinograms.new_empty((sinograms.shape[0], *self.grid.shape))
        for part in self._parts(sinograms.shape[0]):
            if self.scan.ndim == 2:
                self._project("BP", images[part], sinograms[part])
            else:
                turned = _turned(sinograms[part.start]).copy_(sinograms[part.start].transpose(0, 1))
                self._project("BP", images[part.start], turned)
        return images

    def _parts(self, batch: int) -> Iterator[slice]:
        for start in range(0, batch, self._per_call):
            yield slice(start, min(start + self._per_call, batch))

    def _project(self, kind: str, volume: torch.Tensor, sinogram: torch.Tensor) -> None:
        device = volume.device
        target = sinogram if kind == "FP" else volume
        with device_lock, torch.cuda.device(device):
            projector, *geometries = self._projector(volume.shape[0])
            # ASTRA works on the device that is current in this thread, and on streams of its own
            # which it waits for. What torch still computes on its current stream it cannot know.
            astra.set_gpu_index(device.index)
            target.zero_()
            torch.cuda.current_stream(device).synchronize()
            run = {"FP": astra.experimental.direct_FP3D, "BP": astra.experimental.direct_BP3D}
            run[kind](projector, volume, sinogram)
            # When it fails (out of memory, say), ASTRA 2.5 makes the exception here, but does
            # not raise it, and leaves zeros. Its other interface raises, but reads the vectors
            # of all views anew at every call (8 ms for 1000 views).
            if not target.any():
                _project_or_raise(kind, projector, geometries, (volume, sinogram))

    def _projector(self, slices: int) -> tuple[int, dict[str, Any], dict[str, Any]]:
        if slices not in self._projectors:
            if len(self._projectors) >= _MAX_PROJECTORS:
                oldest = next(iter(self._projectors))
                astra.projector3d.delete(self._projectors.pop(oldest)[0])
            volume, projection = space_geometries(self.grid, self.scan, slices)
            config = {"type": "cuda3d", "VolumeGeometry": volume, "ProjectionGeometry": projection}
            if self.scan.ndim == 2 and not self.scan.is_parallel:
                # A cone's back-projection has the square of the magnification, one factor of it
                # along the axis. In a single slice there is no such factor.
                config["ProjectionKernel"] = "2d_weighting"
            projector = astra.projector3d.create(config)
            self._projectors[slices] = (projector, volume, projection)
        return self._projectors[slices]


def _turned(sinogram: torch.Tensor) -> torch.Tensor:
    """Return an empty tensor in ASTRA's order for a sinogram (angles, rows, columns)."""
    angles, rows, columns = sinogram.shape
    return sinogram.new_empty((rows, angles, columns))


def _project_or_raise(
    kind: str,
    projector: int,
    geometries: Sequence[dict[str, Any]],
    tensors: tuple[torch.Tensor, torch.Tensor],
) -> None:
    links: list[int] = []
    try:
        for name, geometry, tensor in zip(("-vol", "-proj3d"), geometries, tensors, strict=True):
            links.append(astra.data3d.link(name, geometry, tensor))
        run = {"FP": astra.experimental.do_composite_FP, "BP": astra.experimental.do_composite_BP}
        run[kind](projector, [links[0]], [links[1]])
    finally:
        astra.data3d.delete(links)


def _delete(projectors: dict[int, tuple[int, dict[str, Any], dict[str, Any]]]) -> None:
    for projector, _, _ in projectors.values():
        astra.projector3d.delete(projector)
    projectors.clear()
