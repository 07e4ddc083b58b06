"""Sources of phantoms as values that a task can hold."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from tomolearn._core.checks import check_choice, check_float, check_int
from tomolearn._core.errors import TomolearnError
from tomolearn._core.values import KindAndFields

_EXTENTS = ("edges", "centres")
_THORAX_SEED = 20_250
# Pixels in mm of chest scans.
_CHEST_PIXELS = (0.55, 0.85)
# Kernels of soft tissue and of lungs: 1/mm, HU.
_CHEST_MTF50, _CHEST_NOISE = (0.25, 0.5), (5.0, 20.0)
# LoDoPaB-CT's values: 20 / m + (20 - 0.02) / m HU / 1000, divided by that of 3071 HU.
_AIR_AS_ZERO = 20_000 / 19.98
_HOUNSFIELD_RANGE = 3071 + _AIR_AS_ZERO
LODOPAB_UNIT = 19.98e-6 * _HOUNSFIELD_RANGE
"""Attenuation in 1/mm that is 1 in LoDoPaB-CT's values."""


class PhantomSource(Protocol):
    """What draws one image at a time."""

    def __call__(self, shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.float32]:
        """Return an image of this shape."""

    def to_dict(self) -> dict[str, Any]:
        """Return kind and parameters, ready for JSON."""


@runtime_checkable
class LabelledSource(PhantomSource, Protocol):
    """What draws one image at a time, and labels of its pixels, such as what is in a nodule."""

    def labelled(
        self, shape: tuple[int, ...], rng: np.random.Generator
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return the image that a call with these arguments returns, and its labels, 0 or 1."""


@runtime_checkable
class ImageDataset(Protocol):
    """Finitely many images, asked for by their numbers."""

    def __len__(self) -> int:
        """Return the number of images."""

    def image(
        self, index: int, shape: tuple[int, ...], rng: np.random.Generator
    ) -> NDArray[np.float32]:
        """Return one image in this shape; what is random about it comes from `rng`."""

    def to_dict(self) -> dict[str, Any]:
        """Return kind and parameters, ready for JSON."""


@dataclass(frozen=True)
class RandomEllipses(KindAndFields):
    """Random sums of ellipses, see `data_sim.random_ellipses`.

    Parameters
    ----------
    convention : {"adler", "dival"}
        Law of the ellipses.
    extent : {"edges", "centres"}
        What of the outermost pixels lies at the border of the phantom's square.

    Raises
    ------
    ValueError
        If an argument is none of these.
    """

    convention: str = "adler"
    extent: str = "edges"

    def __post_init__(self) -> None:
        check_choice("convention", self.convention, ("adler", "dival"))
        check_choice("extent", self.extent, _EXTENTS)

    def __call__(self, shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.float32]:
        """Return an image of this shape."""
        from data_sim import random_ellipses

        return random_ellipses(1, shape, rng, self.convention, extent=self.extent)[0]

    def __str__(self) -> str:
        return f"random ellipses ({self.convention})"


@dataclass(frozen=True)
class RandomEllipsoids(KindAndFields):
    """Volumes of random ellipsoids in a body, see `data_sim.random_ellipsoid_parameters`."""

    def __call__(self, shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.float32]:
        """Return a volume of this shape."""
        from data_sim import random_ellipsoids

        return random_ellipsoids(shape, rng)

    def __str__(self) -> str:
        return "random ellipsoids"


@dataclass(frozen=True)
class RandomThorax(KindAndFields):
    """Axial slices of random chests at random heights, see `data_sim.random_thorax_slice`.

    Values are (HU + 1024) / 4096, clipped to [0, 1]: the scaling of [1]_, whose images are slices
    of LIDC-IDRI. Water is 0.25 and air 24 / 4096.

    Parameters
    ----------
    orientation : {"upright", "any"}
        Whether patients lie on their backs, but for a few degrees, or are turned about the middle
        of the image by a uniform angle. The same draw gives the same slice, turned or not.
    field : float
        Extent of the image in mm; every patient fits into a circle of 350 mm diameter.

    Raises
    ------
    TypeError, ValueError
        If `orientation` is none of these or `field` not a positive number.

    References
    ----------
    .. [1] E. Celledoni et al., "Equivariant neural networks for inverse problems", Inverse
       Problems 37 (2021), doi:10.1088/1361-6420/ac104f, arXiv:2102.11504
    """

    orientation: str = "upright"
    field: float = 360.0

    def __post_init__(self) -> None:
        check_choice("orientation", self.orientation, ("upright", "any"))
        check_float("field", self.field, positive=True)

    def __call__(self, shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.float32]:
        """Return an image of this shape."""
        from data_sim import random_thorax_slice

        angle = rng.uniform(0, 2 * math.pi)
        rotation = angle if self.orientation == "any" else 0.0
        hounsfield = random_thorax_slice(shape, rng, field=self.field, rotation=rotation)
        return np.clip((hounsfield + 1024) / 4096, 0, 1)

    @property
    def region_names(self) -> tuple[str, ...]:
        """What the labels of `regions` stand for."""
        from data_sim import REGIONS

        return REGIONS

    @property
    def organs(self) -> tuple[int, ...]:
        """Label of the organ that each region is in: of nodules, the lungs."""
        from data_sim import REGIONS

        inside = {"nodules": "lungs"}
        return tuple(REGIONS.index(inside.get(name, name)) for name in REGIONS)

    def regions(self, shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.uint8]:
        """Return labels, as `data_sim.REGIONS` names them, of the image of the same numbers."""
        from data_sim import random_thorax_regions

        angle = rng.uniform(0, 2 * math.pi)
        rotation = angle if self.orientation == "any" else 0.0
        return random_thorax_regions(shape, rng, field=self.field, rotation=rotation)

    def __str__(self) -> str:
        return f"random chest slices ({self.orientation})"


@dataclass(frozen=True)
class ThoraxVolumes(KindAndFields):
    """Parts of random chests as volumes, see `data_sim.random_thorax`.

    Values are (HU + 1024) / 4096, clipped to [0, 1], as those of `RandomThorax`. The middle lies at
    a uniform height of the lungs; a volume longer than the chest is filled with air above and
    below.

    Parameters
    ----------
    field : float
        Extent of rows and columns in mm; every patient fits into a circle of 350 mm diameter.
    length : float
        Extent along the patient in mm.

    Raises
    ------
    TypeError, ValueError
        If a length is not a positive number.
    """

    field: float = 360.0
    length: float = 180.0

    def __post_init__(self) -> None:
        check_float("field", self.field, positive=True)
        check_float("length", self.length, positive=True)

    def __call__(self, shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.float32]:
        """Return a volume of this shape, of slices from feet to head."""
        from data_sim.thorax import random_thorax

        patient = random_thorax(rng)
        low, high = patient.extent
        room = min(self.length / 2, (high - low) / 2)
        middle = rng.uniform(low + room, high - room)
        n_slices, *plane = shape
        spacing = [self.field / n for n in plane]
        air = np.full(plane, -1000.0, np.float32)
        heights = middle + self.length * ((np.arange(n_slices) + 0.5) / n_slices - 0.5)
        slices = [patient.slice(z, plane, spacing) if low <= z <= high else air for z in heights]
        return np.clip((np.stack(slices) + 1024) / 4096, 0, 1).astype(np.float32)

    def __str__(self) -> str:
        return "random chests"


@dataclass(frozen=True)
class ThoraxPatches(KindAndFields):
    """Random parts of synthetic chest slices, turned and flipped, as priors are trained on.

    Values are those of LoDoPaB-CT: attenuation divided by 81.36 / m, clipped to [0, 1]. The slices
    are `slices` of an endless row of `data_sim.random_thorax_slice` with pixels of 0.55 to 0.85 mm,
    as chest scans have them, with the sharpness and the noise of clinical kernels, see
    `data_sim.as_scanned`; they are drawn when they are first needed, and kept.

    Parameters
    ----------
    slices : int
        Number of slices.
    size : int
        Their rows and columns; images of this shape are whole slices.
    first : int
        Number of the first of them in the row, so that splits can have slices of their own.

    Raises
    ------
    TypeError, ValueError
        If a number is not positive, or `first` negative.
    """

    slices: int = 256
    size: int = 362
    first: int = 0

    def __post_init__(self) -> None:
        check_int("slices", self.slices, minimum=1)
        check_int("size", self.size, minimum=1)
        check_int("first", self.first, minimum=0)

    def __call__(self, shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.float32]:
        """Return an image of this shape.

        Raises
        ------
        ValueError
            If it is larger than a slice.
        """
        _check_part(shape, (self.size, self.size))
        number = self.first + int(rng.integers(self.slices))
        return random_part(_thorax_slice(self.size, number), shape, rng)

    @property
    def value_per_attenuation(self) -> float:
        """What attenuation of 1/mm is in the images."""
        return 1 / LODOPAB_UNIT

    def to_dict(self) -> dict[str, Any]:
        """Return kind and parameters, ready for JSON; the first slice where it is another one."""
        # files of 0.1 know no other first slice, and are to be recognised
        return {
            name: value for name, value in super().to_dict().items() if value or name != "first"
        }

    def __str__(self) -> str:
        return f"parts of {self.slices} synthetic chest slices"


def random_part(
    image: NDArray[np.float32], shape: tuple[int, ...], rng: np.random.Generator
) -> NDArray[np.float32]:
    """Return a part of this shape of an image, turned and flipped.

    Raises
    ------
    ValueError
        If the shape has not two axes, or is larger than the image.
    """
    _check_part(shape, image.shape)
    rows, columns = shape
    row, column = (int(rng.integers(m - n + 1)) for m, n in zip(image.shape, shape, strict=True))
    turns, flip = int(rng.integers(4)), bool(rng.integers(2))
    if rows != columns:
        turns = 2 * (turns % 2)
    return turned(image[row : row + rows, column : column + columns], turns, flip)


def turned(image: NDArray[np.float32], turns: int, flip: bool) -> NDArray[np.float32]:
    """Return a copy that is turned by so many quarters, then flipped along the rows if asked."""
    found = np.rot90(image, turns)
    return np.ascontiguousarray(found[::-1] if flip else found)


def lodopab_values(hounsfield: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return Hounsfield units in LoDoPaB-CT's values, clipped to [0, 1]."""
    return np.clip((hounsfield + _AIR_AS_ZERO) / _HOUNSFIELD_RANGE, 0, 1).astype(np.float32)


def _check_part(shape: tuple[int, ...], whole: tuple[int, ...]) -> None:
    if len(shape) != 2 or shape[0] > whole[0] or shape[1] > whole[1]:
        raise TomolearnError(
            f"shape: expected two axes of at most {whole[0]} x {whole[1]} pixels, got "
            f"{tuple(shape)}"
        )


@lru_cache(maxsize=1024)
def _thorax_slice(size: int, number: int) -> NDArray[np.float32]:
    """Return a slice of the endless row, which must not be written to."""
    from data_sim import as_scanned, random_thorax_slice

    rng = np.random.default_rng([_THORAX_SEED, number])
    spacing = rng.uniform(*_CHEST_PIXELS)
    ideal = random_thorax_slice((size, size), rng, field=size * spacing)
    mtf50, noise = rng.uniform(*_CHEST_MTF50), rng.uniform(*_CHEST_NOISE)
    hounsfield = as_scanned(ideal, rng, spacing=spacing, mtf50=mtf50, noise=noise)
    image = lodopab_values(hounsfield)
    image.setflags(write=False)
    return image


@dataclass(frozen=True)
class SheppLogan(KindAndFields):
    """The modified Shepp-Logan phantom, the same image at each draw.

    Parameters
    ----------
    extent : {"edges", "centres"}
        As for `RandomEllipses`.

    Raises
    ------
    ValueError
        If `extent` is none of these.
    """

    extent: str = "edges"

    def __post_init__(self) -> None:
        check_choice("extent", self.extent, _EXTENTS)

    def __call__(self, shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.float32]:
        """Return the image in this shape; `rng` is left alone."""
        from data_sim import shepp_logan

        return shepp_logan(shape, extent=self.extent)

    def __str__(self) -> str:
        return "Shepp-Logan phantom"
