"""Volumes with their grid, as other programs read them: MRC and NIfTI.

Lengths are in mm in a `Grid`, in angstroms in an MRC file. Sections of an MRC file are slices. The
x, y and z axes of a NIfTI file are those of the scanner, so that its affine is a diagonal one.
"""

from __future__ import annotations

import gzip
import io
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tomolearn._core.errors import TomolearnError
from tomolearn._core.files import complete_file
from tomolearn._core.memory import check_unpacked
from tomolearn._core.optional import optional_import
from tomolearn.geometry import Grid

_ANGSTROM = 1e-7  # in mm
_UNITS = {"unknown": 1.0, "meter": 1e3, "mm": 1.0, "micron": 1e-3}
_SKEW = 1e-4  # part of a voxel by which its edges may deviate from the axes
_DAMAGE = (ValueError, OSError, EOFError, KeyError, OverflowError)


@dataclass(frozen=True)
class _Format:
    write: Callable[[io.BufferedRandom, NDArray[np.float32], Grid], None]
    read: Callable[[Path], tuple[NDArray[np.float32], Grid]]


def write_volume(path: Path, volume: NDArray[Any], grid: Grid) -> None:
    """Write a volume with its grid as MRC (.mrc) or NIfTI (.nii, .nii.gz), in float32.

    Parameters
    ----------
    path : path
        The file appears when it is complete.
    volume : numpy.ndarray, shape (slices, rows, columns)
        Axes of length 1 may precede them.
    grid : Grid

    Raises
    ------
    ValueError
        If the name ends in anything else, or the volume is not one of the grid's shape.
    ImportError
        If the package for the format is not installed.
    """
    write = _format(path).write
    check_volume(path, volume.shape, grid)
    values = np.ascontiguousarray(volume, np.float32).reshape(grid.shape)
    with complete_file(path) as stream:
        write(stream, values, grid)


def read_volume(path: Path) -> tuple[NDArray[np.float32], Grid]:
    """Read a volume (slices, rows, columns), in float32, and its grid, as `write_volume` writes it.

    Raises
    ------
    ValueError
        If it is no such file or a damaged one, or does not say where its voxels are: a NIfTI file
        without affine, or with one that is oblique to the axes, or an MRC file without sizes of
        voxels.
    ImportError
        If the package for the format is not installed.
    """
    read = _format(path).read
    with path.open("rb"):  # Python's own error names the file
        pass
    try:
        volume, grid = read(path)
    except TomolearnError:
        raise
    except _DAMAGE as error:
        raise TomolearnError(f"{path}: expected a complete volume, got {error}") from error
    if not np.isfinite(volume).all():
        raise TomolearnError(f"{path}: expected finite values, got others")
    return volume, grid


def is_volume_name(path: Path) -> bool:
    """Return whether the name of a file is that of a format for volumes."""
    return path.name.lower().endswith(VOLUME_SUFFIXES)


def check_volume(path: Path, shape: tuple[int, ...], grid: Grid) -> None:
    """Check that an array can be written as one volume on this grid, and by what there is."""
    _format(path)
    if grid.ndim != 3 or math.prod(shape) != math.prod(grid.shape) or shape[-3:] != grid.shape:
        wanted = grid.shape if grid.ndim == 3 else "a grid (slices, rows, columns)"
        raise TomolearnError(
            f"{path}: expected one volume, {wanted}, got shape {shape}; .npy, .npz and .h5 take any"
        )
    _package(path)


def _format(path: Path) -> _Format:
    for suffix, format in _FORMATS.items():
        if path.name.lower().endswith(suffix):
            return format
    raise TomolearnError(f"{path}: expected a name that ends in {', '.join(_FORMATS)}")


def _package(path: Path) -> ModuleType:
    module = "mrcfile" if path.suffix.lower() == ".mrc" else "nibabel"
    install = "pip install 'tomolearn[volumes]'"
    return optional_import(module, purpose=f"a {path.suffix} volume", install=install)


def _grid(first: Any, spacing: Any, shape: tuple[int, ...]) -> Grid:
    """Return the grid whose first voxel has its middle there."""
    middle = np.asarray(first) + np.asarray(spacing) * (np.array(shape) - 1) / 2
    return Grid(shape, [float(step) for step in spacing], center=[float(m) for m in middle])


def _first(grid: Grid) -> list[float]:
    return [float(axis[0]) for axis in grid.coordinates()]


def _write_mrc(stream: io.BufferedRandom, volume: NDArray[np.float32], grid: Grid) -> None:
    from mrcfile.mrcinterpreter import MrcInterpreter

    file = MrcInterpreter()
    file._iostream = stream
    file._create_default_attributes()
    file.set_data(volume)
    file.set_volume()
    # the columns of a section are along x, its rows along y
    file.voxel_size = tuple(step / _ANGSTROM for step in grid.spacing[::-1])
    z, y, x = (start / _ANGSTROM for start in _first(grid))
    file.header.origin.x, file.header.origin.y, file.header.origin.z = x, y, z
    file.update_header_stats()
    file.close()  # writes it


def _read_mrc(path: Path) -> tuple[NDArray[np.float32], Grid]:
    mrcfile = _package(path)
    with mrcfile.mmap(path, mode="r", permissive=False) as file:
        if file.data is None or file.data.ndim != 3 or file.data.dtype.kind not in "iuf":
            shape = None if file.data is None else (file.data.dtype, file.data.shape)
            raise TomolearnError(f"{path}: expected one volume of numbers, got {shape}")
        size, origin = file.voxel_size, file.header.origin
        spacing = [float(one) * _ANGSTROM for one in (size.z, size.y, size.x)]
        if not all(math.isfinite(step) and step > 0 for step in spacing):
            raise TomolearnError(f"{path}: expected sizes of voxels, got {spacing} mm")
        first = [float(one) * _ANGSTROM for one in (origin.z, origin.y, origin.x)]
        volume = np.array(file.data, np.float32)
    return volume, _grid(first, spacing, volume.shape)


def _write_nifti(stream: io.BufferedRandom, volume: NDArray[np.float32], grid: Grid) -> None:
    import nibabel

    z, x, y = grid.spacing
    affine = np.diag([x, y, z, 1.0])
    first = _first(grid)
    affine[:3, 3] = first[1], first[2], first[0]
    image = nibabel.Nifti1Image(volume.transpose(1, 2, 0), affine)
    image.header.set_xyzt_units("mm")
    image.set_sform(affine, code="scanner")
    image.set_qform(affine, code="scanner")
    image.to_stream(stream)


def _write_nifti_gz(stream: io.BufferedRandom, volume: NDArray[np.float32], grid: Grid) -> None:
    # no time of day: the same volume is the same file
    with gzip.GzipFile(fileobj=stream, mode="wb", compresslevel=1, mtime=0) as packed:
        _write_nifti(packed, volume, grid)  # type: ignore[arg-type]


def _read_nifti(path: Path) -> tuple[NDArray[np.float32], Grid]:
    nibabel = _package(path)
    try:
        image = nibabel.load(path)
    except nibabel.filebasedimages.ImageFileError as error:
        raise TomolearnError(f"{path}: expected a file of NIfTI, got {error}") from error
    if not isinstance(image, nibabel.Nifti1Image):
        raise TomolearnError(f"{path}: expected a file of NIfTI, got {type(image).__name__}")
    header = image.header
    if not int(header["sform_code"]) and not int(header["qform_code"]):
        raise TomolearnError(
            f"{path}: expected an affine that says where voxels are, got sform_code and qform_code "
            "0; the program that wrote it can set one"
        )
    if len(image.shape) != 3 or header.get_data_dtype().kind not in "iuf":
        found = header.get_data_dtype(), image.shape
        raise TomolearnError(f"{path}: expected one volume of numbers, got {found}")
    stored = math.prod(image.shape) * header.get_data_dtype().itemsize
    check_unpacked(str(path), stored, path.stat().st_size)
    image = nibabel.as_closest_canonical(image)
    scale = _UNITS[header.get_xyzt_units()[0]]
    matrix, first = scale * image.affine[:3, :3], scale * image.affine[:3, 3]
    spacing = np.diag(matrix)
    if not np.isfinite(image.affine).all() or not np.all(spacing > 0):
        raise TomolearnError(f"{path}: expected a finite, regular affine, got {image.affine}")
    if np.abs(matrix - np.diag(spacing)).max() > _SKEW * spacing.min():
        raise TomolearnError(
            f"{path}: expected voxels along the axes, got an oblique affine; resample it first"
        )
    volume = np.asarray(image.dataobj, np.float32).transpose(2, 0, 1)
    order = [2, 0, 1]
    return np.ascontiguousarray(volume), _grid(first[order], spacing[order], volume.shape)


_FORMATS: Mapping[str, _Format] = {
    ".mrc": _Format(_write_mrc, _read_mrc),
    ".nii": _Format(_write_nifti, _read_nifti),
    ".nii.gz": _Format(_write_nifti_gz, _read_nifti),
}
VOLUME_SUFFIXES = tuple(_FORMATS)
"""How names of volumes end that say where their voxels are."""
