"""Frames in files of TIFF."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from tomolearn._core.errors import TomolearnError, TomolearnTypeError
from tomolearn.measurements.readers.frames import Frames, frames_of, frames_of_pages

SUFFIXES = (".tif", ".tiff")
_DIGITS = re.compile(r"(\d+)")


def frames_in(path: Any) -> Frames:
    """Return the frames of a TIFF file, or of a folder of them in the order of their numbers."""
    if not isinstance(path, (str, os.PathLike)):
        raise TomolearnTypeError(
            f"path: expected one of TIFF, a numpy.ndarray or a number, got {type(path).__name__}"
        )
    place = Path(path)
    if not place.is_dir():
        return _frames_of_file(place)
    files = [one for one in place.iterdir() if one.suffix.lower() in SUFFIXES]
    if not files:
        raise TomolearnError(f"{place}: expected files of TIFF in it, got none")
    return frames_of_files(sorted(files, key=lambda one: _in_order(one.name)), str(place))


def frames_of_files(files: Sequence[Path], where: str) -> Frames:
    """Return frames of which each is a file."""
    first = _picture(files[0])
    return frames_of_pages(
        len(files), lambda number: _picture(files[number]), first.shape, first.dtype, where
    )


def _in_order(name: str) -> list[Any]:
    """Return a key by which 2 comes before 10."""
    return [int(part) if part.isdigit() else part.lower() for part in _DIGITS.split(name)]


@contextmanager
def _complete(path: Path) -> Iterator[None]:
    import tifffile

    try:
        yield
    except TomolearnError:
        raise
    # what tifffile raises for files that are cut off, or of something else
    except (tifffile.TiffFileError, ValueError, IndexError, KeyError, RuntimeError) as error:
        raise TomolearnError(f"{path}: expected a complete TIFF file, got {error}") from error


def _picture(path: Path) -> np.ndarray:
    import tifffile

    with _complete(path), tifffile.TiffFile(path) as file:
        if len(file.pages) != 1 or len(file.pages[0].shape) != 2:
            raise TomolearnError(
                f"{path}: expected one picture of grey values, got {len(file.pages)} of shape "
                f"{file.pages[0].shape}"
            )
        return file.pages[0].asarray()


def _frames_of_file(path: Path) -> Frames:
    """Return the frames of a file of many, or the rows of one picture, which is a sinogram."""
    import tifffile

    with _complete(path), tifffile.TiffFile(path) as file:
        pages, first = len(file.series[0].pages), file.pages[0]
        shape, dtype = first.shape, first.dtype
    if len(shape) != 2:
        raise TomolearnError(f"{path}: expected grey values, got pictures of shape {shape}")
    if pages == 1:
        return frames_of(_picture(path), str(path))

    def page(number: int) -> np.ndarray:
        with _complete(path):
            return np.asarray(tifffile.imread(path, key=number))

    return frames_of_pages(pages, page, shape, dtype, str(path))
