"""Squared differences of neighbouring pixels: Tikhonov's penalty of the gradient."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from tomolearn._core.checks import check_int
from tomolearn.geometry.grid import check_spacing
from tomolearn.operators import FiniteDifferences
from tomolearn.operators.differences import relative_scales
from tomolearn.priors.prior import PerImage, Regulariser


class SquaredDifferences(Regulariser):
    """Half the sum of the squared differences of neighbouring pixels, the Dirichlet energy.

    Gradient and proximal map are exact, the latter by Fourier transforms of the image continued by
    its mirror image. It is convex.

    Parameters
    ----------
    ndim : int
        Number of spatial axes: 2 for images, 3 for volumes.
    spacing : float or sequence of float, optional
        Distance of neighbouring pixels, one number or one per axis; differences are divided by it
        in units of its geometric mean over the axes. Default: the same for all.

    Raises
    ------
    TypeError, ValueError
        If `ndim` is no positive integer, or `spacing` not positive.

    Examples
    --------
    >>> smooth = SquaredDifferences().proximal(image, 0.5)
    """

    def __init__(self, *, ndim: int = 2, spacing: float | Sequence[float] | None = None) -> None:
        axes = check_int("ndim", ndim, minimum=1)
        lengths = check_spacing("spacing", 1.0 if spacing is None else spacing, axes)
        super().__init__({"ndim": axes, "spacing": None if spacing is None else list(lengths)})
        self.ndim = axes
        self._scales = relative_scales(lengths)

    @property
    def convexity(self) -> float:
        """Zero: it is convex."""
        return 0.0

    def lipschitz(self, shape: Sequence[int]) -> float:
        """Return the norm of D.T D, the smallest Lipschitz constant of the gradient."""
        return self._differences(shape).norm() ** 2

    def value(self, image: torch.Tensor) -> torch.Tensor:
        """Return the value of each image, shape (...)."""
        D = self._differences(self._checked(image).shape[-self.ndim :])
        return D(image).square().flatten(image.ndim - self.ndim).sum(-1) / 2

    def gradient(self, image: torch.Tensor) -> torch.Tensor:
        """Return minus the Laplacian of each image."""
        D = self._differences(self._checked(image).shape[-self.ndim :])
        return D.adjoint(D(image))

    def proximal(self, image: torch.Tensor, step: PerImage) -> torch.Tensor:
        """Return ``(1 + step * D.T D)**-1`` applied to each image."""
        t = self._per_image("step", step, self._checked(image))
        axes = tuple(range(-self.ndim, 0))
        mirrored = image
        eigenvalues = image.new_zeros(())
        for axis, scale in zip(axes, self._scales, strict=True):
            mirrored = torch.cat((mirrored, mirrored.flip(axis)), axis)
            count = mirrored.shape[axis]
            frequencies = torch.arange(count, dtype=image.dtype, device=image.device)
            ladder = scale**2 * (2 - 2 * torch.cos(2 * math.pi * frequencies / count))
            eigenvalues = eigenvalues + ladder.reshape(-1, *(1,) * (-1 - axis))
        spectrum = torch.fft.fftn(mirrored, dim=axes) / (1 + t * eigenvalues)
        found = torch.fft.ifftn(spectrum, dim=axes).real
        return found[(..., *(slice(0, n) for n in image.shape[-self.ndim :]))]

    def _differences(self, shape: Sequence[int]) -> FiniteDifferences:
        return FiniteDifferences(tuple(shape), [1 / scale for scale in self._scales])
