"""Total variation as a regulariser, isotropic or anisotropic."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from tomolearn._core.checks import check_choice, check_float, check_floats, check_int
from tomolearn.geometry.grid import check_spacing
from tomolearn.operators import FiniteDifferences
from tomolearn.operators.differences import relative_scales
from tomolearn.priors.composed import ComposedRegulariser, limit, project_vectors

NORMS = ("isotropic", "anisotropic")
"""Of a vector of differences: its length, or the sum of its components' magnitudes."""


class Differences(ComposedRegulariser):
    """Base of functions of the differences of neighbouring pixels.

    Differences are those of `FiniteDifferences`, to the next pixel along each axis and zero across
    the border, divided by the distance of the pixels in units of its geometric mean over the axes,
    and multiplied by the weight of their axis.

    Parameters
    ----------
    arguments : mapping
        Further arguments of the constructor.
    ndim, spacing, weights, tolerance, max_iterations
        See `TotalVariation`.
    """

    def __init__(
        self,
        arguments: dict[str, Any],
        *,
        ndim: int,
        spacing: float | Sequence[float] | None,
        weights: Sequence[float] | None,
        tolerance: float,
        max_iterations: int,
    ) -> None:
        axes = check_int("ndim", ndim, minimum=1)
        lengths = check_spacing("spacing", 1.0 if spacing is None else spacing, axes)
        factors = (
            (1.0,) * axes if weights is None else check_floats("weights", weights, length=axes)
        )
        for k, factor in enumerate(factors):
            check_float(f"weights[{k}]", factor, positive=True)
        super().__init__(
            {
                "ndim": axes,
                "spacing": None if spacing is None else list(lengths),
                "weights": None if weights is None else list(factors),
                **arguments,
            },
            tolerance=tolerance,
            max_iterations=max_iterations,
        )
        self.ndim = axes
        scales = relative_scales(lengths)
        self._spacing = tuple(
            1 / (scale * factor) for scale, factor in zip(scales, factors, strict=True)
        )

    def analysis(self, shape: Sequence[int]) -> FiniteDifferences:
        """Return the weighted differences of images of a shape, (ndim, *shape)."""
        return FiniteDifferences(tuple(shape), self._spacing)


class TotalVariation(Differences):
    """Total variation: the sum of the sizes of the vectors of differences.

    Differences are those of `tomolearn.total_variation`, to the next pixel along each axis,
    divided by the distance of the pixels in units of its geometric mean over the axes, and zero
    across the border. It is convex and has no gradient where an image is flat. Its proximal map,
    the model of Rudin, Osher and Fatemi [1]_, is known to the tolerance, see `ComposedRegulariser`.

    Parameters
    ----------
    ndim : int
        Number of spatial axes: 2 for images, 3 for volumes.
    spacing : float or sequence of float, optional
        Distance of neighbouring pixels, one number or one per axis. Default: the same for all.
    weights : sequence of float, optional
        What differences along each axis count, positive. Default: once.
    norm : {"isotropic", "anisotropic"}
        Size of a vector of differences: its length, or the sum of its components' magnitudes,
        which favours edges along the axes.
    tolerance : float
        Of the proximal map: bound of its distance from the exact one, relative to the norm of the
        image, which the duality gap proves. The distance itself is mostly several times smaller.
    max_iterations : int
        Largest number of iterations of the proximal map.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of its range.

    References
    ----------
    .. [1] L. I. Rudin, S. Osher, E. Fatemi, "Nonlinear total variation based noise removal
       algorithms", Physica D 60 (1992), doi 10.1016/0167-2789(92)90242-F

    Examples
    --------
    >>> clean = TotalVariation().proximal(noisy, 0.1)
    """

    def __init__(
        self,
        *,
        ndim: int = 2,
        spacing: float | Sequence[float] | None = None,
        weights: Sequence[float] | None = None,
        norm: str = "isotropic",
        tolerance: float = 1e-2,
        max_iterations: int = 1000,
    ) -> None:
        self.norm = check_choice("norm", norm, NORMS)
        super().__init__(
            {"norm": self.norm},
            ndim=ndim,
            spacing=spacing,
            weights=weights,
            tolerance=tolerance,
            max_iterations=max_iterations,
        )

    def analysis_value(self, coefficients: torch.Tensor) -> torch.Tensor:
        """Return the sum of the sizes of vectors (..., ndim, *spatial axes), shape (...)."""
        axis = -self.ndim - 1
        if self.norm == "isotropic":
            sizes = torch.linalg.vector_norm(coefficients, dim=axis)
        else:
            sizes = coefficients.abs().sum(axis)
        return sizes.flatten(sizes.ndim - self.ndim).sum(-1)

    def dual_proximal(
        self, dual: torch.Tensor, step: float | torch.Tensor, weight: float | torch.Tensor
    ) -> torch.Tensor:
        """Return the projection of vectors, or of their components, onto the ball of the weight."""
        if self.norm == "isotropic":
            return project_vectors(dual, weight, -self.ndim - 1)
        return limit(dual, weight)
