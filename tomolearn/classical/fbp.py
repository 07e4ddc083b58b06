"""Filtered back-projection for parallel, fan and cone beams."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch.nn.functional import pad

from tomolearn._core.checks import check_choice, check_float, check_int
from tomolearn.classical.checks import check_ray_transform, check_sinogram
from tomolearn.classical.derived_scans import quiet_transform, refined
from tomolearn.classical.filters import FILTERS, apply_filter, ramp_response
from tomolearn.classical.view_weights import (
    angular_cells,
    is_full_turn,
    missing_bins,
    offset_weights,
    parker_weights,
)
from tomolearn.geometry import ConeBeam, FanBeam, Grid, ParallelBeam, Scan
from tomolearn.operators import RayTransform

__all__ = ["fbp"]


def fbp(
    sinogram: torch.Tensor,
    operator: RayTransform,
    *,
    filter: str = "ram-lak",
    frequency_scaling: float = 1.0,
    oversampling: int | None = None,
) -> torch.Tensor:
    """Reconstruct by filtered back-projection.

    The result is in the image's unit, 1/mm for line integrals of attenuation, whatever scan and
    grid are; there is no factor to be guessed. It is linear and differentiable in `sinogram`.

    Parameters
    ----------
    sinogram : torch.Tensor, shape (..., *operator.range_shape)
        Line integrals, dimensionless.
    operator : RayTransform
        The scanner. Only its `grid`, `scan` and `backproject` are used.
    filter : {"ram-lak", "shepp-logan", "cosine", "hamming", "hann"}
        Window on the ramp filter; Ram-Lak is the ramp alone.
    frequency_scaling : float
        Cut-off of the window as a part of Nyquist's frequency of the detector, in (0, 1].
        Frequencies above it are removed.
    oversampling : int, optional
        Number of values per bin to which filtered projections are refined, without changing their
        band, before they are linearly interpolated. 1 is the textbook's: the interpolation blurs
        image and noise. Default: 2 in the plane, 1 for cone beams.

    Returns
    -------
    torch.Tensor, shape (..., *operator.domain_shape)
        In the sinogram's precision (half precision: float32).

    Raises
    ------
    TypeError
        If `operator` is not a RayTransform or `sinogram` not a real floating-point tensor.
    ValueError
        If the sinogram is of a wrong shape or has values that are not finite; if `filter` or
        `frequency_scaling` is out of its range; if a fan-beam scan is shorter than a half turn
        plus the fan; if a cone-beam scan is a helix or not a full turn.

    Notes
    -----
    Parallel and fan beams follow Kak and Slaney [1]_, chapter 3: the filter is the transform of
    the band-limited kernel, applied to zero-padded projections; fan beams are filtered on the
    detector scaled down to the rotation axis (flat) or in equal angles (curved). Views count by
    the part of the circle that they stand for (`classical.view_weights.angular_cells`), so that
    views over pi, over 2 pi and lists of angles in any order and spacing come out right; a wedge
    that was not scanned by a parallel beam stays empty. Fan-beam scans of less than a full turn
    get Parker's weights [2]_. Cone beams on a circle are reconstructed by the algorithm of
    Feldkamp, Davis and Kress [3]_, exact in the plane of the source only. In a full turn with the
    detector moved aside by more than a bin, lines that are measured once and twice are weighted
    accordingly [4]_.

    References
    ----------
    .. [1] A. C. Kak, M. Slaney, Principles of Computerized Tomographic Imaging (1988),
       doi 10.1137/1.9780898719277.
    .. [2] D. L. Parker, Med. Phys. 9 (1982), doi 10.1118/1.595078.
    .. [3] L. A. Feldkamp, L. C. Davis, J. W. Kress, Practical cone-beam algorithm, J. Opt. Soc.
       Am. A 1 (1984), doi 10.1364/JOSAA.1.000612.
    .. [4] G. Wang, Med. Phys. 29 (2002), doi 10.1118/1.1489043.

    Examples
    --------
    >>> grid = Grid(shape=(64, 64), spacing=1.0)
    >>> A = RayTransform(grid, ParallelBeam.covering(grid, 100))
    >>> fbp(A(torch.ones(1, 1, 64, 64)), A, filter="hann").shape
    torch.Size([1, 1, 64, 64])
    """
    check_ray_transform(operator)
    name = check_choice("filter", filter, tuple(FILTERS))
    scaling = check_float("frequency_scaling", frequency_scaling, positive=True)
    if scaling > 1:
        raise ValueError(f"frequency_scaling: expected a number in (0, 1], got {scaling}")
    sinogram = check_sinogram(sinogram, operator)
    if oversampling is None:
        oversampling = 2 if operator.scan.ndim == 2 else 1
    oversampling = check_int("oversampling", oversampling, minimum=1)
    if sinogram.numel() == 0:
        leading = sinogram.shape[: sinogram.ndim - len(operator.range_shape)]
        return sinogram.new_zeros((*leading, *operator.domain_shape))
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
        raise TypeError(
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
            raise ValueError(
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
        raise ValueError(
            f"scan: expected a circular scan (pitch 0) for the method of Feldkamp, Davis and "
            f"Kress, got pitch {scan.pitch}; iterative methods reconstruct helical scans"
        )
    cells = angular_cells(scan, 2 * math.pi)
    if not is_full_turn(scan):
        raise ValueError(
            "scan: expected a full turn of views, 360 degrees, for the method of Feldkamp, Davis "
            f"and Kress, got {math.degrees(cells.length):.5g} degrees"
        )
    rows, columns = scan.detector_positions
    distance = scan.source_to_detector
    cosines = distance / np.sqrt(distance**2 + rows[:, None] ** 2 + columns**2)
    return cells.widths[:, None, None] * (offset_weights(scan) * cosines)
