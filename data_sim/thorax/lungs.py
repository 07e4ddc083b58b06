"""Lungs: parenchyma, trees of arteries and veins, and bronchi along the arteries."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data_sim.thorax.canvas import Array, Canvas, Part
from data_sim.thorax.mediastinum import Mediastinum
from data_sim.thorax.skeleton import Skeleton
from data_sim.thorax.wall import Wall

_LEVELS = 9  # of branching: 512 ends of each tree
_AIRWAY_LEVELS = 5
_ARTERY_ROOT = {-1: (6.0, -42.0, -20.0), 1: (16.0, 45.0, -20.0)}
_VEIN_ROOT = {-1: (0.0, -34.0, -38.0), 1: (6.0, 42.0, -38.0)}
_LOW, _HIGH = -145.0, 104.0


@dataclass(frozen=True, eq=False)
class Segments:
    """Tapered pieces of vessels, in mm."""

    start: NDArray[np.float64]  # (n, 3)
    stop: NDArray[np.float64]  # (n, 3)
    radius: NDArray[np.float64]  # (n, 2), at both ends

    def near(self, z: float, margin: float) -> Segments:
        """Return those that come within `margin` of a height."""
        reach = self.radius.max(axis=1) + margin
        low, high = np.sort((self.start[:, 2], self.stop[:, 2]), axis=0)
        found = (low - reach < z) & (z < high + reach)
        return Segments(self.start[found], self.stop[found], self.radius[found])

    def coverage(self, canvas: Canvas) -> Array:
        """Return which fraction of each pixel they cover.

        Vessels thinner than a pixel are drawn as wide as one, and fainter in proportion to the
        area of their section.
        """
        covered = np.zeros(canvas.shape, dtype=np.float32)
        near = self.near(canvas.z, canvas.pixel)
        if not near.radius.size:
            return covered
        h = canvas.pixel
        # A ramp of width h around a disc of radius r adds pi h^2 / 12 to its area.
        radius = np.maximum(near.radius, h / 2)
        faint = np.minimum(
            near.radius.mean(axis=1) ** 2 / (radius.mean(axis=1) ** 2 + h**2 / 12), 1
        )
        inverse = np.linalg.inv(canvas.steps)
        ends = [(p[:, :2] - canvas.origin) @ inverse.T for p in (near.start, near.stop)]
        reach = (radius.max(axis=1)[:, None] + canvas.margin + h) * np.linalg.norm(inverse, axis=1)
        low = np.floor(np.minimum(*ends) - reach).astype(np.intp)
        size = (np.ceil(np.maximum(*ends) + reach).astype(np.intp) - low + 1).max(axis=1)
        start, d = near.start.astype(np.float32), (near.stop - near.start).astype(np.float32)
        scaled = d / np.maximum((d * d).sum(axis=1, keepdims=True), np.float32(1e-9))
        height = np.float32(canvas.z) - start[:, 2]
        wide, taper = radius[:, 0].astype(np.float32), np.diff(radius)[:, 0].astype(np.float32)
        faint = faint.astype(np.float32)
        flat = covered.reshape(-1)
        # Squares of a few sizes, all of one size at once.
        sides = 2 ** np.ceil(2 * np.log2(np.maximum(size, 4))) // 1
        sides = np.ceil(np.sqrt(sides)).astype(np.intp)
        for side in np.unique(sides):
            k = np.nonzero(sides == side)[0]
            rows, columns = np.minimum(side, canvas.shape)
            first = np.clip(low[k], 0, np.array(canvas.shape) - (rows, columns))
            i = (first[:, :1] + np.arange(rows))[:, :, None]
            place = i * canvas.shape[1] + (first[:, 1:] + np.arange(columns))[:, None, :]
            k = k[:, None, None]
            dx = canvas.x.reshape(-1)[place] - start[k, 0]
            dy = canvas.y.reshape(-1)[place] - start[k, 1]
            t = dx * scaled[k, 0] + dy * scaled[k, 1]
            t += height[k] * scaled[k, 2]
            np.clip(t, 0, 1, out=t)
            dx -= t * d[k, 0]
            dy -= t * d[k, 1]
            dz = height[k] - t * d[k, 2]
            distance = np.sqrt(dx * dx + dy * dy + dz * dz)
            distance -= wide[k] + t * taper[k]
            value = canvas.coverage(distance)
            value *= faint[k]
            np.maximum.at(flat, place.reshape(-1), value.reshape(-1))
        return covered


@dataclass(frozen=True, eq=False)
class Lungs:
    """Density of one patient's lungs, and the vessels and bronchi in them."""

    density: float
    gradient: float
    texture: float
    vessels: Segments
    bronchi: Segments

    @classmethod
    def random(
        cls,
        rng: np.random.Generator,
        wall: Wall,
        skeleton: Skeleton,
        mediastinum: Mediastinum,
    ) -> Lungs:
        """Draw lungs that fill the space that the other parts leave."""
        thickness = rng.uniform(0.85, 1.15)
        n = 2**_LEVELS
        ends = [
            sample(rng, 2 * n, side, wall, skeleton, mediastinum, 3.0).reshape(2, n, 3)
            for side in (-1, 1)
        ]
        roots = np.array([root[side] for side in (-1, 1) for root in (_ARTERY_ROOT, _VEIN_ROOT)])
        vessels, tree, level = _trees(rng, roots, np.concatenate(ends), thickness)
        # Beside an artery, a little thinner, on the side towards the back and the middle.
        first = (tree % 2 == 0) & (level < _AIRWAY_LEVELS)
        radius = vessels.radius[first]
        away = np.stack((np.full(len(radius), 0.6), 0.8 - 0.8 * tree[first], 0 * radius[:, 0]), 1)
        beside = away * (2.1 * radius[:, :1] + 0.5)
        bronchi = Segments(
            vessels.start[first] + beside, vessels.stop[first] + beside, 0.8 * radius
        )
        density, gradient = rng.uniform(-885, -820), rng.uniform(0.15, 0.6)
        return cls(density, gradient, rng.uniform(14, 26), vessels, bronchi)

    def draw(
        self,
        canvas: Canvas,
        part: Part,
        distance: Array,
        grain: Array,
        coarse: Array,
        blood: float,
    ) -> None:
        """Paint lungs with all that lies in them, with vessels of `blood` HU.

        Distances to the outline, negative inside, and textures are those of `part`.
        """
        lungs = canvas.coverage(distance)
        tissue = self.density + self.gradient * canvas.x[part]
        tissue += self.texture * (grain + np.float32(0.7) * coarse)
        np.clip(tissue, -980, -600, out=tissue)
        wall = Segments(
            self.bronchi.start, self.bronchi.stop, 1.22 * self.bronchi.radius + 0.25
        ).coverage(canvas)[part]
        lumen = self.bronchi.coverage(canvas)[part]
        tissue += wall * (-50 - tissue)
        tissue += lumen * (-980 - tissue)
        tissue += self.vessels.coverage(canvas)[part] * (1 - lumen) * (blood - tissue)
        canvas.blend(part, lungs, tissue)


def sample(
    rng: np.random.Generator,
    n: int,
    side: int,
    wall: Wall,
    skeleton: Skeleton,
    mediastinum: Mediastinum,
    margin: float,
) -> NDArray[np.float64]:
    """Draw points in one lung uniformly, `margin` mm or more from its border.

    `side` is -1 for the right lung, at negative y, and 1 for the left one. Shape (n, 3).
    """
    found = np.empty((0, 3))
    while len(found) < n:
        points = rng.uniform((-90, 8, _LOW), (95, 122, _HIGH), (3 * n + 20, 3))
        points[:, 1] *= side
        x = points[:, 0] - wall.middles(points[:, 2])
        radius = wall.cage(points[:, 2], np.arctan2(points[:, 1], x))
        inside = np.hypot(x, points[:, 1]) < radius - 11 - margin
        inside[inside] = mediastinum.in_lungs(points[inside], skeleton, margin)
        found = np.concatenate((found, points[inside]))
    return found[:n]


def _trees(
    rng: np.random.Generator, roots: NDArray, ends: NDArray, thickness: float
) -> tuple[Segments, NDArray[np.int64], NDArray[np.int64]]:
    """Grow trees from roots (t, 3) to many ends (t, n, 3) by halving the ends again and again.

    Each node lies a part of the way from its parent to the middle of the ends that it supplies.
    Radii follow the number of ends to the power 1/3 (Murray's law). Returns pieces, the tree that
    each belongs to, and how often the tree has branched before it.
    """
    groups, nodes = ends, roots
    starts, stops, radii, trees, levels = [], [], [], [], []
    for level in range(_LEVELS + 1):
        if level:
            axis = (groups.max(axis=1) - groups.min(axis=1)).argmax(axis=1)
            along = groups[np.arange(len(groups)), :, axis]
            order = np.argsort(along, axis=1)
            groups = groups[np.arange(len(groups))[:, None], order].reshape(2 * len(groups), -1, 3)
            nodes = np.repeat(nodes, 2, axis=0)
        share = rng.uniform(0.35, 0.6, (len(groups), 1)) if level < _LEVELS else 1.0
        stop = nodes + share * (groups.mean(axis=1) - nodes)
        length = np.linalg.norm(stop - nodes, axis=1, keepdims=True)
        bend = (nodes + stop) / 2 + 0.07 * length * rng.standard_normal(stop.shape)
        last = thickness * 0.56 * 2 ** ((_LEVELS - level) / 3)
        first = last * (1 + 2 ** (1 / 3)) / 2 if level else last
        middle = (first + last) / 2
        count = len(stop)
        starts += [nodes, bend]
        stops += [bend, stop]
        radii += [np.full((count, 2), (first, middle)), np.full((count, 2), (middle, last))]
        trees += 2 * [np.arange(count) // 2**level]
        levels += [np.full(2 * count, level)]
        nodes = stop
    pieces = Segments(np.concatenate(starts), np.concatenate(stops), np.concatenate(radii))
    return pieces, np.concatenate(trees), np.concatenate(levels)
