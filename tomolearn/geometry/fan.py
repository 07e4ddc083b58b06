"""Fan beam in the plane, with a flat or a curved detector."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from tomolearn._core.checks import check_choice, check_count, check_float
from tomolearn._core.errors import TomolearnError
from tomolearn.geometry.grid import Grid, check_grid
from tomolearn.geometry.redundancy import redundancy
from tomolearn.geometry.rotation import LineDetector, RotationScan, plane_axes
from tomolearn.geometry.scan import AnalyticInversion, ProjectedPoints, ViewVectors


def check_distances(source_to_isocenter: Any, source_to_detector: Any) -> tuple[float, float]:
    """Return both distances as floats, the detector at the rotation axis or beyond."""
    isocenter = check_float("source_to_isocenter", source_to_isocenter, positive=True)
    detector = check_float("source_to_detector", source_to_detector, positive=True)
    if detector < isocenter:
        raise TomolearnError(
            f"source_to_detector: expected at least source_to_isocenter = {isocenter}, "
            f"got {detector}"
        )
    return isocenter, detector


def check_arc(scan: RotationScan) -> None:
    """Check that a curved detector stays in front of the source."""
    widest = np.abs(scan.fan_angles).max()
    if scan.is_curved and widest >= math.pi / 2:
        raise TomolearnError(
            "detector: expected a curved detector within 90 degrees of the central ray, "
            f"got {math.degrees(widest):.4g} degrees"
        )


def half_fan(grid: Grid, source_to_isocenter: float) -> float:
    """Return the angle in radians, at the source, between the axis and the grid's farthest edge."""
    if grid.radius >= source_to_isocenter:
        raise TomolearnError(
            "source_to_isocenter: expected more than the grid's radius "
            f"{grid.radius:.6g} mm, got {source_to_isocenter}"
        )
    return math.asin(grid.radius / source_to_isocenter)


@dataclass(frozen=True, init=False, repr=False, kw_only=True)
class FanBeam(LineDetector):
    """Two-dimensional fan-beam scan.

    With ``e = (cos t, sin t)`` and ``d = (-sin t, cos t)`` at view angle ``t``, the source is
    at ``-source_to_isocenter * d`` and the middle of the detector `source_to_detector` further
    along ``d``. A flat detector extends along ``e``; a curved one is an arc about the source,
    positions along it are arc lengths (equal angles for equal bins).

    Parameters
    ----------
    n_angles : int, optional
        Number of views, at the middles of equal parts of the angular range.
    n_detectors : int
        Number of detector bins.
    detector_spacing : float
        Distance in mm of neighbouring bins on the detector.
    source_to_isocenter : float
        Distance in mm from the source to the rotation axis.
    source_to_detector : float
        Distance in mm from the source to the middle of the detector.
    detector : {"flat", "curved"}, optional
        Shape of the detector. Default: flat.
    angles : sequence of float, optional
        View angles in radians, in place of `n_angles`.
    angular_range : float, optional
        Length in radians of the arc that `n_angles` views cover. Default: 2 pi.
    start_angle : float, optional
        Where that arc starts, in radians. Default: 0.
    detector_offset : float, optional
        Position in mm of the detector's middle along the detector. Default: 0.
    """

    n_detectors: int
    detector_spacing: float
    source_to_isocenter: float
    source_to_detector: float
    detector: str = "flat"
    detector_offset: float = 0.0

    def __init__(
        self,
        n_angles: int | None = None,
        n_detectors: int | None = None,
        detector_spacing: float | None = None,
        source_to_isocenter: float | None = None,
        source_to_detector: float | None = None,
        *,
        detector: str = "flat",
        angles: Sequence[float] | np.ndarray | None = None,
        angular_range: float | None = None,
        start_angle: float | None = None,
        detector_offset: float = 0.0,
    ) -> None:
        self._set_angles(n_angles, angles, angular_range, start_angle, 2 * math.pi)
        isocenter, distance = check_distances(source_to_isocenter, source_to_detector)
        self._set(
            n_detectors=check_count("n_detectors", n_detectors),
            detector_spacing=check_float("detector_spacing", detector_spacing, positive=True),
            source_to_isocenter=isocenter,
            source_to_detector=distance,
            detector=check_choice("detector", detector, ("flat", "curved")),
            detector_offset=check_float("detector_offset", detector_offset) + 0.0,
        )
        check_arc(self)

    @classmethod
    def covering(
        cls,
        grid: Grid,
        n_angles: int | None = None,
        *,
        source_to_isocenter: float,
        source_to_detector: float,
        n_detectors: int | None = None,
        detector: str = "flat",
        angles: Sequence[float] | np.ndarray | None = None,
        angular_range: float | None = None,
        start_angle: float | None = None,
    ) -> Self:
        """Return a scan whose detector sees the whole grid in every view.

        Parameters
        ----------
        grid : Grid
            The two-dimensional grid to cover.
        n_detectors : int, optional
            Number of bins. Default: as many as give the bins the pixels' size at the
            rotation axis.
        source_to_isocenter, source_to_detector, detector
            As for `FanBeam`.
        n_angles, angles, angular_range, start_angle
            As for `FanBeam`.

        Raises
        ------
        TypeError, ValueError
            If the grid is not a 2-D one or reaches out to the circle of the source, or an
            argument is not of the kind named above.
        """
        check_grid(grid, 2)
        isocenter, distance = check_distances(source_to_isocenter, source_to_detector)
        fan = half_fan(grid, isocenter)
        width = 2 * distance * (math.tan(fan) if detector == "flat" else fan)
        if n_detectors is None:
            magnification = distance / isocenter
            n_detectors = math.ceil(width / (magnification * min(grid.spacing)))
        return cls(
            n_angles,
            n_detectors,
            width / check_count("n_detectors", n_detectors),
            isocenter,
            distance,
            detector=detector,
            angles=angles,
            angular_range=angular_range,
            start_angle=start_angle,
        )

    @property
    def arc_radius(self) -> float | None:
        """Radius in mm of a detector that is an arc about the source; None if it is flat."""
        return self.source_to_detector if self.detector == "curved" else None

    @property
    def magnification(self) -> float:
        """Magnification of what lies on the rotation axis."""
        return self.source_to_detector / self.source_to_isocenter

    @property
    def short_scan_range(self) -> float:
        """Angular range in radians of a short scan: pi plus the fan.

        The fan is twice the angle of the detector's farther edge. Every ray is seen at least
        once if the detector is centred; one that is moved aside needs the full turn.
        """
        edge = abs(self.detector_offset) + self.n_detectors * self.detector_spacing / 2
        edge /= self.source_to_detector
        return math.pi + 2 * (edge if self.is_curved else math.atan(edge))

    def vectors(self) -> ViewVectors:
        """Return per view source, detector middle and bin step, in mm.

        Raises
        ------
        ValueError
            If the detector is curved: its bins do not lie on a line.
        """
        if self.is_curved:
            raise TomolearnError("detector: expected a flat detector, got 'curved'")
        axis, direction = plane_axes(self.view_angles)
        source = -self.source_to_isocenter * direction
        middle = source + self.source_to_detector * direction + self.detector_offset * axis
        return ViewVectors(source, middle, (axis * self.detector_spacing,))

    def sources(self) -> np.ndarray:
        """Return the source's position in mm in every view."""
        return -self.source_to_isocenter * plane_axes(self.view_angles)[1]

    def projection_matrices(self) -> np.ndarray:
        """Return the matrix per view that projects points; see `Scan.projection_matrices`."""
        if self.is_curved:
            return self._replaced(detector="flat").projection_matrices()
        return super().projection_matrices()

    def project_points(self, *points: np.ndarray) -> Iterator[ProjectedPoints]:
        """Yield view by view where points are seen; see `Scan.project_points`."""
        radius = self.source_to_detector / self.detector_spacing  # in bins
        for (bins,), magnification in super().project_points(*points):
            if self.is_curved:
                curved = self.center_bin + radius * np.arctan((bins - self.center_bin) / radius)
                bins = np.where(np.isinf(bins), bins, curved)
            yield ProjectedPoints((bins,), magnification)

    def rays(self) -> tuple[np.ndarray, np.ndarray]:
        """Return a point and the direction of every ray, arrays (n_angles, n_detectors, 2)."""
        axis, direction = plane_axes(self.view_angles)
        across, along = np.sin(self.fan_angles), np.cos(self.fan_angles)
        beams = axis[:, None, :] * across[:, None] + direction[:, None, :] * along[:, None]
        source = -self.source_to_isocenter * direction
        return np.broadcast_to(source[:, None, :], beams.shape), beams

    def analytic_inversion(self) -> AnalyticInversion:
        """Return what filtered back-projection needs; see `Scan.analytic_inversion`."""
        weights, missing = redundancy(self)
        cosines, step = np.cos(self.fan_angles), self.detector_spacing / self.source_to_detector
        if self.is_curved:
            # the back-projection weights by (R / L)**2 where equal angles need R / L**2
            cosines = cosines / self.source_to_isocenter
        else:
            step *= self.source_to_isocenter
        return AnalyticInversion((weights * cosines,), step, missing)

    def to_odl(self) -> Any:
        """Return an ``odl.applications.tomo.FanBeamGeometry``.

        ODL's positions on a curved detector are angles, ours arc lengths.
        """
        import odl
        from odl.applications.tomo import FanBeamGeometry

        return FanBeamGeometry(
            self._odl_angle_partition(odl),
            self._odl_bin_partition(odl, unit=self.arc_radius or 1.0),
            src_radius=self.source_to_isocenter,
            det_radius=self.source_to_detector - self.source_to_isocenter,
            det_curvature_radius=self.arc_radius,
        )
