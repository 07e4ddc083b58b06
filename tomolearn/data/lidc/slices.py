"""Data set of the slices in a cache."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tomolearn._core.checks import check_choice, check_int
from tomolearn._core.errors import TomolearnError
from tomolearn.data.arrays import resized
from tomolearn.data.hdf5 import HDF5File, check_stored

FORMAT = "tomolearn lidc slices 1"
"""What a cache has in its attribute "format"."""

# Hounsfield units of the images' 0, and number of them up to 1
_OFFSET, _RANGE = -1024, 4096


class LIDCSlices:
    """Slices of one split of a cache that ``tomolearn lidc slices`` wrote, scaled as in [1]_.

    Values are (HU + 1024 + u) / 4096, clipped to [0, 1], with a uniform number u in [0, 1) for
    each pixel. Images are numbered in a random order, so that the first few are of many patients.
    Each process that reads the file opens it.

    Parameters
    ----------
    path, split : path-like, str
        The cache; and "train", "validation" or "test", or another split that it has.
    order : int
        Seed of the order.
    resize : bool
        Whether images of another shape than the slices' may be asked for. They are interpolated
        linearly, after a Gaussian blur where pixels grow; otherwise they are an error.
    orientation : {"upright", "any"}
        Whether slices are as the scanner had them, or turned about the middle of the image by a
        uniform angle.

    Raises
    ------
    OSError, ValueError
        If there is no such file, it is no such cache or has no slices of this split.

    References
    ----------
    .. [1] E. Celledoni et al., "Equivariant neural networks for inverse problems", Inverse
       Problems 37 (2021), doi:10.1088/1361-6420/ac104f, arXiv:2102.11504
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        split: str,
        *,
        order: int = 0,
        resize: bool = False,
        orientation: str = "upright",
    ) -> None:
        self.path, self.split, self.resize = Path(path), split, resize
        self.order = check_int("order", order, minimum=0)
        self.orientation = check_choice("orientation", orientation, ("upright", "any"))
        self._file = HDF5File(self.path, "a file that `tomolearn lidc slices` wrote")
        file = self._file.open()
        try:
            if file.attrs.get("format") != FORMAT:
                kind = "a cache that `tomolearn lidc slices` wrote"
                raise TomolearnError(f"{self.path}: expected {kind}, got another HDF5 file")
            images = self._file.dataset("hounsfield")
            check_stored(images)
            self.slice_shape: tuple[int, ...] = images.shape[1:]
            splits, patients = (self._texts(name, len(images)) for name in ("part", "patient"))
        finally:
            self._file.close()
        chosen = np.flatnonzero(splits == split)
        if not len(chosen):
            found = ", ".join(sorted(set(splits))) or "none"
            raise TomolearnError(
                f"{self.path}: expected slices of the split {split}, got splits {found}"
            )
        self._places = np.random.default_rng(order).permutation(chosen)
        self.patients: tuple[str, ...] = tuple(patients[self._places].tolist())
        """Patient of each image."""

    def __len__(self) -> int:
        return len(self._places)

    def image(
        self, index: int, shape: tuple[int, ...], rng: np.random.Generator
    ) -> NDArray[np.float32]:
        """Return one image in this shape; `rng` draws the uniform numbers, and the angle.

        Raises
        ------
        IndexError, ValueError
            If there is no such image, or none of this shape and `resize` is not set.
        """
        values = self.hounsfield(index).astype(np.float32) - np.float32(_OFFSET)
        values += rng.uniform(0, 1, values.shape).astype(np.float32)
        image: NDArray[np.float32] = np.clip(values / np.float32(_RANGE), 0, 1)
        if self.orientation == "any":
            image = _turned(image, rng.uniform(0, 2 * math.pi))
        self.check_shape(shape)
        return resized(image, shape)

    def check_shape(self, shape: tuple[int, ...]) -> None:
        """Check that images of this shape can be had."""
        if self.slice_shape != tuple(shape) and not self.resize:
            raise TomolearnError(
                f"{self.path}: expected slices of shape {tuple(shape)}, got {self.slice_shape}; "
                f"`tomolearn lidc slices ... --shape {shape[0]}` makes such"
            )

    def hounsfield(self, index: int) -> NDArray[np.int16]:
        """Return one slice in Hounsfield units."""
        return self._read("hounsfield", index)

    def nodules(self, index: int) -> NDArray[np.bool_]:
        """Return the nodules of one slice; a ValueError if the cache was made without them."""
        return self._read("nodules", index).astype(bool)

    def _read(self, name: str, index: int) -> Any:
        if not 0 <= index < len(self):
            raise IndexError(f"index: expected one from 0 to {len(self) - 1}, got {index}")
        if name not in self._file.open():
            raise TomolearnError(
                f"{self.path}: expected {name} in it, got a cache made without them"
            )
        return self._file.dataset(name)[self._places[index]]

    def _texts(self, name: str, n: int) -> Any:
        """Return one text for each slice."""
        found = self._file.dataset(name)
        if found.shape != (n,):
            raise TomolearnError(f"{self.path}: {name}: expected {n} of them, got {found.shape}")
        check_stored(found)
        return found.asstr()[()]

    def to_dict(self) -> dict[str, Any]:
        """Return kind and parameters, ready for JSON."""
        names = ("split", "order", "resize", "orientation")
        settings = {name: getattr(self, name) for name in names}
        return {"type": type(self).__name__, "file": self.path.name, **settings}

    def __str__(self) -> str:
        turned = ", turned" if self.orientation == "any" else ""
        return f"{len(self)} slices of {self.path.name} ({self.split}{turned})"


def _turned(image: NDArray[np.float32], angle: float) -> NDArray[np.float32]:
    """Return an image turned about its middle, with the smallest value where it had no pixels."""
    from scipy.ndimage import rotate

    degrees = math.degrees(angle)
    return rotate(image, degrees, reshape=False, order=1, cval=float(image.min()))
