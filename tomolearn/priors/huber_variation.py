"""Total variation with Huber's function, which has a gradient."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from tomolearn._core.checks import check_float
from tomolearn.priors.composed import project_vectors
from tomolearn.priors.total_variation import Differences


class HuberTotalVariation(Differences):
    """Huber's total variation: quadratic for small differences, linear for large ones.

    The sum over the pixels of h(length of the vector of differences) with ``h(s) = s**2 /
    (2 delta)`` up to ``s = delta`` and ``s - delta / 2`` beyond. It is convex; its gradient has the
    certified Lipschitz constant ``||D||**2 / delta``. Where differences stay below `delta`, an
    image is smoothed, so that ramps have no staircases. Differences are those of `TotalVariation`.

    Parameters
    ----------
    delta : float
        Difference of neighbouring pixels, in the image's unit, at which it changes; positive.
    ndim, spacing, weights, tolerance, max_iterations
        See `TotalVariation`.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of its range.

    References
    ----------
    .. [1] P. J. Huber, "Robust estimation of a location parameter", Ann. Math. Stat. 35 (1964),
       doi 10.1214/aoms/1177703732; A. Chambolle, T. Pock, J. Math. Imaging Vis. 40 (2011),
       doi 10.1007/s10851-010-0251-1, section 6.2.2, on images

    Examples
    --------
    >>> slope = HuberTotalVariation(delta=0.01).gradient(image)
    """

    def __init__(
        self,
        *,
        delta: float = 0.01,
        ndim: int = 2,
        spacing: float | Sequence[float] | None = None,
        weights: Sequence[float] | None = None,
        tolerance: float = 1e-2,
        max_iterations: int = 1000,
    ) -> None:
        self.delta = check_float("delta", delta, positive=True)
        super().__init__(
            {"delta": self.delta},
            ndim=ndim,
            spacing=spacing,
            weights=weights,
            tolerance=tolerance,
            max_iterations=max_iterations,
        )

    def lipschitz(self, shape: Sequence[int]) -> float:
        """Return ``||D||**2 / delta``, which images with small differences attain."""
        return self.analysis(shape).norm() ** 2 / self.delta

    def gradient(self, image: torch.Tensor) -> torch.Tensor:
        """Return minus the divergence of the vectors of differences, shortened to one at most."""
        D = self._analysis_of(self._checked(image))
        vectors = D(image)
        # the square root has no derivative at zero, but no vector that short is divided by its own
        squares = vectors.square().sum(-self.ndim - 1, keepdim=True)
        return D.adjoint(vectors / squares.clamp_min(self.delta**2).sqrt())

    def analysis_value(self, coefficients: torch.Tensor) -> torch.Tensor:
        """Return the sum of Huber's function of vectors (..., ndim, *spatial axes), shape (...)."""
        squares = coefficients.square().sum(-self.ndim - 1)
        length = squares.clamp_min(self.delta**2).sqrt()
        # both branches at once: the inner one where the length is delta
        parts = torch.where(
            squares <= self.delta**2, squares / (2 * self.delta), length - self.delta / 2
        )
        return parts.flatten(parts.ndim - self.ndim).sum(-1)

    def dual_proximal(
        self, dual: torch.Tensor, step: float | torch.Tensor, weight: float | torch.Tensor
    ) -> torch.Tensor:
        """Return vectors shrunk by ``1 + step * delta / weight``, then projected."""
        shrunk = dual * (weight / (weight + step * self.delta))
        return project_vectors(shrunk, weight, -self.ndim - 1)

    def dual_value(self, dual: torch.Tensor, weight: float | torch.Tensor) -> torch.Tensor:
        """Return ``delta / (2 weight) ||dual||^2``; zero with no weight."""
        w = torch.as_tensor(weight, dtype=dual.dtype, device=dual.device)
        squares = dual.square() / w.clamp_min(torch.finfo(dual.dtype).tiny)
        return squares.flatten(dual.ndim - self.ndim - 1).sum(-1) * (self.delta / 2)
