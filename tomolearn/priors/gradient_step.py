"""Gradient-step denoisers: a step down the gradient of a potential, which is a regulariser."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from tomolearn._core.checks import check_choice, check_float, check_int
from tomolearn._core.errors import TomolearnTypeError
from tomolearn.priors.drunet import ACTIVATIONS, ResidualUNet, check_axes, check_widths
from tomolearn.priors.prior import Denoiser, Regulariser, check_noise_levels

SMOOTH = tuple(name for name in ACTIVATIONS if name != "relu")
"""Activations with which the potential has a Lipschitz continuous gradient on bounded sets."""


class GradientStepDenoiser(Denoiser):
    """Gradient-step denoiser ``D(x) = x - grad g(x)`` with ``g(x) = ||x - N(x)||^2 / 2`` [1]_.

    N is a small DRUNet that is told the noise level; its activation is smooth, so that the gradient
    of the potential g, which is not convex, is continuous. A denoiser of least mean squared
    error is of this form with ``g = -sigma^2 log p`` for the density p of noisy images. Denoising
    takes one evaluation of the network and one of its derivative.

    Parameters
    ----------
    channels, blocks, ndim, noise_levels
        Of the network, see `DRUNet`.
    activation : {"elu", "softplus"}
        Within the blocks.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of its range, or the activation not smooth.

    References
    ----------
    .. [1] S. Hurault, A. Leclaire, N. Papadakis, "Gradient step denoiser for convergent
       plug-and-play", ICLR 2022, arXiv:2110.03220

    Examples
    --------
    >>> g = denoiser.regulariser(0.05)
    >>> torch.allclose(noisy - g.gradient(noisy), denoiser(noisy, 0.05))
    True
    """

    def __init__(
        self,
        *,
        channels: Sequence[int] = (16, 32, 64),
        blocks: int = 1,
        activation: str = "elu",
        ndim: int = 2,
        noise_levels: Sequence[float] = (0.0, 50 / 255),
    ) -> None:
        self.noise_levels = check_noise_levels(noise_levels)
        widths = check_widths(channels)
        super().__init__(
            {
                "channels": widths,
                "blocks": check_int("blocks", blocks, minimum=1),
                "activation": check_choice("activation", activation, SMOOTH),
                "ndim": check_axes(ndim),
                "noise_levels": list(self.noise_levels),
            }
        )
        self.ndim = ndim
        # x - N(x): at the start of a training N is then close to the identity
        self.residual = ResidualUNet(widths, blocks, activation=activation, ndim=ndim)

    def potential(self, image: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        """Return g (batch,) of checked images (batch, 1, *spatial axes) and levels (batch, 1, *1).

        It has the images' precision, and is differentiable in images and weights.
        """
        residual = self.residual(image, sigma).to(image.dtype)
        return residual.square().flatten(1).sum(1) / 2

    def potential_and_gradient(
        self, image: torch.Tensor, sigma: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return g (batch,) and its gradient for the arguments of `potential`.

        They are differentiable where gradients are enabled.
        """
        followed = torch.is_grad_enabled() and not torch.is_inference_mode_enabled()
        with torch.inference_mode(False), torch.enable_grad():
            if image.is_inference():
                image, sigma = image.clone(), sigma.clone()
            # not the image itself, if it is no part of a graph
            x = image if image.requires_grad and followed else image.detach().requires_grad_()
            value = self.potential(x, sigma)
            (gradient,) = torch.autograd.grad(value.sum(), x, create_graph=followed)
        return (value if followed else value.detach()), gradient

    def denoise(self, image: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        """Make the step."""
        return image - self.potential_and_gradient(image, sigma)[1]

    def regulariser(self, sigma: float) -> GradientStepRegulariser:
        """Return the potential at a noise level as a regulariser, which shares the weights."""
        return GradientStepRegulariser(self, sigma=sigma)


class GradientStepRegulariser(Regulariser):
    """The potential g of a gradient-step denoiser at one noise level, whose weights it shares.

    It has a value and a gradient ``x - denoiser(x, sigma)``, both differentiable in images and
    weights, and is not negative. It is not convex, and nothing is certified of it.

    Parameters
    ----------
    denoiser : GradientStepDenoiser
        The denoiser.
    sigma : float
        Noise level, in the images' unit.

    Raises
    ------
    TypeError, ValueError
        If `denoiser` is none, or was not trained for the noise level.
    """

    def __init__(self, denoiser: GradientStepDenoiser, *, sigma: float) -> None:
        if not isinstance(denoiser, GradientStepDenoiser):
            raise TomolearnTypeError(
                f"denoiser: expected a GradientStepDenoiser, got {type(denoiser).__name__}"
            )
        sigma = check_float("sigma", sigma, nonnegative=True)
        denoiser.check_noise_level("sigma", sigma)
        super().__init__({"denoiser": denoiser, "sigma": sigma})
        self.denoiser, self.sigma, self.ndim = denoiser, sigma, denoiser.ndim

    def value(self, image: torch.Tensor) -> torch.Tensor:
        """Return g of each image, shape (...)."""
        found = self.denoiser.potential(*self._batched(image))
        return found.reshape(image.shape[: image.ndim - self.ndim])

    def gradient(self, image: torch.Tensor) -> torch.Tensor:
        """Return the gradient at each image."""
        return self.value_and_gradient(image)[1]

    def value_and_gradient(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return both at hardly more than the cost of the gradient."""
        value, gradient = self.denoiser.potential_and_gradient(*self._batched(image))
        return value.reshape(image.shape[: image.ndim - self.ndim]), gradient.reshape(image.shape)

    def _batched(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        self._checked(image)
        images = image.reshape(-1, 1, *image.shape[image.ndim - self.ndim :])
        return images, images.new_full((1, 1, *(1,) * self.ndim), self.sigma)
