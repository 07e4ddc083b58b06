"""Directional total variation, for images with one main direction."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from tomolearn._core.checks import check_float
from tomolearn._core.errors import TomolearnError
from tomolearn.geometry.grid import check_spacing
from tomolearn.operators import FiniteDifferences, LinearOperator
from tomolearn.operators.base import ComposedOperator
from tomolearn.operators.differences import relative_scales
from tomolearn.priors.composed import ComposedRegulariser, project_vectors


class PlaneVectors(LinearOperator):
    """A matrix applied to each vector of a field (2, rows, columns).

    Parameters
    ----------
    matrix : sequence of two pairs of float
        Its rows.
    shape : sequence of int
        Shape of an image.
    """

    def __init__(self, matrix: Sequence[Sequence[float]], shape: Sequence[int]) -> None:
        super().__init__((2, *shape), (2, *shape))
        self.matrix = tuple(tuple(row) for row in matrix)

    def _evaluate(self, x: torch.Tensor) -> torch.Tensor:
        return torch.einsum("ij,bjkl->bikl", x.new_tensor(self.matrix), x)

    def _evaluate_adjoint(self, y: torch.Tensor) -> torch.Tensor:
        return torch.einsum("ji,bjkl->bikl", y.new_tensor(self.matrix), y)


class DirectionalTotalVariation(ComposedRegulariser):
    """Directional total variation: differences along a direction count more than those across.

    The sum over the pixels of ``sqrt((d . grad)^2 + anisotropy^2 (d' . grad)^2)`` with the unit
    vector d of the direction and d' perpendicular to it [1]_, [2]_. Lines along d are kept, noise
    is smoothed along them. With anisotropy 1 it is total variation. It is convex.

    Parameters
    ----------
    angle : float
        Of the direction in radians, as the angles of scans: ``d = (cos, sin)`` in (row, column).
    anisotropy : float
        What differences across the direction count, in (0, 1].
    spacing : float or pair of float, optional
        Distance of neighbouring pixels, one number or one per axis. Default: the same for both.
    tolerance, max_iterations
        See `TotalVariation`.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of its range.

    References
    ----------
    .. [1] I. Bayram, M. E. Kamasak, "Directional total variation", IEEE Signal Process. Lett. 19
       (2012), doi 10.1109/LSP.2012.2220349
    .. [2] R. D. Kongskov, Y. Dong, K. Knudsen, "Directional total generalized variation
       regularization", BIT 59 (2019), arXiv:1701.02675

    Examples
    --------
    >>> layers = DirectionalTotalVariation(angle=math.pi / 2, anisotropy=0.2)  # along the rows
    """

    ndim = 2

    def __init__(
        self,
        *,
        angle: float = 0.0,
        anisotropy: float = 0.2,
        spacing: float | Sequence[float] | None = None,
        tolerance: float = 1e-2,
        max_iterations: int = 1000,
    ) -> None:
        self.angle = check_float("angle", angle)
        self.anisotropy = check_float("anisotropy", anisotropy, positive=True)
        if self.anisotropy > 1:
            raise TomolearnError(
                f"anisotropy: expected a number in (0, 1], got {anisotropy}; turn the angle by "
                "pi / 2 for its inverse"
            )
        lengths = check_spacing("spacing", 1.0 if spacing is None else spacing, 2)
        super().__init__(
            {
                "angle": self.angle,
                "anisotropy": self.anisotropy,
                "spacing": None if spacing is None else list(lengths),
            },
            tolerance=tolerance,
            max_iterations=max_iterations,
        )
        self._spacing = tuple(1 / scale for scale in relative_scales(lengths))

    def analysis(self, shape: Sequence[int]) -> LinearOperator:
        """Return the differences along and, weighted, across the direction, (2, *shape)."""
        c, s, a = math.cos(self.angle), math.sin(self.angle), self.anisotropy
        turned = PlaneVectors(((c, s), (-a * s, a * c)), shape)
        return ComposedOperator(turned, FiniteDifferences(tuple(shape), self._spacing))

    def analysis_value(self, coefficients: torch.Tensor) -> torch.Tensor:
        """Return the sum of the lengths of vectors (..., 2, rows, columns), shape (...)."""
        return torch.linalg.vector_norm(coefficients, dim=-3).flatten(-2).sum(-1)

    def dual_proximal(
        self, dual: torch.Tensor, step: float | torch.Tensor, weight: float | torch.Tensor
    ) -> torch.Tensor:
        """Return the projection of vectors onto the ball of the weight."""
        return project_vectors(dual, weight, -3)
