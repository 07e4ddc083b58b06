"""Images of ellipse phantoms, sampled at pixel centres."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from data_sim.ellipses import Ellipses
from tomolearn._core.checks import check_image_shape, check_int
from tomolearn._core.errors import TomolearnTypeError

# Pixels rasterised at once: the float64 work array then stays in the second-level cache.
_CHUNK_PIXELS = 2**18

# End points of a run this close to a pixel centre, in columns, are decided by the inequality of
# the ellipse itself. Next to the top of an ellipse the square root amplifies the rounding of its
# argument to about 1e-8 times the number of columns, hence so large a margin.
_TIE = 1e-4


def rasterise(
    ellipses: Ellipses,
    shape: Sequence[int],
    *,
    oversampling: int = 1,
    dtype: DTypeLike = np.float32,
) -> NDArray[Any]:
    """Sample ellipse phantoms on a pixel grid that covers the normalised square [-1, 1]^2.

    Pixel (i, j) is sampled at its centre x = (2 i + 1 - rows) / rows,
    y = (2 j + 1 - columns) / columns, where the values of all ellipses with

        ((dx cos r + dy sin r) / a)^2 + ((dy cos r - dx sin r) / b)^2 <= 1

    are added up. Pixels outside all ellipses are exactly 0.

    Parameters
    ----------
    ellipses : Ellipses
        One phantom or a batch.
    shape : (int, int)
        Rows and columns of the images. Where they differ, both still span [-1, 1].
    oversampling : int
        Each pixel becomes the mean over oversampling x oversampling samples.
    dtype : numpy.float32 or numpy.float64
        Type of the images. Sums are always formed in float64.

    Returns
    -------
    numpy.ndarray, shape ``ellipses.batch_shape + shape``

    Raises
    ------
    TypeError, ValueError
        If ``shape`` is not two positive integers, ``oversampling`` not a positive one, or
        ``dtype`` neither float32 nor float64.
    """
    if not isinstance(ellipses, Ellipses):
        raise TomolearnTypeError(f"ellipses: expected Ellipses, got {type(ellipses).__name__}")
    rows, columns = check_image_shape(shape)
    factor = check_int("oversampling", oversampling, minimum=1)
    kind = np.dtype(dtype)
    if kind not in (np.float32, np.float64):
        raise TomolearnTypeError(f"dtype: expected float32 or float64, got {kind}")

    batch = ellipses
    if ellipses.counts is None:
        batch = replace(ellipses, counts=np.array([ellipses.n_ellipses]))
    (n_images,) = batch.batch_shape
    images = np.empty((n_images, rows, columns), dtype=kind)
    step = max(1, _CHUNK_PIXELS // (rows * columns * factor**2))
    for start in range(0, n_images, step):
        stop = min(start + step, n_images)
        fine = _scan(batch.images(start, stop), rows * factor, columns * factor)
        if factor > 1:
            fine = fine.reshape(-1, rows, factor, columns, factor).mean(axis=(2, 4))
        images[start:stop] = fine
    return images.reshape((*ellipses.batch_shape, rows, columns))


def _scan(batch: Ellipses, rows: int, columns: int) -> NDArray[np.float64]:
    """Rasterise a batch: in each row an ellipse covers one run of columns.

    A run adds its value where it starts and takes it away where it ends; a running sum over the
    flattened image then fills all runs at once. A run that ends at the last column is closed at
    the first pixel of the next row, so that no row needs a column of its own for it, only each
    image one last entry.
    """
    which, row, first, last = _runs(batch, rows, columns)
    value = _exactly_summable(batch)[which]
    (n_images,) = batch.batch_shape
    stride = rows * columns + 1
    begin = batch.image_index[which] * stride + row * columns
    steps = np.bincount(
        np.concatenate((begin + first, begin + last + 1)),
        weights=np.concatenate((value, -value)),
        minlength=n_images * stride,
    ).astype(np.float64, copy=False)
    np.cumsum(steps, out=steps)
    return steps.reshape(n_images, stride)[:, :-1].reshape(n_images, rows, columns)


def _exactly_summable(batch: Ellipses) -> NDArray[np.float64]:
    """Return the values rounded so that float64 sums of them within one phantom are exact.

    Otherwise the running sum would leave residues of some 1e-17 behind every ellipse, and "outside
    all ellipses" could no longer be told from a value. As multiples of one power of two that is
    2^-51 of the sum of magnitudes or less, all partial sums fit the 53 bits of a float64; the
    rounding is no larger than that of an ordinary sum.
    """
    (n_images,) = batch.batch_shape
    index = batch.image_index
    bound = np.bincount(index, weights=np.abs(batch.value), minlength=n_images)
    _, exponent = np.frexp(bound)
    quantum = np.ldexp(1.0, exponent - 51)[index]
    return np.rint(batch.value / quantum) * quantum


def _runs(
    batch: Ellipses, rows: int, columns: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return the non-empty runs: ellipse index, row, first and last column (inclusive)."""
    a, b = batch.semi_axes.T
    x, y = batch.centre.T
    cos, sin = np.cos(batch.rotation), np.sin(batch.rotation)
    # Support of the ellipse along x, and in each row its chord: middle + slope * dx -+ half.
    extent = np.hypot(a * cos, b * sin)
    slope = (a / extent - b / extent) * ((a + b) / extent) * cos * sin
    half = a / extent * b

    top = np.ceil(((x - extent) * rows + rows - 1) / 2 - _TIE)
    bottom = np.floor(((x + extent) * rows + rows - 1) / 2 + _TIE)
    top = np.clip(top, 0, rows).astype(np.int64)
    bottom = np.clip(bottom, -1, rows - 1).astype(np.int64)
    n_runs = np.maximum(bottom - top + 1, 0)
    which = np.repeat(np.arange(a.size), n_runs)
    row = np.arange(which.size) - np.repeat(np.cumsum(n_runs) - n_runs - top, n_runs)

    dx = (2 * row + 1 - rows) / rows - x[which]
    chord = half[which] * np.sqrt(np.maximum(1 - (dx / extent[which]) ** 2, 0))
    middle = y[which] + slope[which] * dx
    left = ((middle - chord) * columns + columns - 1) / 2
    right = ((middle + chord) * columns + columns - 1) / 2
    first, last = np.ceil(left), np.floor(right)

    def outside(run: NDArray[np.intp], column: NDArray[np.float64]) -> NDArray[np.bool_]:
        k = which[run]
        offset_x = dx[run]
        offset_y = (2 * column + 1 - columns) / columns - y[k]
        along = (offset_x * cos[k] + offset_y * sin[k]) / a[k]
        across = (offset_y * cos[k] - offset_x * sin[k]) / b[k]
        return along**2 + across**2 > 1

    nearest = np.rint(left)
    ties = np.flatnonzero(np.abs(left - nearest) < _TIE)
    first[ties] = nearest[ties] + outside(ties, nearest[ties])
    nearest = np.rint(right)
    ties = np.flatnonzero(np.abs(right - nearest) < _TIE)
    last[ties] = nearest[ties] - outside(ties, nearest[ties])

    first = np.clip(first, 0, columns)
    last = np.clip(last, -1, columns - 1)
    keep = first <= last
    return which[keep], row[keep], first[keep].astype(np.int64), last[keep].astype(np.int64)
