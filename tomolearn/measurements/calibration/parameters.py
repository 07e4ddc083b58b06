"""Parameters of a scan that can be calibrated: a line each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from tomolearn._core.checks import check_known
from tomolearn._core.errors import TomolearnError
from tomolearn.geometry import FanBeam, Grid, RotationScan, Scan, Views
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


def with_angles(scan: RotationScan, angles: np.ndarray) -> RotationScan:
    """Return a scan with other view angles, in radians."""
    listed = {"n_angles": None, "angular_range": None, "start_angle": None}
    return _with(scan, **listed, angles=angles.tolist())


def _spanning(scan: RotationScan, span: float) -> RotationScan:
    angles = scan.view_angles
    return with_angles(scan, angles[0] + (angles - angles[0]) * (span / np.ptp(angles)))


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

# The detector's shift in each view: as many numbers as there are views.
SHIFTS = "shifts"
_FEWEST_VIEWS = 8

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
        known = ", ".join((*PARAMETERS, SHIFTS))
        raise TomolearnError(f"free: expected some of {known}, got none")
    for name in names:
        if name in _MADE_UP_FOR:
            raise TomolearnError(
                f"free: expected parameters that data can tell, got {name!r}: {_MADE_UP_FOR[name]} "
                "explains them as well; calibrate it with an object of known place and size"
            )
        check_known("free", name, [*PARAMETERS, SHIFTS])
        if name != SHIFTS and PARAMETERS[name].of_fans and not isinstance(scan, FanBeam):
            raise TomolearnError(
                f"free: expected parameters of a {type(scan).__name__}, got {name!r}, which "
                "fan beams have"
            )
        if names.count(name) > 1:
            raise TomolearnError(f"free: expected each parameter once, got {name!r} twice")
    if SHIFTS in names and (scan.n_angles < _FEWEST_VIEWS or scan.is_curved):
        raise TomolearnError(
            f"free: expected 'shifts' of a flat detector in at least {_FEWEST_VIEWS} views, got "
            f"{'a curved one' if scan.is_curved else scan.n_angles}"
        )
    return names


@dataclass(frozen=True)
class Unknowns:
    """Parameters that are looked for, as one vector: numbers of the scan, then shifts of views.

    Of the shifts, their mean and their first harmonic over the angle are none: the detector's
    offset and a translation of the object are the same.

    Parameters
    ----------
    scan : ParallelBeam or FanBeam
        Where the search begins.
    names : tuple of str
        Of `PARAMETERS`.
    shifted : bool
        Whether each view has a shift.
    """

    scan: RotationScan
    names: tuple[str, ...]
    shifted: bool = False

    def start(self) -> np.ndarray:
        """Return the values at which the search begins, shape (unknowns,)."""
        values = [PARAMETERS[name].value(self.scan) for name in self.names]
        return np.array(values + [0.0] * (self.scan.n_angles * self.shifted))

    def steps(self, grid: Grid) -> np.ndarray:
        """Return the changes that move rays by about a quarter of a bin, shape (unknowns,)."""
        steps = [PARAMETERS[name].step(self.scan, grid) for name in self.names]
        return np.array(steps + [self.scan.bin_sizes[-1] / 4] * (self.scan.n_angles * self.shifted))

    def basis(self) -> np.ndarray:
        """Return an orthonormal basis of what can be told, shape (unknowns, dimensions)."""
        count = len(self.names)
        if not self.shifted:
            return np.eye(count)
        angles = self.scan.view_angles
        gauge = np.stack([np.ones_like(angles), np.cos(angles), np.sin(angles)], axis=1)
        full, sizes, _ = np.linalg.svd(gauge)
        told = full[:, int((sizes > 1e-9 * sizes[0]).sum()) :]
        basis = np.zeros((count + len(angles), count + told.shape[1]))
        basis[:count, :count] = np.eye(count)
        basis[count:, count:] = told
        return basis

    def scan_at(self, values: np.ndarray) -> Scan:
        """Return the scan with these values.

        Raises
        ------
        ValueError
            If there is no such scan.
        """
        scan, count = self.scan, len(self.names)
        for name, value in zip(self.names, values[:count].tolist(), strict=True):
            scan = PARAMETERS[name].changed(scan, value)
        return shifted_views(scan, values[count:]) if self.shifted else scan


def shifted_views(scan: RotationScan, shifts: np.ndarray) -> Views:
    """Return the views of a scan with the detector of each moved along itself, in mm."""
    source, detector, (step,) = Views.of(scan).vectors()
    along = step / np.linalg.norm(step, axis=1, keepdims=True)
    start = {"direction" if scan.is_parallel else "source": source}
    return Views(scan.detector_shape, detector + shifts[:, None] * along, [step], **start)


def reversed_scan(scan: RotationScan) -> RotationScan:
    """Return the scan that turns the other way."""
    return with_angles(scan, -scan.view_angles)
