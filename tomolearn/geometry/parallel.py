"""Parallel beam in the plane."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from tomolearn._core.checks import check_count, check_float
from tomolearn.geometry.grid import Grid, check_grid
from tomolearn.geometry.redundancy import redundancy
from tomolearn.geometry.rotation import LineDetector, plane_axes
from tomolearn.geometry.scan import AnalyticInversion, ViewVectors


@dataclass(frozen=True, init=False, repr=False, kw_only=True)
class ParallelBeam(LineDetector):
    """Two-dimensional parallel-beam scan.

    The ray of view angle ``t`` and detector position ``u`` is the line
    ``x cos t + y sin t = u``.

    Parameters
    ----------
    n_angles : int, optional
        Number of views, at the middles of equal parts of the angular range.
    n_detectors : int
        Number of detector bins.
    detector_spacing : float
        Distance of neighbouring bins in mm.
    angles : sequence of float, optional
        View angles in radians, in place of `n_angles`.
    angular_range : float, optional
        Length in radians of the arc that `n_angles` views cover. Default: pi.
    start_angle : float, optional
        Where that arc starts, in radians. Default: 0.
    detector_offset : float, optional
        Position in mm of the detector's middle. Default: 0.

    Examples
    --------
    >>> ParallelBeam(n_angles=30, n_detectors=183, detector_spacing=1.0).shape
    (30, 183)
    """

    n_detectors: int
    detector_spacing: float
    detector_offset: float = 0.0

    def __init__(
        self,
        n_angles: int | None = None,
        n_detectors: int | None = None,
        detector_spacing: float | None = None,
        *,
        angles: Sequence[float] | np.ndarray | None = None,
        angular_range: float | None = None,
        start_angle: float | None = None,
        detector_offset: float = 0.0,
    ) -> None:
        self._set_angles(n_angles, angles, angular_range, start_angle, math.pi)
        self._set(
            n_detectors=check_count("n_detectors", n_detectors),
            detector_spacing=check_float("detector_spacing", detector_spacing, positive=True),
            detector_offset=check_float("detector_offset", detector_offset) + 0.0,
        )

    @classmethod
    def covering(
        cls,
        grid: Grid,
        n_angles: int | None = None,
        *,
        angles: Sequence[float] | np.ndarray | None = None,
        angular_range: float | None = None,
        start_angle: float | None = None,
    ) -> Self:
        """Return a scan whose detector sees the whole grid in every view.

        The detector is ODL's choice (``odl.applications.tomo.parallel_beam_geometry``): with
        ``rho`` the grid's radius, it spans ``[-rho, rho]`` in ``2 ceil(rho / spacing) + 1`` bins.

        Parameters
        ----------
        grid : Grid
            The two-dimensional grid to cover.
        n_angles, angles, angular_range, start_angle
            As for `ParallelBeam`.

        Raises
        ------
        TypeError, ValueError
            If the grid is not a 2-D one, or an argument is not of the kind named above.
        """
        check_grid(grid, 2)
        n_detectors = 2 * math.ceil(grid.radius / min(grid.spacing)) + 1
        return cls(
            n_angles,
            n_detectors,
            2 * grid.radius / n_detectors,
            angles=angles,
            angular_range=angular_range,
            start_angle=start_angle,
        )

    @property
    def is_parallel(self) -> bool:
        """Whether the rays of a view are parallel: yes."""
        return True

    @property
    def magnification(self) -> float:
        """Magnification of what lies on the rotation axis: none."""
        return 1.0

    def vectors(self) -> ViewVectors:
        """Return per view ray direction, detector middle and bin step, in mm."""
        axis, direction = plane_axes(self.view_angles)
        return ViewVectors(direction, axis * self.detector_offset, (axis * self.detector_spacing,))

    def analytic_inversion(self) -> AnalyticInversion:
        """Return what filtered back-projection needs; see `Scan.analytic_inversion`."""
        weights, missing = redundancy(self)
        return AnalyticInversion((weights,), self.detector_spacing, missing)

    def to_odl(self) -> Any:
        """Return an ``odl.applications.tomo.Parallel2dGeometry``."""
        import odl
        from odl.applications.tomo import Parallel2dGeometry

        return Parallel2dGeometry(self._odl_angle_partition(odl), self._odl_bin_partition(odl))
