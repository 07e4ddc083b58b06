"""The published files of LoDoPaB-CT, and others made alike, as pairs."""

from __future__ import annotations

import os
import re
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from tomolearn._core.checks import check_choice, check_int
from tomolearn._core.errors import TomolearnError
from tomolearn.data.hdf5 import HDF5File, check_stored
from tomolearn.data.lidc.splits import SPLITS
from tomolearn.data.simulated import Pair

SAMPLES_PER_FILE = 128
"""What all files of a split have but the last."""

KINDS = ("observation", "ground_truth")
# Of 280 files of each kind that the training split has. Systems allow some hundred to a process.
_MOST_OPEN = 32
# observations are in metres, sinograms of our operators in millimetres
_MILLIMETRES = 1000.0


def file_name(kind: str, split: str, number: int) -> str:
    """Return the name of a file, for example ``observation_train_007.hdf5``."""
    return f"{kind}_{split}_{number:03d}.hdf5"


class LoDoPaBPairs(Dataset[Pair]):
    """Pairs of one split of LoDoPaB-CT [1]_.

    A sinogram is the file's observation in mm in place of metres, so that it is what a ray
    transform on a `Grid` of 260 mm maps the image to, up to noise. An image has values in [0, 1],
    1 standing for 81.35858 / m. Each process opens the files that it reads, pair by pair.

    Parameters
    ----------
    path, split : path-like, {"train", "validation", "test"}
        Folder with ``{observation,ground_truth}_{train,validation,test}_{000}.hdf5``, each with
        the data set "data": (n, angles, bins) and (n, rows, columns).
    n_angles : int, optional
        Take so many of the files' angles, the first and every k-th. Default: all.

    Raises
    ------
    OSError, ValueError
        If the folder or a file of the split is missing; the split is unknown; a file is no such
        file or, but for the last, has not 128 samples; `n_angles` does not divide the files' own.

    References
    ----------
    .. [1] J. Leuschner, M. Schmidt, D. O. Baguer, P. Maass, "LoDoPaB-CT, a benchmark dataset for
       low-dose computed tomography reconstruction", Sci. Data 8, 109 (2021),
       doi:10.1038/s41597-021-00893-z
    """

    def __init__(
        self, path: str | os.PathLike[str], split: str, *, n_angles: int | None = None
    ) -> None:
        self.path = Path(path)
        self.split = check_choice("split", split, SPLITS)
        self._files: OrderedDict[tuple[str, int], HDF5File] = OrderedDict()
        self._checked: set[int] = set()
        self._n_files = _count_files(self.path, self.split)
        try:
            last = self._n_files - 1
            self._shapes = {kind: self._data(kind, last).shape[1:] for kind in KINDS}
            n_last = self._check_lengths(last)
            if last:
                self._check_lengths(0)
        finally:
            for file in self._files.values():
                file.close()
            self._files.clear()
        self._size = SAMPLES_PER_FILE * last + n_last
        stored = self._shapes["observation"][0]
        chosen = stored if n_angles is None else check_int("n_angles", n_angles, minimum=1)
        if stored % chosen:
            raise TomolearnError(f"n_angles: expected one that divides {stored}, got {n_angles}")
        self._step = stored // chosen

    @property
    def sinogram_shape(self) -> tuple[int, ...]:
        """Angles and bins of a sinogram."""
        angles, *rest = self._shapes["observation"]
        return (angles // self._step, *rest)

    @property
    def image_shape(self) -> tuple[int, ...]:
        """Rows and columns of an image."""
        return self._shapes["ground_truth"]

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, index: int) -> Pair:
        """Return sinogram (1, angles, bins) in mm and image (1, rows, columns), in float32."""
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[Pair]:
        """Return several pairs."""
        return [self._pair(index) for index in indices]

    def _pair(self, index: int) -> Pair:
        if not 0 <= index < self._size:
            raise IndexError(f"index: expected one from 0 to {self._size - 1}, got {index}")
        number, place = divmod(int(index), SAMPLES_PER_FILE)
        if number not in self._checked:
            self._check_lengths(number)
        observation, image = (self._data(kind, number)[place].astype(np.float32) for kind in KINDS)
        sinogram = np.ascontiguousarray(observation[:: self._step]) * np.float32(_MILLIMETRES)
        return torch.from_numpy(sinogram)[None], torch.from_numpy(image)[None]

    def _check_lengths(self, number: int) -> int:
        """Check the number of samples of two files that belong together, and return it."""
        shapes = [self._data(kind, number).shape for kind in KINDS]
        n, n_images = (shape[0] for shape in shapes)
        is_last = number == self._n_files - 1
        expected = 1 <= n <= SAMPLES_PER_FILE if is_last else n == SAMPLES_PER_FILE
        # the script behind the published set cuts the last file of observations only
        if not expected or not (n_images == n or (is_last and n_images == SAMPLES_PER_FILE)):
            wanted = f"up to {SAMPLES_PER_FILE}" if is_last else str(SAMPLES_PER_FILE)
            raise TomolearnError(
                f"{self._path('observation', number)}: expected {wanted} samples in it and as "
                f"many images, got {n} and {n_images}"
            )
        for kind, shape in zip(KINDS, shapes, strict=True):
            if shape[1:] != self._shapes[kind]:
                raise TomolearnError(
                    f"{self._path(kind, number)}: expected samples of shape {self._shapes[kind]} "
                    f"as in the last file, got {shape[1:]}"
                )
        self._checked.add(number)
        return int(n)

    def _path(self, kind: str, number: int) -> Path:
        return self.path / file_name(kind, self.split, number)

    def _data(self, kind: str, number: int) -> Any:
        """Return a file's data set; the files that were read last stay open."""
        key = (kind, number)
        path = self._path(kind, number)
        if key not in self._files:
            self._files[key] = HDF5File(path)
            if len(self._files) > _MOST_OPEN:
                self._files.popitem(last=False)[1].close()
        self._files.move_to_end(key)
        data = self._files[key].dataset("data", 3)
        check_stored(data)
        return data


def _count_files(folder: Path, split: str) -> int:
    if not folder.exists():
        raise FileNotFoundError(f"{folder}: there is no such folder")
    if not folder.is_dir():
        raise NotADirectoryError(f"{folder}: expected a folder with the files, got a file")
    pattern = re.compile(rf"({'|'.join(KINDS)})_{split}_(\d+)\.hdf5")
    found = {
        (match[1], match[2]) for path in folder.iterdir() if (match := pattern.fullmatch(path.name))
    }
    if not found:
        raise FileNotFoundError(
            f"{folder}: expected files such as {file_name('observation', split, 0)}, got none"
        )
    n_files = max(int(number) for _, number in found) + 1
    for number in range(n_files):
        for kind in KINDS:
            if (kind, f"{number:03d}") not in found:
                raise FileNotFoundError(
                    f"{folder / file_name(kind, split, number)}: there is no such file, but others "
                    f"of the {split} split up to number {n_files - 1:03d}"
                )
    return n_files
