"""Pairs in an HDF5 file."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import Dataset

from tomolearn._core.errors import TomolearnError
from tomolearn._core.files import complete_file, only_writer
from tomolearn.data.hdf5 import HDF5File, check_stored, new_hdf5
from tomolearn.data.simulated import Pair

_NAMES = ("sinogram", "image")
_LABELS = "labels"


class StoredPairs(Dataset[Pair]):
    """Pairs that `store_pairs` wrote.

    Each process that reads the file opens it, and reads only the asked-for pairs.

    Parameters
    ----------
    path : path-like
        HDF5 file with the data sets "sinogram" (n, angles, detectors) and "image" (n, rows,
        columns), or (n, angles, detector rows, detectors) and (n, slices, rows, columns).
    labels : bool
        Whether items have labels of the image's pixels as well, of the data set "labels".

    Raises
    ------
    OSError, ValueError
        If there is no such file, it is no HDF5 file, lacks a data set, or their shapes do not fit
        together.
    """

    def __init__(self, path: str | os.PathLike[str], *, labels: bool = False) -> None:
        self.path = Path(path)
        self._file = HDF5File(self.path, "a file of pairs")
        self._names = (*_NAMES, _LABELS) if labels else _NAMES
        file = self._file.open()
        found = {name: self._file.dataset(name) for name in self._names if name in file}
        shapes = {name: data.shape for name, data in found.items()}
        for data in found.values():
            check_stored(data)
        self.attributes: dict[str, str] = {name: str(text) for name, text in file.attrs.items()}
        self._file.close()
        if labels and shapes.pop(_LABELS, None) != shapes.get("image"):
            raise TomolearnError(
                f"{self.path}: labels: expected a data set labels of the shape of image, got none "
                "of it; `tomolearn simulate --labels` writes one"
            )
        if [len(shape) for shape in shapes.values()] not in ([3, 3], [4, 4]):
            raise TomolearnError(
                f"{self.path}: expected the data sets sinogram (n, angles, detectors) and "
                f"image (n, rows, columns), or both with another axis, got {shapes}"
            )
        if shapes["sinogram"][0] != shapes["image"][0]:
            raise TomolearnError(f"{self.path}: expected as many sinograms as images, got {shapes}")
        self.sinogram_shape: tuple[int, ...] = shapes["sinogram"][1:]
        self.image_shape: tuple[int, ...] = shapes["image"][1:]
        self._size = int(shapes["image"][0])

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, index: int) -> Pair:
        """Return sinogram (1, *sinogram_shape), image and labels (1, *image_shape), in float32."""
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[Pair]:
        """Return several pairs."""
        for index in indices:
            if not 0 <= index < self._size:
                raise IndexError(f"index: expected one from 0 to {self._size - 1}, got {index}")
        stored = [self._file.dataset(name) for name in self._names]
        return [
            tuple(torch.from_numpy(data[index].astype(np.float32))[None] for data in stored)
            for index in indices
        ]


def store_pairs(
    pairs: Dataset[Pair],
    path: str | os.PathLike[str],
    n_pairs: int,
    *,
    attributes: dict[str, str] | None = None,
    batch_size: int = 16,
    progress: Callable[[int], None] | None = None,
) -> None:
    """Write the first pairs of a data set to an HDF5 file.

    Parameters
    ----------
    pairs : Dataset
        Of (sinogram, image) or (sinogram, image, labels), with ``__getitems__``, for example
        `SimulatedPairs`.
    path : path-like
        The file; it gets its name when it is complete and replaces one of that name.
    n_pairs, batch_size : int
        How many, and how many are drawn at a time.
    attributes : dict of str, optional
        Stored with the file.
    progress : callable, optional
        Gets the number of pairs that were just written.

    Raises
    ------
    OSError
        If it cannot be written, or another run is writing it.
    """
    with (
        only_writer(Path(path)),
        complete_file(Path(path)) as stream,
        new_hdf5(stream) as made,
    ):
        with made.step() as file:
            file.attrs.update(attributes or {})
        for first in range(0, n_pairs, batch_size):
            indices = range(first, min(first + batch_size, n_pairs))
            batch = pairs.__getitems__(list(indices))  # type: ignore[attr-defined]
            blocks = [torch.cat(tensors).numpy() for tensors in zip(*batch, strict=True)]
            with made.step() as file:
                for name, block in zip((*_NAMES, _LABELS), blocks, strict=False):
                    if first == 0:
                        shape = (n_pairs, *block.shape[1:])
                        file.create_dataset(name, shape, np.float32, chunks=(1, *shape[1:]))
                    file[name][first : first + len(block)] = block
            if progress is not None:
                progress(len(indices))


def is_pairs_file(path: Path) -> bool:
    """Return whether a path is a file that `store_pairs` wrote, or one of its kind."""
    import h5py

    if not path.is_file() or not h5py.is_hdf5(path):
        return False
    with h5py.File(path, "r") as file:
        return all(name in file for name in _NAMES)
