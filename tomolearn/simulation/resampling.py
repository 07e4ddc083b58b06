"""Images on finer and on coarser grids of the same region, in two or three dimensions."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from torch.nn.functional import avg_pool2d, avg_pool3d, interpolate

_POOLS = {2: avg_pool2d, 3: avg_pool3d}
_LINEAR = {2: "bilinear", 3: "trilinear"}


def refine(images: torch.Tensor, shape: Sequence[int], interpolation: str) -> torch.Tensor:
    """Interpolate images (images, channels, ..., rows, columns) to a finer grid of this shape.

    For "constant" it has to be whole multiples; see `Refinement`.
    """
    axes = range(-len(shape), 0)
    if interpolation == "linear":
        return interpolate(images, tuple(shape), mode=_LINEAR[len(shape)])
    for axis, n in zip(axes, shape, strict=True):
        n_coarse = images.shape[axis]
        if interpolation == "constant":
            images = images.repeat_interleave(n // n_coarse, axis)
        else:
            matrix = torch.from_numpy(_mirrored(n_coarse, n)).to(images)
            images = (images.movedim(axis, -1) @ matrix.T).movedim(-1, axis)
    return images


def average(images: torch.Tensor, factors: Sequence[int]) -> torch.Tensor:
    """Return the means of images (images, channels, ..., rows, columns) over blocks of pixels."""
    return _POOLS[len(factors)](images, tuple(factors))


@lru_cache(maxsize=4)
def _mirrored(n: int, n_fine: int) -> np.ndarray:
    """Return the matrix (n_fine, n) of linear interpolation, mirrored at the outermost centres."""
    if n == 1:
        return np.ones((n_fine, 1))
    places = np.abs((np.arange(n_fine) + 0.5) * n / n_fine - 0.5)
    places = (n - 1) - np.abs((n - 1) - places)
    left = np.clip(np.floor(places).astype(int), 0, n - 2)
    rest = places - left
    matrix = np.zeros((n_fine, n))
    rows = np.arange(n_fine)
    matrix[rows, left] = 1 - rest
    matrix[rows, left + 1] = rest
    return matrix
