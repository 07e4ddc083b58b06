"""Rays computed by tomosipo, which computes them with ASTRA's CUDA projectors."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch

from tomolearn._core.optional import optional_import
from tomolearn.geometry import Grid, Scan
from tomolearn.operators.backends.astra_cuda import CudaProjectors, device_lock
from tomolearn.operators.backends.base import Backend, Capabilities, check_float32

ts = optional_import(
    "tomosipo",
    purpose="backend 'tomosipo'",
    install="pip install git+https://github.com/ahendriksen/tomosipo",
)


class TomosipoBackend(Backend):
    """tomosipo's operators [1]_ on CUDA tensors, in float32.

    Parallel beams, a batch as the slices of one volume, and cone beams. The back-projection is
    ASTRA's pixel-driven one: another discretisation than the projection, not its transpose.

    References
    ----------
    .. [1] A. A. Hendriksen et al., Tomosipo: fast, flexible, and convenient 3D tomography for
       complex scanning geometries in Python, Opt. Express 29 (2021), doi 10.1364/OE.439909.
    """

    name: ClassVar[str] = "tomosipo"
    capabilities: ClassVar[Capabilities] = Capabilities(
        scans="parallel beam and cone beam, any pixels",
        devices="CUDA",
        precision="float32",
        adjoint="another discretisation, not the transpose",
    )
    adjoint_is_exact = False

    def __init__(self, grid: Grid, scan: Scan) -> None:
        super().__init__(grid, scan)
        self._projectors = _Projectors(grid, scan)

    @classmethod
    def unsupported(cls, grid: Grid, scan: Scan, device: torch.device) -> str | None:
        """Return why tomosipo cannot do it, or None if it can."""
        if scan.ndim == 2 and not scan.is_parallel:
            return (
                "it back-projects a fan beam as one slice of a cone beam, which has the square "
                "of the magnification"
            )
        if scan.is_curved:
            return "it has no curved detector"
        if device.type != "cuda":
            return f"it projects on CUDA only, and would copy tensors on {device.type} there"
        try:
            ts.volume(shape=1, pos=(0.0, 0.0, 0.0))
        except TypeError:  # its 0.6 asks NumPy for copy=False in a way that NumPy 2 refuses
            return f"tomosipo {ts.__version__} does not work with NumPy {np.__version__}"
        return None

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the sinograms (batch, *scan.shape) of images (batch, *grid.shape)."""
        check_float32("images", images)
        return self._projectors.forward(images)

    def adjoint(self, sinograms: torch.Tensor) -> torch.Tensor:
        """Return the back-projections (batch, *grid.shape) of sinograms (batch, *scan.shape)."""
        check_float32("sinograms", sinograms)
        return self._projectors.adjoint(sinograms)


class _Projectors(CudaProjectors):
    """As those of ASTRA, by tomosipo's operators."""

    def __init__(self, grid: Grid, scan: Scan) -> None:
        super().__init__(grid, scan)
        self._operators: dict[int, Any] = {}

    def _project(self, kind: str, volume: torch.Tensor, sinogram: torch.Tensor) -> None:
        with device_lock:
            slices = volume.shape[0]
            if slices not in self._operators:
                volumes, projections = tomosipo_geometries(self.grid, self.scan, slices)
                self._operators[slices] = ts.operator(volumes, projections)
            operator = self._operators[slices]
            # tomosipo sets the device, but does not wait for what torch still computes on it
            torch.cuda.current_stream(volume.device).synchronize()
            if kind == "BP":
                operator.T(sinogram, out=volume)
            else:
                operator(volume, out=sinogram)


def tomosipo_geometries(grid: Grid, scan: Scan, slices: int = 1) -> tuple[Any, Any]:
    """Return tomosipo's volume and projection geometry; its axes (z, y, x) are our (z, x, y).

    In the plane `slices` images lie on top of each other, as in `astra_geometry.space_geometries`.
    """
    source, detector, steps = scan.vectors()
    if scan.ndim == 3:
        volume = ts.volume(shape=grid.shape, pos=grid.center, size=grid.size)
        vectors = {"det_pos": detector, "det_v": steps[0], "det_u": steps[1]}
        if scan.is_parallel:
            return volume, ts.parallel_vec(shape=scan.detector_shape, ray_dir=source, **vectors)
        return volume, ts.cone_vec(shape=scan.detector_shape, src_pos=source, **vectors)
    volume = ts.volume(
        shape=(slices, *grid.shape), pos=(0.0, *grid.center), size=(float(slices), *grid.size)
    )
    direction, detector, step = (
        np.pad(part, ((0, 0), (1, 0))) for part in (source, detector, *steps)
    )
    projection = ts.parallel_vec(
        shape=(slices, scan.shape[-1]),
        ray_dir=direction,
        det_pos=detector,
        det_v=np.tile([1.0, 0.0, 0.0], (scan.n_angles, 1)),
        det_u=step,
    )
    return volume, projection
