"""U-Net, from images to images."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
from torch import nn
from torch.nn.functional import pad

from tomolearn._core.modules import Compilable, glorot, to_channels_last
from tomolearn._core.tensors import channels_last

NORMALISATIONS = ("batch", "group", "none")
DOWN = ("max-pool", "strided")
UP = ("transposed", "bilinear")


class UNet(Compilable):
    """A U-Net from one channel to one, or to several heads, for images of any size.

    Arguments are those of `tomolearn.models.FBPUNet`; where it is residual, its input is added to
    the first head.
    """

    def __init__(
        self,
        channels: Sequence[int],
        *,
        skip_channels: int | None,
        first_convolutions: int,
        normalisation: str,
        negative_slope: float,
        down: str,
        up: str,
        residual: bool,
        heads: int = 1,
    ) -> None:
        super().__init__()
        self.residual = residual
        style = (normalisation, negative_slope)
        widths = [1] + [channels[0]] * first_convolutions
        self.encoders = nn.ModuleList([_convolutions(widths, *style)])
        self.skips, self.ups, self.decoders = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        for fine, coarse in itertools.pairwise(channels):
            encoder = _convolutions([fine, coarse, coarse], *style, halve=down == "strided")
            if down == "max-pool":
                encoder.insert(0, nn.MaxPool2d(2))
            self.encoders.append(encoder)
            crossing = fine if skip_channels is None else skip_channels
            if skip_channels is None:
                self.skips.append(nn.Identity())
            elif skip_channels:
                self.skips.append(_convolutions([fine, skip_channels], *style, size=1))
            if up == "transposed":
                self.ups.append(_doubling(coarse, fine, *style))
                self.decoders.append(_convolutions([fine + crossing, fine, fine], *style))
            else:
                self.ups.append(nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False))
                self.decoders.append(_convolutions([coarse + crossing, fine, fine], *style))
        self.last = glorot(nn.Conv2d(channels[0], heads, 1))
        to_channels_last(self)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Map (batch, 1, rows, columns) to (batch, heads, rows, columns), in its precision."""
        rows, columns = image.shape[-2:]
        multiple = 2 ** len(self.ups)
        below, right = -rows % multiple, -columns % multiple
        top, left = below // 2, right // 2
        x = pad(image, (left, right - left, top, below - top), mode="replicate")
        x = channels_last(x)
        scales = []
        for encoder in self.encoders:
            x = encoder(x)
            scales.append(x)
        for k in reversed(range(len(self.ups))):
            x = self.ups[k](x)
            if self.skips:
                x = torch.cat([x, self.skips[k](scales[k])], 1)
            x = self.decoders[k](x)
        found = self.last(x)[..., top : top + rows, left : left + columns].to(image.dtype)
        if not self.residual:
            return found
        first = image + found[:, :1]
        return first if found.shape[1] == 1 else torch.cat([first, found[:, 1:]], 1)


def _convolutions(
    widths: Sequence[int],
    normalisation: str,
    negative_slope: float,
    *,
    halve: bool = False,
    size: int = 3,
) -> nn.Sequential:
    """Make convolutions, each with normalisation and rectifier, the first of stride 2 if asked."""
    layers: list[nn.Module] = []
    for k, (n_in, n_out) in enumerate(itertools.pairwise(widths)):
        convolution = nn.Conv2d(
            n_in,
            n_out,
            size,
            stride=2 if halve and k == 0 else 1,
            padding=size // 2,
            bias=normalisation != "batch",  # which would subtract it again
        )
        layers += _rectified(convolution, size**2 * n_in, normalisation, negative_slope)
    return nn.Sequential(*layers)


def _doubling(n_in: int, n_out: int, normalisation: str, negative_slope: float) -> nn.Sequential:
    """Make a transposed convolution with normalisation and rectifier, which doubles an image."""
    convolution = nn.ConvTranspose2d(
        n_in, n_out, 3, stride=2, padding=1, output_padding=1, bias=normalisation != "batch"
    )
    # of the nine weights an output pixel meets one, two or four, 9 / 4 in the mean
    return nn.Sequential(*_rectified(convolution, n_in * 9 / 4, normalisation, negative_slope))


def _rectified(
    convolution: nn.Conv2d | nn.ConvTranspose2d,
    fan_in: float,
    normalisation: str,
    negative_slope: float,
) -> list[nn.Module]:
    """Draw weights after He et al., and append normalisation and rectifier."""
    nn.init.normal_(convolution.weight, std=math.sqrt(2 / (1 + negative_slope**2) / fan_in))
    layers: list[nn.Module] = [convolution]
    if convolution.bias is not None:
        nn.init.zeros_(convolution.bias)
    if normalisation == "batch":
        layers.append(nn.BatchNorm2d(convolution.out_channels))
    elif normalisation == "group":
        groups = math.gcd(8, convolution.out_channels)
        layers.append(nn.GroupNorm(groups, convolution.out_channels))
    layers.append(
        nn.LeakyReLU(negative_slope, inplace=True) if negative_slope else nn.ReLU(inplace=True)
    )
    return layers
