"""Variable projection: the scan that explains the data best, with the image that fits it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from tomolearn._core.errors import TomolearnError
from tomolearn.geometry import Grid, Scan
from tomolearn.measurements.binning import binned_scan
from tomolearn.measurements.calibration.parameters import Unknowns
from tomolearn.methods import cgls
from tomolearn.operators import RayTransform

# A step of Gauss and Newton is halved so often at most.
_HALVINGS = 5
_DAMPING = 1e-3
# So many images at once are fitted to columns of a Jacobian.
_BATCH = 64
# Converged: the misfit falls by less than this, or no ray moves by more of a bin.
_LEAST_FALL, _LEAST_MOVE = 1e-5, 2e-3


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


class Estimate(NamedTuple):
    """What a stage found.

    Attributes
    ----------
    values : numpy.ndarray, shape (unknowns,)
    information : numpy.ndarray, shape (dimensions, dimensions)
        Inverse covariance in the basis of the unknowns, per variance of a bin of weight one, at
        the last step.
    variance : float
        Of the residual in a bin of weight one.
    seen : numpy.ndarray, shape (unknowns,)
        Which part of the change that a parameter makes no image can make.
    misfits : tuple of float
        Relative residuals, before the first step and after each.
    converged : bool
        Whether the last step was none.
    """

    values: np.ndarray
    information: np.ndarray
    variance: float
    seen: np.ndarray
    misfits: tuple[float, ...]
    converged: bool


def estimate(stage: Stage, unknowns: Unknowns, values: np.ndarray, iterations: int) -> Estimate:
    """Minimise the misfit of the best image by steps of Gauss and Newton.

    The Jacobian is that of Kaufman: the change of the projections of the image that fits, less what
    another image would make of it.
    """
    basis = unknowns.basis()
    steps = unknowns.steps(stage.grid) * stage.binning.factor
    operator = stage.operator(unknowns.scan_at(values))
    image = stage.fit(stage.sinogram, operator)
    residual = stage.sinogram - operator(image)
    misfits = [stage.relative(residual)]
    converged = False
    for _ in range(iterations):
        jacobian = _jacobian(stage, unknowns, values, steps, image)
        projected = stage.unexplained(jacobian, operator)
        matrix = stage.gram(projected)
        seen = np.sqrt(np.diag(matrix) / stage.inner(jacobian, jacobian).cpu().numpy())
        slope = basis.T @ stage.inner(projected, residual).cpu().numpy()
        matrix = basis.T @ matrix @ basis
        damped = matrix + _DAMPING * np.diag(np.diag(matrix))
        step = basis @ np.linalg.lstsq(damped, slope, rcond=None)[0]
        # no further than the differences are good for
        step *= min(1, 16 / np.abs(step).max(initial=1e-30))
        for halving in range(_HALVINGS):
            tried = values + steps * step / 2**halving
            try:
                there = stage.operator(unknowns.scan_at(tried))
            except TomolearnError:  # no such scan, a source within the object for example
                continue
            fitted = stage.fit(stage.sinogram, there)
            left = stage.sinogram - there(fitted)
            misfit = stage.relative(left)
            if misfit < misfits[-1]:
                break
        else:
            converged = bool(np.abs(step).max() < 0.5)
            break
        fall = (misfits[-1] - misfit) / misfits[-1]
        values, operator, image, residual = tried, there, fitted, left
        misfits.append(misfit)
        if fall < _LEAST_FALL or np.abs(step).max() / 2**halving < 4 * _LEAST_MOVE:
            converged = True
            break
    freedom = stage.freedom(operator) - basis.shape[1]
    variance = float(stage.inner(residual, residual)) / max(freedom, 1.0)
    sizes = np.sqrt(basis.T**2 @ steps**2)  # those of the basis, as all shifts have one
    return Estimate(
        values, matrix / np.outer(sizes, sizes), variance, seen, tuple(misfits), converged
    )


def _jacobian(
    stage: Stage, unknowns: Unknowns, values: np.ndarray, steps: np.ndarray, image: torch.Tensor
) -> torch.Tensor:
    """Return how projections of an image change, per step of each unknown."""
    count = len(unknowns.names)
    numbers = np.eye(len(values))[:count]
    changes = [_change(stage, unknowns, values, steps * one, image) for one in numbers]
    if not unknowns.shifted:
        return torch.stack(changes)
    together = np.r_[np.zeros(count), np.ones(len(values) - count)]
    change = _change(stage, unknowns, values, steps * together, image)
    # each shift moves its own view
    views = torch.arange(len(change), device=change.device)
    alone = change.new_zeros(len(change), *change.shape)
    alone[views, views] = change
    return torch.cat([*(one[None] for one in changes), alone])


def _change(
    stage: Stage, unknowns: Unknowns, values: np.ndarray, step: np.ndarray, image: torch.Tensor
) -> torch.Tensor:
    """Return half of the central difference of projections."""
    ahead, behind = (
        stage.operator(unknowns.scan_at(values + sign * step))(image) for sign in (1, -1)
    )
    return (ahead - behind) / 2
