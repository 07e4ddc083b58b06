"""Parameters of a scan that can be calibrated: a line each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from tomolearn._core.checks import check_known
from tomolearn._core.errors import TomolearnError
from tomolearn.geometry import ConeBeam, FanBeam, Grid, RotationScan, Scan, Views
from tomolearn.geometry.units import derived
from tomolearn.measurements.calibration.poses import (
    with_axis_tilt,
    with_detector_rotation,
)


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
    scans : tuple of type
        Which scans have it. Default: all of those that can be calibrated.
    is_pose : bool
        Whether the scan with another one is a list of views, which needs a flat detector.
    """

    unit: str
    value: Callable[[Any], float]
    changed: Callable[[Any, float], Any]
    step: Callable[[Any, Grid], float]
    scans: tuple[type[Scan], ...] = (RotationScan,)
    is_pose: bool = False


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


def _offset(scan: RotationScan, axis: int) -> float:
    return float(np.atleast_1d(scan.detector_offset)[axis])


def _moved(scan: RotationScan, axis: int, value: float) -> RotationScan:
    offset = np.atleast_1d(scan.detector_offset).tolist()
    offset[axis] = value
    return _with(scan, detector_offset=offset if scan.ndim == 3 else value)


def _at_distance(scan: FanBeam | ConeBeam, distance: float) -> RotationScan:
    far = scan.source_to_detector * (distance / scan.source_to_isocenter)
    return _with(scan, source_to_isocenter=distance, source_to_detector=far)


def _quarter_bin(scan: RotationScan, grid: Grid) -> float:
    """Return a quarter of a bin where the object is, in mm."""
    return scan.bin_sizes[-1] / 4


def _unturned(scan: RotationScan) -> float:
    """Return the angle of a scan that has none to say: 0."""
    return 0.0


PARAMETERS = {
    "detector_offset": Parameter(
        "mm",
        lambda scan: _offset(scan, -1),
        lambda scan, value: _moved(scan, -1, value),
        _quarter_bin,
    ),
    "row_offset": Parameter(
        "mm",
        lambda scan: _offset(scan, 0),
        lambda scan, value: _moved(scan, 0, value),
        # the object moved along z makes up for it at the axis, not at h towards the source
        lambda scan, grid: scan.bin_sizes[0] / 4 * scan.source_to_isocenter / grid.radius,
        scans=(ConeBeam,),
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
        scans=(FanBeam, ConeBeam),
    ),
    # in this order: what has to be a ConeBeam comes before what makes views of it
    "detector_rotation": Parameter(
        "rad",
        _unturned,
        with_detector_rotation,
        lambda scan, grid: 1 / (2 * max(scan.detector_shape)),
        scans=(ConeBeam,),
        is_pose=True,
    ),
    "axis_tilt": Parameter(
        "rad",
        _unturned,
        with_axis_tilt,
        lambda scan, grid: _quarter_bin(scan, grid) / (scan.magnification * grid.radius),
        scans=(ConeBeam,),
        is_pose=True,
    ),
}

# The detector's shift in each view: as many numbers as there are views.
SHIFTS = "shifts"
_FEWEST_VIEWS = 8


def gives_views(name: str) -> bool:
    """Return whether the scan with another value of a parameter is a list of views."""
    return name == SHIFTS or (name in PARAMETERS and PARAMETERS[name].is_pose)


# Why no data tell it.
_BEADS = "calibrate it with an object of known place and size"
_NOT_TOLD = {
    "start_angle": f"the image turned explains them as well; {_BEADS}",
    "magnification": f"the image scaled explains them as well; {_BEADS}",
    "source_to_detector": f"the image scaled explains them as well; {_BEADS}",
    "detector_tilt": "it moves what is seen at u and v by no more than its angle times u v / "
    f"source_to_detector, which voxels hide; {_BEADS}",
}

# An axis that leans towards the detector is its row offset and its tilt, which is not told.
_LEANING = ("row_offset", "axis_tilt")


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
        if name in _NOT_TOLD:
            raise TomolearnError(
                f"free: expected parameters that data can tell, got {name!r}: {_NOT_TOLD[name]}"
            )
        check_known("free", name, [*PARAMETERS, SHIFTS])
        if name != SHIFTS:
            _check_has(scan, name)
        if names.count(name) > 1:
            raise TomolearnError(f"free: expected each parameter once, got {name!r} twice")
    if SHIFTS in names and (scan.n_angles < _FEWEST_VIEWS or scan.is_curved or scan.ndim == 3):
        got = "a curved one" if scan.is_curved else scan.n_angles
        raise TomolearnError(
            f"free: expected 'shifts' of a flat detector in at least {_FEWEST_VIEWS} views, got "
            f"{'a ConeBeam' if scan.ndim == 3 else got}"
        )
    if set(_LEANING) <= set(names):
        raise TomolearnError(
            f"free: expected one of {' and '.join(_LEANING)}, got both: they differ by a tilt of "
            "the detector only, which data hardly tell (correlation -0.93 in a small scan)"
        )
    return tuple(name for name in (*PARAMETERS, SHIFTS) if name in names)


def _check_has(scan: Any, name: str) -> None:
    """Check that a scan has a parameter."""
    parameter = PARAMETERS[name]
    if not isinstance(scan, parameter.scans):
        plural = {FanBeam: "fan", ConeBeam: "cone"}
        raise TomolearnError(
            f"free: expected parameters of a {type(scan).__name__}, got {name!r}, which "
            f"{' and '.join(plural[kind] for kind in parameter.scans)} beams have"
        )
    if parameter.is_pose and scan.is_curved:
        raise TomolearnError(
            f"free: expected parameters of a curved detector, got {name!r}, which flat ones have"
        )


@dataclass(frozen=True)
class Unknowns:
    """Parameters that are looked for, as one vector: numbers of the scan, then shifts of views.

    Of the shifts, their mean and their first harmonic over the angle are none: the detector's
    offset and a translation of the object are the same.

    Parameters
    ----------
    scan : ParallelBeam, FanBeam or ConeBeam
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
        scan: Any = self.scan
        count = len(self.names)
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
