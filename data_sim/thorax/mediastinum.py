"""What lies between the lungs: heart, great vessels, windpipe, gullet; and the abdomen's domes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from data_sim.thorax.canvas import Array, Canvas, Part, smooth_minimum
from data_sim.thorax.skeleton import Skeleton
from data_sim.thorax.wall import Wall

Nodes = tuple[tuple[float, float, float, float], ...]

# Tubes: nodes (x, y, z, radius) in mm. x grows to the back, y to the patient's left.
_ARTERIES: dict[str, Nodes] = {
    "aorta": (
        (-26, -4, -40, 15),
        (-30, -15, -8, 16),
        (-25, -13, 18, 15),
        (-9, 0, 31, 14),
        (10, 15, 30, 13),
        (27, 23, 14, 12.5),
        (33, 24, -20, 12),
        (35, 21, -75, 11.5),
        (37, 10, -150, 11),
    ),
    "brachiocephalic": ((-12, -3, 32, 6.5), (-10, -14, 62, 6.5), (-4, -30, 85, 5), (8, -60, 98, 4)),
    "carotid right": ((-6, -24, 82, 4), (-2, -24, 120, 3.5)),
    "carotid left": ((-4, 7, 34, 4.5), (-3, 16, 70, 4), (-2, 23, 120, 3.5)),
    "subclavian left": ((8, 14, 34, 5), (8, 27, 72, 5), (10, 60, 98, 4)),
}
_LUNG_ARTERIES: dict[str, Nodes] = {
    "trunk": ((-36, 12, -30, 13), (-25, 18, -12, 13), (-10, 18, -3, 12)),
    "right": ((-10, 18, -3, 11), (-6, -8, -9, 10), (2, -34, -14, 8), (8, -46, -24, 6)),
    "left": ((-10, 18, -3, 11), (6, 33, 1, 10), (14, 42, -12, 8), (18, 46, -26, 6)),
}
_VEINS: dict[str, Nodes] = {
    "superior": ((-18, -28, 46, 8.5), (-15, -30, 5, 9), (-16, -28, -38, 9.5)),
    "left": ((-30, 46, 74, 6), (-34, 22, 58, 6), (-31, 0, 51, 6), (-19, -26, 45, 6)),
    "right": ((-18, -28, 46, 7), (-24, -38, 72, 6), (-12, -70, 92, 5.5)),
    "inferior": ((-6, -26, -72, 11), (2, -30, -150, 11)),
}
_AIRWAYS: dict[str, Nodes] = {
    "trachea": ((6, 0, 120, 8), (13, 0, 60, 8.5), (19, -2, 14, 8.5)),
    "right": ((19, -3, 13, 6.5), (22, -22, -3, 5.5), (22, -38, -16, 4.8)),
    "left": ((19, 1, 13, 6), (22, 20, 0, 5), (21, 40, -16, 4.5)),
}
_GULLET: Nodes = ((24, 3, 120, 5.5), (30, 5, 40, 5.5), (28, 6, -60, 6), (20, 14, -125, 7))
_HEART = (-22.0, 17.0, -64.0)
_HEART_AXIS = 2.22  # from x towards y: to the front and to the left


@dataclass(frozen=True)
class Mediastinum:
    """Sizes and densities of one patient's heart, vessels, airways and of the diaphragm."""

    heart: float
    heart_angle: float
    vessels: float
    airways: float
    fat: float
    shift: float
    blood: float
    myocardium: float
    aorta: float
    right_heart: float
    veins: float
    domes: tuple[float, float]
    liver: float
    stomach: float
    stomach_air: float
    calcified: float

    @classmethod
    def random(cls, rng: np.random.Generator) -> Mediastinum:
        """Draw these of one patient; half of the patients have contrast agent in their blood."""
        blood = rng.uniform(35, 48)
        aorta = rng.uniform(150, 330) if rng.random() < 0.5 else blood
        enhanced = aorta > 100
        dome = rng.uniform(-92, -74)
        return cls(
            heart=rng.uniform(0.86, 1.12),
            heart_angle=_HEART_AXIS + rng.normal(0, 0.12),
            vessels=rng.uniform(0.88, 1.15),
            airways=rng.uniform(0.85, 1.12),
            fat=rng.uniform(1.5, 5.0),
            shift=rng.normal(0, 2.5),
            blood=blood,
            myocardium=rng.uniform(80, 110) if enhanced else blood + 8,
            aorta=aorta,
            right_heart=aorta * rng.uniform(0.6, 1.2) if enhanced else blood,
            veins=rng.uniform(120, 350) if enhanced else blood,
            domes=(dome, dome - rng.uniform(5, 20)),
            liver=rng.uniform(95, 120) if enhanced else rng.uniform(45, 65),
            stomach=rng.uniform(10, 60),
            stomach_air=rng.uniform(0, 1),
            calcified=rng.uniform(0.3, 1.0) if rng.random() < 0.3 else 0.0,
        )

    def heart_ellipse(self, z: float | NDArray) -> tuple[NDArray, NDArray, NDArray]:
        """Return x, y and relative size of the heart's section at heights; size 0: none."""
        below = np.asarray(z) - _HEART[2]
        size = self.heart * np.sqrt(np.maximum(1 - (below / (47 * self.heart)) ** 2, 0))
        return _HEART[0] + 0.05 * below, _HEART[1] + self.shift - 0.18 * below, size

    def in_lungs(self, points: NDArray, skeleton: Skeleton, margin: float) -> NDArray[np.bool_]:
        """Return which points (n, 3) are at least `margin` mm away from heart, spine and domes."""
        x, y, z = points.T
        cx, cy, size = self.heart_ellipse(z)
        cos, sin = math.cos(self.heart_angle), math.sin(self.heart_angle)
        along, across = (x - cx) * cos + (y - cy) * sin, (y - cy) * cos - (x - cx) * sin
        away = self.fat + margin
        free = (along / (52 * size + away)) ** 2 + (across / (40 * size + away)) ** 2 > 1
        front = np.interp(z, _SLAB_HEIGHTS, _SLAB_FRONT)
        middle = np.interp(z, _SLAB_HEIGHTS, _SLAB_MIDDLE)
        free &= np.abs(y - self.shift) > np.where(x < -45, front, middle) + away
        spine = np.interp(z, _SLAB_HEIGHTS, [skeleton.vertebra_centre(v)[0] for v in _SLAB_HEIGHTS])
        free &= np.hypot(x - spine - 8, y) > 26 + margin
        for side, top in zip((-1, 1), self.domes, strict=True):
            centre, semi_axes = _DOME[side]
            depth = np.maximum(top - z, 0) / _DOME_DEPTH
            in_dome = ((x - centre[0]) / (semi_axes[0] + margin)) ** 2
            in_dome = in_dome + ((y - centre[1]) / (semi_axes[1] + margin)) ** 2 < depth
            free &= ~in_dome
            free &= ~(
                (z < top + margin) & (z > top) & (np.hypot(x - centre[0], y - centre[1]) < 30)
            )
        return free

    def outline(self, canvas: Canvas, part: Part, skeleton: Skeleton) -> Array:
        """Return distances to the outline of all of it: what the lungs leave free."""
        z = canvas.z
        front = float(np.interp(z, _SLAB_HEIGHTS, _SLAB_FRONT)) + self.fat
        middle = float(np.interp(z, _SLAB_HEIGHTS, _SLAB_MIDDLE)) + self.fat
        x = Wall.middle(z)
        found = canvas.ellipse(part, (x - 62, self.shift), (48, front))
        parts = [canvas.ellipse(part, (x + 2, self.shift), (48, middle))]
        spine = skeleton.vertebra_centre(z)
        size = skeleton.vertebra
        parts.append(canvas.ellipse(part, (spine[0] + 14, spine[1]), (32 * size, 21 * size)))
        cx, cy, heart = self.heart_ellipse(z)
        if heart > 0.15:
            axes = np.array([52.0, 40.0]) * heart + self.fat
            parts.append(canvas.ellipse(part, (cx, cy), axes, self.heart_angle))
        for other in parts:
            found = smooth_minimum(found, other, _ROUNDING)
        # The tubes lie in the middle; nothing changes where they are far away.
        near = canvas.window(x - 6, 0.0, 95.0)
        if near is None:
            return found
        rows, columns = (
            slice(max(a.start, b.start), min(a.stop, b.stop))
            for a, b in zip(near, part, strict=True)
        )
        near, (top, left) = (rows, columns), (part[0].start, part[1].start)
        inner = found[
            rows.start - top : rows.stop - top, columns.start - left : columns.stop - left
        ]
        tubes = [(nodes, 0.4) for nodes in _LUNG_ARTERIES.values()]
        for nodes in (*_ARTERIES.values(), *_VEINS.values(), *_AIRWAYS.values(), _GULLET):
            tubes.append((nodes, 0.7))
        for nodes, share in tubes:
            for start, stop, radii in self._crossing(nodes, z, self.vessels, 6):
                bar = canvas.bar(near, start, stop, radii) - np.float32(share * self.fat)
                inner[...] = smooth_minimum(inner, bar, _ROUNDING)
        return found

    def domes_outline(self, canvas: Canvas, part: Part) -> Array | None:
        """Return distances to the domes of the diaphragm, or None above them."""
        found = None
        for side, top in zip((-1, 1), self.domes, strict=True):
            if canvas.z < top:
                centre, semi_axes = _DOME[side]
                size = math.sqrt((top - canvas.z) / _DOME_DEPTH)
                dome = canvas.ellipse(part, centre, np.array(semi_axes) * size)
                found = dome if found is None else np.minimum(found, dome)
        return found

    def draw_abdomen(self, canvas: Canvas, texture: Array, part: Part, inside: Array) -> None:
        """Paint liver, spleen and stomach below the domes, as far as the cage reaches."""
        for side, top in zip((-1, 1), self.domes, strict=True):
            if canvas.z >= top:
                continue
            centre, semi_axes = _DOME[side]
            size = math.sqrt((top - canvas.z) / _DOME_DEPTH)
            axes = np.array(semi_axes) * size - 2
            if axes.min() <= 0:
                continue
            dome = np.maximum(canvas.ellipse(part, centre, axes), inside)
            if side < 0:
                canvas.paint(part, dome, self.liver + 4 * texture)
                continue
            canvas.paint(part, dome, -90.0)
            spleen = (centre[0] + 0.55 * axes[0], centre[1] + 0.35 * axes[1])
            area = canvas.ellipse(part, spleen, (0.42 * axes[0], 0.5 * axes[1]), 0.5)
            canvas.paint(part, np.maximum(area, dome + 1), self.liver + 4 * texture)
            stomach = (centre[0] - 0.25 * axes[0], centre[1] + 0.02 * axes[1])
            area = canvas.ellipse(part, stomach, (0.6 * axes[0], 0.72 * axes[1]), -0.3)
            area = np.maximum(area, dome + 1)
            canvas.paint(part, area, 45)
            canvas.paint(part, area + np.float32(3.5), self.stomach)
            # Air gathers in front, above a level.
            level = stomach[0] - 0.6 * axes[0] * (1 - 1.2 * self.stomach_air)
            air = np.maximum(area + np.float32(3.5), canvas.x[part] - np.float32(level))
            canvas.paint(part, air, -960)

    def draw(self, canvas: Canvas) -> None:
        """Paint heart, vessels and airways."""
        self._draw_heart(canvas)
        z, wall = canvas.z, self.blood + 5
        self._tube(canvas, _GULLET, 1.0, 40)
        if math.sin(z * 0.21 + 7 * self.heart) > 0.6:  # some air, here and there
            self._tube(canvas, _GULLET, 0.3, -700)
        for group, blood in (
            (_LUNG_ARTERIES, self.right_heart),
            (_VEINS, self.veins),
            (_ARTERIES, self.aorta),
        ):
            for nodes in group.values():
                self._tube(canvas, nodes, self.vessels, wall)
                self._tube(canvas, nodes, self.vessels * 0.93, blood)
        self._calcify(canvas)
        for nodes in _AIRWAYS.values():
            self._tube(canvas, nodes, self.airways * 1.17, 30)
        for nodes in _AIRWAYS.values():
            self._tube(canvas, nodes, self.airways, -985)

    def _draw_heart(self, canvas: Canvas) -> None:
        x, y, size = (float(v) for v in self.heart_ellipse(canvas.z))
        if size < 0.15:
            return
        part = canvas.window(x, y, 56 * size)
        if part is None:
            return
        angle = self.heart_angle
        cos, sin = math.cos(angle), math.sin(angle)
        outer = canvas.ellipse(part, (x, y), (52 * size, 40 * size), angle)
        canvas.paint(part, outer, 20)
        canvas.paint(part, outer + np.float32(1.5), -75)
        canvas.paint(part, outer + np.float32(2.5 + 0.6 * self.fat), self.myocardium)
        upper = canvas.z - _HEART[2] > 0
        # Offsets along and across the axis, semi-axes, direction: in parts of the heart's size.
        chambers = (
            ((17, 10), (25, 15), 0.05, self.aorta),
            ((6, -17), (27, 13), -0.15, self.right_heart),
            ((-30, -16), (15, 18), 0.2, self.right_heart),
            ((-27, 14), (15, 21), 0.1, self.aorta if upper else self.right_heart),
        )
        for (along, across), axes, turn, blood in chambers:
            centre = (
                x + size * (along * cos - across * sin),
                y + size * (along * sin + across * cos),
            )
            chamber = canvas.ellipse(part, centre, np.array(axes) * size, angle + turn)
            chamber = np.maximum(chamber, outer + np.float32(5))
            canvas.paint(part, chamber, blood)
        groove = (x + size * (-8 * cos + 36 * sin), y + size * (-8 * sin - 36 * cos))
        canvas.paint_ellipse(groove, (7 * size, 3.5 * size), -85, angle)
        canvas.paint_ellipse(groove, (2.0, 2.0), self.aorta)

    def _calcify(self, canvas: Canvas) -> None:
        if not self.calcified:
            return
        for start, stop, radii in self._crossing(_ARTERIES["aorta"], canvas.z, self.vessels, 0):
            p, q = np.array(start), np.array(stop)
            t = min(max((canvas.z - p[2]) / ((q - p)[2] or 1e-9), 0.0), 1.0)
            phase = 0.35 * canvas.z + 9 * self.calcified
            if math.sin(phase) > 0.2:
                spot = (p + t * (q - p))[:2]
                spot = spot + 0.94 * radii[0] * np.array([math.cos(phase), math.sin(phase)])
                axes = (1.3, 3.5 * self.calcified)
                canvas.paint_ellipse(spot, axes, 650, phase)

    def _tube(self, canvas: Canvas, nodes: Nodes, scale: float, hu: float) -> None:
        crossing = self._crossing(nodes, canvas.z, scale, canvas.pixel)
        if not crossing:
            return
        ends = np.array([end[:2] for start, stop, _ in crossing for end in (start, stop)])
        x, y = (ends.max(axis=0) + ends.min(axis=0)) / 2
        reach = np.hypot(*(ends.max(axis=0) - (x, y))) + max(max(radii) for *_, radii in crossing)
        part = canvas.window(x, y, reach)
        if part is not None:
            bars = [canvas.bar(part, *piece) for piece in crossing]
            canvas.paint(part, np.minimum.reduce(bars), hu)

    def _crossing(
        self, nodes: Nodes, z: float, scale: float, margin: float
    ) -> list[tuple[tuple[float, ...], tuple[float, ...], tuple[float, float]]]:
        """Return the pieces of a tube that come near a height, as ends and radii."""
        found = []
        for (*start, first), (*stop, last) in pairwise(nodes):
            reach = max(first, last) * scale + margin
            if min(start[2], stop[2]) - reach < z < max(start[2], stop[2]) + reach:
                start[1] += self.shift
                stop[1] += self.shift
                found.append((tuple(start), tuple(stop), (first * scale, last * scale)))
        return found


# Half of the distance between the lungs, in front and in the middle, by height.
_SLAB_HEIGHTS = (-150.0, -110.0, -60.0, -20.0, 20.0, 45.0, 70.0, 95.0, 115.0)
_SLAB_FRONT = (40.0, 34.0, 13.0, 4.5, 5.0, 13.0, 24.0, 30.0, 34.0)
_SLAB_MIDDLE = (26.0, 25.0, 24.0, 22.0, 21.0, 20.0, 20.0, 22.0, 26.0)
# Middle and semi-axes of the right and left dome of the diaphragm, `_DOME_DEPTH` below its top.
_DOME = {-1: ((-4.0, -56.0), (66.0, 54.0)), 1: ((-6.0, 60.0), (60.0, 48.0))}
_DOME_DEPTH = 48.0
_ROUNDING = 9.0  # of the corners between neighbours, in mm
