"""Pixel-driven, distance-weighted back-projection in plain torch."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch

from tomolearn._core.errors import TomolearnError, TomolearnTypeError
from tomolearn.geometry import ConeBeam, FanBeam, Grid, ParallelBeam, Scan
from tomolearn.operators.base import LinearOperator

__all__ = ["backproject"]

# Voxels handled at once in 3-D: bounds the memory of indices and weights to a few hundred MB.
_CHUNK_VOXELS = 2**22

# Pixels closer to the source than this part of its distance from the axis get nothing: the
# distance weight would overflow there.
_SOURCE_MARGIN = 1e-6


def backproject(sinograms: torch.Tensor, grid: Grid, scan: Scan) -> torch.Tensor:
    """Return the pixel-driven back-projection that filtered back-projection needs.

    Every pixel gets the sum over the views of the sinogram, linearly interpolated (bilinearly in
    3-D) where the ray through the pixel's centre meets the detector. The sinogram is taken to be
    zero at bins beyond the detector's ends. In a fan or cone beam each view is weighted by
    ``(source_to_isocenter / distance)**2``, the distance from the source being taken along the
    central ray (flat detector) or to the pixel (curved detector). There is no factor for the
    number of views.

    It runs on any device in float32 or float64, one view at a time, and is differentiable to any
    order; the derivative goes view by view as well.

    Parameters
    ----------
    sinograms : torch.Tensor, shape (..., *scan.shape)
        Real floating-point tensor.
    grid : Grid
        The image's grid.
    scan : ParallelBeam, FanBeam or ConeBeam
        The scan, of the same dimension as the grid.

    Returns
    -------
    torch.Tensor, shape (..., *grid.shape)
        The images, in the sinogram's unit.

    Raises
    ------
    TypeError
        If `sinograms` is not a real floating-point tensor, or `scan` none of the kinds above.
    ValueError
        If the shapes do not fit.
    """
    return _operator_of(grid, scan)(sinograms)


class _Backprojection(LinearOperator):
    """The back-projection as a linear operator, which makes it differentiable."""

    def __init__(self, grid: Grid, scan: Scan) -> None:
        if not isinstance(scan, (ParallelBeam, FanBeam, ConeBeam)):
            raise TomolearnTypeError(
                f"scan: expected ParallelBeam, FanBeam or ConeBeam, got {type(scan).__name__}"
            )
        if grid.ndim != scan.ndim:
            raise TomolearnError(
                f"grid: expected {scan.ndim} axes for a {type(scan).__name__}, got {grid.shape}"
            )
        super().__init__(scan.shape, grid.shape)
        self.grid = grid
        self.scan: ParallelBeam | FanBeam | ConeBeam = scan

    def _evaluate(self, x: torch.Tensor) -> torch.Tensor:
        views = _pad(x)
        out = x.new_zeros((x.shape[0], math.prod(self.range_shape)))
        for sample in _samples(self.grid, self.scan, x.dtype, x.device):
            view = views[:, sample.view]
            pixels = out[:, sample.pixels]
            for bins, weights in sample.taps:
                pixels.addcmul_(view.index_select(1, bins), weights)
        return out.reshape(-1, *self.range_shape)

    def _evaluate_adjoint(self, y: torch.Tensor) -> torch.Tensor:
        shape = self.domain_shape
        views = _pad(y.new_zeros((y.shape[0], *shape)))
        images = y.reshape(y.shape[0], -1)
        for sample in _samples(self.grid, self.scan, y.dtype, y.device):
            view = views[:, sample.view]
            pixels = images[:, sample.pixels]
            for bins, weights in sample.taps:
                view.index_add_(1, bins, pixels * weights)
        padded = views.reshape(-1, shape[0], *(n + 2 for n in shape[1:]))
        inner = (slice(None), slice(None), *(slice(1, -1) for _ in shape[1:]))
        return padded[inner].contiguous()


@lru_cache(maxsize=16)
def _operator_of(grid: Grid, scan: Scan) -> _Backprojection:
    # kept alive because compiled graphs hold operators by weak reference
    return _Backprojection(grid, scan)


class _Sample(NamedTuple):
    """Where a part of the pixels finds its values in one view.

    `pixels` is a slice of the flat image, `taps` are pairs (index into the flat padded view,
    weight) to be added up.
    """

    view: int
    pixels: slice
    taps: list[tuple[torch.Tensor, torch.Tensor]]


def _pad(x: torch.Tensor) -> torch.Tensor:
    """Put a ring of zero bins around each view and flatten it: (batch, views, bins)."""
    padded = torch.nn.functional.pad(x, (1, 1) * (x.ndim - 2))
    return padded.reshape(*x.shape[:2], -1)


def _samples(
    grid: Grid,
    scan: ParallelBeam | FanBeam | ConeBeam,
    dtype: torch.dtype,
    device: torch.device,
) -> Iterator[_Sample]:
    coordinates = [torch.from_numpy(c).to(device, dtype) for c in grid.coordinates()]
    rows, columns = coordinates[-2][:, None], coordinates[-1][None, :]
    angles = scan.view_angles
    for view, (cos, sin) in enumerate(zip(np.cos(angles), np.sin(angles), strict=True)):
        across = (rows * cos + columns * sin).reshape(-1)
        if isinstance(scan, ParallelBeam):
            low, part = _taps(across, scan.n_detectors, scan.detector_spacing, scan.detector_offset)
            yield _Sample(view, slice(None), [(low, 1 - part), (low + 1, part)])
            continue
        along = (columns * cos - rows * sin).reshape(-1).add_(scan.source_to_isocenter)
        near = _SOURCE_MARGIN * scan.source_to_isocenter
        if isinstance(scan, FanBeam) and scan.detector == "curved":
            position = torch.atan2(across, along).mul_(scan.source_to_detector)
            squared = across.square_().addcmul_(along, along)
            weight = (scan.source_to_isocenter**2 / squared).masked_fill_(squared <= near**2, 0)
        else:
            inverse = torch.where(along > near, 1 / along, 0)
            position = across.mul_(inverse).mul_(scan.source_to_detector)
            weight = (inverse * scan.source_to_isocenter).square_()
        if isinstance(scan, FanBeam):
            low, part = _taps(
                position, scan.n_detectors, scan.detector_spacing, scan.detector_offset
            )
            upper = part.mul_(weight)
            yield _Sample(view, slice(None), [(low, weight - upper), (low + 1, upper)])
            continue
        height = scan.start_z + scan.pitch * angles[view] / (2 * math.pi)
        magnified = inverse * scan.source_to_detector
        yield from _volume(scan, view, coordinates[0] - height, position, magnified, weight)


def _volume(
    scan: ConeBeam,
    view: int,
    heights: torch.Tensor,
    position: torch.Tensor,
    magnified: torch.Tensor,
    weight: torch.Tensor,
) -> Iterator[_Sample]:
    """Sample a view of a cone beam.

    Given are the slices' heights above the source and, for each pixel of a slice, its column's
    position on the detector, its magnification and its distance weight.
    """
    n_rows, n_columns = scan.detector_shape
    row_spacing, column_spacing = scan.detector_spacing
    row_offset, column_offset = scan.detector_offset
    column, right = _taps(position, n_columns, column_spacing, column_offset)
    left, width, area = 1 - right, n_columns + 2, position.numel()
    step = max(1, _CHUNK_VOXELS // area)
    for first in range(0, len(heights), step):
        row, upper = _taps(
            heights[first : first + step, None] * magnified, n_rows, row_spacing, row_offset
        )
        corner = row.mul_(width).add_(column).reshape(-1)
        upper *= weight
        lower = weight - upper
        taps = [
            (corner + shift, share.reshape(-1))
            for shift, share in (
                (0, lower * left),
                (1, lower * right),
                (width, upper * left),
                (width + 1, upper * right),
            )
        ]
        yield _Sample(view, slice(first * area, first * area + corner.numel()), taps)


def _taps(
    position: torch.Tensor, n_bins: int, spacing: float, offset: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the lower padded bin and the upper one's share at detector positions in mm.

    Overwrites `position`. Clamping leads positions beyond the ends to the zero bins.
    """
    index = position.sub_(offset).div_(spacing).add_((n_bins - 1) / 2 + 1).clamp_(0, n_bins + 1)
    low = index.floor().clamp_(max=n_bins)
    return low.long(), index.sub_(low)
