"""Weights, filter and back-projection of one scan, kept for the next sinogram."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch.nn.functional import pad

from tomolearn._core.errors import TomolearnError, TomolearnTypeError
from tomolearn.geometry import ConeBeam, FanBeam, Grid, ParallelBeam, Scan
from tomolearn.methods.analytic.derived_scans import quiet_transform, refined
from tomolearn.methods.analytic.filters import apply_filter, ramp_response
from tomolearn.methods.analytic.view_weights import (
    angular_cells,
    is_full_turn,
    missing_bins,
    offset_weights,
    parker_weights,
)
from tomolearn.operators import RayTransform

__all__ = ["filtered_backprojection"]


def filtered_backprojection(
    sinogram: torch.Tensor, operator: RayTransform, name: str, scaling: float, oversampling: int
) -> torch.Tensor:
    """Return the image of a checked sinogram; the parameters are those of `fbp`."""
    plan = _plan(operator.scan, name, scaling, oversampling, sinogram.dtype, sinogram.device)
    weighted = sinogram * plan.weights
    if plan.missing:
        weighted = pad(weighted, (max(plan.missing, 0), max(-plan.missing, 0)))
    if plan.missing or oversampling > 1:
        operator = _refined_transform(operator.grid, operator.scan, operator.backend, oversampling)
    return operator.backproject(apply_filter(weighted, plan.response, oversampling))


class _Plan(NamedTuple):
    """What is multiplied with the sinogram before and in the filter, and bins to add between."""

    weights: torch.Tensor
    response: torch.Tensor
    missing: int


@lru_cache(maxsize=16)
def _plan(
    scan: Scan,
    name: str,
    scaling: float,
    oversampling: int,
    dtype: torch.dtype,
    device: torch.device,
) -> _Plan:
    if isinstance(scan, ParallelBeam):
        weights, step = _parallel_weights(scan), scan.detector_spacing
    elif isinstance(scan, FanBeam):
        weights, step = _fan_weights(scan), scan.detector_spacing / scan.source_to_detector
    elif isinstance(scan, ConeBeam):
        weights, step = _cone_weights(scan), scan.detector_spacing[1] / scan.source_to_detector
    else:
        raise TomolearnTypeError(
            f"scan: expected ParallelBeam, FanBeam or ConeBeam, got {type(scan).__name__}"
        )
    curved = isinstance(scan, FanBeam) and scan.detector == "curved"
    if isinstance(scan, (FanBeam, ConeBeam)) and not curved:
        # on the detector scaled down to the rotation axis
        step *= scan.source_to_isocenter
    missing = missing_bins(scan)
    n_bins = scan.shape[-1] + abs(missing)
    response = ramp_response(
        n_bins, step, name, scaling, equiangular=curved, oversampling=oversampling
    )
    # tensors made in inference mode could not take part in a later gradient
    with torch.inference_mode(False):
        return _Plan(
            torch.tensor(weights, dtype=dtype, device=device),
            torch.tensor(response, dtype=dtype, device=device),
            missing,
        )


@lru_cache(maxsize=4)
def _refined_transform(grid: Grid, scan: Scan, backend: str, oversampling: int) -> RayTransform:
    # filtered projections are not zero where a detector moved aside has no bins: they are needed
    return quiet_transform(grid, refined(scan, missing_bins(scan), oversampling), backend)


def _parallel_weights(scan: ParallelBeam) -> np.ndarray:
    if missing_bins(scan):
        return angular_cells(scan, 2 * math.pi).widths[:, None] * offset_weights(scan)
    return angular_cells(scan, math.pi).widths[:, None]


def _fan_weights(scan: FanBeam) -> np.ndarray:
    cells = angular_cells(scan, 2 * math.pi)
    if is_full_turn(scan):
        redundancy = offset_weights(scan)
    else:
        needed = scan.short_scan_range
        if cells.length < needed * (1 - 1e-9):
            raise TomolearnError(
                "scan: expected views over at least a half turn plus the fan, "
                f"{math.degrees(needed):.5g} degrees, got {math.degrees(cells.length):.5g}; "
                "iterative methods reconstruct from fewer views"
            )
        redundancy = parker_weights(scan.view_angles, scan.fan_angles, cells.start, cells.length)
    cosines = np.cos(scan.fan_angles)
    if scan.detector == "curved":
        # the back-projection weights by (R / L)**2 where equal angles need R / L**2
        cosines = cosines / scan.source_to_isocenter
    return cells.widths[:, None] * redundancy * cosines


def _cone_weights(scan: ConeBeam) -> np.ndarray:
    if scan.pitch != 0:
        raise TomolearnError(
            f"scan: expected a circular scan (pitch 0) for the method of Feldkamp, Davis and "
            f"Kress, got pitch {scan.pitch}; iterative methods reconstruct helical scans"
        )
    cells = angular_cells(scan, 2 * math.pi)
    if not is_full_turn(scan):
        raise TomolearnError(
            "scan: expected a full turn of views, 360 degrees, for the method of Feldkamp, Davis "
            f"and Kress, got {math.degrees(cells.length):.5g} degrees"
        )
    rows, columns = scan.detector_positions
    distance = scan.source_to_detector
    cosines = distance / np.sqrt(distance**2 + rows[:, None] ** 2 + columns**2)
    return cells.widths[:, None, None] * (offset_weights(scan) * cosines)
