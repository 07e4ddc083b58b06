"""Kinds of files that the images, or the pairs, of a task are read from."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from torch.utils.data import Dataset

from tomolearn._core.errors import TomolearnError
from tomolearn.data.lidc.slices import LIDCSlices
from tomolearn.data.lodopab import LoDoPaBPairs
from tomolearn.data.phantoms import ImageDataset
from tomolearn.data.simulated import Pair


class DataFiles(Protocol):
    """A kind of files with images, whose measurements are simulated, or with pairs."""

    @property
    def hint(self) -> str:
        """What the path has to be, and how to get it."""

    def open(self, path: Path, split: str, shape: tuple[int, ...]) -> ImageDataset | Dataset[Pair]:
        """Return the images, or the pairs, of a split.

        Parameters
        ----------
        path : Path
            What the user has; it exists.
        split : str
            Which of a task's splits.
        shape : tuple of int
            Of the images.
        """

    def to_dict(self) -> dict[str, Any]:
        """Return kind and parameters, ready for JSON."""


@dataclass(frozen=True)
class LoDoPaBFiles:
    """The files of LoDoPaB-CT: pairs.

    Parameters
    ----------
    n_angles : int, optional
        So many of their angles. Default: all.
    """

    n_angles: int | None = None

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

    def to_dict(self) -> dict[str, Any]:
        """Return kind and parameters, ready for JSON."""
        return {"type": type(self).__name__, **asdict(self)}


@dataclass(frozen=True)
class SliceCache:
    """A cache of slices of LIDC-IDRI: images.

    Parameters
    ----------
    resize : bool
        Whether slices of another shape are interpolated to the task's.
    """

    resize: bool = False

    @property
    def hint(self) -> str:
        """What the path has to be, and how to get it."""
        return "the HDF5 file that `tomolearn lidc slices` makes of LIDC-IDRI"

    def open(self, path: Path, split: str, shape: tuple[int, ...]) -> LIDCSlices:
        """Return the slices of a split; "test-rotated" are those of "test", turned."""
        part, _, turned = split.partition("-")
        slices = LIDCSlices(
            path, part, resize=self.resize, orientation="any" if turned else "upright"
        )
        if not self.resize and slices.slice_shape != shape:
            raise TomolearnError(
                f"{path}: expected slices of shape {shape}, got {slices.slice_shape}; "
                f"`tomolearn lidc slices ... --shape {shape[0]}` makes such"
            )
        return slices

    def to_dict(self) -> dict[str, Any]:
        """Return kind and parameters, ready for JSON."""
        return {"type": type(self).__name__, **asdict(self)}
