"""The base of regularisers computed by convolutional networks, and bounds of their gradients."""

from __future__ import annotations

import abc

import torch
from torch import nn
from torch.nn.functional import pad, softplus

from tomolearn._core.errors import TomolearnError
from tomolearn._core.tensors import channels_last
from tomolearn.priors.prior import Regulariser
from tomolearn.priors.spectral import spectral_norm_bound


class NetworkRegulariser(Regulariser, abc.ABC):
    """A regulariser of planar images whose value a network computes and autograd differentiates.

    Values and gradients are differentiable in image and weights, to any order. The network runs in
    the precision of its weights, also where torch's autocast would choose a lower one.
    """

    @abc.abstractmethod
    def energy(self, image: torch.Tensor) -> torch.Tensor:
        """Return the values (batch,) of checked images (batch, 1, rows, columns)."""

    def value(self, image: torch.Tensor) -> torch.Tensor:
        """Return the value of each image, shape (...)."""
        self._checked(image)
        *leading, rows, columns = image.shape
        precision = next(self.parameters()).dtype
        with torch.autocast(image.device.type, enabled=False):
            values = self.energy(image.reshape(-1, 1, rows, columns).to(precision))
        return values.reshape(leading).to(image.dtype)

    def gradient(self, image: torch.Tensor) -> torch.Tensor:
        """Return the gradient at each image, shape (..., rows, columns)."""
        return self.value_and_gradient(image)[1]

    def value_and_gradient(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return both, by one run of the network and back."""
        followed = torch.is_grad_enabled()
        with torch.inference_mode(False), torch.enable_grad():
            point = image
            if not (followed and image.requires_grad):
                point = image.detach().clone().requires_grad_()
            value = self.value(point)
            (slope,) = torch.autograd.grad(value.sum(), point, create_graph=followed)
        return (value if followed else value.detach()), slope


def convolutions(layers: nn.ModuleList) -> list[nn.Conv2d]:
    """Return a list of convolutions, which torch knows as modules."""
    return [layer for layer in layers if isinstance(layer, nn.Conv2d)]


def leaky_softplus(x: torch.Tensor, slope: float, sharpness: float) -> torch.Tensor:
    """Return a smooth leaky ReLU, ``slope * x + (1 - slope) * log(1 + exp(s x)) / s``.

    It is convex, its derivative lies between `slope` and one, and its second derivative is at most
    ``(1 - slope) * sharpness / 4``.
    """
    return slope * x + (1 - slope) * softplus(x, beta=sharpness)


def curvature_bound(slope: float, sharpness: float) -> float:
    """Return the largest second derivative of `leaky_softplus`."""
    return (1 - slope) * sharpness / 4


def mirrored(image: torch.Tensor, margin: int) -> torch.Tensor:
    """Return images (batch, 1, rows, columns) continued on each side by their mirror image.

    A pixel has at most four images, so that the norm of this linear map is at most two.

    Raises
    ------
    ValueError
        If an axis of the images has no more pixels than the margin.
    """
    if min(image.shape[-2:]) <= margin:
        raise TomolearnError(
            f"image: expected more than {margin} pixels along each axis, got "
            f"{tuple(image.shape[-2:])}"
        )
    return channels_last(pad(image, (margin,) * 4, mode="reflect"))


MIRRORED_NORM = 2.0
"""A bound of the norm of `mirrored`."""


def weighted_norm_bound(kernel: torch.Tensor, weights: torch.Tensor) -> float:
    """Return a bound of the norm of a convolution whose output channels are weighted.

    Parameters
    ----------
    kernel : torch.Tensor, shape (n_out, n_in, size, size)
        Kernel of odd size; strides make the norm no larger.
    weights : torch.Tensor, shape (n_out,)
        Not negative; outputs are multiplied by their square roots.
    """
    return norm_bound(kernel.double() * weights.sqrt().reshape(-1, 1, 1, 1))


def norm_bound(kernel: torch.Tensor) -> float:
    """Return a bound of the norm of a convolution, a few per cent above it."""
    return spectral_norm_bound(kernel, samples=2 if kernel.shape[-1] == 1 else 32)


def largest_sensitivity(
    kernel: torch.Tensor, outputs: torch.Tensor, stride: int = 1
) -> torch.Tensor:
    """Return bounds (n_in,) of the derivatives by each input pixel of a convolution.

    Parameters
    ----------
    kernel : torch.Tensor, shape (n_out, n_in, size, size)
    outputs : torch.Tensor, shape (n_out,)
        Bounds of the derivatives by each of its output pixels.
    stride : int
        Of the convolution: a pixel meets every so many entries of the kernel only.
    """
    each = torch.einsum("o,oikl->ikl", outputs, kernel.double().abs())
    phases = [
        each[:, i::stride, j::stride].sum((1, 2)) for i in range(stride) for j in range(stride)
    ]
    return torch.stack(phases).amax(0)
