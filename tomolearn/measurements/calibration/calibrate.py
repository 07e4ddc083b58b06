"""Calibration: parameters of a scan from its own data, with standard errors."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from tomolearn._core.checks import check_choice, check_count, check_float
from tomolearn._core.errors import ConvergenceWarning, TomolearnError
from tomolearn._core.telling import warn_user
from tomolearn.geometry import Grid, RotationScan, Scan
from tomolearn.geometry.grid import check_grid
from tomolearn.measurements.calibration.parameters import (
    PARAMETERS,
    SHIFTS,
    Unknowns,
    check_free,
    reversed_scan,
)
from tomolearn.measurements.calibration.stages import FINEST, Stage, stages_of
from tomolearn.measurements.calibration.variable_projection import Estimate, estimate
from tomolearn.methods.checks import check_sinogram, weighted_data
from tomolearn.operators import RayTransform

# Parameters are one if they are correlated by more, or their information is as ill-conditioned.
# Of shifts together, a few steps of conjugate gradients show less of it: they are not linear.
_CORRELATED, _SHARED, _CONDITION = 0.99, 0.95, 1e7


@dataclass(frozen=True)
class Calibration:
    """What `calibrate` found.

    Parameters
    ----------
    scan : ParallelBeam, FanBeam, ConeBeam or Views
        The scan that explains the data best; with shifts or angles of the detector or of the axis,
        its views one by one.
    values, errors : dict of float
        The parameters that were free, and their standard errors, in mm and radians. Errors are
        those of a model whose residual is noise: what no image and no such scan explains, as beam
        hardening, makes them too small.
    correlation : tuple of tuple of float
        Between the parameters, in the order of `values`.
    seen : dict of float
        Which part of the change of the data that a parameter makes, no image makes: small where
        they hardly tell it. Of the shifts the smallest of all views.
    residual_before, residual_after : float
        Root mean square of what the best image leaves of the data, relative to the data.
    left_out_before, left_out_after : float
        The same of views that an image of every other view predicts.
    reversed : bool
        Whether the views turn the other way than was said.
    converged : bool
        Whether the last step changed nothing any more.
    profile : tuple of tuple of float
        Detector offsets and relative residuals of the search that came first, if there was one.
    shifts, shift_errors : tuple of float
        How far in mm the detector is shifted in each view from where its offset says, and the
        standard errors, if they were free.
    """

    scan: Scan
    values: dict[str, float]
    errors: dict[str, float]
    correlation: tuple[tuple[float, ...], ...]
    seen: dict[str, float]
    residual_before: float
    residual_after: float
    left_out_before: float
    left_out_after: float
    reversed: bool = False
    converged: bool = True
    profile: tuple[tuple[float, float], ...] = ()
    shifts: tuple[float, ...] = ()
    shift_errors: tuple[float, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return all of it, ready for JSON."""
        return {**vars(self), "scan": self.scan.to_dict()}

    def __str__(self) -> str:
        lines = [
            f"{name} = {value:.6g} +- {self.errors[name]:.2g} {PARAMETERS[name].unit}".rstrip()
            for name, value in self.values.items()
        ]
        if self.shifts:
            sizes, errors = np.abs(self.shifts), np.array(self.shift_errors)
            lines.append(
                f"shifts = {np.sqrt(np.mean(sizes**2)):.3g} (rms), at most {sizes.max():.3g} in "
                f"view {int(sizes.argmax())}, +- {np.sqrt(np.mean(errors**2)):.2g} mm"
            )
        lines += ["views turn the other way"] if self.reversed else []
        lines.append(f"residual {self.residual_before:.5f} -> {self.residual_after:.5f}")
        lines.append(
            f"views left out {self.left_out_before:.5f} -> {self.left_out_after:.5f} (relative)"
        )
        return "\n".join(lines)


def calibrate(
    sinogram: torch.Tensor,
    grid: Grid,
    scan: Scan,
    *,
    free: Sequence[str] = ("detector_offset",),
    weights: torch.Tensor | None = None,
    rotation: str = "known",
    search: float | None = None,
    bins: int | None = None,
    iterations: int = 20,
    inner_iterations: int = 20,
) -> Calibration:
    """Calibrate a scan by its own data, by variable projection.

    Minimises ``||A(p) x - y||_W`` over the parameters p of the scan and the image x: for each p
    the image is that of a few steps of conjugate gradients, and p is found by steps of Gauss and
    Newton with Kaufman's Jacobian [1]_ [2]_. The detector's offset is looked for first, on data
    binned to few bins, then all parameters are fitted from coarse to fine bins. What an image can
    make up for cannot be calibrated: a start angle turns it, a magnification scales it. Such
    parameters, and those that cannot be told apart, are refused.

    Where lines are measured twice, from both sides, the offset is found to hundredths of a bin. A
    parallel beam's half turn measures each but once, and what the image's pixels cannot show
    moves the offset more, in small scans by half a bin; its `seen` is small then.

    Of cone beams `row_offset` is seen only by what lies in front of or behind the axis, as a shift
    of the object along z makes up for the rest. An axis that leans sideways is a
    `detector_rotation`; one that leans towards the detector is, but for a tilt of the detector that
    data hardly tell, a `row_offset`, so that both together are refused and a tilt alone too.

    Parameters
    ----------
    sinogram : torch.Tensor, shape (angles, detectors) or (angles, rows, columns)
        Line integrals, dimensionless.
    grid : Grid
        Of the image, which should hold the whole object.
    scan : ParallelBeam, FanBeam or ConeBeam
        The scan as far as it is known; of cone beams a circle.
    free : sequence of str
        What is not known: ``detector_offset`` (along the last axis of the detector),
        ``angular_span``, ``source_to_isocenter`` (at the same magnification); in the plane
        ``shifts`` of the detector in each view; of a cone beam ``row_offset``, and where its
        detector is flat ``detector_rotation`` in its plane (`rotation` of
        `Views.with_detector_angles`) and ``axis_tilt`` towards the detector. The mean of the shifts
        is the offset's, and of their first harmonic over the angle, which a translation of the
        object is, none is taken. A fit to each view of a least-squares image: slow for many views.
    weights : torch.Tensor, optional, shape of the sinogram
        What each value counts; zero: dead.
    rotation : {"known", "either"}
        Whether the sense of rotation may be the other one. In a scan with a detector in the middle
        both fit equally well: the image is mirrored.
    search : float, optional
        Half the width in mm of the range in which the offset is looked for. Default: a sixth of
        the detector; 0: no search.
    bins : int, optional
        Largest number of columns of the finest stage: data of more are binned. Default: 320, of
        cone beams 48.
    iterations : int
        Largest number of steps at each resolution.
    inner_iterations : int
        Of conjugate gradients for the image.

    Returns
    -------
    Calibration
        With the scan, standard errors, and the residuals before and after.

    Raises
    ------
    TypeError, ValueError
        If an argument will not do, no data tell a parameter, these do not tell two apart, or a view
        that may be shifted has no data.

    Warns
    -----
    ConvergenceWarning
        If the last resolution's steps did not come to an end.

    References
    ----------
    .. [1] G. H. Golub, V. Pereyra, "Separable nonlinear least squares: the variable projection
       method and its applications", Inverse Problems 19 (2003), doi:10.1088/0266-5611/19/2/201
    .. [2] L. Kaufman, "A variable projection method for solving separable nonlinear least squares
       problems", BIT 15 (1975), doi:10.1007/BF01932995

    Examples
    --------
    >>> found = calibrate(y, grid, scan, free=("detector_offset", "source_to_isocenter"))
    >>> print(found)
    >>> x = fbp(y, RayTransform(grid, found.scan))
    """
    if not isinstance(scan, RotationScan) or not scan.is_circular:
        raise TomolearnError(
            f"scan: expected a ParallelBeam, a FanBeam or a ConeBeam of pitch 0, got {scan}"
        )
    check_grid(grid, scan.ndim)
    names = check_free(free, scan)
    check_choice("rotation", rotation, ("known", "either"))
    check_count("iterations", iterations)
    inner = check_count("inner_iterations", inner_iterations)
    most = FINEST[scan.ndim] if bins is None else check_count("bins", bins)
    if most < 8:
        raise TomolearnError(f"bins: expected at least 8, got {bins}")
    data, weights = _checked(sinogram, weights, grid, scan)
    shifted = SHIFTS in names
    if shifted and weights is not None and not bool((weights > 0).any(-1).all()):
        lost = int((~(weights > 0).any(-1)).nonzero()[0, 0])
        raise TomolearnError(
            f"weights: expected data in every view that may be shifted, got none in view {lost}; "
            "leave it out"
        )
    stages = stages_of(data, weights, grid, scan, bins=most, iterations=inner, every_view=shifted)
    start: RotationScan = scan
    turned = False
    if rotation == "either":
        other = reversed_scan(scan)
        turned = _best(stages[0], other, search)[1] < _best(stages[0], scan, search)[1]
        start = other if turned else scan
    numbers = tuple(name for name in names if name != SHIFTS)
    unknowns = Unknowns(start, numbers, shifted)
    values = unknowns.start()
    profile: list[tuple[float, float]] = []
    if "detector_offset" in numbers and search != 0:
        offset, _, profile = _best(stages[0], start, search)
        values[numbers.index("detector_offset")] = offset
    found = None
    for stage in stages:
        found = estimate(stage, unknowns, values, iterations)
        _check_told_apart(found, unknowns)
        values = found.values
    if found is None:  # there is a stage for each factor, and at least one
        raise TomolearnError("bins: expected at least one resolution, got none")
    if not found.converged:
        warn_user(
            f"the calibration did not converge in {iterations} steps at the finest resolution: "
            "free fewer parameters, or start closer",
            ConvergenceWarning,
        )
    basis, count = unknowns.basis(), len(numbers)
    covariance = basis @ np.linalg.inv(found.information) @ basis.T * found.variance
    errors = np.sqrt(np.diag(covariance))
    correlation = (covariance / np.outer(errors, errors))[:count, :count]
    calibrated = unknowns.scan_at(values)
    seen = dict(zip(numbers, found.seen[:count].tolist(), strict=True))
    last = stages[-1]
    return Calibration(
        scan=calibrated,
        values=dict(zip(numbers, values[:count].tolist(), strict=True)),
        errors=dict(zip(numbers, errors[:count].tolist(), strict=True)),
        correlation=tuple(map(tuple, correlation.tolist())),
        seen=seen | ({SHIFTS: float(found.seen[count:].min())} if shifted else {}),
        residual_before=last.misfit(scan),
        residual_after=found.misfits[-1],
        left_out_before=_left_out(last, scan),
        left_out_after=_left_out(last, calibrated),
        reversed=turned,
        converged=found.converged,
        profile=tuple(profile),
        shifts=tuple(values[count:].tolist()),
        shift_errors=tuple(errors[count:].tolist()),
    )


def _checked(
    sinogram: Any, weights: Any, grid: Grid, scan: RotationScan
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Return one sinogram and its weights, without what stands in dead bins."""
    operator = RayTransform(grid, scan)
    if weights is not None:
        sinogram, _ = weighted_data(sinogram, operator, weights)
        weights = weights.detach().to(sinogram).expand_as(sinogram)
    data = check_sinogram(sinogram, operator).detach()
    if data.numel() != int(np.prod(scan.shape)):
        raise TomolearnError(
            f"sinogram: expected one, of shape {scan.shape}, got shape {tuple(data.shape)}"
        )
    if not bool((data != 0).any()):
        raise TomolearnError("sinogram: expected an object, got zeros only")
    return data.reshape(scan.shape), None if weights is None else weights.reshape(scan.shape)


def _best(
    stage: Stage, scan: RotationScan, search: float | None
) -> tuple[float, float, list[tuple[float, float]]]:
    """Return the offset with the least residual at a resolution, that residual, and all tried."""
    size = scan.bin_sizes[-1] * scan.detector_shape[-1]
    width = size / 6 if search is None else check_float("search", search, nonnegative=True)
    step = scan.bin_sizes[-1] * stage.binning.factor / 2
    count = int(width / step)
    middle = PARAMETERS["detector_offset"].value(scan)
    tried = []
    for k in range(-count, count + 1):
        offset = middle + k * step
        there = PARAMETERS["detector_offset"].changed(scan, offset)
        tried.append((offset, stage.misfit(there)))
    offset, misfit = min(tried, key=lambda one: one[1])
    return offset, misfit, tried


def _check_told_apart(found: Estimate, unknowns: Unknowns) -> None:
    """Check that the data tell the parameters apart, and each from the shifts together."""
    names, count = unknowns.names, len(unknowns.names)
    size = np.sqrt(np.diag(found.information))
    scaled = found.information / np.outer(size, size)
    covariance = np.linalg.pinv(scaled, hermitian=True)
    errors = np.sqrt(np.diag(covariance))
    correlation = (covariance / np.outer(errors, errors))[:count, :count]
    np.fill_diagonal(correlation, 0)
    # correlation, how much of it is too much, and between what
    pairs = [
        (float(correlation[i, j]), _CORRELATED, names[i], names[j])
        for i in range(count)
        for j in range(i)
    ]
    if unknowns.shifted:
        shifts = np.linalg.pinv(scaled[count:, count:], hermitian=True)
        shared = np.einsum("ij,jk,ik->i", scaled[:count, count:], shifts, scaled[:count, count:])
        pairs += [
            (float(np.sqrt(max(part, 0))), _SHARED, name, SHIFTS)
            for name, part in zip(names, shared.tolist(), strict=True)
        ]
    pairs.sort(key=lambda pair: -abs(pair[0]) / pair[1])
    undetermined = bool(np.linalg.cond(scaled) > _CONDITION)
    if pairs and (abs(pairs[0][0]) > pairs[0][1] or undetermined):
        value, _, first, second = pairs[0]
        raise TomolearnError(
            f"free: expected parameters that can be told apart, got {first!r} and {second!r}, "
            f"whose correlation is {value:.5f}; fix one of them"
        )
    if undetermined:
        raise TomolearnError(
            f"free: expected parameters that the data tell, got {SHIFTS!r}, of which they leave "
            "some combination open; give more of the object, or fewer parameters"
        )


def _left_out(stage: Stage, scan: Scan) -> float:
    """Return the relative error of every other view, predicted from the rest."""
    seen, unseen = slice(0, None, 2), slice(1, None, 2)
    binned = stage.binning(scan)
    if binned.n_angles < 2:
        return float("nan")
    kept, left = (
        RayTransform.derived(stage.grid, binned.subset(part), "auto") for part in (seen, unseen)
    )
    first, second = (
        dataclasses.replace(
            stage,
            sinogram=stage.sinogram[part],
            weights=None if stage.weights is None else stage.weights[part],
        )
        for part in (seen, unseen)
    )
    image = first.fit(first.sinogram, kept)
    return second.relative(left(image) - second.sinogram)
