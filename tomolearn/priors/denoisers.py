"""Denoisers made of what is there: a network from image to image, or a regulariser."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from tomolearn._core.checks import check_float, check_int
from tomolearn._core.errors import TomolearnTypeError
from tomolearn.priors.prior import Denoiser, Regulariser


class NetworkDenoiser(Denoiser):
    """A network from images to images as a blind denoiser, whose weights it shares.

    Parameters
    ----------
    network : torch.nn.Module
        Maps images (batch, 1, *spatial axes) to the same shape.
    ndim : int
        Number of spatial axes.

    Raises
    ------
    TypeError
        If `network` is no torch module.
    """

    blind = True

    def __init__(self, network: torch.nn.Module, *, ndim: int = 2) -> None:
        if not isinstance(network, torch.nn.Module):
            raise TomolearnTypeError(
                f"network: expected a torch.nn.Module, got {type(network).__name__}"
            )
        super().__init__({"network": network, "ndim": check_int("ndim", ndim, minimum=1)})
        self.network, self.ndim = network, ndim

    def denoise(self, image: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        """Apply the network."""
        found: torch.Tensor = self.network(image)
        return found


class ProximalDenoiser(Denoiser):
    """The most probable image under white noise, ``proximal(image, weight * sigma**2)``.

    With the regulariser R it minimises ``||x - image||^2 / (2 sigma^2) + weight * R(x)``; for
    `TotalVariation` this is the model of Rudin, Osher and Fatemi.

    Parameters
    ----------
    regulariser : Regulariser
        One with a proximal map.
    weight : float
        Its weight, in the inverse of its unit.

    Raises
    ------
    TypeError, ValueError
        If `regulariser` is none, or `weight` not positive.

    Examples
    --------
    >>> denoise = ProximalDenoiser(TotalVariation(), weight=30.0)
    >>> image = denoise(noisy, 0.05)
    """

    def __init__(self, regulariser: Regulariser, *, weight: float) -> None:
        if not isinstance(regulariser, Regulariser):
            raise TomolearnTypeError(
                f"regulariser: expected a Regulariser, got {type(regulariser).__name__}"
            )
        weight = check_float("weight", weight, positive=True)
        super().__init__({"regulariser": regulariser, "weight": weight})
        self.regulariser, self.weight, self.ndim = regulariser, weight, regulariser.ndim

    def lipschitz(self, shape: Sequence[int]) -> float | None:
        """Return one if the regulariser is convex: proximal maps are then non-expansive."""
        convexity = self.regulariser.convexity
        return 1.0 if convexity is not None and convexity >= 0 else None

    def denoise(self, image: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        """Apply the proximal map."""
        step = self.weight * sigma.square()
        return self.regulariser.proximal(image, step.reshape(image.shape[:2]))
