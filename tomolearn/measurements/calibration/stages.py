"""Data at one resolution after another, from few wide bins to fine ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from tomolearn._core.errors import TomolearnError
from tomolearn.geometry import Grid, RotationScan, Scan
from tomolearn.measurements.binning import binned_array, binned_grid, binned_scan
from tomolearn.methods import cgls
from tomolearn.operators import RayTransform

# Bins of the coarsest stage, at least; those of the finest by default, at most, and its views. By
# dimensions of the image.
_COARSE = {2: 48, 3: 24}
FINEST = {2: 320, 3: 48}
_VIEWS = {2: 180, 3: 60}
# So many images at once are fitted to columns of a Jacobian.
_BATCH = 64


class Binning(NamedTuple):
    """Which bins and views of a scan a stage has."""

    factor: int
    views: slice

    def __call__(self, scan: Scan) -> Scan:
        """Return the scan with these only."""
        *rows, columns = [self._joined(bins) for bins in scan.detector_shape]
        chosen: Scan = scan.subset(self.views).with_columns(columns[0], self.factor, columns[1])
        for axis, (count, shift) in enumerate(rows):
            chosen = binned_scan(chosen, axis=axis, count=count, factor=self.factor, shift=shift)
        return chosen

    def _joined(self, bins: int) -> tuple[int, float]:
        """Return how many bins there are then, and how far in old ones their middle moves."""
        count = bins // self.factor
        return count, (count * self.factor - bins) / 2


@dataclass(frozen=True)
class Stage:
    """Data at one resolution.

    Parameters
    ----------
    sinogram : torch.Tensor, shape (angles, *bins)
        Line integrals.
    weights : torch.Tensor or None, shape (angles, *bins)
        Of the measured values.
    grid : Grid
        Of the image.
    binning : Binning
        Which part of the scan they are.
    iterations : int
        Of the inner least-squares fit.
    """

    sinogram: torch.Tensor
    weights: torch.Tensor | None
    grid: Grid
    binning: Binning
    iterations: int

    def operator(self, scan: Scan) -> RayTransform:
        """Return the ray transform of the whole scan, at this resolution."""
        return RayTransform.derived(self.grid, self.binning(scan), "auto")

    def fit(self, sinogram: torch.Tensor, operator: RayTransform) -> torch.Tensor:
        """Return the image that fits data best."""
        return cgls(sinogram, operator, iterations=self.iterations, weights=self.weights)

    def unexplained(self, changes: torch.Tensor, operator: RayTransform) -> torch.Tensor:
        """Return what no image makes of changes of the data, (changes, angles, *bins)."""
        parts = [part - operator(self.fit(part, operator)) for part in changes.split(_BATCH)]
        return torch.cat(parts)

    def gram(self, changes: torch.Tensor) -> np.ndarray:
        """Return the weighted inner products of all pairs of sinograms, in float64."""
        rows = changes.flatten(1).double()
        weighted = rows if self.weights is None else rows * self.weights.flatten().double()
        return (weighted @ rows.T).cpu().numpy()

    def inner(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        """Return weighted inner products of sinograms, (..., angles, *bins), in float64."""
        product = first.double() * second.double()
        weighted = product if self.weights is None else self.weights * product
        return weighted.flatten(-self.sinogram.ndim).sum(-1)

    def misfit(self, scan: Scan) -> float:
        """Return the relative residual of the image that fits best."""
        operator = self.operator(scan)
        return self.relative(self.sinogram - operator(self.fit(self.sinogram, operator)))

    def freedom(self, operator: RayTransform) -> float:
        """Return how many degrees of freedom noise has that the image does not fit.

        That is the trace of what maps data to residuals, by one random vector of signs.
        """
        rng = torch.Generator().manual_seed(0)
        signs = 2.0 * torch.randint(0, 2, self.sinogram.shape, generator=rng) - 1
        noise = signs.to(self.sinogram)
        if self.weights is not None:
            noise = torch.where(self.weights > 0, noise / self.weights.sqrt(), 0)
        return float(self.inner(noise, noise - operator(self.fit(noise, operator))))

    def relative(self, residual: torch.Tensor) -> float:
        """Return the size of a residual as a part of that of the data."""
        size = self.inner(self.sinogram, self.sinogram)
        return float((self.inner(residual, residual) / size).sqrt())


def stages_of(
    data: torch.Tensor,
    weights: torch.Tensor | None,
    grid: Grid,
    scan: RotationScan,
    *,
    bins: int,
    iterations: int,
    every_view: bool,
) -> list[Stage]:
    """Return data at all resolutions up to `bins` columns, coarsest first.

    Parameters
    ----------
    data : torch.Tensor, shape (angles, *bins)
        Line integrals.
    weights : torch.Tensor or None, shape (angles, *bins)
        Of the measured values.
    grid : Grid
        Of the image at full resolution.
    scan : RotationScan
        What the data were measured by.
    bins : int
        Largest number of columns.
    iterations : int
        Of the inner least-squares fits.
    every_view : bool
        Whether no view may be left out where there are many.

    Raises
    ------
    ValueError
        If too few rows remain.
    """
    factors = _factors(scan.detector_shape, bins)
    return [_stage(data, weights, grid, scan, one, iterations, every_view) for one in factors]


def _factors(shape: tuple[int, ...], bins: int) -> list[int]:
    """Return how many bins become one, stage by stage."""
    *rows, columns = shape
    last = -(-columns // bins)
    if min(shape) < last:
        raise TomolearnError(
            f"bins: expected so many that {min(shape)} rows remain, got {bins}, for which "
            f"{last} bins become one"
        )
    factors, coarse = [last], _COARSE[len(shape) + 1]
    while all(count // (2 * factors[0]) >= coarse for count in (columns, *rows)):
        factors.insert(0, 2 * factors[0])
    return factors


def _stage(
    data: torch.Tensor,
    weights: torch.Tensor | None,
    grid: Grid,
    scan: RotationScan,
    factor: int,
    iterations: int,
    every_view: bool,
) -> Stage:
    """Return data at one resolution: weighted means of bins, and not all views of many."""
    step = 1 if every_view else max(1, scan.n_angles * min(factor, 4) // (4 * _VIEWS[scan.ndim]))
    views = slice(None, None, step)
    binning = Binning(factor, views)
    values = data[views].cpu().numpy()
    counted, blocks = None, (factor,) * len(scan.detector_shape)
    if weights is not None:
        counts = weights[views].cpu().numpy()
        counted = binned_array(counts, blocks)
        sums = binned_array(counts * values, blocks)
        means = np.divide(sums, counted, out=np.zeros_like(sums), where=counted > 0)
    else:
        means = binned_array(values, blocks)
    return Stage(
        torch.from_numpy(np.ascontiguousarray(means)).to(data),
        None if counted is None else torch.from_numpy(counted).to(data),
        binned_grid(grid, factor),
        binning,
        iterations,
    )
