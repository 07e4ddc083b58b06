"""Filtered back-projection and the U-Net of LoDoPaB-CT's benchmark."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import nn

from tomolearn._core.checks import check_flag, check_int
from tomolearn.methods import FBP
from tomolearn.models.base import ReconstructionModel
from tomolearn.models.fbp_unet import check_channels
from tomolearn.operators import LinearOperator
from tomolearn.priors import NetworkDenoiser

_SLOPE = 0.2


class LoDoPaBUNet(ReconstructionModel):
    """Filtered back-projection and a U-Net, as LoDoPaB-CT's benchmark has it [1]_.

    The network of the library DIVal, whose published weights are for it. Unlike `FBPUNet` it
    normalises what goes into each scale on the way up, cuts to the smaller image where sizes
    differ, and its output is the image. The operator has to be a `RayTransform`.

    Parameters
    ----------
    channels : sequence of int
        Channels at each scale; the image is halved, by a convolution, between one and the next.
    skip_channels : int
        Channels that cross over to the other side at each scale, chosen by 1x1 convolutions.
    sigmoid : bool
        Whether the output goes through a sigmoid.
    frequency_scaling : float
        Of the back-projection, which has Hann's window.

    References
    ----------
    .. [1] J. Leuschner, M. Schmidt, D. Otero Baguer, P. Maass, "LoDoPaB-CT, a benchmark dataset for
       low-dose computed tomography reconstruction", Sci. Data 8 (2021),
       doi:10.1038/s41597-021-00893-z
    """

    def __init__(
        self,
        *,
        channels: Sequence[int] = (32, 32, 64, 64, 128),
        skip_channels: int = 4,
        sigmoid: bool = False,
        frequency_scaling: float = 1.0,
    ) -> None:
        widths = check_channels(channels)
        skips = check_int("skip_channels", skip_channels, minimum=1)
        inversion = FBP(filter="hann", frequency_scaling=frequency_scaling)
        super().__init__(
            {
                "channels": widths,
                "skip_channels": skips,
                "sigmoid": check_flag("sigmoid", sigmoid),
                "frequency_scaling": inversion.frequency_scaling,
            }
        )
        self.inversion, self.sigmoid = inversion, sigmoid
        self.first = _convolution(1, widths[0])
        self.down, self.skips, self.up = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        for fine, coarse in itertools.pairwise(widths):
            self.down.append(
                nn.Sequential(*_convolution(fine, coarse, 2), *_convolution(coarse, coarse))
            )
        for fine, coarse in reversed(list(itertools.pairwise(widths))):
            self.skips.append(_convolution(fine, skips, size=1))
            normalised = nn.BatchNorm2d(coarse + skips)
            self.up.append(
                nn.Sequential(
                    normalised, *_convolution(coarse + skips, fine), *_convolution(fine, fine)
                )
            )
        self.last = nn.Conv2d(widths[0], 1, 1)

    def reconstruct(self, sinogram: torch.Tensor, operator: LinearOperator) -> torch.Tensor:
        """Reconstruct by filtered back-projection, then improve the image."""
        return self._improved(self.inversion(sinogram, operator))

    def denoiser(self) -> NetworkDenoiser:
        """Return the U-Net alone, which improves images that were reconstructed already."""
        return NetworkDenoiser(_Improvement(self))

    def _improved(self, image: torch.Tensor) -> torch.Tensor:
        rows, columns = image.shape[-2:]
        scales = [self.first(image)]
        for block in self.down:
            scales.append(block(scales[-1]))
        x = scales.pop()
        for skip, block in zip(self.skips, self.up, strict=True):
            across = scales.pop()
            x = nn.functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)
            height, width = (min(x.shape[k], across.shape[k]) for k in (-2, -1))
            x = torch.cat([_middle(x, height, width), _middle(skip(across), height, width)], 1)
            x = block(x)
        found = _middle(self.last(x), rows, columns).to(image.dtype)
        return torch.sigmoid(found) if self.sigmoid else found


class _Improvement(nn.Module):
    """The U-Net of a network, from images to images."""

    def __init__(self, network: LoDoPaBUNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Improve images (batch, 1, rows, columns)."""
        return self.network._improved(image)


def _convolution(n_in: int, n_out: int, stride: int = 1, *, size: int = 3) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(n_in, n_out, size, stride=stride, padding=size // 2),
        nn.BatchNorm2d(n_out),
        nn.LeakyReLU(_SLOPE, inplace=True),
    )


def _middle(image: torch.Tensor, rows: int, columns: int) -> torch.Tensor:
    top, left = (image.shape[-2] - rows) // 2, (image.shape[-1] - columns) // 2
    return image[..., top : top + rows, left : left + columns]
