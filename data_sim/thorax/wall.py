"""The chest wall: skin, fat, muscles and the cage that the ribs lie in."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from data_sim.thorax.canvas import DIRECTIONS, Array, Canvas, Part, Polar

Table = NDArray[np.float64]

# Half width, half depth and middle of the cage's outer surface by height, in mm. Heights are those
# of a standard patient: 0 at the bifurcation of the trachea, the lungs from -150 to 105.
_HEIGHTS = (-150.0, -100.0, -50.0, 0.0, 40.0, 70.0, 95.0, 115.0)
_WIDTH = (121.0, 126.0, 125.0, 119.0, 105.0, 88.0, 70.0, 56.0)
_DEPTH = (97.0, 98.0, 96.0, 90.0, 78.0, 65.0, 54.0, 47.0)
_MIDDLE = (0.0, 0.0, 0.0, 2.0, 7.0, 14.0, 20.0, 24.0)

_FROM_BACK = np.abs(DIRECTIONS)
_FROM_FRONT = math.pi - _FROM_BACK
SKIN, FAT, MUSCLE = 20.0, -102.0, 52.0


def _bump(angle: Table, middle: float, width: float) -> Table:
    return np.exp(-(((angle - middle) / width) ** 2))


def _step(value: float, low: float, high: float) -> float:
    t = min(max((value - low) / (high - low), 0.0), 1.0)
    return t * t * (3 - 2 * t)


@dataclass(frozen=True)
class Wall:
    """Proportions of a chest wall, in mm where nothing else is said."""

    exponent: float
    skewness: float
    fat: float
    back_fat: float
    muscle: float
    breast: float
    breast_height: float
    gland: float
    texture: float

    @classmethod
    def random(cls, rng: np.random.Generator) -> Wall:
        """Draw the proportions of one patient."""
        has_breasts = rng.random() < 0.5
        return cls(
            exponent=rng.uniform(2.1, 2.5),
            skewness=rng.normal(0, 0.012),
            fat=6 + 22 * rng.beta(1.6, 2.4),
            back_fat=rng.uniform(0.5, 1.0),
            muscle=rng.uniform(0.6, 1.1),
            breast=rng.uniform(12, 42) if has_breasts else rng.uniform(0, 5),
            breast_height=rng.uniform(-45, -15),
            gland=rng.uniform(0, 0.8) if has_breasts else 0.0,
            texture=rng.uniform(0.5, 1.2),
        )

    @staticmethod
    def middle(z: float) -> float:
        """Return x of the cage's middle at a height."""
        return float(np.interp(z, _HEIGHTS, _MIDDLE))

    @staticmethod
    def middles(z: Table) -> Table:
        """Return x of the cage's middle at several heights."""
        return np.interp(z, _HEIGHTS, _MIDDLE)

    @staticmethod
    def back(z: float) -> float:
        """Return x of the cage's back at a height."""
        return Wall.middle(z) + float(np.interp(z, _HEIGHTS, _DEPTH))

    def cage(self, z: float | Table, angle: Table) -> Table:
        """Return the radius of the cage's outer surface in some directions; arrays broadcast."""
        depth, width = np.interp(z, _HEIGHTS, _DEPTH), np.interp(z, _HEIGHTS, _WIDTH)
        from_back = np.abs(angle)
        power = self.exponent
        sides = np.abs(np.cos(angle) / depth) ** power + np.abs(np.sin(angle) / width) ** power
        shape = 1 - 0.10 * _bump(from_back, 0, 0.32) - 0.05 * _bump(from_back, math.pi, 0.4)
        return sides ** (-1 / power) * shape * (1 + self.skewness * np.sin(angle))

    def outlines(self, z: float) -> dict[str, Table]:
        """Return the radii of all surfaces over `DIRECTIONS`, from the lungs outwards."""
        cage = self.cage(z, DIRECTIONS)
        shoulder = float(np.interp(z, (0, 40, 70, 95, 115), (0, 13, 34, 54, 66)))
        blade = _step(z, -45, 30)
        muscle = 5 + (5 + 17 * blade) * _bump(_FROM_BACK, 0.95, 0.45)
        muscle += (4 + 3 * blade) * _bump(_FROM_BACK, 1.6, 0.4)
        muscle += 10 * _step(z, -40, 20) * _bump(_FROM_FRONT, 0.75, 0.4)
        muscle = muscle * self.muscle + shoulder * _bump(_FROM_BACK, 1.5, 0.5)
        # Beside the spine, where they are thick in everybody.
        muscle += 26 * np.exp(-((_FROM_BACK / 0.42) ** 4)) - 5 * _bump(_FROM_BACK, 0, 0.07)
        muscle -= (4 * self.muscle) * _bump(_FROM_FRONT, 0, 0.25)
        fat = self.fat * (1 - (1 - self.back_fat) * _bump(_FROM_BACK, 0, 0.9))
        fat = fat * (1 - 0.35 * _bump(_FROM_FRONT, 0, 0.3)) * (1 + 0.2 * _step(-z, 60, 130))
        around = math.exp(-(((z - self.breast_height) / 42) ** 2))
        fat = fat + self.breast * around * np.exp(-(((_FROM_FRONT - 0.62) / 0.42) ** 4))
        outer = gaussian_filter1d(cage + np.maximum(muscle, 2), 4, mode="wrap")
        body = gaussian_filter1d(outer + fat + 2, 7, mode="wrap")
        muscle = np.minimum(outer, body - 4)
        return {"pleura": cage - 10, "cage": cage, "muscle": muscle, "body": body}

    def body(self, z: float) -> NDArray[np.float64]:
        """Return the skin's outline at a height, (x, y) over `DIRECTIONS`, shape (n, 2)."""
        radius = self.outlines(z)["body"]
        x = self.middle(z) + radius * np.cos(DIRECTIONS)
        return np.stack((x, radius * np.sin(DIRECTIONS)), axis=1)

    def draw(
        self, canvas: Canvas, part: Part, polar: Polar, outlines: dict[str, Table], streaks: Array
    ) -> None:
        """Paint the body from the skin to the inside of the cage, which is filled with fat.

        `part` holds the whole body; `polar` is about the middle of the cage, `streaks` a texture.
        """
        z = canvas.z
        distance = polar.outside(outlines["body"])
        canvas.paint(part, distance, SKIN)
        canvas.paint(part, distance + np.float32(1.8), FAT + 6 * streaks)
        self._draw_glands(canvas, streaks, part, outlines)
        distance = polar.outside(outlines["muscle"])
        # Fat between the fibres, more of it in some patients.
        fatty = np.clip(streaks - np.float32(1.9 - 0.7 * self.texture), 0, 1)
        canvas.paint(part, distance, MUSCLE + 5 * streaks - 110 * fatty)
        cage, thickness = outlines["cage"], outlines["muscle"] - outlines["cage"]
        # Planes of fat between the layers of muscle, where these are thick enough.
        for height, width in ((0.12, 0.8), (0.62, 0.7)):
            half = np.where(thickness > 9, width * np.clip((thickness - 9) / 6, 0, 1), -3)
            sheet = np.abs(polar.radius - polar.at(cage + height * thickness)) - polar.at(half)
            canvas.paint(part, sheet, FAT + 40)
        if z > 15:
            size = _step(z, 15, 60)
            for side in (-1, 1):
                angle = side * 1.72
                radius = np.interp(angle, DIRECTIONS, cage + 0.55 * thickness)
                spot = self.middle(z) + radius * math.cos(angle), radius * math.sin(angle)
                canvas.paint_ellipse(spot, (20 * size, 11 * size), FAT, -side * 0.35)
                for step in (-7, 5):
                    node = spot[0] + step, spot[1] - 0.2 * side * step
                    canvas.paint_ellipse(node, (2.4, 2.4), 45)
        canvas.paint(part, polar.outside(cage), 35 + 12 * streaks)
        canvas.paint(part, polar.outside(cage - 8.5), FAT + 12)

    def _draw_glands(
        self, canvas: Canvas, streaks: Array, part: Part, outlines: dict[str, Table]
    ) -> None:
        around = math.exp(-(((canvas.z - self.breast_height) / 36) ** 2))
        size = self.breast * around * self.gland
        if size < 4:
            return
        for side in (-1, 1):
            angle = side * (math.pi - 0.62)
            radius = np.interp(angle, DIRECTIONS, outlines["body"]) - 5 - 0.75 * size
            centre = self.middle(canvas.z) + radius * math.cos(angle), radius * math.sin(angle)
            distance = canvas.ellipse(part, centre, (0.7 * size, 1.1 * size), side * 0.3)
            dense = canvas.coverage(distance + 0.25 * size * streaks)
            canvas.blend(part, dense, 25.0)

    def draw_table(self, canvas: Canvas, low: float, high: float) -> None:
        """Paint a shell of carbon fibre filled with foam that carries the back from low to high."""
        part = slice(0, canvas.shape[0]), slice(0, canvas.shape[1])
        back = max(float(self.body(z)[:, 0].max()) for z in np.linspace(low, high, 6))
        radius = 420.0
        dx, dy = canvas.x[part] - np.float32(back + 3 - radius), canvas.y[part]
        outside = np.sqrt(dx * dx + dy * dy) - np.float32(radius)
        plate = np.maximum(np.abs(outside - 9) - 9, np.abs(dy) - 190)
        plate = np.maximum(plate, -dx)
        canvas.paint(part, plate, -250)
        canvas.paint(part, plate + np.float32(1.8), -930)
