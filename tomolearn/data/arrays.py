"""Arrays in numpy and HDF5 files."""

from __future__ import annotations

import math
import tokenize
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tomolearn._core.errors import TomolearnError
from tomolearn._core.memory import check_unpacked
from tomolearn.data.hdf5 import check_stored, dataset

ARRAY_SUFFIXES = (".npy", ".npz", ".h5", ".hdf5")

# What numpy and h5py raised for files in which bytes were changed or cut off at random.
_DAMAGE = (
    *(ValueError, EOFError, OSError, RuntimeError, KeyError, OverflowError),
    *(tokenize.TokenError, zipfile.BadZipFile, zlib.error),
)
_header_1_0, _header_2_0 = np.lib.format.read_array_header_1_0, np.lib.format.read_array_header_2_0


def resized(image: NDArray[np.float32], shape: Sequence[int]) -> NDArray[np.float32]:
    """Return an image in another shape: linearly interpolated, after a blur where pixels grow."""
    if image.shape == tuple(shape):
        return image
    from skimage.transform import resize

    return resize(image, shape, order=1, anti_aliasing=True).astype(np.float32)


@contextmanager
def opened_array(path: Path, name: str | None = None, *, option: str = "name") -> Iterator[Any]:
    """Open the array of a numpy or HDF5 file; what is indexed of it is read.

    `name` says which array of a ``.npz`` or HDF5 file, by default the only one; `option` is what
    error messages call it. `shape` and `dtype` of the array are known before its values are read.
    """
    suffix = path.suffix.lower()
    if suffix not in ARRAY_SUFFIXES:
        raise TomolearnError(f"{path}: expected a name that ends in {', '.join(ARRAY_SUFFIXES)}")
    if name is not None and suffix == ".npy":
        raise TomolearnError(f"{option}: expected none for a .npy file, got {name!r}")
    # Python's own error names the file; those of numpy and h5py do not always.
    with path.open("rb"):
        pass
    with (_hdf5 if suffix in (".h5", ".hdf5") else _numpy)(path, name, option) as array:
        yield array


@contextmanager
def _numpy(path: Path, name: str | None, option: str) -> Iterator[Any]:
    mode: Any = "r" if path.suffix.lower() == ".npy" else None
    try:
        loaded = np.load(path, mmap_mode=mode, allow_pickle=False)
    except _DAMAGE as error:
        raise TomolearnError(f"{path}: expected a complete numpy file, got {error}") from error
    if isinstance(loaded, np.ndarray):
        yield loaded
        return
    with loaded:
        yield _Member(path, loaded, _choose(path, name, loaded.files, option))


class _Member:
    """An array in a .npz file, which is read as a whole when it is first indexed."""

    def __init__(self, path: Path, archive: Any, key: str) -> None:
        self._path, self._archive, self._key = path, archive, key
        self._values: NDArray[Any] | None = None
        names = archive.zip.namelist()
        with self._complete():
            entry = archive.zip.getinfo(f"{key}.npy" if f"{key}.npy" in names else key)
            with archive.zip.open(entry) as stream:
                version = np.lib.format.read_magic(stream)
                read = {(1, 0): _header_1_0, (2, 0): _header_2_0}[version]
                self.shape, _, self.dtype = read(stream)
        n_bytes = math.prod(self.shape) * self.dtype.itemsize
        check_unpacked(f"{path}: {key}", n_bytes, entry.compress_size)

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    def __getitem__(self, index: Any) -> Any:
        if self._values is None:
            with self._complete():
                self._values = np.asarray(self._archive[self._key])
        return self._values[index]

    @contextmanager
    def _complete(self) -> Iterator[None]:
        try:
            yield
        except _DAMAGE as error:
            found = f"{self._key}, got {error}"
            raise TomolearnError(f"{self._path}: expected a complete array {found}") from error


@contextmanager
def _hdf5(path: Path, name: str | None, option: str) -> Iterator[Any]:
    import h5py

    try:
        with h5py.File(path, "r") as file:
            found: list[str] = []
            file.visititems(
                lambda key, item: found.append(key) if isinstance(item, h5py.Dataset) else None
            )
            array = dataset(file, _choose(path, name, found, option))
            check_stored(array)
            yield array
    except TomolearnError:
        raise
    except _DAMAGE as error:
        raise TomolearnError(f"{path}: expected a complete HDF5 file, got {error}") from error


def _choose(path: Path, name: str | None, found: list[str], option: str) -> str:
    listed = ", ".join(found) or "no array"
    if name is None:
        if len(found) != 1:
            raise TomolearnError(f"{path}: expected {option} with one of its arrays, got {listed}")
        return found[0]
    if name.strip("/") not in found:
        raise TomolearnError(f"{path}: expected the array {name!r}, got a file with {listed}")
    return name.strip("/")
