"""A measurement made ready: what a method of reconstruction is given."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from tomolearn._core.checks import check_count, check_float, check_int
from tomolearn._core.errors import TomolearnError
from tomolearn.geometry import Grid, RotationScan, Scan
from tomolearn.geometry.coverage import views_missing
from tomolearn.geometry.redundancy import detector_sides
from tomolearn.measurements.binning import binned_array
from tomolearn.measurements.measurement import Measurement
from tomolearn.measurements.report import PreprocessReport


class Prepared(NamedTuple):
    """Line integrals with the scan and the grid of an operator.

    Attributes
    ----------
    line_integrals : numpy.ndarray, shape of the scan, or slices and that of the scan
        A batch of slices, if the scan is of the plane and the detector has rows.
    weights : numpy.ndarray, shape of the line integrals
        0 for a dead bin.
    scan : Scan
    grid : Grid
    report : PreprocessReport
        What preprocessing found, before bins were joined.
    """

    line_integrals: np.ndarray
    weights: np.ndarray
    scan: Scan
    grid: Grid
    report: PreprocessReport


def prepare(
    measurement: Measurement,
    *,
    bins: int = 1,
    size: int | None = None,
    pixel: float | None = None,
    **settings: Any,
) -> Prepared:
    """Return line integrals, weights, scan and grid of a measurement.

    Bins are joined after the logarithm, by their weights, so that a dead one spoils no other.

    Parameters
    ----------
    measurement : Measurement
    bins : int
        How many neighbouring bins become one, of a cone beam's rows as well.
    size : int, optional
        Rows and columns of the image; see `default_grid`.
    pixel : float, optional
        Their spacing in mm. Default: that of the bins, at the rotation axis.
    **settings
        Of `preprocess`.

    Returns
    -------
    Prepared

    Raises
    ------
    TypeError, ValueError
        If the measurement has no scan, which needs what its `missing` names; or as `preprocess`.

    Examples
    --------
    >>> scan = tl.measurements.read("tooth.h5", detector_spacing=1.0, center=295.85)
    >>> y, w, scan, grid, report = tl.measurements.prepare(scan, bins=2)
    >>> x = tl.cgls(torch.from_numpy(y), tl.RayTransform(grid, scan), weights=torch.from_numpy(w))
    """
    factor = check_int("bins", bins, minimum=1, maximum=measurement.shape[-1])
    if measurement.scan is None:
        first = measurement.missing[0] if measurement.missing else "scan"
        raise TomolearnError(
            f"{first}: expected a value, which the file does not tell, got none; needed: "
            f"{', '.join(measurement.missing) or 'a scan'}"
        )
    values, weights, report = measurement.line_integrals_and_weights(**settings)
    if factor > 1:
        in_space = measurement.scan.ndim == 3
        values, weights = _joined(values, weights, (factor, factor) if in_space else (factor,))
        # of its arrays only the shape matters, which the scan is checked against
        shell = Measurement(counts=_nothing(measurement.shape), scan=measurement.scan)
        scan = shell.binned(factor).scan
    else:
        scan = measurement.scan
    if not isinstance(scan, RotationScan):
        raise TomolearnError(
            f"scan: expected one about an axis, to choose a grid, got {type(scan).__name__}"
        )
    if values.ndim > len(scan.shape):
        values, weights = (np.ascontiguousarray(one.swapaxes(0, 1)) for one in (values, weights))
    return Prepared(values, weights, scan, default_grid(scan, size=size, pixel=pixel), report)


def default_grid(
    scan: RotationScan, *, size: int | None = None, pixel: float | None = None
) -> Grid:
    """Return a grid of pixels as large as the bins seem at the rotation axis.

    Parameters
    ----------
    scan : RotationScan
    size : int, optional
        Rows and columns. Default: the largest square whose inscribed circle the scan sees: all
        views, or, in a full turn, the longer side of the detector.
    pixel : float, optional
        Spacing in mm of rows and columns.

    Raises
    ------
    TypeError, ValueError
        If they are not positive, or the detector lies on one side of the axis only.
    """
    steps = [length / scan.magnification for length in scan.bin_sizes]
    step = steps[-1] if pixel is None else check_float("pixel", pixel, positive=True)
    if size is None:
        short, excess, _ = detector_sides(scan)
        reach = short if views_missing(scan) else short + excess
        radius = float(scan.line_distances(np.array([reach]))[0])
        # a hair more: the quotient of lengths that are a multiple is not to be rounded down
        count = math.floor(2 * radius / step * (1 + 1e-9))
        if count < 1:
            raise TomolearnError(
                "size: expected a number, for the detector sees nothing around the axis from all "
                f"sides (detector_offset {scan.detector_offset}), got none"
            )
    else:
        count = check_count("size", size)
    if scan.ndim == 2:
        return Grid((count, count), step)
    return Grid((scan.shape[1], count, count), (steps[0], step, step))


def _nothing(shape: tuple[int, ...]) -> np.ndarray:
    """Return zeros that take no memory."""
    return np.broadcast_to(np.uint8(0), shape)


def _joined(
    values: np.ndarray, weights: np.ndarray, factors: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Return weighted means over blocks of bins, 0 where all are dead, and the mean weights."""
    mean = binned_array(weights, factors)
    total = binned_array(weights * values, factors)
    return np.divide(total, mean, out=np.zeros_like(total), where=mean > 0), mean
