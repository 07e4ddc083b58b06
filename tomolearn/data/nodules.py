"""Parts of synthetic chest slices with lung nodules, and the pixels that are in them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from tomolearn._core.checks import check_int
from tomolearn._core.errors import TomolearnError
from tomolearn._core.values import KindAndFields
from tomolearn.data.phantoms import LODOPAB_UNIT, lodopab_values, turned

_SEED = 20_251
_SIDE, _SPACING = 224, 1.6  # pixels and mm of a slice, in which every patient fits
_NODULES = 6  # of a patient, of which one is in the middle of the slice
_NEAR = 0.6  # of the semi-axis along the patient: how far slices are from a nodule's middle
_SMALLEST = 6  # pixels of the nodule that a slice was chosen for


@dataclass(frozen=True)
class NoduleCrops(KindAndFields):
    """Random parts of synthetic chest slices, each with a lung nodule, and which pixels are in one.

    Patients are those of `data_sim.random_thorax` with six nodules each, solid, part-solid and
    ground-glass; a slice is taken near the middle of one of them, with pixels of 1.6 mm. A part of
    it, turned and flipped, has the middle of this nodule anywhere but in its outer eighth. Values
    are those of `ThoraxPatches`. Slices are drawn when they are first needed, and kept.

    Parameters
    ----------
    slices : int
        Number of slices, of as many patients.
    first : int
        Number of the first of them in an endless row: parts of others are other patients.

    Raises
    ------
    TypeError, ValueError
        If a number is negative, or there are no slices.
    """

    slices: int = 400
    first: int = 0

    def __post_init__(self) -> None:
        check_int("slices", self.slices, minimum=1)
        check_int("first", self.first, minimum=0)

    def __call__(self, shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.float32]:
        """Return an image of this shape; errors are those of `labelled`."""
        return self.labelled(shape, rng)[0]

    def labelled(
        self, shape: tuple[int, ...], rng: np.random.Generator
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return an image of this shape, and 1 in the pixels of nodules, 0 elsewhere.

        Raises
        ------
        ValueError
            If the shape is not two equal sides of 16 to 224 pixels.
        """
        if len(shape) != 2 or shape[0] != shape[1] or not 16 <= shape[0] <= _SIDE:
            raise TomolearnError(
                f"shape: expected two equal sides of 16 to {_SIDE} pixels, got {tuple(shape)}"
            )
        image, mask, middle = _slice(self.first + int(rng.integers(self.slices)))
        side = shape[0]
        margin = side // 8
        corner = [
            int(np.clip(m - rng.integers(margin, side - margin), 0, _SIDE - side)) for m in middle
        ]
        part = tuple(slice(start, start + side) for start in corner)
        turns, flip = int(rng.integers(4)), bool(rng.integers(2))
        return turned(image[part], turns, flip), turned(mask[part], turns, flip)

    @property
    def value_per_attenuation(self) -> float:
        """What attenuation of 1/mm is in the images."""
        return 1 / LODOPAB_UNIT

    def __str__(self) -> str:
        return f"parts of {self.slices} synthetic chest slices with nodules"


@lru_cache(maxsize=1024)
def _slice(number: int) -> tuple[NDArray[np.float32], NDArray[np.float32], tuple[int, int]]:
    """Return a slice of the endless row, its nodules and the middle of one; not to be changed."""
    from data_sim import Nodule, random_thorax

    rng = np.random.default_rng([_SEED, number])
    shape = (_SIDE, _SIDE)
    while True:
        patient = random_thorax(rng)
        places = patient.lung_points(rng, _NODULES)
        patient = replace(patient, nodules=tuple(Nodule.random(rng, place) for place in places))
        nodule = patient.nodules[0]
        z = nodule.centre[2] + nodule.semi_axes[2] * rng.uniform(-_NEAR, _NEAR)
        low, high = patient.extent
        if not low <= z <= high:
            continue
        masks = [patient.nodule_mask(k, z, shape, _SPACING) for k in range(_NODULES)]
        if masks[0].sum() >= _SMALLEST:
            break
    image = lodopab_values(patient.slice(z, shape, _SPACING))
    mask = np.any(masks, axis=0).astype(np.float32)
    for array in (image, mask):
        array.setflags(write=False)
    row, column = (int(k.mean()) for k in np.nonzero(masks[0]))
    return image, mask, (row, column)
