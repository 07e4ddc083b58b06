"""Gaussian blur with its exact transpose."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch

from tomolearn._core.checks import check_choice, check_float, check_floats
from tomolearn._core.errors import TomolearnError
from tomolearn.operators.base import LinearOperator
from tomolearn.operators.differences import check_image_shape

BOUNDARIES = ("reflect", "constant", "wrap")
"""What lies outside of the image, in the words of `scipy.ndimage`."""


class GaussianBlur(LinearOperator):
    """Convolution of images with a Gaussian, along each of their axes.

    It is what `scipy.ndimage.gaussian_filter` computes. Along one axis it is a matrix; its
    transpose is exact with every boundary, also where it is no convolution. It runs in torch on any
    device.

    Parameters
    ----------
    shape : sequence of int
        Shape of one image, of one or more axes.
    sigma : float or sequence of float
        Standard deviation of the Gaussian in pixels, one number or one per axis; 0: no blur.
    boundary : {"reflect", "constant", "wrap"}
        What lies outside: the mirror image with the border's pixels repeated, zeros, or the image
        again.
    truncate : float
        Where the Gaussian is cut off, in standard deviations.

    Raises
    ------
    TypeError, ValueError
        If `shape` is no sequence of positive integers, a standard deviation negative, or the
        boundary another.

    Examples
    --------
    >>> A = GaussianBlur(image.shape, sigma=2.0)
    >>> sharper = tl.total_variation(A(image), A, weight=1e-3)
    """

    def __init__(
        self,
        shape: Sequence[int],
        sigma: float | Sequence[float],
        *,
        boundary: str = "reflect",
        truncate: float = 4.0,
    ) -> None:
        counts = check_image_shape(shape)
        super().__init__(counts, counts)
        if isinstance(sigma, Sequence) and not isinstance(sigma, str):
            widths = check_floats("sigma", sigma, length=len(counts))
        else:
            widths = (check_float("sigma", sigma, nonnegative=True),) * len(counts)
        if min(widths) < 0:
            raise TomolearnError(f"sigma: expected non-negative numbers, got {sigma}")
        self.sigma = widths
        self.boundary = check_choice("boundary", boundary, BOUNDARIES)
        self.truncate = check_float("truncate", truncate, positive=True)
        self._matrices = [
            torch.from_numpy(_matrix(n, width, boundary, self.truncate))
            for n, width in zip(counts, widths, strict=True)
        ]

    def _evaluate(self, x: torch.Tensor) -> torch.Tensor:
        return self._along_axes(x, [matrix.T for matrix in self._matrices])

    def _evaluate_adjoint(self, y: torch.Tensor) -> torch.Tensor:
        return self._along_axes(y, self._matrices)

    def _along_axes(self, x: torch.Tensor, matrices: list[torch.Tensor]) -> torch.Tensor:
        """Multiply the rows along each axis by a matrix from the right."""
        for axis, matrix in enumerate(matrices, start=1):
            x = (x.movedim(axis, -1) @ matrix.to(x)).movedim(-1, axis)
        return x.contiguous()

    def norm(self, *, tolerance: float = 1e-6, max_iterations: int = 1000) -> float:
        """Return the largest singular value, the product of those along the axes.

        The parameters are those of every operator and change nothing here.
        """
        return math.prod(float(torch.linalg.matrix_norm(m, 2)) for m in self._matrices)

    def extra_repr(self) -> str:
        """Return shape, width and boundary, for ``repr``."""
        return f"{self.domain_shape}, sigma={self.sigma}, boundary={self.boundary!r}"


def _matrix(count: int, sigma: float, boundary: str, truncate: float) -> np.ndarray:
    """Return the blur of a line of `count` pixels as a matrix in double precision."""
    radius = int(truncate * sigma + 0.5)
    offsets = np.arange(-radius, radius + 1)
    weights = np.exp(-0.5 * (offsets / sigma) ** 2) if radius else np.ones(1)
    weights /= weights.sum()
    sources = np.arange(count)[:, None] + offsets
    inside = np.ones(sources.shape, bool)
    if boundary == "wrap":
        sources %= count
    elif boundary == "reflect":
        sources %= 2 * count
        sources = np.where(sources < count, sources, 2 * count - 1 - sources)
    else:
        inside = (sources >= 0) & (sources < count)
        sources = np.where(inside, sources, 0)
    matrix = np.zeros((count, count))
    rows = np.broadcast_to(np.arange(count)[:, None], sources.shape)
    np.add.at(matrix, (rows[inside], sources[inside]), np.broadcast_to(weights, rows.shape)[inside])
    return matrix
