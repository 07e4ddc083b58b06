"""Parameters of a scan that can be calibrated: a line each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from tomolearn._core.checks import check_known
from tomolearn._core.errors import TomolearnError
from tomolearn.geometry import FanBeam, Grid, RotationScan
from tomolearn.geometry.units import derived


class Parameter(NamedTuple):
    """A number of a scan that is only nearly known.

    Parameters
    ----------
    unit : str
        Its unit.
    value : callable
        ``value(scan)`` is the number.
    changed : callable
        ``changed(scan, value)`` is the scan with another one.
    step : callable
        ``step(scan, grid)``: the change that moves rays by about a quarter of a bin.
    of_fans : bool
        Whether it is one of fan beams only.
    """

    unit: str
    value: Callable[[Any], float]
    changed: Callable[[Any, float], RotationScan]
    step: Callable[[Any, Grid], float]
    of_fans: bool = False


def _with(scan: RotationScan, **changes: Any) -> RotationScan:
    with derived():
        return type(scan).from_dict(scan.to_dict() | changes)


def _with_angles(scan: RotationScan, angles: np.ndarray) -> RotationScan:
    listed = {"angular_range": None, "start_angle": None, "angles": angles.tolist()}
    return _with(scan, **listed)


def _spanning(scan: RotationScan, span: float) -> RotationScan:
    angles = scan.view_angles
    return _with_angles(scan, angles[0] + (angles - angles[0]) * (span / np.ptp(angles)))


def _at_distance(scan: FanBeam, distance: float) -> RotationScan:
    far = scan.source_to_detector * (distance / scan.source_to_isocenter)
    return _with(scan, source_to_isocenter=distance, source_to_detector=far)


def _quarter_bin(scan: RotationScan, grid: Grid) -> float:
    """Return a quarter of a bin where the object is, in mm."""
    return scan.bin_sizes[-1] / 4


PARAMETERS = {
    "detector_offset": Parameter(
        "mm",
        lambda scan: scan.detector_offset,
        lambda scan, value: _with(scan, detector_offset=value),
        lambda scan, grid: scan.detector_spacing / 4,
    ),
    "angular_span": Parameter(
        "rad",
        lambda scan: float(np.ptp(scan.view_angles)),
        _spanning,
        lambda scan, grid: 2 * _quarter_bin(scan, grid) / grid.radius,
    ),
    "source_to_isocenter": Parameter(
        "mm, at the same magnification",
        lambda scan: scan.source_to_isocenter,
        _at_distance,
        # a point at x off the axis and h towards the source is seen h x / distance elsewhere
        lambda scan, grid: (
            4 * _quarter_bin(scan, grid) * (scan.source_to_isocenter / grid.radius) ** 2
        ),
        of_fans=True,
    ),
}


# Which change of the image does the same.
_MADE_UP_FOR = {
    "start_angle": "the image turned",
    "magnification": "the image scaled",
    "source_to_detector": "the image scaled",
}


def check_free(free: Sequence[str], scan: Any) -> tuple[str, ...]:
    """Return names of parameters that a scan has.

    Raises
    ------
    ValueError
        If there are none, one is unknown, named twice, not one of the scan, or one that no data
        tell.
    """
    names = (free,) if isinstance(free, str) else tuple(free)
    if not names:
        raise TomolearnError(f"free: expected some of {', '.join(PARAMETERS)}, got none")
    for name in names:
        if name in _MADE_UP_FOR:
            raise TomolearnError(
                f"free: expected parameters that data can tell, got {name!r}: {_MADE_UP_FOR[name]} "
                "explains them as well; calibrate it with an object of known place and size"
            )
        check_known("free", name, list(PARAMETERS))
        if PARAMETERS[name].of_fans and not isinstance(scan, FanBeam):
            raise TomolearnError(
                f"free: expected parameters of a {type(scan).__name__}, got {name!r}, which "
                "fan beams have"
            )
        if names.count(name) > 1:
            raise TomolearnError(f"free: expected each parameter once, got {name!r} twice")
    return names


def changed_scan(scan: RotationScan, names: Sequence[str], values: np.ndarray) -> RotationScan:
    """Return a scan with other values of some parameters."""
    for name, value in zip(names, values.tolist(), strict=True):
        scan = PARAMETERS[name].changed(scan, value)
    return scan


def reversed_scan(scan: RotationScan) -> RotationScan:
    """Return the scan that turns the other way."""
    return _with_angles(scan, -scan.view_angles)
