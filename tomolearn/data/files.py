"""Kinds of files that the images, or the pairs, of a task are read from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from torch.utils.data import Dataset

from tomolearn._core.values import KindAndFields
from tomolearn.data.lidc.slices import LIDCSlices
from tomolearn.data.lodopab import LoDoPaBPairs
from tomolearn.data.phantoms import ImageDataset, ThoraxPatches
from tomolearn.data.series_slices import SeriesPatches, SeriesSlices
from tomolearn.data.simulated import Pair


class DataFiles(Protocol):
    """A kind of files with images, whose measurements are simulated, or with pairs."""

    @property
    def hint(self) -> str:
        """What the path has to be, and how to get it."""

    def open(self, path: Path, split: str, shape: tuple[int, ...]) -> ImageDataset | Dataset[Pair]:
        """Return the images, of this shape, or the pairs of a task's split; the path exists."""

    def to_dict(self) -> dict[str, Any]:
        """Return kind and parameters, ready for JSON."""


@dataclass(frozen=True)
class LoDoPaBFiles(KindAndFields):
    """The files of LoDoPaB-CT: pairs."""

    n_angles: int | None = None  # so many of their angles; None: all

    @property
    def hint(self) -> str:
        """What the path has to be, and how to get it."""
        return (
            "the folder of LoDoPaB-CT: the published files (doi:10.5281/zenodo.3384092) or what "
            "`tomolearn lidc lodopab` makes of LIDC-IDRI"
        )

    def open(self, path: Path, split: str, shape: tuple[int, ...]) -> LoDoPaBPairs:
        """Return the stored pairs of a split."""
        return LoDoPaBPairs(path, split, n_angles=self.n_angles)


@dataclass(frozen=True)
class SeriesFolder(KindAndFields):
    """A folder of CT series as DICOM files: images as LoDoPaB-CT has them, series by series."""

    @property
    def hint(self) -> str:
        """What the path has to be, and how to get it."""
        return "a folder with CT series as DICOM files, of 512 x 512 pixels"

    def open(self, path: Path, split: str, shape: tuple[int, ...]) -> SeriesSlices:
        """Return all slices, whatever the split."""
        return SeriesSlices(path)


@dataclass(frozen=True)
class PatchFolder(KindAndFields):
    """A folder of CT series as DICOM files: parts of slices, by turns with synthetic ones."""

    synthetic: ThoraxPatches

    @property
    def hint(self) -> str:
        """What the path has to be, and how to get it."""
        return "a folder with CT series as DICOM files, of 512 x 512 pixels"

    def open(self, path: Path, split: str, shape: tuple[int, ...]) -> SeriesPatches:
        """Return parts of six slices of seven for training, of the others for other splits."""
        return SeriesPatches(path, split, self.synthetic)


@dataclass(frozen=True)
class SliceCache(KindAndFields):
    """A cache of slices of LIDC-IDRI: images."""

    resize: bool = False  # whether slices of another shape are interpolated to the task's

    @property
    def hint(self) -> str:
        """What the path has to be, and how to get it."""
        return "the HDF5 file that `tomolearn lidc slices` makes of LIDC-IDRI"

    def open(self, path: Path, split: str, shape: tuple[int, ...]) -> LIDCSlices:
        """Return the slices of a split; "test-rotated" are those of "test", turned."""
        part, _, turned = split.partition("-")
        orientation = "any" if turned else "upright"
        slices = LIDCSlices(path, part, resize=self.resize, orientation=orientation)
        slices.check_shape(shape)
        return slices
