"""Frames of a detector that stay in their file until they are asked for."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tomolearn._core.errors import TomolearnError
from tomolearn._core.memory import check_fits


@dataclass(frozen=True)
class Frames:
    """Views of a detector, of which some rows of some views are read at a time.

    Parameters
    ----------
    shape : tuple of int
        (frames, columns) or (frames, rows, columns).
    dtype : numpy.dtype
    read : callable
        ``read(numbers, rows)`` returns frames by their numbers, a list, and by a slice of rows.
    where : str
        File, for messages.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    read: Callable[[Sequence[int], slice], np.ndarray]
    where: str

    def __post_init__(self) -> None:
        if len(self.shape) not in (2, 3) or 0 in self.shape:
            raise TomolearnError(
                f"{self.where}: expected frames of shape (frames, columns) or (frames, rows, "
                f"columns), got {self.shape}"
            )
        if self.dtype.kind not in "iuf":
            raise TomolearnError(f"{self.where}: expected real numbers, got {self.dtype}")

    def __len__(self) -> int:
        return self.shape[0]

    def load(self, views: Sequence[int], rows: int | slice | None) -> np.ndarray:
        """Return frames by number, all rows of them, some, or one, which takes the axis away."""
        if len(self.shape) == 2:
            return self._read(views, slice(None), self.shape[1])
        count = self.shape[1]
        part = slice(None) if rows is None else rows
        if isinstance(part, slice):
            return self._read(views, part, len(range(count)[part]) * self.shape[2])
        return self._read(views, slice(part, part + 1), self.shape[2])[:, 0]

    def load_all(self, rows: int | slice | None) -> np.ndarray:
        """Return all frames."""
        return self.load(range(len(self)), rows)

    def _read(self, views: Sequence[int], rows: slice, values: int) -> np.ndarray:
        check_fits(self.where, 2 * len(views) * values * self.dtype.itemsize)
        found = self.read(views, rows)
        # of another machine's byte order, which torch does not take
        return np.ascontiguousarray(found, found.dtype.newbyteorder("="))


def frames_of(array: Any, where: str, numbers: Sequence[int] | None = None) -> Frames:
    """Return frames of an array that is indexed as numpy's are: an HDF5 data set, a memory map.

    Parameters
    ----------
    array : array-like, shape (frames, columns) or (frames, rows, columns)
    where : str
        File, for messages.
    numbers : sequence of int, optional
        Which of its frames there are.
    """
    chosen = range(array.shape[0]) if numbers is None else numbers
    flat = len(array.shape) == 2

    def read(views: Sequence[int], rows: slice) -> np.ndarray:
        wanted = np.asarray(chosen)[list(views)]
        steps = np.diff(wanted)
        if wanted.size and (steps == steps[:1]).all() and (steps[:1] > 0).all():
            step = int(steps[0]) if steps.size else 1
            part = slice(int(wanted[0]), int(wanted[-1]) + 1, step)
            return np.asarray(array[part] if flat else array[part, rows])
        return np.stack(
            [np.asarray(array[int(k)] if flat else array[int(k), rows]) for k in wanted]
        )

    return Frames((len(chosen), *array.shape[1:]), np.dtype(array.dtype), read, where)


def frames_of_pages(
    pages: int, page: Callable[[int], np.ndarray], shape: Sequence[int], dtype: Any, where: str
) -> Frames:
    """Return frames of a format that has each as a picture of its own, (rows, columns).

    Parameters
    ----------
    pages : int
        How many there are.
    page : callable
        ``page(number)`` returns one.
    shape : (int, int)
        Of each; an error tells of one that has another.
    dtype : data type
    where : str
        File, for messages.
    """

    def read(views: Sequence[int], rows: slice) -> np.ndarray:
        height = len(range(shape[0])[rows])
        result = np.empty((len(views), height, shape[1]), dtype)
        for place, number in enumerate(views):
            found = page(number)
            if found.shape != tuple(shape):
                raise TomolearnError(
                    f"{where}: expected frames of {tuple(shape)} pixels as the first, got "
                    f"{found.shape} in frame {number}"
                )
            result[place] = found[rows]
        return result

    return Frames((pages, *shape), np.dtype(dtype), read, where)


def frames_of_number(value: float, shape: Sequence[int], where: str) -> Frames:
    """Return one frame with the same number everywhere, which takes no memory until it is read."""
    if not math.isfinite(value):
        raise TomolearnError(f"{where}: expected a finite number, got {value}")
    return frames_of(np.broadcast_to(np.float32(value), (1, *shape)), where)
