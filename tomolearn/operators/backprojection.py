"""Pixel-driven, distance-weighted back-projection in plain torch."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch

from tomolearn._core.errors import TomolearnError, TomolearnTypeError
from tomolearn.geometry import Grid, Scan
from tomolearn.geometry.scan import check_scan
from tomolearn.operators.base import LinearOperator

# Pixels handled at once: bounds the memory of indices and weights to a few hundred MB.
_CHUNK_PIXELS = 2**22

# Pixels closer to the source than this part of its distance from the axis get nothing: the
# distance weight would overflow there.
_SOURCE_MARGIN = 1e-6


def backproject(sinograms: torch.Tensor, grid: Grid, scan: Scan) -> torch.Tensor:
    """Return the pixel-driven back-projection (..., *grid.shape) of sinograms (..., *scan.shape).

    `RayTransform.backproject` defines it. The sinogram is taken to be zero at bins beyond the
    detector's ends. The weight of a view is the squared magnification of the pixel over that of the
    rotation axis; there is no factor for the number of views.

    It runs on any device in float32 or float64, one view at a time, and is differentiable to any
    order; the derivative goes view by view as well.
    """
    return backprojection_of(grid, scan)(sinograms)


def check_dimensions(grid: Any, scan: Any) -> None:
    """Check that both are of their kinds and of the same dimension."""
    if not isinstance(grid, Grid):
        raise TomolearnTypeError(f"grid: expected a Grid, got {type(grid).__name__}")
    check_scan(scan)
    if grid.ndim != scan.ndim:
        raise TomolearnError(
            f"grid: expected {scan.ndim} axes for a {type(scan).__name__}, got {grid.shape}"
        )


class _Backprojection(LinearOperator):
    """The back-projection as a linear operator, which makes it differentiable."""

    def __init__(self, grid: Grid, scan: Scan) -> None:
        check_dimensions(grid, scan)
        super().__init__(scan.shape, grid.shape)
        self.grid, self.scan = grid, scan

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
def backprojection_of(grid: Grid, scan: Scan) -> _Backprojection:
    """Return the back-projection as an operator, the same one for the same scan."""
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


def _samples(grid: Grid, scan: Scan, dtype: torch.dtype, device: torch.device) -> Iterator[_Sample]:
    axes = [torch.from_numpy(c).to(device, dtype) for c in np.ix_(*grid.coordinates())]
    area = math.prod(grid.shape[1:])
    step = max(1, _CHUNK_PIXELS // area)
    for view, matrix in enumerate(scan.projection_matrices()):
        for first in range(0, grid.shape[0], step):
            points = (axes[0][first : first + step], *axes[1:])
            bins, weight = _seen(matrix, scan, points)
            index, taps = torch.zeros((), dtype=torch.long, device=device), [(0, weight)]
            for position, count in zip(bins, scan.detector_shape, strict=True):
                low, upper, stride = *_neighbours(position, count), count + 2
                index = low if index.ndim == 0 else index * stride + low
                taps = [tap for at, share in taps for tap in _split(at * stride, share, upper)]
            shape = (points[0].shape[0], *grid.shape[1:])
            corner = index.broadcast_to(shape).reshape(-1)
            flat = [
                (corner + shift if shift else corner, share.broadcast_to(shape).reshape(-1))
                for shift, share in taps
                if share is not None
            ]
            yield _Sample(view, slice(first * area, first * area + corner.numel()), flat)


def _seen(
    matrix: np.ndarray, scan: Scan, points: Sequence[torch.Tensor]
) -> tuple[list[torch.Tensor], torch.Tensor | None]:
    """Return the padded bins, not whole, at which a view sees points, and distance weights."""
    # one bin of zeros stands before the first
    across, depth = matrix[:-1] + matrix[-1], matrix[-1]
    if scan.is_parallel:
        return [_affine(row, points) for row in across], None
    axis, along = float(depth[-1]), _affine(depth, points)
    if scan.arc_radius is not None:
        # the matrix is that of a flat detector: from it the tangent of the fan angle, the arc
        radius, center = scan.arc_radius / scan.bin_sizes[-1], scan.center_bin + 1
        aside = _affine((across[-1] - center * depth) / radius, points)
        positions = [torch.atan2(aside, along).mul_(radius).add_(center)]
        squared = along.square_() + aside.square_()
        near = squared <= (_SOURCE_MARGIN * axis) ** 2
        if scan.level_row is not None:
            # heights over the source are magnified by the distance in the plane
            height = _affine(across[0] - (scan.level_row + 1) * depth, points)
            positions.insert(0, height / squared.sqrt() + (scan.level_row + 1))
        return positions, (axis**2 / squared).masked_fill_(near, 0)
    inverse = torch.where(along > _SOURCE_MARGIN * axis, 1 / along, 0)
    return [_affine(row, points) * inverse for row in across], (inverse * axis).square_()


def _affine(row: np.ndarray, points: Sequence[torch.Tensor]) -> torch.Tensor:
    """Return ``row[:-1] @ point + row[-1]``; terms that are zero do not enlarge the result."""
    terms = [p * float(c) for c, p in zip(row[:-1], points, strict=True) if c != 0]
    first, *others = terms or [points[0].new_zeros(())]
    return sum(others, start=first.add_(float(row[-1])))


def _neighbours(position: torch.Tensor, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the lower padded bin and the upper one's share at padded bins that are not whole.

    Overwrites `position`. Clamping leads positions beyond the ends to the zero bins.
    """
    position.clamp_(0, count + 1)
    low = position.floor().clamp_(max=count)
    return low.long(), position.sub_(low)


def _split(
    shift: int, share: torch.Tensor | None, upper: torch.Tensor
) -> list[tuple[int, torch.Tensor]]:
    """Split a weight (None: one) between a bin and the next one along the last axis."""
    above = upper if share is None else share * upper
    return [(shift, 1 - upper if share is None else share - above), (shift + 1, above)]
