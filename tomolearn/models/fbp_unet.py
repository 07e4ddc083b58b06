"""Filtered back-projection, improved by a U-Net."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from tomolearn._core.checks import check_choice, check_flag, check_float, check_int
from tomolearn._core.errors import TomolearnError, TomolearnTypeError
from tomolearn.methods import FBP
from tomolearn.models.base import ReconstructionModel
from tomolearn.models.blocks import check_ndim
from tomolearn.operators import LinearOperator
from tomolearn.priors import NetworkDenoiser
from tomolearn.priors.unet import DOWN, NORMALISATIONS, UP, UNet

# of a standard deviation: far from what images have, and far from overflow
_LARGEST_LOGARITHM = 20.0
# of a volume that the U-Net is given at a time
_SLICES = 8


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
    heteroscedastic : bool
        Whether the U-Net has a second head, for the logarithm of the standard deviation of each
        pixel's error [4]_: then `moments` returns it beside the image. The objective `likelihood`
        trains both.
    filter, frequency_scaling, oversampling
        As for `tomolearn.fbp`; here `oversampling` is 1, the textbook's.
    ndim : {2, 3}
        Number of spatial axes. Of a volume, reconstructed after Feldkamp, Davis and Kress, the
        U-Net sees slice by slice, without their neighbours.

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
    .. [4] A. Kendall, Y. Gal, "What uncertainties do we need in Bayesian deep learning for computer
       vision?", NeurIPS 2017, arXiv:1703.04977
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
        heteroscedastic: bool = False,
        filter: str = "ram-lak",
        frequency_scaling: float = 1.0,
        oversampling: int = 1,
        ndim: int = 2,
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
        check_flag("heteroscedastic", heteroscedastic)
        ndim = check_ndim(ndim)
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
        super().__init__({**network, "heteroscedastic": heteroscedastic, **settings, "ndim": ndim})
        self.inversion, self.heteroscedastic, self.ndim = inversion, heteroscedastic, ndim
        self.unet = UNet(**network, heads=2 if heteroscedastic else 1)

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
        return self._heads(sinogram, operator)[:, :1]

    def reconstruct_moments(
        self, sinogram: torch.Tensor, operator: LinearOperator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Reconstruct, with the standard deviation that the second head expects of the error."""
        if not self.heteroscedastic:
            return super().reconstruct_moments(sinogram, operator)
        image, logarithm = self._heads(sinogram, operator).split(1, dim=1)
        return image, logarithm.clamp(-_LARGEST_LOGARITHM, _LARGEST_LOGARITHM).exp()

    def _heads(self, sinogram: torch.Tensor, operator: LinearOperator) -> torch.Tensor:
        """Return what the U-Net makes of the back-projection, (batch, heads, *domain_shape)."""
        image = self.inversion(sinogram, operator)
        if self.ndim == 2:
            found: torch.Tensor = self.unet(image)
            return found
        slices = image.flatten(0, 2)[:, None]
        if torch.is_grad_enabled():
            found = self.unet(slices)
        else:  # some at a time: of a volume they need much memory
            found = torch.cat([self.unet(part) for part in slices.split(_SLICES)])
        return found.unflatten(0, (image.shape[0], -1)).transpose(1, 2)

    def denoiser(self) -> NetworkDenoiser:
        """Return the U-Net alone, which corrects images that were reconstructed already.

        It wants filtered back-projections in the units of the training.
        """
        return NetworkDenoiser(_FirstHead(self.unet) if self.heteroscedastic else self.unet)


class _FirstHead(nn.Module):
    """The image of a U-Net with two heads."""

    def __init__(self, unet: UNet) -> None:
        super().__init__()
        self.unet = unet

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.unet(image)
        return found[:, :1]


def check_channels(channels: Any) -> list[int]:
    """Return the channels at each scale as integers, at least one of them."""
    if isinstance(channels, str) or not isinstance(channels, Sequence):
        raise TomolearnTypeError(f"channels: expected a sequence of integers, got {channels!r}")
    if not channels:
        raise TomolearnError("channels: expected at least one scale, got none")
    return [check_int(f"channels[{k}]", n, minimum=1) for k, n in enumerate(channels)]
