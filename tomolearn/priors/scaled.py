"""A regulariser of images in another unit than its own."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from tomolearn._core.checks import check_float
from tomolearn._core.errors import TomolearnTypeError
from tomolearn.operators import LinearOperator
from tomolearn.priors.composed import ComposedRegulariser
from tomolearn.priors.prior import PerImage, Regulariser


def scaled(regulariser: Regulariser, scale: float) -> Regulariser:
    """Return ``R(scale * x) / scale**2``, as a composed regulariser if R is one; R for scale 1."""
    if scale == 1:
        return regulariser
    kind = ScaledComposed if isinstance(regulariser, ComposedRegulariser) else Scaled
    return kind(regulariser, scale=scale)  # type: ignore[arg-type]


class Scaled(Regulariser):
    """A regulariser of images multiplied by a number, ``R(scale * x) / scale**2``.

    The divisor leaves the Hessian, and with it convexity modulus and Lipschitz constant, what they
    are: beside a least-squares data term, multiplying data and images by one number needs
    another scale and no other weight.

    Parameters
    ----------
    regulariser : Regulariser
        R, whose weights it shares.
    scale : float
        What images are multiplied by.

    Raises
    ------
    TypeError, ValueError
        If `regulariser` is none, or `scale` not positive.

    Examples
    --------
    >>> in_hundredths = Scaled(regulariser, scale=100.0)
    """

    def __init__(self, regulariser: Regulariser, *, scale: float) -> None:
        if not isinstance(regulariser, Regulariser):
            raise TomolearnTypeError(
                f"regulariser: expected a Regulariser, got {type(regulariser).__name__}"
            )
        scale = check_float("scale", scale, positive=True)
        Regulariser.__init__(self, {"regulariser": regulariser, "scale": scale})
        self.regulariser, self.scale, self.ndim = regulariser, scale, regulariser.ndim

    @property
    def convexity(self) -> float | None:
        """That of the regulariser."""
        return self.regulariser.convexity

    def lipschitz(self, shape: Sequence[int]) -> float | None:
        """Return that of the regulariser."""
        return self.regulariser.lipschitz(shape)

    @property
    def has_gradient(self) -> bool:
        """Whether the regulariser has one."""
        return self.regulariser.has_gradient

    @property
    def has_proximal(self) -> bool:
        """Whether the regulariser has one."""
        return self.regulariser.has_proximal

    def value(self, image: torch.Tensor) -> torch.Tensor:
        """Return the value of each image, shape (...)."""
        return self.regulariser.value(self.scale * image) / self.scale**2

    def gradient(self, image: torch.Tensor) -> torch.Tensor:
        """Return the gradient at each image."""
        return self.regulariser.gradient(self.scale * image) / self.scale

    def value_and_gradient(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return both."""
        value, gradient = self.regulariser.value_and_gradient(self.scale * image)
        return value / self.scale**2, gradient / self.scale

    def proximal(self, image: torch.Tensor, step: PerImage) -> torch.Tensor:
        """Return the x that minimises ``||x - image||^2 / 2 + step * value(x)``."""
        return self.regulariser.proximal(self.scale * image, step) / self.scale


class ScaledComposed(Scaled, ComposedRegulariser):
    """A composed regulariser of images multiplied by a number; see `Scaled`.

    The linear map stays, and phi becomes ``phi(scale * coefficients) / scale**2``.

    Parameters
    ----------
    regulariser : ComposedRegulariser
        R.
    scale : float
        What images are multiplied by.
    """

    regulariser: ComposedRegulariser

    def __init__(self, regulariser: ComposedRegulariser, *, scale: float) -> None:
        super().__init__(regulariser, scale=scale)
        self.extra = regulariser.extra

    @property
    def convexity(self) -> float:
        """That of the regulariser."""
        return self.regulariser.convexity

    def analysis(self, shape: Sequence[int]) -> LinearOperator:
        """Return that of the regulariser."""
        return self.regulariser.analysis(shape)

    def analysis_value(self, coefficients: torch.Tensor) -> torch.Tensor:
        """Return ``phi(scale * coefficients) / scale**2``."""
        return self.regulariser.analysis_value(self.scale * coefficients) / self.scale**2

    def dual_proximal(
        self, dual: torch.Tensor, step: float | torch.Tensor, weight: float | torch.Tensor
    ) -> torch.Tensor:
        """Return the proximal map of the convex conjugate of ``weight * phi``."""
        square = self.scale**2
        found = self.regulariser.dual_proximal(dual / self.scale, step / square, weight / square)
        return self.scale * found

    def dual_value(self, dual: torch.Tensor, weight: float | torch.Tensor) -> torch.Tensor:
        """Return the convex conjugate of ``weight * phi`` where it is finite."""
        return self.regulariser.dual_value(dual / self.scale, weight / self.scale**2)
