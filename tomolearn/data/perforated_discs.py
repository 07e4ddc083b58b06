"""Discs of one material with holes, as in the Helsinki tomography challenge 2022."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tomolearn._core.checks import check_float, check_int
from tomolearn._core.errors import TomolearnError
from tomolearn._core.values import KindAndFields

# Points per pixel along an axis, and waves in the outline, of holes in discs.
_SUBSAMPLES, _WAVES = 4, 5
_FEWEST_CELLS, _MOST_CELLS = 4, 18


@dataclass(frozen=True)
class PerforatedDiscs(KindAndFields):
    """Discs of one material with holes of random shapes, as in the Helsinki challenge 2022 [1]_.

    The disc lies in the middle, but for a millimetre or so. Holes are smooth, their radius a
    random trigonometric polynomial of the angle, or polygons; they meet neither each other nor
    the rim. Edges are means over 4 x 4 points in each pixel.

    Parameters
    ----------
    field : float
        Extent of the image's longer side in mm.
    diameter : float
        Of the disc in mm.
    attenuation : float
        Of the disc in 1/mm; that of acrylic for a tube of 45 kV.
    holes : int
        Their largest number.
    cells : float
        Probability of a disc whose holes are the cells of a Voronoi tessellation with rounded
        corners, 4 to 18 less some that are left out, with walls of one thickness between them.

    Raises
    ------
    TypeError, ValueError
        If a number is not positive, or `cells` not from 0 to 1.

    References
    ----------
    .. [1] A. Meaney, F. S. Moura, M. Juvonen, S. Siltanen, "Helsinki tomography challenge 2022",
       doi:10.5281/zenodo.6984868
    """

    field: float = 76.0
    diameter: float = 70.0
    attenuation: float = 0.035
    holes: int = 8
    cells: float = 0.0

    def __post_init__(self) -> None:
        for name in ("field", "diameter", "attenuation"):
            check_float(name, getattr(self, name), positive=True)
        check_int("holes", self.holes, minimum=1)
        if not 0 <= check_float("cells", self.cells) <= 1:
            raise TomolearnError(f"cells: expected a probability, from 0 to 1, got {self.cells}")

    def __call__(self, shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.float32]:
        """Return an image of this shape.

        Raises
        ------
        ValueError
            If it has not two axes.
        """
        if len(shape) != 2:
            raise TomolearnError(f"shape: expected two axes, got {tuple(shape)}")
        radius = self.diameter / 2
        middle = rng.normal(0, 0.01 * radius, 2)
        pixel = self.field / max(shape)
        rows, columns = (pixel * (np.arange(n) - (n - 1) / 2) for n in shape)
        if self.cells > 0 and rng.uniform() < self.cells:
            covered = _Cells.drawn(middle, radius, rng).covered(rows, columns, pixel)
            return covered * np.float32(self.attenuation)
        holes = self._draw_holes(middle, rng)
        steps = pixel * ((np.arange(_SUBSAMPLES) + 0.5) / _SUBSAMPLES - 0.5)
        covered = np.zeros(shape, np.float32)
        y = (columns[:, None] + steps).ravel()
        for down in steps:
            x = rows + down
            inside = _squares(x, y, middle) < radius**2
            for hole in holes:
                hole.cut(inside, x, y)
            covered += inside.reshape(*shape, _SUBSAMPLES).sum(-1)
        return covered * np.float32(self.attenuation / _SUBSAMPLES**2)

    def _draw_holes(self, middle: NDArray[Any], rng: np.random.Generator) -> list[_Hole]:
        holes: list[_Hole] = []
        wanted = int(rng.integers(1, self.holes + 1))
        gap = 0.03 * self.diameter
        # of crowded discs some holes find no place
        for _ in range(20 * wanted):
            size = self.diameter * rng.uniform(0.04, 0.16)
            farthest = self.diameter / 2 - size - gap
            where, angle = farthest * math.sqrt(rng.uniform()), rng.uniform(0, 2 * math.pi)
            centre = middle + where * np.array((math.cos(angle), math.sin(angle)))
            hole = _Hole.drawn(centre, size, rng)
            if all(math.dist(centre, h.centre) > size + h.size + gap for h in holes):
                holes.append(hole)
            if len(holes) == wanted:
                break
        return holes

    def __str__(self) -> str:
        some = f", {100 * self.cells:g} % divided into cells" if self.cells else ""
        return f"discs with up to {self.holes} holes{some}"


@dataclass(frozen=True, eq=False)
class _Cells:
    """Holes that are the cells around points, as far as they lie within a smaller disc."""

    middle: NDArray[np.float64]
    radius: float
    points: NDArray[np.float64]  # (n, 2), from the middle
    hollow: NDArray[np.bool_]  # of each cell, whether it is a hole
    rim: float
    wall: float
    rounding: float

    @classmethod
    def drawn(cls, middle: NDArray[np.float64], radius: float, rng: np.random.Generator) -> _Cells:
        wanted = int(rng.integers(_FEWEST_CELLS, _MOST_CELLS + 1))
        rim = radius * rng.uniform(0.08, 0.3)
        apart = rng.uniform(0.5, 0.9) * (radius - rim) * math.sqrt(math.pi / wanted)
        points: list[tuple[float, float]] = []
        for _ in range(20 * wanted):
            where, angle = math.sqrt(rng.uniform()), rng.uniform(0, 2 * math.pi)
            where *= radius - rim
            point = (where * math.cos(angle), where * math.sin(angle))
            if all(math.dist(point, other) > apart for other in points):
                points.append(point)
            if len(points) == wanted:
                break
        return cls(
            middle,
            radius,
            np.array(points),
            rng.uniform(size=len(points)) > rng.uniform(0, 0.4),
            rim,
            radius * rng.uniform(0.04, 0.16),
            radius * rng.uniform(0.005, 0.04),
        )

    def covered(self, x: NDArray[Any], y: NDArray[Any], pixel: float) -> NDArray[np.float32]:
        """Return the share of material in each pixel, by distances to edges."""
        x, y = (axis - c for axis, c in zip((x, y), self.middle, strict=True))
        from_middle = np.sqrt(_squares(x, y, (0.0, 0.0)))
        squares = np.stack([_squares(x, y, point) for point in self.points]).astype(np.float32)
        nearest = squares.argmin(0)
        gaps = np.linalg.norm(self.points[:, None] - self.points, axis=-1).astype(np.float32)
        np.fill_diagonal(gaps, 1.0)
        # distances to the planes half-way to the other points; to its own there is none
        edges = (squares - squares.min(0)) / (2 * gaps[:, nearest])
        np.put_along_axis(edges, nearest[None], np.inf, 0)
        smallest = np.minimum(edges.min(0), self.radius - self.rim - from_middle)
        terms = np.exp((smallest - edges) / self.rounding).sum(0)
        terms += np.exp((smallest - (self.radius - self.rim - from_middle)) / self.rounding)
        depth = smallest - self.rounding * np.log(terms) - self.wall / 2
        holes = np.clip(depth / pixel + 0.5, 0, 1) * self.hollow[nearest]
        disc = np.clip((self.radius - from_middle) / pixel + 0.5, 0, 1)
        return (disc * (1 - holes)).astype(np.float32)


@dataclass(frozen=True)
class _Hole:
    """A shape with a radius for each angle, at most `size` from its centre."""

    centre: tuple[float, float]
    size: float
    amplitudes: tuple[float, ...]  # of the waves of a smooth one; of a polygon none
    phases: tuple[float, ...]
    corners: int

    @classmethod
    def drawn(cls, centre: NDArray[Any], size: float, rng: np.random.Generator) -> _Hole:
        smooth = rng.uniform() < 0.5
        heights = rng.normal(0, 0.5, _WAVES) / np.arange(1, _WAVES + 1)
        phases = tuple(rng.uniform(0, 2 * math.pi, _WAVES).tolist())
        corners = int(rng.integers(3, 7))
        where = (float(centre[0]), float(centre[1]))
        return cls(where, size, tuple(heights.tolist()) if smooth else (), phases, corners)

    def cut(self, inside: NDArray[np.bool_], x: NDArray[Any], y: NDArray[Any]) -> None:
        """Set what lies in the hole to False; `x` and `y` increase."""
        box = tuple(
            slice(*np.searchsorted(axis, (c - self.size, c + self.size)))
            for axis, c in zip((x, y), self.centre, strict=True)
        )
        x, y = x[box[0]], y[box[1]]
        angle = np.arctan2(y - self.centre[1], x[:, None] - self.centre[0])
        inside[box] &= _squares(x, y, self.centre) >= self._radius(angle) ** 2

    def _radius(self, angle: NDArray[Any]) -> NDArray[Any]:
        if not self.amplitudes:
            sector = 2 * math.pi / self.corners
            off = (angle + self.phases[0]) % sector - sector / 2
            return self.size * math.cos(sector / 2) / np.cos(off)
        waves = sum(
            a * np.cos(k * angle + phase)
            for k, (a, phase) in enumerate(zip(self.amplitudes, self.phases, strict=True), 1)
        )
        # between a part of the size and the size
        return self.size * (0.65 + 0.35 * np.tanh(waves))


def _squares(x: NDArray[Any], y: NDArray[Any], centre: Any) -> NDArray[Any]:
    return (x[:, None] - centre[0]) ** 2 + (y - centre[1]) ** 2
