"""A learned convex regulariser: an input-convex network and a quadratic term."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import nn
from torch.nn.functional import avg_pool2d, conv2d

from tomolearn._core.checks import check_float
from tomolearn._core.errors import TomolearnError
from tomolearn.priors.adversarial import (
    check_kernel_size,
    check_layers,
    check_slope,
    start_convolution,
    start_filters,
)
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


class InputConvexRegulariser(NetworkRegulariser):
    """Input-convex network plus ``convexity * ||x||^2 / 2``, convex whatever its weights are.

    Each layer adds two convolutions, of the layer before and of the image, and applies a convex and
    increasing function [1]_, [2]_. The former have kernels without negative entries, since they are
    the squares of what is learned, and so do the weights with which all layers' outputs are added
    up: the value is convex in the image for all learned numbers, those of any file too, and no
    projection can be forgotten. With the quadratic term it is strongly convex, so that the
    variational problem with any linear operator has exactly one solution.

    As for `AdversarialRegulariser`, to which it is the convex sibling, outputs are added up over
    the image, of whatever size. The sum over the layers has what [2]_ adds for sparsity: the first
    layer's part is one of filtered images.

    Parameters
    ----------
    channels, strides : sequence of int
        Output channels and stride of each layer.
    kernel_size : int
        Of the convolutions, odd.
    convexity : float
        The modulus of strong convexity, not negative.
    slope, sharpness : float
        Of the activation, see `network_regulariser.leaky_softplus`.
    scale : float
        What image values are multiplied by for the network, and its value divided by.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of its range, or there is not one stride per number of channels.

    References
    ----------
    .. [1] B. Amos, L. Xu, J. Z. Kolter, "Input convex neural networks", ICML 2017,
       arXiv:1609.07152
    .. [2] S. Mukherjee et al., "Learned convex regularizers for inverse problems",
       arXiv:2008.02839 (2020)

    Examples
    --------
    >>> regulariser = InputConvexRegulariser(convexity=0.1)
    >>> regulariser.convexity
    0.1
    """

    def __init__(
        self,
        *,
        channels: Sequence[int] = (16, 16, 32, 32),
        strides: Sequence[int] = (1, 1, 2, 2),
        kernel_size: int = 5,
        convexity: float = 0.0,
        slope: float = 0.2,
        sharpness: float = 10.0,
        scale: float = 10.0,
    ) -> None:
        widths = check_layers("channels", channels)
        steps = check_layers("strides", strides)
        if len(widths) != len(steps):
            raise TomolearnError(
                f"strides: expected one for each of the {len(widths)} layers, got {len(steps)}"
            )
        size = check_kernel_size(kernel_size)
        modulus = check_float("convexity", convexity, nonnegative=True)
        super().__init__(
            {
                "channels": widths,
                "strides": steps,
                "kernel_size": size,
                "convexity": modulus,
                "slope": check_slope(slope),
                "sharpness": check_float("sharpness", sharpness, positive=True),
                "scale": check_float("scale", scale, positive=True),
            }
        )
        self.slope, self.sharpness, self.scale, self.strides = slope, sharpness, scale, steps
        self.modulus = modulus
        self.from_image = nn.ModuleList(nn.Conv2d(1, n, size) for n in widths)
        for layer in convolutions(self.from_image):
            start_convolution(layer, slope)
            start_filters(layer)
        self.from_layer = nn.ParameterList(
            (torch.rand(n, m, size, size) / (m * size**2)).sqrt() for m, n in pairwise(widths)
        )
        self.outputs = nn.ParameterList((torch.rand(n) / (n * len(widths))).sqrt() for n in widths)

    @property
    def convexity(self) -> float:
        """The factor of the quadratic term: the network itself is convex for all its weights."""
        return self.modulus

    def energy(self, image: torch.Tensor) -> torch.Tensor:
        """Return the values (batch,) of images (batch, 1, rows, columns)."""
        margin = math.prod(self.strides)
        x = mirrored(self.scale * image, margin)
        total = self.modulus * self.scale / 2 * image.square().flatten(1).sum(1)
        z, pixels = x, 1
        layers = convolutions(self.from_image)
        for i, (layer, stride) in enumerate(zip(layers, self.strides, strict=True)):
            half = layer.kernel_size[0] // 2
            new = conv2d(_coarser(x, pixels), layer.weight, layer.bias, stride, half)
            if i > 0:
                new = new + conv2d(z, self.from_layer[i - 1].square(), None, stride, half)
            z = leaky_softplus(new, self.slope, self.sharpness)
            pixels *= stride
            rows, columns = (-(-n // pixels) for n in image.shape[-2:])
            first = margin // pixels
            inside = z[..., first : first + rows, first : first + columns]
            each = (inside * self.outputs[i].square().reshape(-1, 1, 1)).sum(1)
            total = total + pixels**2 * each.flatten(1).sum(1)
        return total / self.scale

    @torch.no_grad()
    def lipschitz(self, shape: Sequence[int]) -> float:
        """Return a bound of the Lipschitz constant of the gradient, the same for all shapes.

        See `AdversarialRegulariser.lipschitz`; here, no terms of other sign are lost.
        """
        from_image = [layer.weight for layer in convolutions(self.from_image)]
        from_layer = [raw.square() for raw in self.from_layer]
        pixels = 1
        sensitivities = []
        for raw, stride in zip(self.outputs, self.strides, strict=True):
            pixels *= stride
            sensitivities.append(pixels**2 * raw.square().double())
        for i in range(len(from_layer), 0, -1):
            behind = largest_sensitivity(from_layer[i - 1], sensitivities[i], self.strides[i])
            sensitivities[i - 1] += behind
        steep = weighted = 0.0
        total = 0.0
        for i, kernel in enumerate(from_image):
            weighted = MIRRORED_NORM * weighted_norm_bound(kernel, sensitivities[i])
            new = MIRRORED_NORM * norm_bound(kernel)
            if i > 0:
                weighted += steep * weighted_norm_bound(from_layer[i - 1], sensitivities[i])
                new += steep * norm_bound(from_layer[i - 1])
            steep = new
            total += weighted**2
        return self.modulus + self.scale * curvature_bound(self.slope, self.sharpness) * total


def _coarser(image: torch.Tensor, pixels: int) -> torch.Tensor:
    """Return means around every so many pixels, where convolutions of this stride are centred."""
    if pixels == 1:
        return image
    return avg_pool2d(image, 2 * pixels - 1, pixels, padding=pixels - 1)
