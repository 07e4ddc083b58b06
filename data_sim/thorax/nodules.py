"""Lung nodules, whose place and outline are known exactly."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tomolearn._core.checks import check_choice
from tomolearn._core.errors import TomolearnError

KINDS = ("solid", "part-solid", "ground-glass")


@dataclass(frozen=True)
class Nodule:
    """One nodule: an ellipsoid with an irregular outline.

    In the plane of the centre, with both axes divided by their semi-axes, the outline has the
    radius ``1 + sum_k a_k cos(k phi + p_k)``, k = 2, 3, ...; other planes' shape is smaller.

    Parameters
    ----------
    centre : (float, float, float)
        x (to the back), y (to the patient's left) and z (to the head) in mm, x and y from the
        isocentre.
    semi_axes, angle : (float, float, float), float
        In mm, the third one along z; by how many radians the first is turned from x towards y.
    kind : {"solid", "part-solid", "ground-glass"}
        What it looks like.
    hu, core : float
        Hounsfield units of the nodule, or of its outer part and inner half if it is part-solid.
    irregularity : tuple of (float, float)
        Amplitude a_k and phase p_k for k = 2, 3, ...

    Raises
    ------
    ValueError
        If a semi-axis is not positive, the kind is unknown or the amplitudes add up to 0.5 or
        more.
    """

    centre: tuple[float, float, float]
    semi_axes: tuple[float, float, float]
    angle: float
    kind: str
    hu: float
    core: float
    irregularity: tuple[tuple[float, float], ...] = ()

    def __post_init__(self) -> None:
        if min(self.semi_axes) <= 0:
            raise TomolearnError(f"semi_axes: expected positive lengths, got {self.semi_axes}")
        check_choice("kind", self.kind, KINDS)
        if sum(abs(a) for a, _ in self.irregularity) >= 0.5:
            raise TomolearnError(
                "irregularity: expected amplitudes that add up to less than 0.5, "
                f"got {self.irregularity}"
            )

    @classmethod
    def random(cls, rng: np.random.Generator, centre: NDArray[np.float64]) -> Nodule:
        """Draw a nodule of 3 to 30 mm in diameter at a place."""
        diameter = min(3.0 + rng.exponential(6.0), 28.0)
        axes = diameter / 2 * rng.uniform(0.82, 1.07, 3)
        kind = str(rng.choice(KINDS, p=(0.7, 0.15, 0.15)))
        order = np.arange(2, 7)
        amplitude = rng.uniform(0, 0.16, order.size) / order
        phases = rng.uniform(0, 2 * math.pi, order.size)
        return cls(
            centre=(float(centre[0]), float(centre[1]), float(centre[2])),
            semi_axes=(float(axes[0]), float(axes[1]), float(axes[2])),
            angle=float(rng.uniform(0, math.pi)),
            kind=kind,
            hu=float(rng.uniform(-20, 90) if kind == "solid" else rng.uniform(-620, -380)),
            core=float(rng.uniform(-30, 70)),
            irregularity=tuple(zip(amplitude.tolist(), phases.tolist(), strict=True)),
        )

    @property
    def diameter(self) -> float:
        """Largest diameter of the ellipsoid in the plane of the centre, in mm."""
        return 2 * max(self.semi_axes[:2])

    def scale(self, z: float) -> float:
        """Return the size of the section at a height relative to that through the centre."""
        return math.sqrt(max(1 - ((z - self.centre[2]) / self.semi_axes[2]) ** 2, 0.0))

    def distance(
        self, x: NDArray[np.float64], y: NDArray[np.float64], z: float
    ) -> NDArray[np.float64]:
        """Return approximate distances in mm of points to the outline at a height.

        Negative inside; positive everywhere if the plane does not meet the nodule.
        """
        cos, sin = math.cos(self.angle), math.sin(self.angle)
        dx, dy = x - self.centre[0], y - self.centre[1]
        a, b, _ = self.semi_axes
        u, v = (dx * cos + dy * sin) / a, (dy * cos - dx * sin) / b
        radius = np.hypot(u, v)
        outline = self.scale(z) * self._radius(np.arctan2(v, u))
        # Length of the gradient of the radius, as for an ellipse.
        gradient = np.hypot(u / a, v / b) / np.maximum(radius, 1e-9)
        return (radius - outline) / np.maximum(gradient, 1e-9)

    def _radius(self, phi: NDArray) -> NDArray:
        radius = np.ones_like(phi)
        for k, (amplitude, phase) in enumerate(self.irregularity, start=2):
            radius = radius + amplitude * np.cos(k * phi + phase)
        return radius
