"""Filtered back-projection, improved by a U-Net."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.nn.functional import pad

from tomolearn._core.checks import check_choice, check_flag, check_float, check_int
from tomolearn._core.errors import TomolearnError, TomolearnTypeError
from tomolearn._core.modules import Compilable
from tomolearn._core.tensors import channels_last
from tomolearn.methods import FBP
from tomolearn.models.base import ReconstructionModel
from tomolearn.models.blocks import glorot, to_channels_last
from tomolearn.operators import LinearOperator
from tomolearn.priors import NetworkDenoiser

NORMALISATIONS = ("batch", "group", "none")
DOWN = ("max-pool", "strided")
UP = ("transposed", "bilinear")


class FBPUNet(ReconstructionModel):
    """Filtered back-projection and a U-Net that learns its error, after Jin et al. [1]_.

    The U-Net [2]_ sees the filtered back-projection and nothing else of the data; what it finds is
    added to it. The operator has to be a `RayTransform`. Default arguments make the network of
    the paper, of 31.1 million parameters; `small` makes one for CPUs and small images.

    Parameters
    ----------
    channels : sequence of int
        Channels at each scale; the image is halved between one and the next.
    skip_channels : int, optional
        Channels that cross over to the other side at each scale, chosen by 1x1 convolutions; 0
        for none. Default: all.
    first_convolutions : int
        Number of 3x3 convolutions before the first halving. Elsewhere there are two at each scale,
        on either side.
    normalisation : {"batch", "group", "none"}
        After each convolution. "group" has eight groups (fewer where 8 does not divide the
        channels), and treats images alike in training and after it.
    negative_slope : float
        Slope of the rectifiers left of zero; 0 is the ReLU.
    down : {"max-pool", "strided"}
        Whether an image is halved by its maxima or by the next convolution.
    up : {"transposed", "bilinear"}
        Whether an image is doubled by a transposed 3x3 convolution with normalisation and
        rectifier, to the channels of the next scale, or by interpolation, which keeps its
        channels.
    residual : bool
        Whether the U-Net's output is added to its input, or is the image itself.
    filter, frequency_scaling, oversampling
        As for `tomolearn.fbp`; here `oversampling` is 1, the textbook's.

    Notes
    -----
    Images of any size: they are continued by their border to the next size that can be halved.
    The convolutions are run in the format "channels last". There are no iterations, so
    `checkpoint_activations` changes nothing.

    The convolutions have no bias under batch normalisation, which would subtract it; in the
    authors' code they have. The U-Net of LoDoPaB's benchmark [3]_ is, but for a normalisation in
    front of each scale on the way up and the borders that its interpolation aligns,
    ``FBPUNet(channels=(32, 32, 64, 64, 128), skip_channels=4, first_convolutions=1,
    negative_slope=0.2, down="strided", up="bilinear", residual=False, filter="hann",
    frequency_scaling=0.641)``.

    References
    ----------
    .. [1] K. H. Jin, M. T. McCann, E. Froustey, M. Unser, "Deep Convolutional Neural Network for
       Inverse Problems in Imaging", IEEE Trans. Image Process. 26 (2017),
       doi 10.1109/TIP.2017.2713099
    .. [2] O. Ronneberger, P. Fischer, T. Brox, "U-Net: Convolutional Networks for Biomedical Image
       Segmentation", MICCAI 2015, arXiv:1505.04597
    .. [3] J. Leuschner, M. Schmidt, D. Otero Baguer, P. Maass, "LoDoPaB-CT, a benchmark dataset for
       low-dose computed tomography reconstruction", Sci. Data 8 (2021),
       doi 10.1038/s41597-021-00893-z
    """

    def __init__(
        self,
        *,
        channels: Sequence[int] = (64, 128, 256, 512, 1024),
        skip_channels: int | None = None,
        first_convolutions: int = 3,
        normalisation: str = "batch",
        negative_slope: float = 0.0,
        down: str = "max-pool",
        up: str = "transposed",
        residual: bool = True,
        filter: str = "ram-lak",
        frequency_scaling: float = 1.0,
        oversampling: int = 1,
    ) -> None:
        widths = check_channels(channels)
        if skip_channels is not None:
            skip_channels = check_int("skip_channels", skip_channels, minimum=0)
        first_convolutions = check_int("first_convolutions", first_convolutions, minimum=1)
        check_choice("normalisation", normalisation, NORMALISATIONS)
        negative_slope = check_float("negative_slope", negative_slope, nonnegative=True)
        check_choice("down", down, DOWN)
        check_choice("up", up, UP)
        check_flag("residual", residual)
        inversion = FBP(
            filter=filter, frequency_scaling=frequency_scaling, oversampling=oversampling
        )
        network: dict[str, Any] = {
            "channels": widths,
            "skip_channels": skip_channels,
            "first_convolutions": first_convolutions,
            "normalisation": normalisation,
            "negative_slope": negative_slope,
            "down": down,
            "up": up,
            "residual": residual,
        }
        # the network's own settings of the inversion; files know no others
        settings = {
            "filter": inversion.filter,
            "frequency_scaling": inversion.frequency_scaling,
            "oversampling": inversion.oversampling,
        }
        super().__init__({**network, **settings})
        self.inversion = inversion
        self.unet = UNet(**network)

    @classmethod
    def small(cls) -> FBPUNet:
        """Make a network of 570,145 parameters for small images and CPUs.

        Five scales, no normalisation, bilinear interpolation on the way up; it starts from a
        back-projection with Hann's window.
        """
        return cls(
            channels=(16, 32, 64, 64, 96),
            first_convolutions=2,
            normalisation="none",
            up="bilinear",
            filter="hann",
        )

    def reconstruct(self, sinogram: torch.Tensor, operator: LinearOperator) -> torch.Tensor:
        """Reconstruct by filtered back-projection, then correct the image."""
        return self.unet(self.inversion(sinogram, operator))

    def denoiser(self) -> NetworkDenoiser:
        """Return the U-Net alone, which corrects images that were reconstructed already.

        It wants filtered back-projections in the units of the training.
        """
        return NetworkDenoiser(self.unet)


class UNet(Compilable):
    """A U-Net from one channel to one, for images of any size; see `FBPUNet`."""

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
        self.last = glorot(nn.Conv2d(channels[0], 1, 1))
        to_channels_last(self)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Map (batch, 1, rows, columns) to the same shape, in the same precision."""
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
        return image + found if self.residual else found


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


def check_channels(channels: Any) -> list[int]:
    """Return the channels at each scale as integers, at least one of them."""
    if isinstance(channels, str) or not isinstance(channels, Sequence):
        raise TomolearnTypeError(f"channels: expected a sequence of integers, got {channels!r}")
    if not channels:
        raise TomolearnError("channels: expected at least one scale, got none")
    return [check_int(f"channels[{k}]", n, minimum=1) for k, n in enumerate(channels)]
