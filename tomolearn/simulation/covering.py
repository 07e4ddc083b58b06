"""Scans that are known once a grid is: standard scanners whose detector sees all of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tomolearn._core.checks import check_choice, check_int
from tomolearn._core.errors import TomolearnError
from tomolearn._core.values import KindAndFields
from tomolearn.geometry import ConeBeam, FanBeam, Grid, ParallelBeam, Scan

# Distances in mm of a common clinical scanner.
_DISTANCES: dict[str, Any] = {"source_to_isocenter": 595.0, "source_to_detector": 1086.0}


@dataclass(frozen=True)
class CoveringScan(KindAndFields):
    """A scan that sees the whole of whatever grid it is asked about.

    Parameters
    ----------
    kind : {"fan", "parallel", "cone"}
        A fan beam with the distances of a clinical scanner, 595 mm from the source to the rotation
        axis and 1086 mm to the detector, a parallel beam, or a cone beam with the same distances,
        for volumes. Bins have the pixels' size.
    views : int
        Number of views over the full turn, for parallel beams over the half turn.

    Raises
    ------
    TypeError, ValueError
        If `kind` is none of these or `views` no positive integer.
    """

    kind: str = "fan"
    views: int = 1000

    def __post_init__(self) -> None:
        check_choice("kind", self.kind, ("fan", "parallel", "cone"))
        check_int("views", self.views, minimum=1)

    @property
    def ndim(self) -> int:
        """Number of dimensions of the grids that it covers."""
        return 3 if self.kind == "cone" else 2

    def on(self, grid: Grid) -> Scan:
        """Return the scan that covers a grid, short of the source.

        Raises
        ------
        ValueError
            If the grid is not of two dimensions, or for a cone beam of three; or reaches the
            source.
        """
        if grid.ndim != self.ndim:
            raise TomolearnError(
                f"grid: expected {self.ndim} dimensions for a {self.kind} beam, got {grid.ndim}"
            )
        if self.kind == "parallel":
            return ParallelBeam.covering(grid, self.views)
        if self.kind == "cone":
            return ConeBeam.covering(grid, self.views, **_DISTANCES)
        return FanBeam.covering(grid, self.views, **_DISTANCES)

    def __str__(self) -> str:
        return f"{self.kind} beam, {self.views} views"
