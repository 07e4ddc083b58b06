"""Scanners of several makers, and how they store what they measure."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LOWEST, HIGHEST = -1024, 3071
"""Hounsfield units that a scanner's twelve bits span; others are clipped."""

MAX_SLICES = 300
"""Slices 0.6 mm apart that the shortest of our chests has room for."""


@dataclass(frozen=True)
class Kernel:
    """A reconstruction kernel: its name, and the noise that comes with it.

    Parameters
    ----------
    name : str
        As the maker calls it.
    noise : float
        Standard deviation in the middle of the field, in HU.
    cutoff : float
        Spatial frequency in cycles per pixel at which the noise fades.
    """

    name: str
    noise: float
    cutoff: float


@dataclass(frozen=True)
class Scanner:
    """What the images of one kind of scanner have in common.

    Parameters
    ----------
    manufacturer, model : str
        Names.
    kernels : tuple of Kernel
        To choose from.
    steps : tuple of (float, float)
        Slice thickness and distance between slices in mm, to choose from.
    signed : bool
        Whether stored values are signed.
    bits : int
        Bits stored, of 16.
    intercept : int
        Hounsfield units of a stored 0.
    padding : int or None
        Stored value outside of the scan circle; None where the whole square is reconstructed.
    declares_padding : bool
        Whether the files say so, by Pixel Padding Value.
    table_drop : (float, float)
        Between which the isocentre lies along y in patient coordinates, in mm: some makers count
        from the table's upper position.
    """

    manufacturer: str
    model: str
    kernels: tuple[Kernel, ...]
    steps: tuple[tuple[float, float], ...]
    signed: bool
    bits: int
    intercept: int
    padding: int | None = None
    declares_padding: bool = False
    table_drop: tuple[float, float] = (-12.0, 12.0)

    def stored(self, hounsfield: NDArray[np.floating]) -> NDArray[np.integer]:
        """Return Hounsfield units, rounded and clipped, as this scanner stores them."""
        values = np.clip(np.rint(hounsfield), LOWEST, HIGHEST) - self.intercept
        return values.astype(np.int16 if self.signed else np.uint16)


SCANNERS = (
    Scanner(
        "GE MEDICAL SYSTEMS",
        "LightSpeed Plus",
        (Kernel("STANDARD", 14.0, 0.22), Kernel("BONE", 38.0, 0.36)),
        ((2.5, 2.5), (1.25, 1.25)),
        signed=True,
        bits=16,
        intercept=-1024,
        padding=-2000,
        declares_padding=True,
    ),
    Scanner(
        "GE MEDICAL SYSTEMS",
        "LightSpeed16",
        (Kernel("STANDARD", 13.0, 0.22), Kernel("LUNG", 34.0, 0.34)),
        ((2.5, 2.0), (1.25, 0.625)),
        signed=True,
        bits=16,
        intercept=-1024,
        padding=-2000,
        declares_padding=True,
    ),
    Scanner(
        "SIEMENS",
        "Sensation 16",
        (Kernel("B30f", 12.0, 0.2), Kernel("B45f", 20.0, 0.28), Kernel("B70f", 36.0, 0.38)),
        ((0.75, 0.6), (1.0, 1.0), (2.0, 1.5), (3.0, 3.0)),
        signed=False,
        bits=12,
        intercept=-1024,
        table_drop=(-180.0, -120.0),
    ),
    Scanner(
        "Philips",
        "Brilliance 64",
        (Kernel("B", 13.0, 0.22), Kernel("C", 18.0, 0.27), Kernel("D", 30.0, 0.35)),
        ((0.9, 0.7), (2.0, 1.0), (3.0, 2.0)),
        signed=False,
        bits=12,
        intercept=-1024,
        table_drop=(-30.0, 30.0),
    ),
    Scanner(
        "TOSHIBA",
        "Aquilion",
        (Kernel("FC01", 14.0, 0.22), Kernel("FC51", 34.0, 0.36)),
        ((1.0, 0.8), (2.0, 2.0), (3.0, 3.0)),
        signed=True,
        bits=16,
        intercept=0,
        padding=-2000,
    ),
)


@dataclass(frozen=True)
class Acquisition:
    """How one patient was scanned.

    Parameters
    ----------
    scanner : Scanner
        By which.
    kernel : Kernel
        Of the reconstruction.
    kvp : int
        Tube voltage in kV.
    current : int
        Tube current in mA.
    rotation_time : float
        In seconds.
    thickness, interval : float
        Of the slices, and between neighbouring ones, in mm.
    position : {"HFS", "FFS"}
        Whether head or feet went first, on the back.
    descending : bool
        Whether instance numbers grow from head to feet.
    field : float
        Field of view in mm.
    origin : (float, float, float)
        Patient coordinates x (to the left), y (to the back), z (to the head) in mm of the
        anatomy's origin. In the plane that is the isocentre, and the middle of the image.
    table_height : float
        In mm.
    """

    scanner: Scanner
    kernel: Kernel
    kvp: int
    current: int
    rotation_time: float
    thickness: float
    interval: float
    position: str
    descending: bool
    field: float
    origin: tuple[float, float, float]
    table_height: float


def random_acquisition(
    rng: np.random.Generator, slices: int, length: float, reach: float
) -> Acquisition:
    """Draw how a patient is scanned.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of randomness; the same number of draws whatever the other arguments are.
    slices : int
        How many are wanted.
    length : float
        Of the chest along z, in mm. The slices move closer together where they do not fit.
    reach : float
        Least radius in mm of the scanned circle.

    Returns
    -------
    Acquisition
    """
    scanner = SCANNERS[int(rng.choice(len(SCANNERS), p=(0.3, 0.2, 0.2, 0.15, 0.15)))]
    kernel = scanner.kernels[int(rng.integers(len(scanner.kernels)))]
    thickness, interval = scanner.steps[int(rng.integers(len(scanner.steps)))]
    if slices > 1:
        interval = min(interval, math.floor(100 * length / (slices - 1)) / 100)
    # 0.5 to 0.9 mm for 512 pixels, mostly 0.6 to 0.75
    field = float(np.clip(round(rng.normal(350, 35)), 256, 460))
    x, drop, z = rng.uniform(-15, 15), rng.uniform(*scanner.table_drop), rng.uniform(-400, 100)
    upright = bool(rng.random() < 0.5)
    return Acquisition(
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
        # Some makers count z from far below.
        origin=(round(x, 1), round(drop, 1), round(z + (1700 if upright else 0), 1)),
        table_height=float(np.round(rng.uniform(120, 180), 1)),
    )
