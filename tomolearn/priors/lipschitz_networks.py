"""Networks with a certified Lipschitz constant, of convolutions of spectral norm one."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from types import MappingProxyType
from typing import Any

import torch
from torch import nn
from torch.nn.functional import avg_pool2d, conv2d, interpolate, pad

from tomolearn._core.checks import check_choice, check_int
from tomolearn._core.errors import TomolearnError
from tomolearn._core.modules import Compilable
from tomolearn._core.tensors import channels_last
from tomolearn.priors.spectral import SpectralConv2d


def _maxmin(x: torch.Tensor) -> torch.Tensor:
    first, second = x.chunk(2, 1)
    return torch.cat((torch.maximum(first, second), torch.minimum(first, second)), 1)


Activation = Callable[[torch.Tensor], torch.Tensor]
ACTIVATIONS: Mapping[str, Activation] = MappingProxyType({"relu": torch.relu, "maxmin": _maxmin})
"""Activations of Lipschitz constant one. "maxmin" sorts pairs of channels (arXiv:1811.05381)."""


class LipschitzNetwork(Compilable):
    """A network of convolutions of norm one, of which a bound of its Lipschitz constant is known.

    Its convolutions are in `layers`, and it is called with their normalised kernels, which are
    computed once per reconstruction and not in each of its iterations.
    """

    layers: nn.ModuleList
    dynamic = None  # the batch shrinks when entries converge

    def __init__(self, activation: str) -> None:
        super().__init__()
        self._activate = ACTIVATIONS[activation]

    def kernels(self, shape: tuple[int, int]) -> list[torch.Tensor]:
        """Return the normalised kernels for images of this shape."""
        with torch.autocast(next(self.parameters()).device.type, enabled=False):
            return [layer.normalised(size) for layer, size in self.sized_layers(shape)]

    def sized_layers(
        self, shape: tuple[int, int]
    ) -> Sequence[tuple[SpectralConv2d, tuple[int, int]]]:
        """Return the convolutions and the shapes of the images that they see."""
        raise NotImplementedError

    def bound(self, norms: Sequence[float]) -> float:
        """Return a Lipschitz constant of the network from the norms of its convolutions."""
        raise NotImplementedError

    def convolution(self, i: int) -> SpectralConv2d:
        """Return one of the convolutions."""
        layer: Any = self.layers[i]  # which torch knows as a Module
        found: SpectralConv2d = layer
        return found

    def _convolve(self, i: int, x: torch.Tensor, kernels: Sequence[torch.Tensor]) -> torch.Tensor:
        return conv2d(x, kernels[i], self.convolution(i).bias, padding=kernels[i].shape[-1] // 2)


class SpectralDnCNN(LipschitzNetwork):
    """Plain stack of 3x3 convolutions, DnCNN without batch normalisation.

    Parameters
    ----------
    layers : int
        Number of convolutions, at least 2.
    channels : int
        Channels in between.
    bias : bool
        Whether convolutions have biases.
    activation : {"relu", "maxmin"}
        Between the convolutions.
    """

    def __init__(self, layers: int, channels: int, *, bias: bool, activation: str) -> None:
        super().__init__(activation)
        widths = [1, *[channels] * (layers - 1), 1]
        self.layers = nn.ModuleList(
            SpectralConv2d(n_in, n_out, bias=bias) for n_in, n_out in pairwise(widths)
        )

    def forward(self, image: torch.Tensor, *kernels: torch.Tensor) -> torch.Tensor:
        """Map (batch, 1, rows, columns) to the same shape."""
        x = channels_last(image)
        for i in range(len(kernels) - 1):
            x = self._activate(self._convolve(i, x, kernels))
        return self._convolve(len(kernels) - 1, x, kernels).to(image.dtype)

    def sized_layers(
        self, shape: tuple[int, int]
    ) -> Sequence[tuple[SpectralConv2d, tuple[int, int]]]:
        """Return the convolutions and the shapes of the images that they see."""
        return [(self.convolution(i), shape) for i in range(len(self.layers))]

    def bound(self, norms: Sequence[float]) -> float:
        """Return the product of the norms."""
        return math.prod(norms)


class SpectralUNet(LipschitzNetwork):
    """Small U-Net in which all that is not learned has norm one, too.

    Means over 2x2 pixels are doubled and their transposes halved, which makes both of norm one;
    where two tensors are concatenated, they are divided by the square root of two. The image is
    extended by zeros to a multiple of the coarsest pixels.

    Parameters
    ----------
    scales : int
        Number of resolutions.
    channels : int
        Channels at the finest resolution, doubled at the next.
    bias : bool
        Whether convolutions have biases.
    activation : {"relu", "maxmin"}
        After each convolution but the last.
    """

    def __init__(self, scales: int, channels: int, *, bias: bool, activation: str) -> None:
        super().__init__(activation)
        self._scales = scales
        widths = [channels * 2 ** min(i, 1) for i in range(scales)]
        down = [SpectralConv2d(1, channels, bias=bias)]
        down += [SpectralConv2d(n, m, bias=bias) for n, m in pairwise(widths)]
        inner = [SpectralConv2d(widths[-1], widths[-1], bias=bias)]
        up = [SpectralConv2d(n + m, n, bias=bias) for n, m in pairwise(widths)][::-1]
        self.layers = nn.ModuleList([*down, *inner, *up, SpectralConv2d(channels, 1, bias=bias)])

    def forward(self, image: torch.Tensor, *kernels: torch.Tensor) -> torch.Tensor:
        """Map (batch, 1, rows, columns) to the same shape."""
        rows, columns = image.shape[-2:]
        above, left = self._padded((rows, columns))
        x = pad(image, (0, left - columns, 0, above - rows))
        x = channels_last(x)
        skipped = []
        scales = self._scales
        for i in range(scales):
            x = self._activate(self._convolve(i, x if i == 0 else 2 * avg_pool2d(x, 2), kernels))
            skipped.append(x)
        x = self._activate(self._convolve(scales, x, kernels))
        for i in range(scales - 1):
            finer = interpolate(x, scale_factor=2, mode="nearest") / 2
            joined = torch.cat((skipped[scales - 2 - i], finer), 1) * 2**-0.5
            x = self._activate(self._convolve(scales + 1 + i, joined, kernels))
        x = self._convolve(2 * scales, x, kernels)
        return x[..., :rows, :columns].to(image.dtype)

    def _padded(self, shape: tuple[int, int]) -> tuple[int, int]:
        unit = 2 ** (self._scales - 1)
        rows, columns = (-(-n // unit) * unit for n in shape)
        return rows, columns

    def sized_layers(
        self, shape: tuple[int, int]
    ) -> Sequence[tuple[SpectralConv2d, tuple[int, int]]]:
        """Return the convolutions and the shapes of the images that they see."""
        rows, columns = self._padded(shape)
        down = [*range(self._scales), self._scales - 1]
        levels = [*down, *range(self._scales - 2, -1, -1), 0]
        return [
            (self.convolution(i), (rows >> level, columns >> level))
            for i, level in enumerate(levels)
        ]

    def bound(self, norms: Sequence[float]) -> float:
        """Follow the Lipschitz constants through the network."""
        scales = self._scales
        skipped = []
        x = 1.0
        for i in range(scales):
            x *= norms[i]
            skipped.append(x)
        x *= norms[scales]
        for i in range(scales - 1):
            x = ((skipped[scales - 2 - i] ** 2 + x**2) / 2) ** 0.5 * norms[scales + 1 + i]
        return x * norms[2 * scales]


ARCHITECTURES: Mapping[str, type[SpectralDnCNN | SpectralUNet]] = MappingProxyType(
    {"dncnn": SpectralDnCNN, "unet": SpectralUNet}
)
"""Architectures by name."""


def lipschitz_network(
    architecture: str, *, depth: int, channels: int, bias: bool, activation: str
) -> LipschitzNetwork:
    """Make a network, with fresh weights.

    Parameters
    ----------
    architecture : {"dncnn", "unet"}
        A plain stack of convolutions, or a small U-Net.
    depth : int
        Number of convolutions ("dncnn"), or of resolutions ("unet"), at least 2.
    channels : int
        Channels between the convolutions; of "unet" at the finest resolution, and twice as many
        at the others.
    bias : bool
        Whether convolutions have biases.
    activation : {"relu", "maxmin"}
        Between the convolutions. "maxmin" sorts pairs of channels and loses less of the norm.
    """
    check_choice("architecture", architecture, tuple(ARCHITECTURES))
    check_int("depth", depth, minimum=2)
    check_int("channels", channels, minimum=1)
    check_choice("activation", activation, tuple(ACTIVATIONS))
    if activation == "maxmin" and channels % 2:
        raise TomolearnError(
            f"channels: expected an even number for the activation maxmin, got {channels}"
        )
    return ARCHITECTURES[architecture](depth, channels, bias=bool(bias), activation=activation)
