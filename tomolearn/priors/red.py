"""Regularisation by denoising (RED)."""

from __future__ import annotations

import torch

from tomolearn._core.checks import check_float
from tomolearn._core.errors import TomolearnTypeError
from tomolearn.priors.prior import Denoiser, Regulariser


class RegularisationByDenoising(Regulariser):
    """Regularisation by denoising, ``<x, x - D(x)> / 2`` with the "gradient" ``x - D(x)`` [1]_.

    That is its gradient where ``D(c x) = c D(x)`` for c near one and the Jacobian of the denoiser D
    is symmetric, as that of a linear smoother with a symmetric matrix. Of networks, of
    non-local means and of total variation neither holds, and then no function at all has ``x -
    D(x)`` for its gradient [2]_: algorithms that compare values will find it wrong, and those that
    do not look for ``A.T(A x - y) + weight * (x - D(x)) = 0``. Of a `GradientStepDenoiser` it is
    the gradient of its potential, not of this value: `GradientStepDenoiser.regulariser` has both.

    Parameters
    ----------
    denoiser : Denoiser
        Whose weights are shared.
    sigma : float, optional
        Noise level, in the images' unit. Only blind denoisers do without.

    Raises
    ------
    TypeError, ValueError
        If `denoiser` is none, or `sigma` not a noise level of its training.

    References
    ----------
    .. [1] Y. Romano, M. Elad, P. Milanfar, "The little engine that could: regularization by
       denoising (RED)", SIAM J. Imaging Sci. 10 (2017), arXiv:1611.02862
    .. [2] E. T. Reehorst, P. Schniter, "Regularization by denoising: clarifications and new
       interpretations", IEEE Trans. Comput. Imaging 5 (2019), arXiv:1806.02296
    """

    def __init__(self, denoiser: Denoiser, *, sigma: float | None = None) -> None:
        if not isinstance(denoiser, Denoiser):
            raise TomolearnTypeError(
                f"denoiser: expected a Denoiser, got {type(denoiser).__name__}"
            )
        if sigma is not None:
            sigma = check_float("sigma", sigma, nonnegative=True)
            denoiser.check_noise_level("sigma", sigma)
        super().__init__({"denoiser": denoiser, "sigma": sigma})
        self.denoiser, self.sigma, self.ndim = denoiser, sigma, denoiser.ndim

    def value(self, image: torch.Tensor) -> torch.Tensor:
        """Return ``<x, x - D(x)> / 2`` of each image, shape (...)."""
        return self.value_and_gradient(image)[0]

    def gradient(self, image: torch.Tensor) -> torch.Tensor:
        """Return ``x - D(x)``."""
        found: torch.Tensor = image - self.denoiser(image, self.sigma)
        return found

    def value_and_gradient(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return both with one evaluation of the denoiser."""
        removed = self.gradient(image)
        return (image * removed).flatten(image.ndim - self.ndim).sum(-1) / 2, removed
