"""The pixel or voxel grid of an image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tomolearn._core.checks import check_count, check_float, check_floats, check_int
from tomolearn._core.errors import TomolearnError, TomolearnTypeError
from tomolearn.geometry._values import GeometryValue


def check_counts(name: str, values: Any, lengths: Sequence[int]) -> tuple[int, ...]:
    """Return a sequence of positive integers as a tuple, of one of the lengths."""
    expected = f"{' or '.join(map(str, lengths))} integers >= 1"
    if isinstance(values, (str, bytes)) or not isinstance(values, (Sequence, np.ndarray)):
        raise TomolearnTypeError(
            f"{name}: expected {expected}, got {values!r} ({type(values).__name__})"
        )
    if np.ndim(values) == 0 or len(values) not in lengths:
        raise TomolearnError(f"{name}: expected {expected}, got {values!r}")
    return tuple(check_count(f"{name}[{k}]", n) for k, n in enumerate(values))


def check_spacing(name: str, value: Any, n_axes: int) -> tuple[float, ...]:
    """Return positive lengths, one per axis, from one number or one per axis."""
    if not isinstance(value, (list, tuple, np.ndarray)):
        return (check_float(name, value, positive=True),) * n_axes
    lengths = check_floats(name, value, length=n_axes)
    return tuple(check_float(f"{name}[{k}]", v, positive=True) for k, v in enumerate(lengths))


def check_grid(grid: Any, ndim: int) -> None:
    """Check that `grid` is a `Grid` of `ndim` axes."""
    if not isinstance(grid, Grid):
        raise TomolearnTypeError(f"grid: expected a Grid, got {type(grid).__name__}")
    if grid.ndim != ndim:
        raise TomolearnError(f"grid: expected a {ndim}-D grid, got shape {grid.shape}")


@dataclass(frozen=True)
class Grid(GeometryValue):
    """A regular grid of pixels (2-D) or voxels (3-D).

    Parameters
    ----------
    shape : sequence of int
        ``(rows, columns)`` or ``(slices, rows, columns)``.
    spacing : float or sequence of float
        Distance of neighbouring pixel centres in mm, one number or one per axis.
    center : sequence of float, optional
        Position in mm of the grid's centre, one number per axis; the rotation axis of the
        scanner goes through the origin. Default: the origin.

    Examples
    --------
    >>> Grid(shape=(512, 512), spacing=0.7).size
    (358.4, 358.4)
    """

    shape: tuple[int, ...]
    spacing: tuple[float, ...]
    center: tuple[float, ...] = ()

    def __init__(
        self,
        shape: Sequence[int],
        spacing: float | Sequence[float] = 1.0,
        *,
        center: Sequence[float] | None = None,
    ) -> None:
        counts = check_counts("shape", shape, (2, 3))
        lengths = check_spacing("spacing", spacing, len(counts))
        # "+ 0.0" turns -0.0 into 0.0, which compares equal but prints and serialises differently
        origin = (0.0,) * len(counts) if center is None else center
        middle = tuple(c + 0.0 for c in check_floats("center", origin, length=len(counts)))
        self._set(shape=counts, spacing=lengths, center=middle)

    @property
    def ndim(self) -> int:
        """Number of axes, 2 or 3."""
        return len(self.shape)

    @property
    def size(self) -> tuple[float, ...]:
        """Extent in mm along each axis, from edge to edge."""
        return tuple(n * s for n, s in zip(self.shape, self.spacing, strict=True))

    @property
    def lower(self) -> tuple[float, ...]:
        """Lowest coordinate in mm along each axis (an edge, not a pixel centre)."""
        return tuple(c - length / 2 for c, length in zip(self.center, self.size, strict=True))

    @property
    def upper(self) -> tuple[float, ...]:
        """Highest coordinate in mm along each axis (an edge, not a pixel centre)."""
        return tuple(c + length / 2 for c, length in zip(self.center, self.size, strict=True))

    @property
    def radius(self) -> float:
        """Largest distance in mm of a point of the grid from the rotation axis."""
        low, high = np.abs(self.lower[-2:]), np.abs(self.upper[-2:])
        return float(np.hypot(*np.maximum(low, high)))

    def coordinates(self) -> tuple[np.ndarray, ...]:
        """Return the pixel centres in mm along each axis, one 1-D float64 array per axis."""
        return tuple(
            c + (np.arange(n) - (n - 1) / 2) * s
            for n, s, c in zip(self.shape, self.spacing, self.center, strict=True)
        )

    def refined(self, shape: Sequence[int]) -> Grid:
        """Return a grid of another shape that covers the same region.

        Parameters
        ----------
        shape : sequence of int
            The new numbers of pixels, one per axis.
        """
        grid = Grid(shape, center=self.center)
        spacing = [length / n for length, n in zip(self.size, grid.shape, strict=True)]
        return Grid(grid.shape, spacing, center=self.center)

    def padded(self, count: int) -> Grid:
        """Return the grid with `count` more pixels at each end of every axis."""
        more = check_int("count", count, minimum=0)
        return Grid([n + 2 * more for n in self.shape], self.spacing, center=self.center)

    def to_odl(self, dtype: str = "float32") -> Any:
        """Return the grid as an ODL discretised space (``odl.uniform_discr``).

        Parameters
        ----------
        dtype : str
            Data type of the space.
        """
        import odl

        return odl.uniform_discr(
            min_pt=list(self.lower), max_pt=list(self.upper), shape=self.shape, dtype=dtype
        )
