"""One synthetic patient of the LIDC kind: the chest, the scan, and what is true of both."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from data_sim.lidc.identity import check_index, make_uid, patient_name, stream
from data_sim.lidc.scanner import MAX_SLICES, Acquisition, random_acquisition
from data_sim.thorax import Nodule, Thorax, random_thorax
from data_sim.thorax.anatomy import turn
from data_sim.thorax.lungs import sample
from tomolearn._core.checks import check_image_shape, check_int
from tomolearn._core.errors import TomolearnError

SMALL = 3.0
"""Diameter in mm below which LIDC's readers marked a nodule by one point."""

SMALLEST_IMAGE = 32

_RADIOGRAPHED = 1 / 3


@dataclass(frozen=True)
class Lesion:
    """A nodule, and the cavity in it if it has one.

    Parameters
    ----------
    nodule : Nodule
        Its outline and its place in the thorax.
    cavity : Nodule or None
        Air within, which readers exclude.
    """

    nodule: Nodule
    cavity: Nodule | None = None

    @property
    def is_small(self) -> bool:
        """Whether the nodule is smaller than 3 mm."""
        return self.nodule.diameter < SMALL


@dataclass(frozen=True, eq=False)
class SyntheticPatient:
    """One patient of a synthetic LIDC-IDRI tree, and the truth about the images.

    Slices are counted from 0 and upwards, from the feet to the head, whatever their instance
    numbers are. Patient coordinates are DICOM's: x to the left, y to the back, z to the head.

    Parameters
    ----------
    index : int
        Patient number, from 1.
    seed : int
        Of the tree.
    thorax : Thorax
        The anatomy, with all nodules and, as nodules of air, their cavities.
    lesions : tuple of Lesion
        The nodules, whether or not the slices meet them.
    acquisition : Acquisition
        How the patient was scanned.
    heights : tuple of float
        z of the slices in the thorax's own coordinates, in mm.
    shape : (int, int)
        Rows and columns.
    spacing : float
        Of rows and columns, in mm.
    radiograph : {"CR", "DX"} or None
        Whether there is a chest radiograph too, and of which modality.
    """

    index: int
    seed: int
    thorax: Thorax
    lesions: tuple[Lesion, ...]
    acquisition: Acquisition
    heights: tuple[float, ...]
    shape: tuple[int, int]
    spacing: float
    radiograph: str | None

    def __len__(self) -> int:
        return len(self.heights)

    @property
    def patient_id(self) -> str:
        """Such as ``LIDC-IDRI-0001``."""
        return patient_name(self.index)

    def uid(self, kind: str, *more: int) -> str:
        """Return the UID of something that belongs to this patient's images.

        Parameters
        ----------
        kind : str
            What it identifies.
        *more : int
            Which one.

        Returns
        -------
        str
            Another one for other images: it depends on the seed, the patient, and the number and
            size of slices.
        """
        return make_uid(self.seed, self.index, len(self), *self.shape, kind, *more)

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
        return self.uid("image", self._slice(i))

    def instance_number(self, i: int) -> int:
        """Instance number of CT slice `i`, from 1."""
        i = self._slice(i)
        return len(self) - i if self.acquisition.descending else i + 1

    def position(self, i: int) -> tuple[float, float, float]:
        """Return the patient coordinates in mm of the first pixel's centre of slice `i`."""
        x, y, z = self.acquisition.origin
        rows, columns = self.shape
        return (
            round(x - (columns - 1) / 2 * self.spacing, 6),
            round(y - (rows - 1) / 2 * self.spacing, 6),
            round(z + self.heights[self._slice(i)], 6),
        )

    @property
    def affine(self) -> NDArray[np.float64]:
        """Map from (slice, row, column, 1) to patient coordinates (x, y, z, 1), shape (4, 4)."""
        affine = np.zeros((4, 4))
        affine[2, 0] = self.acquisition.interval
        affine[1, 1] = affine[0, 2] = self.spacing
        affine[:, 3] = *self.position(0), 1
        return affine

    def to_patient(self, point: Sequence[float]) -> NDArray[np.float64]:
        """Return the patient coordinates in mm of a point (x, y, z) of the thorax.

        The thorax's x runs to the back and its y to the left, patient coordinates' to the left
        and to the back.
        """
        x, y, z = point
        return np.add(self.acquisition.origin, (y, x, z))

    def hounsfield(self, i: int) -> NDArray[np.float32]:
        """Draw slice `i` without noise, with the table, in Hounsfield units."""
        z = self.heights[self._slice(i)]
        return self.thorax.slice(z, self.shape, self.spacing, table=True)

    @cached_property
    def radius(self) -> NDArray[np.float32]:
        """Distance in mm of each pixel's centre from the isocentre, shape ``shape``."""
        x, y = ((np.arange(n) - (n - 1) / 2) * self.spacing for n in self.shape)
        return np.hypot(x[:, None], y).astype(np.float32)

    @property
    def outside(self) -> NDArray[np.bool_]:
        """Pixels that hold the scanner's padding value, shape ``shape``."""
        if self.acquisition.scanner.padding is None:
            return np.zeros(self.shape, dtype=bool)
        return self.radius > min(self.shape) * self.spacing / 2

    @cached_property
    def noise_level(self) -> NDArray[np.float32]:
        """Standard deviation in HU of the noise at each pixel, shape ``shape``."""
        falloff = np.exp(-((self.radius / 130) ** 2))
        level = self.acquisition.kernel.noise * (0.35 + 0.65 * falloff)
        return level.astype(np.float32)

    def nodule_mask(self, lesion: int, i: int) -> NDArray[np.bool_]:
        """Return which pixel centres of slice `i` lie in a nodule, its cavity left out.

        Parameters
        ----------
        lesion : int
            Which of `lesions`.
        i : int
            Which slice.

        Returns
        -------
        numpy.ndarray of bool, shape ``shape``

        Raises
        ------
        TypeError, ValueError
            If there is no such lesion or slice.
        """
        lesion = check_int("lesion", lesion, minimum=0)
        if lesion >= len(self.lesions):
            raise TomolearnError(
                f"lesion: expected one of this patient's {len(self.lesions)} lesions, got {lesion}"
            )
        found = self.lesions[lesion]
        z = self.heights[self._slice(i)]
        mask = self._inside(found.nodule, z)
        return mask if found.cavity is None else mask & ~self._inside(found.cavity, z)

    def met(self, lesion: Lesion) -> tuple[int, ...]:
        """Return the slices that meet a lesion."""
        return tuple(i for i, z in enumerate(self.heights) if lesion.nodule.scale(z) > 0)

    def _inside(self, nodule: Nodule, z: float) -> NDArray[np.bool_]:
        return self.thorax.nodule_mask(
            self.thorax.nodules.index(nodule), z, self.shape, self.spacing
        )

    def _slice(self, i: int) -> int:
        i = check_int("i", i, minimum=0)
        if i >= len(self):
            raise TomolearnError(f"i: expected one of {len(self)} slices, got {i}")
        return i


def lidc_patient(
    index: int, seed: int = 0, *, slices: int, shape: Sequence[int] = (512, 512)
) -> SyntheticPatient:
    """Return a synthetic patient: the truth behind the files that `write_lidc` writes.

    The anatomy depends on `index` and `seed` alone, and on no other patient. It is that of
    `random_thorax`, to which some nodules under 3 mm are added, and cavities in a few large ones.
    The slices are as far apart as the scanner that was drawn has them, 0.6 to 3 mm, and lie where
    they meet the most nodules, large ones before small ones; where there are none, anywhere. The
    field of view is 256 to 460 mm, at least so wide that each nodule is in it, whatever the
    number of pixels; so fewer pixels are larger ones.

    Parameters
    ----------
    index : int
        Patient number, from 1 to 9999.
    seed : int
        Of the tree, at least 0.
    slices : int
        Number of CT slices, from 1 to 300.
    shape : (int, int)
        Rows and columns, at least 32 of each; the published images have 512.

    Returns
    -------
    SyntheticPatient

    Raises
    ------
    TypeError
        If a number is no integer, or `shape` no pair.
    ValueError
        If a number is not in the range named above.
    """
    index, seed = check_index(index), check_int("seed", seed, minimum=0)
    slices = check_slices(slices)
    shape = check_image_shape(shape, minimum=SMALLEST_IMAGE)
    thorax = random_thorax(stream(seed, index, "anatomy"))
    lesions = _lesions(stream(seed, index, "lesions"), thorax)
    cavities = tuple(lesion.cavity for lesion in lesions if lesion.cavity is not None)
    thorax = replace(thorax, nodules=tuple(lesion.nodule for lesion in lesions) + cavities)
    # Heights are written in steps of a thousandth of a millimetre.
    low, high = math.ceil(1e3 * thorax.extent[0]) / 1e3, math.floor(1e3 * thorax.extent[1]) / 1e3
    rng = stream(seed, index, "scanner")
    # What readers draw around a nodule must be in the image.
    reach = max((_reach(lesion.nodule) for lesion in lesions), default=0.0)
    acquisition = random_acquisition(rng, slices, high - low, reach / (1 - 6 / min(shape)))
    start = _start(rng, lesions, (low, high), slices, acquisition.interval)
    return SyntheticPatient(
        index=index,
        seed=seed,
        thorax=thorax,
        lesions=lesions,
        acquisition=acquisition,
        heights=tuple(round(start + k * acquisition.interval, 3) for k in range(slices)),
        shape=shape,
        spacing=round(acquisition.field / min(shape), 9),
        radiograph=_radiograph(stream(seed, index, "radiograph")),
    )


def check_slices(slices: object) -> int:
    """Return a number of slices as an int from 1 to 300."""
    number = check_int("slices", slices, minimum=1)
    if number > MAX_SLICES:
        raise TomolearnError(f"slices: expected 1 to {MAX_SLICES} slices of a chest, got {number}")
    return number


def _radiograph(rng: np.random.Generator) -> str | None:
    if rng.random() >= _RADIOGRAPHED:
        return None
    return "CR" if rng.random() < 0.5 else "DX"


def _reach(nodule: Nodule) -> float:
    return math.hypot(*nodule.centre[:2]) + 1.6 * max(nodule.semi_axes[:2]) + 2


def _lesions(rng: np.random.Generator, thorax: Thorax) -> tuple[Lesion, ...]:
    lesions = []
    for nodule in thorax.nodules:
        hollow = rng.random() < 0.35
        size = rng.uniform(0.35, 0.5)
        cavity = None
        if hollow and nodule.diameter >= 7 and nodule.kind == "solid":
            a, b, c = nodule.semi_axes
            cavity = replace(nodule, semi_axes=(size * a, size * b, size * c), hu=-960.0)
        lesions.append(Lesion(nodule, cavity))
    for place in lung_points(rng, thorax, min(int(rng.poisson(1.2)), 4)):
        a, b, c = rng.uniform(0.85, 1.0, 3) * rng.uniform(1.6, 2.95) / 2
        lesions.append(
            Lesion(
                Nodule(
                    centre=(float(place[0]), float(place[1]), float(place[2])),
                    semi_axes=(float(a), float(b), float(c)),
                    angle=float(rng.uniform(0, math.pi)),
                    kind="solid",
                    hu=float(rng.uniform(0, 150)),
                    core=0.0,
                )
            )
        )
    return tuple(lesions)


def lung_points(rng: np.random.Generator, thorax: Thorax, n: int) -> NDArray[np.float64]:
    """Draw points in both lungs, (x, y, z) of the thorax in mm, shape (n, 3)."""
    points = np.concatenate(
        [
            sample(rng, n, side, thorax.wall, thorax.skeleton, thorax.mediastinum, 5.0)
            for side in (-1, 1)
        ]
    )
    points = rng.permutation(points)[:n]
    x, y = turn(thorax.tilt) @ (np.array(thorax.size[:2]) * points[:, :2]).T
    return np.stack(
        (x + thorax.offset[0], y + thorax.offset[1], thorax.size[2] * points[:, 2]), axis=1
    )


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
    anywhere = float(rng.uniform(low, last))
    best, start = 0, anywhere
    for middle in lesions:
        # One slice goes through the centre, or small nodules would fall between two.
        at = middle.nodule.centre[2] - slices // 2 * interval
        at = min(max(at, low), last)
        heights = at + interval * np.arange(slices)
        met = sum(
            1 if lesion.is_small else 10
            for lesion in lesions
            if any(lesion.nodule.scale(z) > 0 for z in heights)
        )
        if met > best:
            best, start = met, at
    return round(start, 3)
