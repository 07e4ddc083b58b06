"""Finer grids to simulate on, and how images get there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tomolearn._core.checks import check_choice, check_int
from tomolearn._core.errors import TomolearnError, TomolearnTypeError
from tomolearn.geometry import Grid

INTERPOLATIONS = ("average", "constant", "linear", "mirrored")


@dataclass(frozen=True)
class Refinement:
    """A finer grid that measurements are simulated on.

    Data that are made by the operator that reconstructs them flatter every method; on a finer grid
    they are not.

    Parameters
    ----------
    interpolation : {"average", "constant", "linear", "mirrored"}
        How images and finer images belong together. "average": phantoms are drawn on the finer
        grid, and an image is made of means over its pixels. "constant": the image is constant over
        each of its pixels. "linear": it is interpolated linearly between the centres of its
        pixels; beyond the outermost ones it keeps their values. "mirrored": the same, but mirrored
        at the outermost centres, as scikit-image's ``resize`` does by default.
    factor, shape : int, sequence of int, optional
        Number of finer pixels along each axis of a pixel, or the shape of the finer grid, if the
        factor is not a whole number. Exactly one of the two is given.
    """

    interpolation: str
    factor: int | None = None
    shape: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        check_choice("interpolation", self.interpolation, INTERPOLATIONS)
        if (self.factor is None) == (self.shape is None):
            found = f"factor={self.factor} and shape={self.shape}"
            raise TomolearnTypeError(f"factor, shape: expected exactly one of the two, got {found}")
        if self.factor is not None:
            check_int("factor", self.factor, minimum=1)
        else:
            object.__setattr__(self, "shape", Grid(self.shape or ()).shape)

    def grid(self, grid: Grid) -> Grid:
        """Return the finer grid over the same region.

        A ValueError if its shape has another number of axes, or if with "average" or "constant" its
        pixels do not fill those of the grid.
        """
        if self.factor is not None:
            return grid.refined([self.factor * n for n in grid.shape])
        fine = grid.refined(self.shape or ())
        if self.interpolation in ("average", "constant"):
            self.factors(grid, fine)
        return fine

    @staticmethod
    def factors(grid: Grid, fine: Grid) -> tuple[int, ...]:
        """Return how many pixels of a finer grid, a whole number, lie along a pixel's axes."""
        if any(n % m for n, m in zip(fine.shape, grid.shape, strict=True)):
            raise TomolearnError(
                f"grid: expected a shape that divides the finer grid's, {fine.shape}, "
                f"got {grid.shape}"
            )
        return tuple(n // m for n, m in zip(fine.shape, grid.shape, strict=True))

    def to_dict(self) -> dict[str, Any]:
        """Return the fields that are given, ready for JSON."""
        has_factor = self.factor is not None
        size = {"factor": self.factor} if has_factor else {"shape": list(self.shape or ())}
        return {"interpolation": self.interpolation, **size}
