"""Variable projection: the scan that explains the data best, with the image that fits it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from tomolearn._core.errors import TomolearnError
from tomolearn.measurements.calibration.parameters import Unknowns
from tomolearn.measurements.calibration.stages import Stage

# A step of Gauss and Newton is halved so often at most.
_HALVINGS = 5
_DAMPING = 1e-3
# Converged: the misfit falls by less than this, or no ray moves by more of a bin.
_LEAST_FALL, _LEAST_MOVE = 1e-5, 2e-3


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
