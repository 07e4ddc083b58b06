"""A regulariser learned as a critic, which tells images from artefacts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import nn
from torch.nn.functional import conv2d

from tomolearn._core.checks import check_float, check_int
from tomolearn._core.errors import TomolearnError
from tomolearn.priors.network_regulariser import (
    MIRRORED_NORM,
    NetworkRegulariser,
    convolutions,
    curvature_bound,
    largest_sensitivity,
    leaky_softplus,
    mirrored,
    norm_bound,
    weighted_norm_bound,
)


class AdversarialRegulariser(NetworkRegulariser):
    """Critic of images, a convolutional network whose outputs are added up over the image.

    With objective "adversarial" it becomes small on true images and large on naive reconstructions,
    with gradients of norm one in between [1]_. There, a dense layer sees the whole image, so that
    its size is fixed. Here the last layers are convolutions of one pixel, and the value is the sum
    over the image of what they say, each output counting for the pixels that it stands for: images
    may have any size, those of the training may be windows of larger ones, and the gradient at a
    pixel, which sees its neighbourhood alone, does not depend on the size of the image.

    So the norm of [1]_, in which gradients are one, is here the root mean square over the pixels,
    and the weight that [1]_ suggests, the expected norm of ``A.T(noise)``, is its root mean square
    in a pixel. Leaky ReLUs are smoothed, so that there is a gradient everywhere, of a certified
    Lipschitz constant; it is a product over the layers, and mostly orders of magnitude too large.

    Nothing bounds it from below, and nothing is learned away from the lines between the two kinds
    of images: descended to the end, it leads to images worse than those it began with. Descend from
    a naive reconstruction on with ``algorithm="fixed-step"``, some tens of iterations. See
    `InputConvexRegulariser` for a critic that is convex.

    Parameters
    ----------
    channels, strides : sequence of int
        Output channels and stride of each convolution. Defaults: those of [1]_.
    kernel_size : int
        Of the convolutions, odd.
    hidden : int
        Channels between the two last layers.
    slope, sharpness : float
        Of the activation, see `network_regulariser.leaky_softplus`: the slope of its flat side,
        and the inverse of the width of its bend.
    scale : float
        What image values are multiplied by for the network, and its value divided by: the noise in
        an image should come out of the size of one.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of its range, or there is not one stride per number of channels.

    References
    ----------
    .. [1] S. Lunz, O. Öktem, C.-B. Schönlieb, "Adversarial regularizers in inverse problems",
       NeurIPS 2018, arXiv:1805.11572

    Examples
    --------
    >>> critic = AdversarialRegulariser(channels=(16, 16, 32), strides=(1, 1, 2))
    >>> slope = critic.gradient(image)
    """

    def __init__(
        self,
        *,
        channels: Sequence[int] = (16, 32, 32, 64, 64, 128),
        strides: Sequence[int] = (1, 1, 2, 2, 2, 2),
        kernel_size: int = 5,
        hidden: int = 256,
        slope: float = 0.2,
        sharpness: float = 10.0,
        scale: float = 10.0,
    ) -> None:
        widths = check_layers("channels", channels)
        steps = check_layers("strides", strides)
        if len(widths) != len(steps):
            raise TomolearnError(
                f"strides: expected one for each of the {len(widths)} convolutions, got "
                f"{len(steps)}"
            )
        size = check_kernel_size(kernel_size)
        super().__init__(
            {
                "channels": widths,
                "strides": steps,
                "kernel_size": size,
                "hidden": check_int("hidden", hidden, minimum=1),
                "slope": check_slope(slope),
                "sharpness": check_float("sharpness", sharpness, positive=True),
                "scale": check_float("scale", scale, positive=True),
            }
        )
        self.slope, self.sharpness, self.scale, self.strides = slope, sharpness, scale, steps
        kernels = [size] * len(widths) + [1]
        self.layers = nn.ModuleList(
            nn.Conv2d(n_in, n_out, k)
            for (n_in, n_out), k in zip(pairwise([1, *widths, hidden]), kernels, strict=True)
        )
        for layer in convolutions(self.layers):
            start_convolution(layer, slope)
        start_filters(convolutions(self.layers)[0])
        self.last = nn.Parameter(torch.randn(hidden) / hidden)
        self._pixels = math.prod(steps)

    def energy(self, image: torch.Tensor) -> torch.Tensor:
        """Return the values (batch,) of images (batch, 1, rows, columns)."""
        rows, columns = (-(-n // self._pixels) for n in image.shape[-2:])
        x = mirrored(self.scale * image, self._pixels)
        for layer, stride in zip(convolutions(self.layers), [*self.strides, 1], strict=True):
            x = conv2d(x, layer.weight, layer.bias, stride, layer.kernel_size[0] // 2)
            x = leaky_softplus(x, self.slope, self.sharpness)
        # the outputs whose centres lie in the image
        x = x[..., 1 : 1 + rows, 1 : 1 + columns]
        each = (x * self.last.reshape(-1, 1, 1)).sum(1)
        return self._pixels**2 / self.scale * each.flatten(1).sum(1)

    @torch.no_grad()
    def lipschitz(self, shape: Sequence[int]) -> float:
        """Return a bound of the Lipschitz constant of the gradient, the same for all shapes.

        The Hessian is a sum over the layers: the Jacobian of the layer's input, a second derivative
        of the activation, and how sensitive the value is to the layer's output.
        """
        kernels = [layer.weight for layer in convolutions(self.layers)]
        sensitivity = self._pixels**2 * self.last.double().abs()
        sensitivities = [sensitivity]
        for kernel, stride in zip(
            reversed(kernels[1:]), [1, *reversed(self.strides[1:])], strict=True
        ):
            sensitivities.append(largest_sensitivity(kernel, sensitivities[-1], stride))
        steep, total = MIRRORED_NORM, 0.0
        for kernel, sensitivity in zip(kernels, reversed(sensitivities), strict=True):
            total += (steep * weighted_norm_bound(kernel, sensitivity)) ** 2
            steep *= norm_bound(kernel)
        return self.scale * curvature_bound(self.slope, self.sharpness) * total


@torch.no_grad()
def start_convolution(layer: nn.Conv2d, slope: float) -> None:
    """Draw weights with which values keep their size, and set biases to zero."""
    nn.init.kaiming_normal_(layer.weight, a=slope)
    if layer.bias is not None:
        layer.bias.zero_()


@torch.no_grad()
def start_filters(layer: nn.Conv2d) -> None:
    """Make a layer's filters blind to constants, most of what an image consists of, at first."""
    layer.weight -= layer.weight.mean((1, 2, 3), keepdim=True)


def check_layers(name: str, values: Sequence[int]) -> list[int]:
    """Return numbers of channels or strides, one per layer."""
    if isinstance(values, str) or not isinstance(values, Sequence) or not values:
        raise TomolearnError(f"{name}: expected a number for each layer, got {values!r}")
    return [check_int(f"{name}[{k}]", n, minimum=1) for k, n in enumerate(values)]


def check_kernel_size(value: int) -> int:
    """Return the size of kernels, an odd number."""
    if check_int("kernel_size", value, minimum=1) % 2 == 0:
        raise TomolearnError(f"kernel_size: expected an odd number, got {value}")
    return int(value)


def check_slope(value: float) -> float:
    """Return the slope of an activation's flat side, from zero to one."""
    slope = check_float("slope", value, nonnegative=True)
    if slope > 1:
        raise TomolearnError(f"slope: expected a number in [0, 1], got {value}")
    return slope
