"""CT scanners of several makers, and the protocols that patients are scanned with."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

LOWEST, HIGHEST = -1024, 3071
"""Hounsfield units that a scanner's twelve bits span; others are clipped."""


class Kernel(NamedTuple):
    """Reconstruction kernel, under its maker's name."""

    name: str
    noise: float  # standard deviation in the middle of the field, in HU
    cutoff: float  # spatial frequency in cycles per pixel at which the noise fades


@dataclass(frozen=True)
class Scanner:
    """CT scanner: what all its images have in common."""

    manufacturer: str
    model: str
    kernels: tuple[Kernel, ...]
    steps: tuple[tuple[float, float], ...]  # thickness and distance of slices in mm, to choose from
    signed: bool = True  # stored values of 16 bits; otherwise unsigned ones of 12
    intercept: int = -1024  # Hounsfield units of a stored 0
    padding: int | None = None  # stored value outside of the scan circle, if there is a circle
    declares_padding: bool = False  # whether the files say so
    # Range of the isocentre's y in patient coordinates, in mm: some makers count from the table's
    # upper position.
    table_drop: tuple[float, float] = (-12.0, 12.0)

    def stored(self, hounsfield: NDArray[np.floating]) -> NDArray[np.integer]:
        """Return Hounsfield units, rounded and clipped, as this scanner stores them."""
        values = np.clip(np.rint(hounsfield), LOWEST, HIGHEST) - self.intercept
        return values.astype(np.int16 if self.signed else np.uint16)


SCANNERS = {
    Scanner(
        "GE MEDICAL SYSTEMS",
        "LightSpeed Plus",
        (Kernel("STANDARD", 14.0, 0.22), Kernel("BONE", 38.0, 0.36)),
        ((2.5, 2.5), (1.25, 1.25)),
        padding=-2000,
        declares_padding=True,
    ): 0.3,
    Scanner(
        "GE MEDICAL SYSTEMS",
        "LightSpeed16",
        (Kernel("STANDARD", 13.0, 0.22), Kernel("LUNG", 34.0, 0.34)),
        ((2.5, 2.0), (1.25, 0.625)),
        padding=-2000,
        declares_padding=True,
    ): 0.2,
    Scanner(
        "SIEMENS",
        "Sensation 16",
        (Kernel("B30f", 12.0, 0.2), Kernel("B45f", 20.0, 0.28), Kernel("B70f", 36.0, 0.38)),
        ((0.75, 0.6), (1.0, 1.0), (2.0, 1.5), (3.0, 3.0)),
        signed=False,
        table_drop=(-180.0, -120.0),
    ): 0.2,
    Scanner(
        "Philips",
        "Brilliance 64",
        (Kernel("B", 13.0, 0.22), Kernel("C", 18.0, 0.27), Kernel("D", 30.0, 0.35)),
        ((0.9, 0.7), (2.0, 1.0), (3.0, 2.0)),
        signed=False,
        table_drop=(-30.0, 30.0),
    ): 0.15,
    Scanner(
        "TOSHIBA",
        "Aquilion",
        (Kernel("FC01", 14.0, 0.22), Kernel("FC51", 34.0, 0.36)),
        ((1.0, 0.8), (2.0, 2.0), (3.0, 3.0)),
        intercept=0,
        padding=-2000,
    ): 0.15,
}
"""Scanners and how often each occurs."""


@dataclass(frozen=True)
class ScanProtocol:
    """How one patient is scanned, on the back."""

    scanner: Scanner
    kernel: Kernel
    kvp: int
    current: int  # in mA
    rotation_time: float  # in seconds
    thickness: float  # of the slices, in mm
    interval: float  # between neighbouring slices, in mm
    position: str  # "HFS" or "FFS": whether head or feet went first
    descending: bool  # whether instance numbers grow from head to feet
    field: float  # of view, in mm
    # Patient coordinates x (to the left), y (to the back), z (to the head) in mm of the anatomy's
    # origin. In the plane that is the isocentre, and the middle of the image.
    origin: tuple[float, float, float]
    table_height: float  # in mm

    @classmethod
    def random(
        cls, rng: np.random.Generator, slices: int, length: float, reach: float
    ) -> ScanProtocol:
        """Draw a protocol, with the same number of draws whatever the arguments are.

        `length` of the chest bounds the slices' distance; the scanned circle has at least the
        radius `reach`; both in mm.
        """
        scanners, shares = list(SCANNERS), list(SCANNERS.values())
        scanner = scanners[int(rng.choice(len(scanners), p=shares))]
        kernel = scanner.kernels[int(rng.integers(len(scanner.kernels)))]
        thickness, interval = scanner.steps[int(rng.integers(len(scanner.steps)))]
        if slices > 1:
            interval = min(interval, math.floor(100 * length / (slices - 1)) / 100)
        # 0.5 to 0.9 mm for 512 pixels, mostly 0.6 to 0.75
        field = float(np.clip(round(rng.normal(350, 35)), 256, 460))
        x, drop, z = rng.uniform(-15, 15), rng.uniform(*scanner.table_drop), rng.uniform(-400, 100)
        # Some makers count z from far below.
        z += 1700 if rng.random() < 0.5 else 0
        return cls(
            scanner=scanner,
            kernel=kernel,
            kvp=int(rng.choice((120, 140), p=(0.8, 0.2))),
            current=int(rng.integers(4, 41)) * 10,
            rotation_time=float(rng.choice((0.5, 0.75, 0.8, 1.0))),
            thickness=thickness,
            interval=interval,
            position="HFS" if rng.random() < 0.6 else "FFS",
            descending=bool(rng.random() < 0.6),
            field=max(field, float(math.ceil(2 * reach))),
            origin=(round(x, 1), round(drop, 1), round(z, 1)),
            table_height=float(np.round(rng.uniform(120, 180), 1)),
        )
