"""Bones of the chest: spine, ribs and cartilage, breastbone, collar bones, shoulder blades."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from data_sim.thorax.canvas import DIRECTIONS, Canvas, Part, Polar
from data_sim.thorax.wall import Wall

_N_RIBS = 12
_CARTILAGE = 2.42  # direction from the back at which ribs turn into cartilage


@dataclass(frozen=True)
class Skeleton:
    """Sizes in mm and densities in HU of a patient's bones."""

    rib_phase: float
    rib_distance: float
    rib_drop: float
    rib_half_height: float
    rib_half_width: float
    left_lower: float
    cortex: float
    marrow: float
    cancellous: float
    cartilage: float
    vertebra: float
    blade_tip: float

    @classmethod
    def random(cls, rng: np.random.Generator) -> Skeleton:
        """Draw the bones of one patient."""
        marrow = rng.uniform(90, 230)
        return cls(
            rib_phase=rng.uniform(100, 125),
            rib_distance=rng.uniform(21, 25),
            rib_drop=rng.uniform(125, 160),
            rib_half_height=rng.uniform(5.0, 6.3),
            rib_half_width=rng.uniform(3.2, 4.3),
            left_lower=rng.normal(0, 2.5),
            cortex=rng.uniform(550, 1050),
            marrow=marrow,
            cancellous=marrow * rng.uniform(0.9, 1.2),
            cartilage=rng.uniform(80, 150),
            vertebra=rng.uniform(0.92, 1.1),
            blade_tip=rng.uniform(-45, -20),
        )

    def vertebra_centre(self, z: float) -> tuple[float, float]:
        """Return (x, y) of the middle of the vertebral body at a height."""
        return Wall.back(z) - 30, 0.0

    def _level(self, z: float) -> tuple[float, int]:
        """Return where in a vertebra a height lies, from -0.5 to 0.5, and in which."""
        place = (self.rib_phase - z) / self.rib_distance
        number = math.floor(place + 0.5)
        return place - number, number

    def draw_wall(self, canvas: Canvas, part: Part, polar: Polar, cage: NDArray) -> None:
        """Paint ribs, cartilage and shoulder blades."""
        half, is_cartilage = self._rib_profile(canvas.z, cage)
        offset = np.abs(polar.radius - polar.at(cage - 5))
        soft = offset - polar.at(np.where(is_cartilage, half, np.minimum(half, -2)))
        canvas.paint(part, soft, self.cartilage)
        hard = offset - polar.at(np.where(is_cartilage, np.minimum(half, -2), half))
        canvas.paint(part, hard, self.cortex)
        canvas.paint(part, hard + np.float32(1.3), self.marrow)
        self._draw_blades(canvas, part, polar, cage)

    def _rib_profile(self, z: float, cage: NDArray) -> tuple[NDArray, NDArray]:
        """Return half the thickness of bone in each direction, negative between the ribs."""
        angle = np.abs(DIRECTIONS)
        drop = self.rib_drop * (angle / math.pi) ** 1.15
        front = np.clip((angle - _CARTILAGE) / (math.pi - _CARTILAGE), 0, 1)
        drop = drop - 0.55 * self.rib_drop * front**1.3
        drop += np.where(DIRECTIONS > 0, self.left_lower, 0.0)
        place = (self.rib_phase - drop - z) / self.rib_distance
        number = np.rint(place)
        arc = np.maximum(np.abs(np.gradient(drop, DIRECTIONS)) / cage, 0.25)
        # Across the rib, not along the patient.
        away = np.abs(place - number) * self.rib_distance / np.hypot(1, arc)
        inside = 1 - (away / self.rib_half_height) ** 2
        gap = -(away - self.rib_half_height) / arc
        half = np.where(inside > 0, self.rib_half_width * np.sqrt(np.maximum(inside, 0)), gap)
        exists = (number >= 0) & (number < _N_RIBS) & (angle > 0.33)
        exists &= (angle < _CARTILAGE) | ((number < 10) & (angle < 2.95))
        half = np.where(exists, half, -6.0)
        return half, angle > _CARTILAGE

    def _draw_blades(self, canvas: Canvas, part: Part, polar: Polar, cage: NDArray) -> None:
        z = canvas.z
        size = (z - self.blade_tip) / (85 - self.blade_tip)
        if size <= 0:
            return
        size = min(size, 1.0)
        low, high = 0.86 - 0.32 * size, 0.98 + 0.55 * size
        angle = np.abs(DIRECTIONS)
        place = (angle - low) / (high - low)
        # A thin plate with a thick lateral border.
        half = 1.3 + 3.2 * size * np.clip((place - 0.72) / 0.2, 0, 1)
        ends = np.minimum(angle - low, high - angle) * cage
        half = np.where(ends > 0, np.minimum(half, ends + 0.2), np.maximum(ends, -20.0))
        blade = np.abs(polar.radius - polar.at(cage + 12 + 6 * size)) - polar.at(half)
        canvas.paint(part, blade, self.cortex * 0.8)
        canvas.paint(part, blade + np.float32(1.4), self.marrow)
        if z > 25:
            # The spine of the shoulder blade grows backwards and outwards.
            for side in (-1, 1):
                radius = float(np.interp(side * 1.0, DIRECTIONS, cage))
                start = self._point(z, radius + 12 + 6 * size, side * (low + 0.35))
                stop = self._point(z, radius + 26 + 14 * size, side * (low + 0.52))
                window = canvas.window(*start, 40)
                if window is not None:
                    spine = canvas.bar(window, start, stop, (1.6, 3.2))
                    canvas.paint(window, spine, self.cortex * 0.8)
                    canvas.paint(window, spine + np.float32(1.5), self.marrow)

    @staticmethod
    def _point(z: float, radius: float, angle: float) -> tuple[float, float]:
        return Wall.middle(z) + radius * math.cos(angle), radius * math.sin(angle)

    def draw_spine(self, canvas: Canvas, skin: float) -> None:
        """Paint the vertebra at this height, its processes and the canal, in front of the skin."""
        x, y = self.vertebra_centre(canvas.z)
        part = canvas.window(x + 15, y, 65)
        if part is None:
            return
        level, _ = self._level(canvas.z)
        size = self.vertebra * (1 - 0.0012 * (canvas.z + 20))
        waist = 1 - 0.08 * math.cos(2 * math.pi * level)
        arch = self.cortex * 0.75
        canal = canvas.ellipse(part, (x + 23 * size, y), (8.5 * size, 9.5 * size))
        bone = np.abs(canal - 2.5 * size) - np.float32(2.7 * size * (1.15 - abs(level)))
        for side in (-1, 1):
            root = x + 24 * size, y + side * 10 * size
            tip = x + 36 * size, y + side * (34 - 50 * abs(level - 0.05)) * size
            if abs(level) < 0.38:
                bone = np.minimum(bone, canvas.bar(part, root, tip, (4.2 * size, 3.0 * size)))
        tip = min(x + (50 - 18 * abs(level)) * size, skin - 8), y
        bone = np.minimum(bone, canvas.bar(part, (x + 32 * size, y), tip, (3.4 * size, 2.0 * size)))
        canvas.paint(part, bone, arch)
        canvas.paint(part, bone + np.float32(1.6), self.cancellous)
        body = canvas.ellipse(part, (x, y), (14 * size * waist, 17 * size * waist))
        disc = 0.5 - abs(level)
        if disc < 0.1:
            canvas.paint(part, body, 85)
        else:
            # End plates are dense all over, the rest in its shell only.
            plate = max(0.0, 1 - (disc - 0.1) / 0.07)
            canvas.paint(part, body, self.cortex * 0.75)
            canvas.paint(part, body + np.float32(1.5), self.cancellous + plate * 0.2 * self.cortex)
        canvas.paint(part, canal, 30)
        canvas.paint(part, canal + np.float32(3.2 * size), 42)

    def draw_front(self, canvas: Canvas, cage: NDArray) -> None:
        """Paint breastbone and collar bones."""
        z = canvas.z
        x = Wall.middle(z) - float(cage[0]) + 4
        if -75 < z < 72:
            width = float(np.interp(z, (-75, -60, 20, 38, 60, 72), (5, 15, 13, 24, 29, 20)))
            part = canvas.window(x, 0, width)
            if part is not None:
                bone = canvas.ellipse(part, (x, 0), (5.5, width))
                canvas.paint(part, bone, self.cortex * 0.7)
                canvas.paint(part, bone + np.float32(1.3), self.marrow * 0.8)
        for side in (-1, 1):
            nodes = ((-42.0, 20 * side, 66.0), (-38.0, 52 * side, 80.0), (-8.0, 98 * side, 98.0))
            for start, stop in pairwise(nodes):
                part = canvas.window((start[0] + stop[0]) / 2, (start[1] + stop[1]) / 2, 48)
                if part is not None and start[2] - 9 < z < stop[2] + 9:
                    bone = canvas.bar(part, start, stop, (7.0, 6.0))
                    canvas.paint(part, bone, self.cortex)
                    canvas.paint(part, bone + np.float32(1.8), self.marrow)
