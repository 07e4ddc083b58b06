"""Variable projection: the scan that explains the data best, with the image that fits it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from tomolearn._core.errors import TomolearnError
from tomolearn.geometry import Grid, RotationScan
from tomolearn.measurements.calibration.parameters import PARAMETERS, changed_scan
from tomolearn.methods import cgls
from tomolearn.operators import RayTransform

# A step of Gauss and Newton is halved so often at most.
_HALVINGS = 5
_DAMPING = 1e-3
# Converged: the misfit falls by less than this, or no ray moves by more of a bin.
_LEAST_FALL, _LEAST_MOVE = 1e-5, 2e-3


class Binning(NamedTuple):
    """Which bins and views of a scan a stage has."""

    factor: int
    views: slice

    def __call__(self, scan: RotationScan) -> RotationScan:
        """Return the scan with these only."""
        count = scan.detector_shape[-1] // self.factor
        shift = (count * self.factor - scan.detector_shape[-1]) / 2
        return scan.subset(self.views).with_columns(count, self.factor, shift)


@dataclass(frozen=True)
class Stage:
    """Data at one resolution.

    Parameters
    ----------
    sinogram : torch.Tensor, shape (angles, detectors)
        Line integrals.
    weights : torch.Tensor or None, shape (angles, detectors)
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

    def operator(self, scan: RotationScan) -> RayTransform:
        """Return the ray transform of the whole scan, at this resolution."""
        return RayTransform.derived(self.grid, self.binning(scan), "auto")

    def fit(self, sinogram: torch.Tensor, operator: RayTransform) -> torch.Tensor:
        """Return the image, or images, that fit data best."""
        return cgls(sinogram, operator, iterations=self.iterations, weights=self.weights)

    def inner(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        """Return weighted inner products of sinograms, (..., angles, detectors), in float64."""
        product = first.double() * second.double()
        return (product if self.weights is None else self.weights * product).sum((-2, -1))

    def misfit(self, scan: RotationScan) -> float:
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
    values : numpy.ndarray, shape (parameters,)
    information : numpy.ndarray, shape (parameters, parameters)
        Inverse covariance, per variance of a bin of weight one, at the last step.
    variance : float
        Of the residual in a bin of weight one.
    seen : numpy.ndarray, shape (parameters,)
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


def estimate(
    stage: Stage, scan: RotationScan, names: Sequence[str], values: np.ndarray, iterations: int
) -> Estimate:
    """Minimise the misfit of the best image by steps of Gauss and Newton.

    The Jacobian is that of Kaufman: the change of the projections of the image that fits, less what
    another image would make of it.
    """
    steps = np.array([PARAMETERS[name].step(scan, stage.grid) for name in names])
    steps *= stage.binning.factor
    operator = stage.operator(changed_scan(scan, names, values))
    image = stage.fit(stage.sinogram, operator)
    residual = stage.sinogram - operator(image)
    misfits = [stage.relative(residual)]
    converged = False
    for _ in range(iterations):
        moved = []
        for k in range(len(names)):
            ahead, behind = (
                stage.operator(changed_scan(scan, names, values + sign * steps * _unit(k, names)))
                for sign in (1, -1)
            )
            moved.append((ahead(image) - behind(image)) / 2)
        jacobian = torch.stack(moved)
        projected = jacobian - operator(stage.fit(jacobian, operator))
        matrix = stage.inner(projected[:, None], projected[None]).numpy()
        seen = np.sqrt(np.diag(matrix) / stage.inner(jacobian, jacobian).numpy())
        slope = stage.inner(projected, residual).numpy()
        damped = matrix + _DAMPING * np.diag(np.diag(matrix))
        step = np.linalg.lstsq(damped, slope, rcond=None)[0]
        # no further than the differences are good for
        step *= min(1, 16 / np.abs(step).max(initial=1e-30))
        for halving in range(_HALVINGS):
            tried = values + steps * step / 2**halving
            try:
                there = stage.operator(changed_scan(scan, names, tried))
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
    variance = float(stage.inner(residual, residual)) / stage.freedom(operator)
    information = matrix / np.outer(steps, steps)
    return Estimate(values, information, variance, seen, tuple(misfits), converged)


def _unit(k: int, names: Sequence[str]) -> np.ndarray:
    return np.eye(len(names))[k]
