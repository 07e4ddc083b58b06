"""What the scans share: their view angles and their detector bins."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np

from tomolearn._core.checks import check_float, check_floats, check_int
from tomolearn._core.errors import TomolearnError, TomolearnTypeError
from tomolearn.geometry._values import GeometryValue

__all__ = ["Scan", "ViewVectors"]


class ViewVectors(NamedTuple):
    """Per view, where the rays come from and where the detector is, in mm.

    Attributes
    ----------
    source : numpy.ndarray, shape (n_angles, ndim)
        Source position; for a parallel beam the direction of the rays.
    detector : numpy.ndarray, shape (n_angles, ndim)
        Middle of the detector, its offset included.
    steps : tuple of numpy.ndarray, each of shape (n_angles, ndim)
        Vector from one bin to the next along each detector axis.
    """

    source: np.ndarray
    detector: np.ndarray
    steps: tuple[np.ndarray, ...]


@dataclass(frozen=True, init=False, repr=False)
class Scan(GeometryValue):
    """Base of the scans: the angles of the views.

    Either `n_angles` views at the middles of equal parts of
    ``[start_angle, start_angle + angular_range]``, or the list `angles`.
    """

    n_angles: int
    angles: tuple[float, ...] | None = None
    angular_range: float | None = None
    start_angle: float | None = None

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Build the scan from what `to_dict` returned; `angles` may come without `n_angles`.

        Raises
        ------
        TypeError
            If `values` is not a dictionary.
        ValueError
            If its ``type`` is another class, a field is unknown or a required one is missing.
        """
        if isinstance(values, dict) and values.get("angles") is not None:
            values = {"n_angles": None, **values}
        return super().from_dict(values)

    def _set(self, **values: Any) -> None:
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def _set_angles(
        self,
        n_angles: int | None,
        angles: Any,
        angular_range: float | None,
        start_angle: float | None,
        default_range: float,
    ) -> None:
        if angles is not None:
            if angular_range is not None or start_angle is not None:
                raise TomolearnError(
                    "angles: expected either a list of angles or n_angles with angular_range "
                    "and start_angle, got both"
                )
            listed = check_floats("angles", angles)
            if n_angles is not None and n_angles != len(listed):
                raise TomolearnError(
                    f"n_angles: expected {len(listed)} or nothing, got {n_angles!r}"
                )
            self._set(n_angles=len(listed), angles=listed, angular_range=None, start_angle=None)
            return
        if n_angles is None:
            raise TomolearnTypeError(
                "n_angles: expected an integer >= 1, or a list of angles, got None"
            )
        span = default_range if angular_range is None else angular_range
        start = 0.0 if start_angle is None else start_angle
        self._set(
            n_angles=check_int("n_angles", n_angles, minimum=1),
            angles=None,
            angular_range=check_float("angular_range", span, positive=True),
            start_angle=check_float("start_angle", start) + 0.0,
        )

    @property
    def view_angles(self) -> np.ndarray:
        """Angle of every view in radians, float64 array of shape (n_angles,)."""
        if self.angles is not None:
            return np.array(self.angles)
        span, start = self.angular_range or 0.0, self.start_angle or 0.0
        return start + (np.arange(self.n_angles) + 0.5) * (span / self.n_angles)

    if TYPE_CHECKING:  # a property in the plane, a field of the cone beam

        @property
        def detector_shape(self) -> tuple[int, ...]:
            """Number of bins along each detector axis."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of a sinogram: (angles, detectors) or (angles, rows, columns)."""
        return (self.n_angles, *self.detector_shape)

    @property
    def ndim(self) -> int:
        """Dimension of the images that are scanned, 2 or 3."""
        return len(self.shape)

    def vectors(self) -> ViewVectors:
        """Return per view where the source and the detector are."""
        raise NotImplementedError

    def to_odl(self) -> Any:
        """Return the scan as an ODL tomography geometry."""
        raise NotImplementedError

    def _odl_angle_partition(self, odl: Any) -> Any:
        if self.angles is None:
            start, span = self.start_angle or 0.0, self.angular_range or 0.0
            return odl.uniform_partition(start, start + span, self.n_angles)
        if len(self.angles) > 1 and np.any(np.diff(self.angles) <= 0):
            raise TomolearnError("angles: expected increasing angles for ODL, got unsorted ones")
        return odl.nonuniform_partition(list(self.angles))

    def __repr__(self) -> str:
        parts = []
        for field in fields(self):
            value = getattr(self, field.name)
            if value is None or value == field.default:
                continue
            if field.name == "angles":
                low, high = math.degrees(min(value)), math.degrees(max(value))
                value = f"<{len(value)} from {low:.4g} to {high:.4g} degrees>"
            parts.append(f"{field.name}={value}")
        return f"{type(self).__name__}({', '.join(parts)})"


def plane_axes(angles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return detector axis ``(cos, sin)`` and beam direction ``(-sin, cos)`` of each angle."""
    cos, sin = np.cos(angles), np.sin(angles)
    return np.stack([cos, sin], axis=-1), np.stack([-sin, cos], axis=-1)


def bin_positions(n_detectors: int, spacing: float, offset: float) -> np.ndarray:
    """Return the positions in mm of the bins' centres along the detector."""
    return offset + (np.arange(n_detectors) - (n_detectors - 1) / 2) * spacing
