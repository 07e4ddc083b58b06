"""Filters of slices: which of them publications took."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

_OFFSET, _RANGE = 1024.0, 4096.0


def celledoni(hounsfield: NDArray[np.floating], padding: NDArray[np.bool_]) -> bool:
    """Return whether a slice is of those of Celledoni et al. (arXiv:2102.11504).

    As their notebook chooses them: with a scanner's circle, whose outside is filled with values
    below -1024; with the largest value of the image in [0, 1), ``(HU + 1024) / 4096``, between 1/4
    and 3/4; and smooth, of a mean total variation below 0.01 and below 0.15 times the mean.

    `padding` is where nothing was measured. They took 22,934 slices of 242,873. Differences remain:
    their values are those of the files, which are HU + 1024 only for a slope of 1 and an intercept
    of -1024; with 0, all that is lighter than water counts as filling there. Padding that the files
    have as positive numbers, or that only their header names, is no circle there. Their script
    divides slices in the order of the files; our splits are by patient.
    """
    outside = padding | (hounsfield < -_OFFSET)
    if not outside.any():
        return False
    image = np.where(outside, 0.0, hounsfield + _OFFSET).astype(np.float64) / _RANGE
    down, right = np.zeros_like(image), np.zeros_like(image)
    down[:-1], right[:, :-1] = np.diff(image, axis=0), np.diff(image, axis=1)
    variation = float(np.hypot(down, right).mean())
    return 0.25 < image.max() < 0.75 and variation < min(0.01, 0.15 * float(image.mean()))


SliceFilter = Callable[[NDArray[Any], NDArray[np.bool_]], bool]

PUBLICATION_FILTERS: Mapping[str, SliceFilter] = MappingProxyType({"celledoni": celledoni})
"""By the name of the first author."""
