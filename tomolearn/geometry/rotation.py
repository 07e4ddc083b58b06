"""Scans that turn about an axis: their view angles and their detector bins."""

from __future__ import annotations

import abc
import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from tomolearn._core.checks import check_count, check_float, check_floats
from tomolearn._core.errors import TomolearnError, TomolearnTypeError
from tomolearn.geometry.scan import Scan
from tomolearn.geometry.units import derived, warn_of_degrees


@dataclass(frozen=True, init=False, repr=False)
class RotationScan(Scan):
    """Base of the scans in which source and detector turn about the origin (in space, about z).

    Either `n_angles` views at the middles of equal parts of
    ``[start_angle, start_angle + angular_range]``, or the list `angles`. Subclasses have the
    fields `detector_spacing` and `detector_offset`, one number or one per detector axis.
    """

    n_angles: int
    angles: tuple[float, ...] | None = None
    angular_range: float | None = None
    start_angle: float | None = None

    if TYPE_CHECKING:  # fields of the subclasses

        @property
        def detector_spacing(self) -> Any:
            """Distance in mm of neighbouring bins."""

        @property
        def detector_offset(self) -> Any:
            """Position in mm of the detector's middle."""

        @property
        def source_to_isocenter(self) -> float:
            """Distance in mm from the source, if there is one, to the rotation axis."""

        @property
        def source_to_detector(self) -> float:
            """Distance in mm from the source, if there is one, to the detector."""

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Build the scan from what `to_dict` returned; `angles` may come without `n_angles`."""
        if isinstance(values, dict) and values.get("angles") is not None:
            values = {"n_angles": None, **values}
        return super().from_dict(values)

    def _set_angles(
        self,
        n_angles: int | None,
        angles: Any,
        angular_range: float | None,
        start_angle: float | None,
        default_range: float,
        *,
        winds: bool = False,
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
            if not winds:
                warn_of_degrees(listed, None, None)
            return
        if n_angles is None:
            raise TomolearnTypeError(
                "n_angles: expected an integer >= 1, or a list of angles, got None"
            )
        span = default_range if angular_range is None else angular_range
        start = 0.0 if start_angle is None else start_angle
        self._set(
            n_angles=check_count("n_angles", n_angles),
            angles=None,
            angular_range=check_float("angular_range", span, positive=True),
            start_angle=check_float("start_angle", start) + 0.0,
        )
        if not winds:
            warn_of_degrees(None, self.angular_range, self.start_angle)

    def _replaced(self, **changes: Any) -> Self:
        with derived():
            return type(self).from_dict(self.to_dict() | changes)

    @property
    def view_angles(self) -> np.ndarray:
        """Angle of every view in radians, float64 array of shape (n_angles,)."""
        if self.angles is not None:
            return np.array(self.angles)
        span, start = self.angular_range or 0.0, self.start_angle or 0.0
        return start + (np.arange(self.n_angles) + 0.5) * (span / self.n_angles)

    @property
    def is_parallel(self) -> bool:
        """Whether the rays of a view are parallel, so that there is no source."""
        return False

    @property
    def is_circular(self) -> bool:
        """Whether source and detector turn about the axis and do not move along it."""
        return True

    @property
    @abc.abstractmethod
    def magnification(self) -> float:
        """Magnification of what lies on the rotation axis."""

    @property
    def bin_sizes(self) -> tuple[float, ...]:
        """Distance in mm of neighbouring bins along each detector axis."""
        return tuple(np.atleast_1d(self.detector_spacing).tolist())

    @property
    def column_positions(self) -> np.ndarray:
        """Positions in mm of the bins' centres along the last detector axis."""
        offset = float(np.atleast_1d(self.detector_offset)[-1])
        return bin_positions(self.shape[-1], self.bin_sizes[-1], offset)

    @property
    def fan_angles(self) -> np.ndarray:
        """Angle in radians of every column's rays to the central ray, seen along the axis."""
        return self.line_angles(self.column_positions)

    def line_angles(self, positions: np.ndarray) -> np.ndarray:
        """Return the angles in radians to the central ray of rays to `positions` in mm."""
        if self.is_parallel:
            return np.zeros_like(positions)
        if self.arc_radius is not None:
            return positions / self.arc_radius
        return np.arctan(positions / self.source_to_detector)

    def line_distances(self, positions: np.ndarray) -> np.ndarray:
        """Return how far from the axis, in mm, rays to `positions` in mm pass."""
        if self.is_parallel:
            return positions
        distances: np.ndarray = self.source_to_isocenter * np.sin(self.line_angles(positions))
        return distances

    def subset(self, views: slice | Sequence[int] | np.ndarray) -> Self:
        """Return the scan with some of its views only; see `Scan.subset`."""
        angles = self.view_angles[self._chosen(views)].tolist()
        dropped = dict.fromkeys(("n_angles", "angular_range", "start_angle"))
        return self._replaced(**dropped, angles=angles)

    @property
    def center_bin(self) -> float:
        """Bin, not whole, of the last detector axis onto which the rotation axis is projected."""
        offset = float(np.atleast_1d(self.detector_offset)[-1])
        return (self.shape[-1] - 1) / 2 - offset / self.bin_sizes[-1]

    def with_center(self, center: float) -> Self:
        """Return the scan with its detector moved so that `center` is the `center_bin`."""
        middle = (self.shape[-1] - 1) / 2
        offset = (middle - check_float("center", center)) * self.bin_sizes[-1]
        return self._replaced(detector_offset=self._with_last(self.detector_offset, offset))

    def with_columns(self, count: int, scale: float, shift: float) -> Self:
        """Return the scan with other bins along the last detector axis; see `Scan`."""
        spacing = self.bin_sizes[-1]
        offset = float(np.atleast_1d(self.detector_offset)[-1]) + shift * spacing
        derived = copy.copy(self)
        # not by the constructor: it limits what a scanner may have, a finer grid of bins is none
        derived._set(
            detector_spacing=self._with_last(self.detector_spacing, spacing * scale),
            detector_offset=self._with_last(self.detector_offset, offset),
            **self._bins(count),
        )
        return derived

    def _bins(self, count: int) -> dict[str, Any]:
        """Return the field, and its value, that says that the detector has `count` columns."""
        return {"detector_shape": (*self.detector_shape[:-1], count)}

    @staticmethod
    def _with_last(values: Any, last: float) -> Any:
        return (*values[:-1], last) if isinstance(values, tuple) else last

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


class LineDetector(RotationScan):
    """What the scans in the plane share: `n_detectors` bins on one line or arc."""

    if TYPE_CHECKING:  # a field of the subclasses

        @property
        def n_detectors(self) -> int:
            """Number of detector bins."""

    @property
    def detector_shape(self) -> tuple[int, ...]:
        """Number of bins, as a tuple."""
        return (self.n_detectors,)

    @property
    def detector_positions(self) -> np.ndarray:
        """Positions in mm of the bins' centres along the detector, shape (n_detectors,)."""
        return self.column_positions

    def turned(self, angle: float) -> Self:
        """Return the scan with source and detector turned by an angle in radians about the axis.

        It sees of an image, turned by the same angle about the origin, what this one sees of it.
        """
        angle = check_float("angle", angle)
        if self.angles is not None:
            return self._replaced(angles=[one + angle for one in self.angles])
        return self._replaced(start_angle=(self.start_angle or 0.0) + angle)

    def _bins(self, count: int) -> dict[str, Any]:
        return {"n_detectors": count}

    def _odl_bin_partition(self, odl: Any, unit: float = 1.0) -> Any:
        offset, half = self.detector_offset, self.n_detectors * self.detector_spacing / 2
        low, high = (offset - half) / unit, (offset + half) / unit
        return odl.uniform_partition(low, high, self.n_detectors)


def plane_axes(angles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return detector axis ``(cos, sin)`` and beam direction ``(-sin, cos)`` of each angle."""
    cos, sin = np.cos(angles), np.sin(angles)
    return np.stack([cos, sin], axis=-1), np.stack([-sin, cos], axis=-1)


def bin_positions(n_detectors: int, spacing: float, offset: float) -> np.ndarray:
    """Return the positions in mm of the bins' centres along the detector."""
    return offset + (np.arange(n_detectors) - (n_detectors - 1) / 2) * spacing
