"""Half the squared norm of an image: Tikhonov's penalty of order zero."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from tomolearn._core.checks import check_float, check_int
from tomolearn.priors.prior import PerImage, Regulariser


class SquaredNorm(Regulariser):
    """Half the squared distance ``||x - center||^2 / 2`` of an image from a constant one.

    It is strongly convex with modulus one; with it every least-squares problem has one solution.

    Parameters
    ----------
    center : float
        The constant, in the image's unit.
    ndim : int
        Number of spatial axes: 2 for images, 3 for volumes.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of its range.

    Examples
    --------
    >>> smaller = SquaredNorm().proximal(image, 1.0)  # a half of it
    """

    def __init__(self, *, center: float = 0.0, ndim: int = 2) -> None:
        self.center = check_float("center", center)
        super().__init__({"center": self.center, "ndim": check_int("ndim", ndim, minimum=1)})
        self.ndim = ndim

    @property
    def convexity(self) -> float:
        """One: the Hessian is the identity."""
        return 1.0

    def lipschitz(self, shape: Sequence[int]) -> float:
        """Return one."""
        return 1.0

    def value(self, image: torch.Tensor) -> torch.Tensor:
        """Return the value of each image, shape (...)."""
        away = self._checked(image) - self.center
        return away.square().flatten(image.ndim - self.ndim).sum(-1) / 2

    def gradient(self, image: torch.Tensor) -> torch.Tensor:
        """Return each image without the constant."""
        return self._checked(image) - self.center

    def proximal(self, image: torch.Tensor, step: PerImage) -> torch.Tensor:
        """Return ``(image + step * center) / (1 + step)``."""
        t = self._per_image("step", step, self._checked(image))
        return (image + t * self.center) / (1 + t)
