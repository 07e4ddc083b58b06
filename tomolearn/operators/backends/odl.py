"""Rays computed by ODL, which computes them with ASTRA's CPU projectors."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import odl.applications.tomo
import torch

from tomolearn.geometry import Grid, ParallelBeam, RotationScan, Scan
from tomolearn.operators.backends.astra_geometry import is_isotropic
from tomolearn.operators.backends.base import Backend, Capabilities, check_float32
from tomolearn.operators.backends.odl_operator import OdlMap


class OdlBackend(Backend):
    """ODL's ``RayTransform``, in float32 on a CPU, with its inner-product weights removed.

    It is there to compare with; what it computes, `AstraBackend` computes with less overhead.
    The cases in which ODL is wrong or refuses are refused here, with the reason.
    """

    name: ClassVar[str] = "odl"
    capabilities: ClassVar[Capabilities] = Capabilities(
        scans="parallel beam without detector offset, flat fan beam; square pixels",
        devices="CPU",
        precision="float32",
        adjoint="transpose up to rounding",
    )

    def __init__(self, grid: Grid, scan: Scan) -> None:
        super().__init__(grid, scan)
        transform = odl.applications.tomo.RayTransform(
            grid.to_odl("float32"), scan.to_odl(), impl="astra_cpu"
        )
        self._map = OdlMap(transform)

    @classmethod
    def unsupported(cls, grid: Grid, scan: Scan, device: torch.device) -> str | None:
        """Return why ODL cannot do it, or None if it can."""
        if device.type != "cpu":
            return f"it is used on cpu only, not on {device.type}"
        if grid.ndim == 3:
            return "it projects three dimensions only on CUDA"
        if not isinstance(scan, RotationScan):
            return f"it has no geometry for {type(scan).__name__}"
        if scan.is_curved:
            return "its ASTRA back-end has no curved detector"
        if isinstance(scan, ParallelBeam) and scan.detector_offset != 0:
            return "its ASTRA back-end drops the detector offset of a parallel beam"
        if not is_isotropic(grid):
            return f"its ASTRA back-end needs square pixels, got spacing {grid.spacing}"
        if scan.angles is not None and np.any(np.diff(scan.angles) <= 0):
            return "its geometries need increasing angles"
        return None

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the sinograms (batch, *scan.shape) of images (batch, *grid.shape)."""
        check_float32("images", images)
        return self._map.forward(images)

    def adjoint(self, sinograms: torch.Tensor) -> torch.Tensor:
        """Return the images (batch, *grid.shape) of the transposed map."""
        check_float32("sinograms", sinograms)
        return self._map.adjoint(sinograms)
