"""Rays computed by the ASTRA toolbox."""

from __future__ import annotations

import weakref
from typing import Any, ClassVar

import astra
import scipy.sparse
import torch

from tomolearn._core.errors import TomolearnError
from tomolearn._core.fork import ForkSafeLock
from tomolearn.geometry import Grid, Scan
from tomolearn.operators.backends.astra_cuda import CudaProjectors
from tomolearn.operators.backends.astra_geometry import is_isotropic, plane_geometries
from tomolearn.operators.backends.base import Backend, Capabilities, check_float32


class AstraBackend(Backend):
    """ASTRA's projectors [1]_ [2]_, in float32.

    On a CPU its two-dimensional ones, ``linear`` for a parallel beam (Joseph's method) and
    ``line_fanflat`` for a fan beam (the length of the ray in each pixel), one image after the
    other on one core. Their back-projection is the transpose up to the rounding of sums in float32
    (measured on 128 x 128 pixels, 30 views: 4e-7 of the largest value).

    On a GPU its CUDA projectors for two and three dimensions, on the tensors' own memory. Their
    back-projection is pixel-driven, another discretisation than the ray-driven projection, so
    that it is not the transpose, and texture units interpolate with 8 bits.

    The geometries are ours and not the ones of ODL's ``astra_setup``, which drops the offset of
    the detector of a two-dimensional parallel beam.

    References
    ----------
    .. [1] W. van Aarle et al., Fast and flexible X-ray tomography using the ASTRA toolbox,
       Opt. Express 24 (2016), doi 10.1364/OE.24.025129.
    .. [2] W. van Aarle et al., The ASTRA Toolbox: a platform for advanced algorithm development
       in electron tomography, Ultramicroscopy 157 (2015), doi 10.1016/j.ultramic.2015.05.002.
    """

    name: ClassVar[str] = "astra"
    capabilities: ClassVar[Capabilities] = Capabilities(
        scans="all with flat detectors; CPU: in the plane, square pixels; CUDA: any voxels",
        devices="CPU, CUDA",
        precision="float32",
        adjoint="CPU: transpose up to rounding; CUDA: another discretisation, not the transpose",
    )

    def __init__(self, grid: Grid, scan: Scan) -> None:
        super().__init__(grid, scan)
        self._lock = ForkSafeLock()
        self._plane: int | None = None
        self._cuda: CudaProjectors | None = None

    @property
    def adjoint_is_exact(self) -> bool:  # type: ignore[override]
        """Whether `adjoint` is the transpose: in the plane, as long as no GPU was used."""
        return self.grid.ndim == 2 and self._cuda is None

    @classmethod
    def unsupported(cls, grid: Grid, scan: Scan, device: torch.device) -> str | None:
        """Return why ASTRA cannot do it, or None if it can."""
        if scan.is_curved:
            return "it has no curved detector"
        if device.type == "cuda":
            return None if astra.use_cuda() else "this ASTRA finds no CUDA device it can use"
        if device.type != "cpu":
            return f"it projects on cpu and cuda, not on {device.type}"
        if grid.ndim == 3:
            return "it projects three dimensions only on CUDA; move the tensors to a GPU"
        if not is_isotropic(grid):
            return f"on a CPU it needs square pixels, got spacing {grid.spacing}"
        return None

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the sinograms (batch, *scan.shape) of images (batch, *grid.shape)."""
        check_float32("images", images)
        if images.is_cuda:
            return self._on_cuda().forward(images)
        projector = self._plane_projector()
        sinograms = images.new_empty((images.shape[0], *self.scan.shape))
        for image, sinogram in zip(images, sinograms, strict=True):
            astra.projector.direct_FP(projector, image, out=sinogram)
        return self._in_mm(sinograms)

    def adjoint(self, sinograms: torch.Tensor) -> torch.Tensor:
        """Return the images (batch, *grid.shape) of the transposed map."""
        check_float32("sinograms", sinograms)
        if sinograms.is_cuda:
            return self._on_cuda().adjoint(sinograms)
        projector = self._plane_projector()
        images = sinograms.new_empty((sinograms.shape[0], *self.grid.shape))
        for sinogram, image in zip(sinograms, images, strict=True):
            astra.projector.direct_BP(projector, sinogram, out=image)
        return self._in_mm(images)

    def _in_mm(self, values: torch.Tensor) -> torch.Tensor:
        # the geometry handed to ASTRA is in pixels, and a transform scales like its lengths
        spacing = self.grid.spacing[0]
        return values if spacing == 1.0 else values.mul_(spacing)

    def _on_cuda(self) -> CudaProjectors:
        with self._lock:
            if self._cuda is None:
                self._cuda = CudaProjectors(self.grid, self.scan)
            return self._cuda

    def _plane_projector(self) -> int:
        # A projector is read-only while it projects, and ASTRA looks it up under the GIL: many
        # threads may use one. It must only be made once.
        with self._lock:
            if self._plane is None:
                self._plane = _create(self.grid, self.scan)
                weakref.finalize(self, astra.projector.delete, self._plane)
            return self._plane


def astra_matrix(grid: Grid, scan: Scan) -> scipy.sparse.csr_matrix:
    """Return ASTRA's matrix of a ray transform in the plane, with weights in mm.

    It is computed in float32, for flat detectors and square pixels. Its rows are the rays, detector
    by detector and view by view; its columns the pixels, row by row.
    """
    reason = AstraBackend.unsupported(grid, scan, torch.device("cpu"))
    if reason is not None:
        raise TomolearnError(f"backend 'astra': {reason}")
    projector = _create(grid, scan)
    try:
        matrix = astra.projector.matrix(projector)
        try:
            weights = astra.matrix.get(matrix)
        finally:
            astra.matrix.delete(matrix)
    finally:
        astra.projector.delete(projector)
    weights.sort_indices()
    return weights * grid.spacing[0]


def _create(grid: Grid, scan: Scan) -> int:
    volume, projection = plane_geometries(grid, scan)
    kind = "linear" if scan.is_parallel else "line_fanflat"
    config: dict[str, Any] = {
        "type": kind,
        "VolumeGeometry": volume,
        "ProjectionGeometry": projection,
    }
    projector: int = astra.projector.create(config)
    return projector
