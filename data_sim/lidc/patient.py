"""Synthetic patients of the LIDC kind: the chest, the scan, and what is true of both."""

from __future__ import annotations

import math
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from data_sim.lidc.scanner import ScanProtocol
from data_sim.thorax import Nodule, Thorax, random_thorax
from tomolearn._core.checks import check_image_shape, check_int
from tomolearn._core.errors import TomolearnError

SMALL = 3.0
"""Diameter in mm below which LIDC's readers marked a nodule by one point."""

LAST_PATIENT = 9999
"""Largest patient number: the published names have four digits."""

_MAX_SLICES = 300  # 0.6 mm apart, in the shortest of our chests
_SMALLEST_IMAGE = 32
_RADIOGRAPHED = 1 / 3
_NAMESPACE = uuid.UUID("5f0c2a3e-7f1b-5c2d-9b0e-6c1d0c1d1dc5")
# One stream of random numbers for each subject, so that another slice size or number of slices
# leaves the anatomy as it is.
_STREAMS = ("anatomy", "lesions", "scanner", "readers", "marks", "radiograph", "noise")


@dataclass(frozen=True)
class Lesion:
    """A nodule, and the cavity in it if it has one: air within, which readers exclude."""

    nodule: Nodule
    cavity: Nodule | None = None

    @property
    def is_small(self) -> bool:
        """Whether the nodule is smaller than 3 mm."""
        return self.nodule.diameter < SMALL


@dataclass(frozen=True, eq=False)
class SyntheticPatient:
    """A patient of a synthetic LIDC-IDRI tree, and the truth about the images.

    Slices are counted from 0 and upwards, from the feet to the head, whatever their instance
    numbers are. Patient coordinates are DICOM's: x to the left, y to the back, z to the head.

    Parameters
    ----------
    index, seed : int
        Patient number, from 1, and the tree's seed.
    thorax : Thorax
        The anatomy, with all nodules and, as nodules of air, their cavities.
    lesions : tuple of Lesion
        The nodules, whether or not the slices meet them.
    protocol : ScanProtocol
        How the patient was scanned.
    heights : tuple of float
        z of the slices in the thorax's own coordinates, in mm.
    shape, spacing : (int, int), float
        Rows and columns, and the distance in mm of both.
    has_radiograph : bool
        Whether there is a chest radiograph too.
    """

    index: int
    seed: int
    thorax: Thorax
    lesions: tuple[Lesion, ...]
    protocol: ScanProtocol
    heights: tuple[float, ...]
    shape: tuple[int, int]
    spacing: float
    has_radiograph: bool

    def __len__(self) -> int:
        return len(self.heights)

    @property
    def patient_id(self) -> str:
        """Such as ``LIDC-IDRI-0001``."""
        return f"LIDC-IDRI-{self.index:04d}"

    def rng(self, subject: str, *more: int) -> np.random.Generator:
        """Return the source of randomness of one subject, and of one slice of it."""
        return _stream(self.seed, self.index, subject, *more)

    def uid(self, kind: str, *more: int) -> str:
        """Return the UID of something; images of another seed, number or size have another one."""
        parts = (self.seed, self.index, len(self), *self.shape, kind, *more)
        return f"2.25.{uuid.uuid5(_NAMESPACE, '/'.join(map(str, parts))).int}"

    @property
    def study_instance_uid(self) -> str:
        """Study of the CT series."""
        return self.uid("study")

    @property
    def series_instance_uid(self) -> str:
        """The CT series."""
        return self.uid("series")

    def sop_instance_uid(self, i: int) -> str:
        """UID of CT slice `i`."""
        return self.uid("image", i)

    def instance_number(self, i: int) -> int:
        """Instance number of CT slice `i`, from 1."""
        return len(self) - i if self.protocol.descending else i + 1

    def position(self, i: int) -> tuple[float, float, float]:
        """Return the patient coordinates in mm of the first pixel's centre of slice `i`."""
        (x, y, z), (rows, columns) = self.protocol.origin, self.shape
        left, front = x - (columns - 1) / 2 * self.spacing, y - (rows - 1) / 2 * self.spacing
        return round(left, 6), round(front, 6), round(z + self.heights[i], 6)

    def pixel(self, place: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return row and column, not rounded, of a place (x, y) in the thorax in mm."""
        return place / self.spacing + (np.array(self.shape) - 1) / 2

    def hounsfield(self, i: int) -> NDArray[np.float32]:
        """Draw slice `i` without noise, with the table, in Hounsfield units."""
        return self.thorax.slice(self.heights[i], self.shape, self.spacing, table=True)


def lidc_patient(
    index: int, seed: int = 0, *, slices: int, shape: Sequence[int] = (512, 512)
) -> SyntheticPatient:
    """Return a synthetic patient: the truth behind the files that `write_lidc` writes.

    The anatomy depends on `index` and `seed` alone. It is that of `random_thorax`, with some more
    nodules under 3 mm, and cavities in a few large ones. The slices are 0.6 to 3 mm apart, and lie
    where they meet the most nodules, large ones before small ones. The field of view is 256 to
    460 mm, so wide that each nodule is in it, whatever the number of pixels.

    Parameters
    ----------
    index, seed, slices : int
        Patient number, from 1 to 9999; of the tree, at least 0; number of CT slices, from 1 to 300.
    shape : (int, int)
        Rows and columns, at least 32 of each; the published images have 512.

    Raises
    ------
    TypeError, ValueError
        If an argument is not of the kind and in the range named above.
    """
    index = check_range("index", index, LAST_PATIENT)
    seed = check_int("seed", seed, minimum=0)
    slices = check_range("slices", slices, _MAX_SLICES)
    shape = check_image_shape(shape, minimum=_SMALLEST_IMAGE)
    thorax = random_thorax(_stream(seed, index, "anatomy"))
    lesions = _lesions(_stream(seed, index, "lesions"), thorax)
    cavities = tuple(lesion.cavity for lesion in lesions if lesion.cavity is not None)
    thorax = replace(thorax, nodules=tuple(lesion.nodule for lesion in lesions) + cavities)
    # Heights are written in steps of a thousandth of a millimetre.
    low, high = math.ceil(1e3 * thorax.extent[0]) / 1e3, math.floor(1e3 * thorax.extent[1]) / 1e3
    rng = _stream(seed, index, "scanner")
    # What readers draw around a nodule must be in the image.
    reach = max((_reach(lesion.nodule) for lesion in lesions), default=0.0)
    protocol = ScanProtocol.random(rng, slices, high - low, reach / (1 - 6 / min(shape)))
    start = _start(rng, lesions, (low, high), slices, protocol.interval)
    return SyntheticPatient(
        index=index,
        seed=seed,
        thorax=thorax,
        lesions=lesions,
        protocol=protocol,
        heights=tuple(round(start + k * protocol.interval, 3) for k in range(slices)),
        shape=shape,
        spacing=round(protocol.field / min(shape), 9),
        has_radiograph=bool(_stream(seed, index, "radiograph").random() < _RADIOGRAPHED),
    )


def check_range(name: str, value: object, last: int) -> int:
    """Return `value` if it is an integer from 1 to `last`."""
    number = check_int(name, value, minimum=1)
    if number > last:
        raise TomolearnError(f"{name}: expected 1 to {last}, got {number}")
    return number


def _stream(seed: int, index: int, subject: str, *more: int) -> np.random.Generator:
    return np.random.default_rng((seed, index, _STREAMS.index(subject), *more))


def _reach(nodule: Nodule) -> float:
    return math.hypot(*nodule.centre[:2]) + 1.6 * max(nodule.semi_axes[:2]) + 2


def _lesions(rng: np.random.Generator, thorax: Thorax) -> tuple[Lesion, ...]:
    lesions = []
    for nodule in thorax.nodules:
        hollow, size = rng.random() < 0.35, rng.uniform(0.35, 0.5)
        cavity = None
        if hollow and nodule.diameter >= 7 and nodule.kind == "solid":
            a, b, c = nodule.semi_axes
            cavity = replace(nodule, semi_axes=(size * a, size * b, size * c), hu=-960.0)
        lesions.append(Lesion(nodule, cavity))
    for x, y, z in thorax.lung_points(rng, min(int(rng.poisson(1.2)), 4)).tolist():
        a, b, c = (rng.uniform(0.85, 1.0, 3) * rng.uniform(1.6, 2.95) / 2).tolist()
        angle, hu = float(rng.uniform(0, math.pi)), float(rng.uniform(0, 150))
        lesions.append(Lesion(Nodule((x, y, z), (a, b, c), angle, "solid", hu, core=0.0)))
    return tuple(lesions)


def _start(
    rng: np.random.Generator,
    lesions: Sequence[Lesion],
    extent: tuple[float, float],
    slices: int,
    interval: float,
) -> float:
    """Return the height of the lowest slice."""
    low, high = extent
    last = high - (slices - 1) * interval
    best, start = 0, float(rng.uniform(low, last))
    for middle in lesions:
        # One slice goes through the centre, or small nodules would fall between two.
        at = min(max(middle.nodule.centre[2] - slices // 2 * interval, low), last)
        heights = at + interval * np.arange(slices)
        met = sum(
            1 if lesion.is_small else 10
            for lesion in lesions
            if any(lesion.nodule.scale(z) > 0 for z in heights)
        )
        if met > best:
            best, start = met, at
    return round(start, 3)
