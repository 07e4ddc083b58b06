"""Sinograms from numpy and HDF5 files."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tomolearn._core.errors import TomolearnError, TomolearnTypeError
from tomolearn.cli.output import ARRAY_SUFFIXES

__all__ = ["read_sinogram"]


def read_sinogram(path: Path, name: str | None, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Read line integrals.

    Parameters
    ----------
    path : Path
        A file whose name ends in ``.npy``, ``.npz``, ``.h5`` or ``.hdf5``.
    name : str, optional
        Which array of a ``.npz`` or HDF5 file. Default: the only one in it.
    shape : tuple of int
        Shape of one sinogram; leading axes are a batch.

    Returns
    -------
    numpy.ndarray of float32, shape (..., *shape)

    Raises
    ------
    OSError
        If the file cannot be read.
    TypeError
        If the values are not real floating-point numbers.
    ValueError
        If the file is damaged or of an unknown kind, the array is not in it, has another shape,
        or has values that are not finite as float32.
    """
    suffix = path.suffix.lower()
    if suffix not in ARRAY_SUFFIXES:
        raise TomolearnError(f"{path}: expected a name that ends in {', '.join(ARRAY_SUFFIXES)}")
    if name is not None and suffix == ".npy":
        raise TomolearnError(f"--dataset: expected none for a .npy file, got {name!r}")
    # Python's own error names the file; those of numpy and h5py do not always.
    with path.open("rb"):
        pass
    array = _from_hdf5(path, name) if suffix in (".h5", ".hdf5") else _from_numpy(path, name)
    if array.dtype.kind != "f":
        raise TomolearnTypeError(
            f"{path}: expected line integrals as floating-point numbers, got {array.dtype}"
        )
    if array.size == 0 or array.shape[-len(shape) :] != shape:
        wanted = ", ".join(map(str, shape))
        raise TomolearnError(
            f"{path}: expected shape (..., {wanted}) as in the scan, got {array.shape}"
        )
    with np.errstate(over="ignore"):
        values = array.astype(np.float32)
    bad = np.argwhere(~np.isfinite(values))
    if len(bad):
        first = tuple(bad[0].tolist())
        raise TomolearnError(
            f"{path}: expected finite values, got {len(bad)} others, the first of them "
            f"{array[first]} at index {first}"
        )
    return values


def _from_numpy(path: Path, name: str | None) -> NDArray[Any]:
    damage = (ValueError, EOFError, OSError, zipfile.BadZipFile, zlib.error)
    try:
        loaded = np.load(path, allow_pickle=False)
    except damage as error:
        raise TomolearnError(f"{path}: expected a complete numpy file, got {error}") from error
    if isinstance(loaded, np.ndarray):
        return loaded
    with loaded:
        key = _choose(path, name, loaded.files)
        try:
            return np.asarray(loaded[key])
        except damage as error:
            raise TomolearnError(f"{path}: expected a complete array {key}, got {error}") from error


def _from_hdf5(path: Path, name: str | None) -> NDArray[Any]:
    import h5py

    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise TomolearnError(f"{path}: expected a complete HDF5 file, got {error}") from error
    with file:
        found: list[str] = []
        file.visititems(lambda key, item: found.append(key) if _is_dataset(item) else None)
        chosen = file[_choose(path, name, found)]
        try:
            return np.asarray(chosen[()])
        except OSError as error:
            raise TomolearnError(f"{path}: expected a complete dataset, got {error}") from error


def _is_dataset(item: Any) -> bool:
    import h5py

    return isinstance(item, h5py.Dataset)


def _choose(path: Path, name: str | None, found: list[str]) -> str:
    listed = ", ".join(found) or "no array"
    if name is None:
        if len(found) != 1:
            raise TomolearnError(f"{path}: expected --dataset with one of its arrays, got {listed}")
        return found[0]
    if name.strip("/") not in found:
        raise TomolearnError(f"{path}: expected the array {name!r}, got a file with {listed}")
    return name.strip("/")
