"""The plane that a slice is drawn on: coordinates, antialiased painting, textures."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float32]
Part = tuple[slice, slice]

# Entries of a table over all directions: 2 mm at a radius of 170 mm, interpolated linearly.
N_DIRECTIONS = 512
DIRECTIONS = np.linspace(-math.pi, math.pi, N_DIRECTIONS, endpoint=False)


@dataclass(frozen=True, eq=False)
class Waves:
    """A smooth random field in space: a sum of plane waves."""

    vectors: NDArray[np.float64]  # (n, 3), in 1/mm
    phases: NDArray[np.float64]  # (n,), in radians
    amplitude: float  # of each; the field's standard deviation is this times sqrt(n / 2)

    @classmethod
    def random(
        cls, rng: np.random.Generator, n: int, wavelengths: tuple[float, float], std: float
    ) -> Waves:
        """Draw waves of all directions, wavelengths in mm log-uniform in an interval."""
        directions = rng.standard_normal((n, 3))
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        low, high = np.log(wavelengths)
        length = np.exp(rng.uniform(low, high, n))
        phases = rng.uniform(0, 2 * math.pi, n)
        return cls(directions * (2 * math.pi / length)[:, None], phases, std * math.sqrt(2 / n))

    @property
    def bound(self) -> float:
        """What the field's magnitude cannot exceed."""
        return self.amplitude * self.phases.size


def part_about(middle: NDArray[Any], reach: NDArray[Any], shape: tuple[int, int]) -> Part | None:
    """Return the part of an image around a pixel, or None if it lies outside."""
    low = np.maximum(np.floor(middle - reach), 0).astype(int)
    high = np.minimum(np.ceil(middle + reach) + 1, shape).astype(int)
    if (low >= high).any():
        return None
    return slice(low[0], high[0]), slice(low[1], high[1])


class Canvas:
    """One slice in the making, with coordinates of the anatomy at each pixel centre.

    The map from pixels to the anatomy is affine, so that rotation, tilt and size of a patient
    cost no interpolation; `warp` bends it a little afterwards. `origin` is (x, y) in mm of pixel
    (0, 0); column 0 of `steps` is what one row adds to it, column 1 what one column adds.
    """

    def __init__(
        self,
        shape: tuple[int, int],
        origin: NDArray[np.float64],
        steps: NDArray[np.float64],
        z: float,
        air: float = -1000.0,
    ) -> None:
        self.shape, self.origin, self.steps, self.z = shape, origin, steps, z
        self._inverse = np.linalg.inv(steps)
        self.pixel = math.sqrt(abs(float(np.linalg.det(steps))))
        i, j = np.arange(shape[0])[:, None], np.arange(shape[1])
        # The linear part is summed in float64, so that it is that of the turned slice elsewhere.
        self.x = (origin[0] + steps[0, 0] * i + steps[0, 1] * j).astype(np.float32)
        self.y = (origin[1] + steps[1, 0] * i + steps[1, 1] * j).astype(np.float32)
        self.hu = np.full(shape, air, dtype=np.float32)
        self.margin = 0.0

    def waves(self, waves: Waves, part: Part | None = None) -> Array:
        """Return a field's means over the pixels, exact for the coordinates before `warp`.

        A plane wave is a product of a function of the row and one of the column, so that a sum of
        them is a product of two matrices; the mean over a pixel multiplies it by two sincs.
        """
        rows, columns = part or (slice(0, self.shape[0]), slice(0, self.shape[1]))
        per_row, per_column = (waves.vectors[:, :2] @ self.steps).T
        start = waves.vectors[:, :2] @ self.origin + waves.vectors[:, 2] * self.z + waves.phases
        mean = np.sinc(per_row / (2 * math.pi)) * np.sinc(per_column / (2 * math.pi))
        left = _turning(per_row, rows) * (waves.amplitude * mean * np.exp(1j * start))
        right = _turning(per_column, columns)
        first = np.concatenate((left.real, -left.imag), axis=1, dtype=np.float32)
        second = np.concatenate((right.real, right.imag), axis=1, dtype=np.float32)
        return first @ second.T

    def warp(self, x: Waves, y: Waves) -> None:
        """Displace the coordinates by two fields, in mm."""
        dx, dy = self.waves(x), self.waves(y)
        self.x += dx
        self.y += dy
        self.margin = math.hypot(x.bound, y.bound)

    def window(self, x: float, y: float, radius: float) -> Part | None:
        """Return the part of the image that holds a disc, or None if it lies outside."""
        reach = (radius + self.margin + self.pixel) * np.linalg.norm(self._inverse, axis=1)
        middle = self._inverse @ (np.array([x, y]) - self.origin)
        return part_about(middle, reach, self.shape)

    def coverage(self, distance: Array) -> Array:
        """Return the fraction of each pixel inside an outline, from distances, negative inside."""
        covered = distance * np.float32(-1 / self.pixel)
        covered += np.float32(0.5)
        return np.clip(covered, 0, 1, out=covered)

    def paint(self, part: Part, distance: Array, hu: float | Array) -> None:
        """Fill what lies inside of an outline, given by distances in `part`."""
        self.blend(part, self.coverage(distance), hu)

    def blend(self, part: Part, coverage: Array, hu: float | Array) -> None:
        """Mix HU into a part with a weight for each pixel."""
        below = self.hu[part]
        below += coverage * (hu - below)

    def ellipse(
        self, part: Part, centre: ArrayLike, semi_axes: ArrayLike, angle: float = 0.0
    ) -> Array:
        """Return approximate distances to an ellipse, whose first axis is turned from x to y."""
        (cx, cy), (a, b) = np.asarray(centre, float), np.asarray(semi_axes, float)
        cos, sin = math.cos(angle), math.sin(angle)
        dx, dy = self.x[part] - np.float32(cx), self.y[part] - np.float32(cy)
        u = dx * np.float32(cos / a) + dy * np.float32(sin / a)
        v = dy * np.float32(cos / b) - dx * np.float32(sin / b)
        size = np.sqrt(u * u + v * v)
        u *= np.float32(1 / a)
        v *= np.float32(1 / b)
        # The implicit function over the length of its gradient; at the centre both are zero.
        gradient = np.sqrt(u * u + v * v)
        gradient += np.float32(1e-9)
        return size * (size - 1) / gradient

    def paint_ellipse(
        self, centre: ArrayLike, semi_axes: ArrayLike, hu: float, angle: float = 0.0
    ) -> None:
        """Fill an ellipse."""
        (x, y), axes = np.asarray(centre, float), np.asarray(semi_axes, float)
        if axes.min() <= 0:
            return
        part = self.window(x, y, float(axes.max()))
        if part is not None:
            self.paint(part, self.ellipse(part, (x, y), axes, angle), hu)

    def bar(
        self, part: Part, start: ArrayLike, stop: ArrayLike, radii: tuple[float, float]
    ) -> Array:
        """Return distances to a tapered capsule between two points (x, y) or (x, y, z)."""
        p = np.append(np.asarray(start, float), self.z)[:3]
        q = np.append(np.asarray(stop, float), self.z)[:3]
        d = q - p
        height = self.z - p[2]
        dx, dy = self.x[part] - np.float32(p[0]), self.y[part] - np.float32(p[1])
        scale = 1 / max(float(d @ d), 1e-9)
        t = dx * np.float32(d[0] * scale) + dy * np.float32(d[1] * scale)
        t += np.float32(d[2] * height * scale)
        np.clip(t, 0, 1, out=t)
        dx -= t * np.float32(d[0])
        dy -= t * np.float32(d[1])
        dz = np.float32(height) - t * np.float32(d[2])
        return np.sqrt(dx * dx + dy * dy + dz * dz) - (
            np.float32(radii[0]) + t * np.float32(radii[1] - radii[0])
        )


class Polar:
    """Polar coordinates about (x, 0) of a part of a canvas, for outlines as tables of directions.

    Direction 0 points to larger x, pi / 2 to larger y.
    """

    def __init__(self, canvas: Canvas, part: Part, x: float) -> None:
        dx, y = canvas.x[part] - np.float32(x), canvas.y[part]
        self.radius = np.sqrt(dx * dx + y * y)
        place = np.arctan2(y, dx)
        place += np.float32(math.pi)
        place *= np.float32(N_DIRECTIONS / (2 * math.pi))
        self._index = place.astype(np.intp)
        self._fraction = place - self._index

    def at(self, table: NDArray[Any]) -> Array:
        """Return a table's value in each pixel's direction."""
        # Rounding may yield the direction pi itself and take the index one entry further.
        values = np.concatenate((table, table[:2])).astype(np.float32)
        return values[self._index] + self._fraction * np.diff(values, append=0)[self._index]

    def outside(self, radii: NDArray[np.float64]) -> Array:
        """Return the distances to a star-shaped outline, negative inside."""
        slope = (np.roll(radii, -1) - np.roll(radii, 1)) * (N_DIRECTIONS / (4 * math.pi))
        steepness = radii / np.hypot(radii, slope)
        return (self.radius - self.at(radii)) * self.at(steepness)


def _turning(angles: NDArray[np.float64], where: slice) -> NDArray[np.complex128]:
    """Return exp(i n angle) for the integers n of a slice, shape (n, angles).

    Products of a few steps of one and a few of sixteen: trigonometry for all takes longer.
    """
    fine = np.exp(1j * np.arange(16)[:, None] * angles)
    coarse = np.exp(1j * np.arange(where.start, where.stop, 16)[:, None] * angles)
    product = (coarse[:, None] * fine).reshape(-1, angles.size)
    return product[: where.stop - where.start]


def smooth_minimum(first: Array, second: Array, width: float) -> Array:
    """Return the smaller distance, with the corner between both rounded off over `width` mm."""
    close = np.float32(width) - np.abs(first - second)
    np.maximum(close, 0, out=close)
    close *= close
    close *= np.float32(0.25 / width)
    return np.minimum(first, second) - close
