"""Cone beam on a circle or a helix, with a flat or a curved detector."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from tomolearn._core.checks import check_choice, check_float, check_floats
from tomolearn._core.errors import TomolearnError
from tomolearn.geometry.fan import FanBeam, check_arc, check_distances, half_fan
from tomolearn.geometry.grid import Grid, check_counts, check_grid, check_spacing
from tomolearn.geometry.redundancy import redundancy
from tomolearn.geometry.rotation import RotationScan, bin_positions, plane_axes
from tomolearn.geometry.scan import AnalyticInversion, BinColumns, ProjectedPoints, ViewVectors


@dataclass(frozen=True, init=False, repr=False, kw_only=True)
class ConeBeam(RotationScan):
    """Three-dimensional cone-beam scan on a circle or a helix.

    Axes are ``(z, x, y)``, z being the rotation axis. In the plane the source and the detector
    move as in `FanBeam`; the detector's rows are stacked along z. A curved detector is a part of a
    cylinder about the line through the source along z, as those of clinical scanners are: its rows
    are arcs with bins of equal angles.

    Parameters
    ----------
    n_angles : int, optional
        Number of views, at the middles of equal parts of the angular range.
    detector_shape : sequence of int
        Number of detector ``(rows, columns)``.
    detector_spacing : float or sequence of float
        Distance in mm of neighbouring bins, one number or ``(rows, columns)``.
    source_to_isocenter, source_to_detector : float
        Distances in mm from the source to the rotation axis and to the detector.
    pitch : float, optional
        Way in mm along z per full turn: 0 (default) is a circle, else a helix.
    start_z : float, optional
        Position in mm of the source along z at angle 0. Default: 0.
    angles : sequence of float, optional
        View angles in radians, in place of `n_angles`.
    angular_range : float, optional
        Length in radians of the arc that `n_angles` views cover. Default: 2 pi.
    start_angle : float, optional
        Where that arc starts, in radians. Default: 0.
    detector_offset : sequence of float, optional
        Position in mm of the detector's middle along (rows, columns). Default: (0, 0).
    detector : {"flat", "curved"}
        Its shape. Distances along the rows of a curved one are arc lengths. Default: flat.

    Raises
    ------
    TypeError, ValueError
        If an argument is not of the kind named above, or a curved detector reaches further than 90
        degrees from the central ray.
    """

    detector_shape: tuple[int, int]
    detector_spacing: tuple[float, float]
    source_to_isocenter: float
    source_to_detector: float
    pitch: float = 0.0
    start_z: float = 0.0
    detector_offset: tuple[float, float] = (0.0, 0.0)
    detector: str = "flat"

    def __init__(
        self,
        n_angles: int | None = None,
        detector_shape: Sequence[int] | None = None,
        detector_spacing: float | Sequence[float] | None = None,
        source_to_isocenter: float | None = None,
        source_to_detector: float | None = None,
        *,
        pitch: float = 0.0,
        start_z: float = 0.0,
        angles: Sequence[float] | np.ndarray | None = None,
        angular_range: float | None = None,
        start_angle: float | None = None,
        detector_offset: Sequence[float] = (0.0, 0.0),
        detector: str = "flat",
    ) -> None:
        winds = check_float("pitch", pitch) != 0
        self._set_angles(n_angles, angles, angular_range, start_angle, 2 * math.pi, winds=winds)
        row_offset, column_offset = check_floats("detector_offset", detector_offset, length=2)
        isocenter, distance = check_distances(source_to_isocenter, source_to_detector)
        self._set(
            detector_shape=check_counts("detector_shape", detector_shape, (2,)),
            detector_spacing=check_spacing("detector_spacing", detector_spacing, 2),
            detector_offset=(row_offset + 0.0, column_offset + 0.0),
            pitch=check_float("pitch", pitch) + 0.0,
            start_z=check_float("start_z", start_z) + 0.0,
            source_to_isocenter=isocenter,
            source_to_detector=distance,
            detector=check_choice("detector", detector, ("flat", "curved")),
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
        angles: Sequence[float] | np.ndarray | None = None,
        angular_range: float | None = None,
        start_angle: float | None = None,
    ) -> Self:
        """Return a circular scan whose detector sees the whole grid in every view.

        The bins have the voxels' size at the rotation axis.

        Parameters
        ----------
        grid : Grid
            The three-dimensional grid to cover.
        n_angles, source_to_isocenter, source_to_detector, angles, angular_range, start_angle
            As for `ConeBeam`.

        Raises
        ------
        TypeError, ValueError
            If the grid is not a 3-D one or reaches out to the circle of the source, or an
            argument is not of the kind named above.
        """
        check_grid(grid, 3)
        isocenter, distance = check_distances(source_to_isocenter, source_to_detector)
        fan = half_fan(grid, isocenter)
        magnification = distance / isocenter
        spacing = (magnification * grid.spacing[0], magnification * min(grid.spacing[1:]))
        height = max(-grid.lower[0], grid.upper[0]) * distance / (isocenter - grid.radius)
        width = distance * math.tan(fan)
        return cls(
            n_angles,
            (2 * math.ceil(height / spacing[0]), 2 * math.ceil(width / spacing[1])),
            spacing,
            isocenter,
            distance,
            angles=angles,
            angular_range=angular_range,
            start_angle=start_angle,
        )

    @property
    def magnification(self) -> float:
        """Magnification of what lies on the rotation axis."""
        return self.source_to_detector / self.source_to_isocenter

    @property
    def detector_positions(self) -> tuple[np.ndarray, np.ndarray]:
        """Positions in mm of the bins' centres along rows and columns."""
        axes = zip(self.detector_shape, self.detector_spacing, self.detector_offset, strict=True)
        rows, columns = (bin_positions(*axis) for axis in axes)
        return rows, columns

    @property
    def arc_radius(self) -> float | None:
        """Radius in mm of a detector that is an arc about the source; None if it is flat."""
        return self.source_to_detector if self.detector == "curved" else None

    @property
    def level_row(self) -> float:
        """Row, not whole, at the height of the source."""
        middle = (self.detector_shape[0] - 1) / 2
        return middle - self.detector_offset[0] / self.detector_spacing[0]

    @property
    def is_circular(self) -> bool:
        """Whether source and detector turn about the axis and do not move along it: no helix."""
        return self.pitch == 0

    def level_fan(self) -> FanBeam | None:
        """Return the fan beam that the row at the source's height is; None on a helix."""
        if not self.is_circular:
            return None
        return FanBeam(
            angles=self.view_angles.tolist(),
            n_detectors=self.detector_shape[1],
            detector_spacing=self.detector_spacing[1],
            source_to_isocenter=self.source_to_isocenter,
            source_to_detector=self.source_to_detector,
            detector_offset=self.detector_offset[1],
            detector=self.detector,
        )

    def with_rows(self, count: int, scale: float, shift: float) -> Self:
        """Return the scan with other rows of its detector; see `Scan.with_rows`."""
        (height, width), (row_offset, column_offset) = self.detector_spacing, self.detector_offset
        return self._replaced(
            detector_shape=(count, self.detector_shape[1]),
            detector_spacing=(height * scale, width),
            detector_offset=(row_offset + shift * height, column_offset),
        )

    @property
    def _heights(self) -> np.ndarray:
        """Position in mm of the source along z in every view."""
        heights: np.ndarray = self.start_z + self.pitch * self.view_angles / (2 * math.pi)
        return heights

    def sources(self) -> np.ndarray:
        """Return the source's position in mm in every view."""
        plane = -self.source_to_isocenter * plane_axes(self.view_angles)[1]
        return np.column_stack([self._heights, plane])

    def vectors(self) -> ViewVectors:
        """Return per view source, detector middle and bin steps in mm, axes (z, x, y).

        Raises
        ------
        ValueError
            If the detector is curved: its bins do not lie on lines.
        """
        if self.is_curved:
            raise TomolearnError("detector: expected a flat detector, got 'curved'")
        axis, direction = plane_axes(self.view_angles)
        row_offset, column_offset = self.detector_offset
        row_spacing, column_spacing = self.detector_spacing
        source = self.sources()
        middle = source[:, 1:] + self.source_to_detector * direction + column_offset * axis
        flat = np.zeros(self.n_angles)
        return ViewVectors(
            source,
            np.column_stack([source[:, 0] + row_offset, middle]),
            (
                np.tile([row_spacing, 0.0, 0.0], (self.n_angles, 1)),
                np.column_stack([flat, axis * column_spacing]),
            ),
        )

    def bin_columns(self) -> BinColumns:
        """Return where the detector's columns are; see `Scan.bin_columns`."""
        if not self.is_curved:
            return super().bin_columns()
        source = self.sources()
        axis, direction = plane_axes(self.view_angles)
        across, along = np.sin(self.fan_angles), np.cos(self.fan_angles)
        beams = axis[:, None] * across[:, None] + direction[:, None] * along[:, None]
        first = np.zeros((self.n_angles, self.shape[-1], 3))
        first[..., 0] = source[:, :1] + self.detector_positions[0][0]
        first[..., 1:] = source[:, None, 1:] + self.source_to_detector * beams
        return BinColumns(
            source, first, np.tile([self.detector_spacing[0], 0.0, 0.0], (self.n_angles, 1))
        )

    def rays(self) -> tuple[np.ndarray, np.ndarray]:
        """Return a point and the direction of every ray, arrays (*shape, 3) in mm."""
        source, first, step = self.bin_columns()
        rows = np.arange(self.detector_shape[0])[:, None, None]
        bins = first[:, None] + step[:, None, None] * rows
        points = np.broadcast_to(source[:, None, None], bins.shape)
        return points, bins - points

    def projection_matrices(self) -> np.ndarray:
        """Return the matrix per view that projects points; see `Scan.projection_matrices`."""
        if self.is_curved:
            return self._replaced(detector="flat").projection_matrices()
        return super().projection_matrices()

    def project_points(self, *points: np.ndarray) -> Iterator[ProjectedPoints]:
        """Yield view by view where points are seen; see `Scan.project_points`."""
        radius = self.source_to_detector / self.detector_spacing[1]  # in bins
        level = self.level_row
        for (row, column), magnification in super().project_points(*points):
            if self.is_curved and np.any(seen := np.isfinite(column)):
                angle = np.arctan((np.where(seen, column, 0) - self.center_bin) / radius)
                nearer = level + (row - level) * np.cos(angle)
                row = np.where(np.isfinite(row), nearer, row)
                column = np.where(seen, self.center_bin + radius * angle, column)
            yield ProjectedPoints((row, column), magnification)

    def analytic_inversion(self) -> AnalyticInversion:
        """Return what the method of Feldkamp, Davis and Kress needs; see `Scan`."""
        if not self.is_circular:
            raise TomolearnError(
                f"scan: expected a circular scan (pitch 0) for the method of Feldkamp, Davis and "
                f"Kress, got pitch {self.pitch}; iterative methods reconstruct helical scans"
            )
        weights, missing = redundancy(self)
        rows, columns = self.detector_positions
        distance = self.source_to_detector
        step = self.detector_spacing[1] / distance
        if self.is_curved:
            # the back-projection weights by (R / L)**2 where equal angles need R / L**2
            cosines = np.cos(self.fan_angles) / self.source_to_isocenter
            cosines = cosines * (distance / np.hypot(distance, rows))[:, None]
        else:
            cosines = distance / np.sqrt(distance**2 + rows[:, None] ** 2 + columns**2)
            step *= self.source_to_isocenter
        return AnalyticInversion((weights[:, None], cosines[None]), step, missing)

    def to_odl(self) -> Any:
        """Return an ``odl.applications.tomo.ConeBeamGeometry`` about axis 0.

        Raises
        ------
        ValueError
            If the detector is curved.
        """
        if self.is_curved:
            raise TomolearnError("detector: expected a flat detector for ODL, got 'curved'")
        import odl
        from odl.applications.tomo import ConeBeamGeometry

        half = np.array(self.detector_shape) * self.detector_spacing / 2
        offset = np.array(self.detector_offset)
        return ConeBeamGeometry(
            self._odl_angle_partition(odl),
            odl.uniform_partition(offset - half, offset + half, self.detector_shape),
            src_radius=self.source_to_isocenter,
            det_radius=self.source_to_detector - self.source_to_isocenter,
            pitch=self.pitch,
            axis=(1, 0, 0),
            offset_along_axis=self.start_z,
            src_to_det_init=(0, 0, 1),
            det_axes_init=[(1, 0, 0), (0, 1, 0)],
        )
