"""DRUNet: a bias-free residual U-Net that is told the noise level."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import nn
from torch.nn.functional import elu, pad, relu, softplus

from tomolearn._core.checks import check_choice, check_int
from tomolearn._core.errors import TomolearnTypeError
from tomolearn._core.tensors import channels_last
from tomolearn.priors.prior import Denoiser, check_noise_levels

CONVOLUTIONS: dict[int, Any] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
"""Convolutions by the number of spatial axes."""
TRANSPOSED: dict[int, Any] = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
ACTIVATIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "relu": relu,
    "elu": elu,
    "softplus": softplus,
}
"""Activations by name; all but the first are continuously differentiable."""


def check_axes(ndim: Any) -> int:
    """Return `ndim` if there are convolutions for so many axes."""
    return check_int("ndim", ndim, minimum=1, maximum=max(CONVOLUTIONS))


class _ResidualBlock(nn.Module):
    """``x + C2(activation(C1(x)))`` of two 3-wide convolutions."""

    def __init__(self, channels: int, activation: str, ndim: int) -> None:
        super().__init__()
        self.first, self.second = (
            CONVOLUTIONS[ndim](channels, channels, 3, padding=1, bias=False) for _ in range(2)
        )
        self._activate = ACTIVATIONS[activation]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (batch, channels, *spatial axes) to the same shape."""
        found: torch.Tensor = x + self.second(self._activate(self.first(x)))
        return found


class ResidualUNet(nn.Module):
    """U-Net of residual blocks without biases, from images and their noise levels to images.

    The noise level is a second channel. Resolutions are halved by 2-wide convolutions of stride 2,
    doubled by their transposes, and outputs of one resolution are added. An image is continued by
    its border to a multiple of the coarsest pixels. It is not compiled: who differentiates it
    twice, could not.

    Parameters
    ----------
    channels : sequence of int
        Channels at each resolution, the finest first.
    blocks : int
        Residual blocks at each resolution, on the way down and on the way up.
    activation : {"relu", "elu", "softplus"}
        Within the blocks.
    ndim : {1, 2, 3}
        Number of spatial axes.
    """

    def __init__(self, channels: Sequence[int], blocks: int, *, activation: str, ndim: int) -> None:
        super().__init__()

        def level(width: int) -> nn.Sequential:
            return nn.Sequential(*(_ResidualBlock(width, activation, ndim) for _ in range(blocks)))

        convolution, transposed = CONVOLUTIONS[ndim], TRANSPOSED[ndim]
        self.ndim, self.unit = ndim, 2 ** (len(channels) - 1)
        self.head = convolution(2, channels[0], 3, padding=1, bias=False)
        self.down = nn.ModuleList(level(width) for width in channels[:-1])
        self.coarser = nn.ModuleList(
            convolution(n, m, 2, stride=2, bias=False) for n, m in pairwise(channels)
        )
        self.body = level(channels[-1])
        self.finer = nn.ModuleList(
            transposed(m, n, 2, stride=2, bias=False) for n, m in pairwise(channels)
        )
        self.up = nn.ModuleList(level(width) for width in channels[:-1])
        self.tail = convolution(channels[0], 1, 3, padding=1, bias=False)

    def forward(self, image: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        """Map images (batch, 1, *spatial axes) and levels (batch, 1, *1) to such images."""
        shape = image.shape[2:]
        x = torch.cat((image, sigma.expand_as(image)), 1)
        missing = [-n % self.unit for n in shape]
        if any(missing):
            x = pad(x, [end for n in reversed(missing) for end in (0, n)], mode="replicate")
        x = self.head(channels_last(x) if self.ndim == 2 else x)
        skipped = []
        for level, coarser in zip(self.down, self.coarser, strict=True):
            x = level(x)
            skipped.append(x)
            x = coarser(x)
        x = self.body(x)
        for level, finer in zip(reversed(self.up), reversed(self.finer), strict=True):
            x = level(finer(x) + skipped.pop())
        x = self.tail(x)
        return x[(..., *(slice(0, n) for n in shape))]


class DRUNet(Denoiser):
    """DRUNet, a residual U-Net without biases whose second channel is the noise level [1]_.

    With "relu" it denoises images and levels multiplied by a number to the image multiplied by it.

    Parameters
    ----------
    channels : sequence of int
        Channels at each resolution, the finest first; [1]_ has (64, 128, 256, 512).
    blocks : int
        Residual blocks at each resolution, on the way down and on the way up; [1]_ has 4.
    activation : {"relu", "elu", "softplus"}
        Within the blocks.
    ndim : {1, 2, 3}
        Number of spatial axes.
    noise_levels : (float, float)
        Smallest and largest noise level that it is trained for, in the images' unit.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of its range.

    References
    ----------
    .. [1] K. Zhang, Y. Li, W. Zuo, L. Zhang, L. Van Gool, R. Timofte, "Plug-and-play image
       restoration with deep denoiser prior", IEEE Trans. Pattern Anal. Mach. Intell. 44 (2022),
       arXiv:2008.13751
    """

    def __init__(
        self,
        *,
        channels: Sequence[int] = (16, 32, 64),
        blocks: int = 1,
        activation: str = "relu",
        ndim: int = 2,
        noise_levels: Sequence[float] = (0.0, 50 / 255),
    ) -> None:
        self.noise_levels = check_noise_levels(noise_levels)
        widths = check_widths(channels)
        super().__init__(
            {
                "channels": widths,
                "blocks": check_int("blocks", blocks, minimum=1),
                "activation": check_choice("activation", activation, tuple(ACTIVATIONS)),
                "ndim": check_axes(ndim),
                "noise_levels": list(self.noise_levels),
            }
        )
        self.ndim = ndim
        self.network = ResidualUNet(widths, blocks, activation=activation, ndim=ndim)

    def denoise(self, image: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        """Subtract what the network takes for noise."""
        return image - self.network(image, sigma).to(image.dtype)


def check_widths(channels: Any) -> list[int]:
    """Return the channels of a U-Net, one number for each of its resolutions."""
    if not isinstance(channels, Sequence) or isinstance(channels, str) or not channels:
        raise TomolearnTypeError(
            f"channels: expected a sequence of numbers, one per resolution, got {channels!r}"
        )
    return [check_int("channels", width, minimum=1) for width in channels]
