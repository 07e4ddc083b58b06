"""Slices of CT series in a folder, as LoDoPaB-CT makes images of them, and parts of slices."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tomolearn._core.errors import TomolearnError
from tomolearn._core.files import resolved
from tomolearn.data.lodopab.recipe import Recipe
from tomolearn.data.phantoms import ThoraxPatches, random_part

# Every so many slices are kept from training, and each slice gives so many parts an epoch.
_KEPT, _PARTS = 7, 100
# Parts of air alone say nothing: their standard deviation is below this, in LoDoPaB-CT's unit.
_CONTRAST, _MOST_DRAWS = 0.01, 50
_MOST_READ = 1000  # slices of half a megabyte in memory


class SeriesSlices:
    """Middle 362 x 362 pixels of all slices of all CT series below a folder, series by series.

    Parameters
    ----------
    path : path
        The folder.

    Raises
    ------
    ValueError
        If there is no CT series, or an image of another shape is asked for.
    """

    def __init__(self, path: Path) -> None:
        from tomolearn.dicom import find_series

        self.path, self._recipe = path, Recipe()
        found = find_series(path)
        self._slices = [info for series in found.series for info in series.slices]
        if not self._slices:
            raise TomolearnError(f"{path}: expected CT series as DICOM files, got none")

    def __len__(self) -> int:
        return len(self._slices)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the images."""
        return self._recipe.size, self._recipe.size

    def image(
        self, index: int, shape: tuple[int, ...], rng: np.random.Generator
    ) -> NDArray[np.float32]:
        """Return one image; `rng` draws what is below a Hounsfield unit."""
        from tomolearn.dicom import read_slice

        info = self._slices[index]
        # units were judged when the series was found
        read = read_slice(info.path, frame=info.frame or 0, assume_hu=True)
        if tuple(shape) != self.shape:
            raise TomolearnError(f"shape: expected {self.shape}, as LoDoPaB-CT has, got {shape}")
        return self._recipe.image(read.hounsfield, rng, padding=read.padding)

    def to_dict(self) -> dict[str, Any]:
        """Return kind and folder, ready for JSON."""
        return {"type": type(self).__name__, "folder": str(resolved(self.path))}


class SeriesPatches:
    """Random parts of the slices of CT series, turned and flipped, by turns with synthetic ones.

    Images of even numbers are drawn by `synthetic`, the others are parts of `SeriesSlices`. Every
    seventh slice is for validation and test, the others are for training.

    Parameters
    ----------
    path : path
        Folder of the series.
    split : str
        "train", or another split.
    synthetic : ThoraxPatches
        Draws the other half.

    Raises
    ------
    ValueError
        If there is no CT series with slices for this split, or an image larger than a slice is
        asked for.
    """

    def __init__(self, path: Path, split: str, synthetic: ThoraxPatches) -> None:
        self._slices, self._split, self._synthetic = SeriesSlices(path), split, synthetic
        self._read: dict[int, NDArray[np.float32]] = {}
        numbers = range(len(self._slices))
        kept = [k for k in numbers if k % _KEPT == _KEPT // 2]
        self._numbers = [k for k in numbers if k not in kept] if split == "train" else kept
        if not self._numbers:
            raise TomolearnError(
                f"{path}: expected at least {_KEPT} slices, every seventh of which is for "
                f"{split}, got {len(self._slices)}"
            )

    def __len__(self) -> int:
        return 2 * _PARTS * len(self._numbers)

    def image(
        self, index: int, shape: tuple[int, ...], rng: np.random.Generator
    ) -> NDArray[np.float32]:
        """Return one image; where its part lies, and what is synthetic, is drawn by `rng`."""
        if index % 2 == 0:
            return self._synthetic(shape, rng)
        whole = self._whole(self._numbers[index // 2 % len(self._numbers)])
        part = random_part(whole, shape, rng)
        for _ in range(_MOST_DRAWS):
            if part.std() >= _CONTRAST:
                break
            part = random_part(whole, shape, rng)
        return part

    def _whole(self, number: int) -> NDArray[np.float32]:
        """Return a slice, read when it is first needed and kept as long as few others are."""
        if number not in self._read:
            if len(self._read) >= _MOST_READ:
                self._read.clear()
            rng = np.random.default_rng(number)
            self._read[number] = self._slices.image(number, self._slices.shape, rng)
        return self._read[number]

    def to_dict(self) -> dict[str, Any]:
        """Return kind, folder, split and the synthetic half, ready for JSON."""
        return {
            **self._slices.to_dict(),
            "type": type(self).__name__,
            "split": self._split,
            "synthetic": self._synthetic.to_dict(),
        }
