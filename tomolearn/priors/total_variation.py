"""Total variation as a regulariser, with its proximal map."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import torch

from tomolearn._core.checks import check_float, check_int
from tomolearn._core.errors import ConvergenceWarning
from tomolearn._core.tensors import norm
from tomolearn.geometry.grid import check_spacing
from tomolearn.operators import FiniteDifferences
from tomolearn.operators.differences import relative_scales
from tomolearn.priors.prior import PerImage, Regulariser

# The certificate costs as much as half an iteration.
_CHECK_EVERY = 10


class TotalVariation(Regulariser):
    """Isotropic total variation: the sum of the lengths of the vectors of differences.

    Differences are those of `tomolearn.total_variation`, to the next pixel along each axis,
    divided by the distance of the pixels in units of its geometric mean over the axes, and zero
    across the border. It is convex and has no gradient where
    an image is flat. Its proximal map, the model of Rudin, Osher and Fatemi, is computed by the
    fast gradient projection of the dual problem [1]_, without gradients.

    Parameters
    ----------
    ndim : int
        Number of spatial axes: 2 for images, 3 for volumes.
    spacing : float or sequence of float, optional
        Distance of neighbouring pixels, one number or one per axis. Default: the same for all.
    tolerance : float
        Of the proximal map: bound of its distance from the exact one, relative to the norm of the
        image, which the duality gap proves. The distance itself is mostly several times smaller.
    max_iterations : int
        Largest number of iterations of the proximal map.

    References
    ----------
    .. [1] A. Beck, M. Teboulle, "Fast gradient-based algorithms for constrained total variation
       image denoising and deblurring problems", IEEE Trans. Image Process. 18 (2009),
       doi 10.1109/TIP.2009.2028250

    Examples
    --------
    >>> clean = TotalVariation().proximal(noisy, 0.1)
    """

    def __init__(
        self,
        *,
        ndim: int = 2,
        spacing: float | Sequence[float] | None = None,
        tolerance: float = 1e-2,
        max_iterations: int = 1000,
    ) -> None:
        lengths = check_spacing("spacing", 1.0 if spacing is None else spacing, ndim)
        super().__init__(
            {
                "ndim": check_int("ndim", ndim, minimum=1),
                "spacing": None if spacing is None else list(lengths),
                "tolerance": check_float("tolerance", tolerance, positive=True),
                "max_iterations": check_int("max_iterations", max_iterations, minimum=1),
            }
        )
        self.ndim, self.tolerance, self.max_iterations = ndim, tolerance, max_iterations
        self._spacing = tuple(1 / scale for scale in relative_scales(lengths))

    @property
    def convexity(self) -> float:
        """Zero: it is convex."""
        return 0.0

    def value(self, image: torch.Tensor) -> torch.Tensor:
        """Return the total variation of each image, shape (...)."""
        self._checked(image)
        D = FiniteDifferences(tuple(image.shape[-self.ndim :]), self._spacing)
        return self._lengths(D(image)).flatten(image.ndim - self.ndim).sum(-1)

    @torch.no_grad()
    def proximal(self, image: torch.Tensor, step: PerImage) -> torch.Tensor:
        """Return the x that minimises ``||x - image||^2 / 2 + step * TV(x)``.

        Warns
        -----
        ConvergenceWarning
            If the tolerance was not reached.
        """
        t = self._per_image("step", step, self._checked(image))
        D = FiniteDifferences(tuple(image.shape[-self.ndim :]), self._spacing)
        leading = image.ndim - self.ndim
        bound = 4 * sum(step**-2 for step in self._spacing)  # of the squared norm of D
        sizes = norm(image.reshape(-1, *image.shape[leading:])).reshape(image.shape[:leading])
        wanted = self.tolerance * sizes
        axis = -self.ndim - 1
        # of the vectors t q, with q the dual variable, so that images with t = 0 stay as they are
        q = bar = torch.zeros_like(D(image))
        momentum = 1.0
        distance = wanted
        for iteration in range(1, self.max_iterations + 1):
            ascent = bar + D(image - D.adjoint(bar)) / bound
            new = ascent * (t / self._lengths(ascent).clamp_min(1e-30)).clamp(max=1).unsqueeze(axis)
            next_momentum = (1 + (1 + 4 * momentum**2) ** 0.5) / 2
            bar = new + (momentum - 1) / next_momentum * (new - q)
            q, momentum = new, next_momentum
            if iteration % _CHECK_EVERY == 0 or iteration == self.max_iterations:
                slope = D(image - D.adjoint(q))
                gap = t * self._lengths(slope) - (q * slope).sum(axis)
                # the objective is strongly convex
                distance = (
                    (2 * gap.flatten(leading).sum(-1, dtype=torch.float64)).clamp_min(0).sqrt()
                )
                if bool((distance <= wanted).all()):
                    break
        if not bool((distance <= wanted).all()):
            warnings.warn(
                f"TotalVariation: after {self.max_iterations} iterations a proximal point is known "
                f"to {float((distance / wanted).max()) * self.tolerance:.2g}, not to "
                f"{self.tolerance:g}",
                ConvergenceWarning,
                stacklevel=2,
            )
        return image - D.adjoint(q)

    def _lengths(self, vectors: torch.Tensor) -> torch.Tensor:
        return torch.linalg.vector_norm(vectors, dim=-self.ndim - 1)
