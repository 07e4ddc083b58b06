"""DnCNN: a plain stack of convolutions that predicts the noise."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import nn

from tomolearn._core.checks import check_int
from tomolearn._core.modules import Compilable
from tomolearn._core.tensors import channels_last
from tomolearn.priors.drunet import CONVOLUTIONS, check_axes
from tomolearn.priors.prior import Denoiser, check_noise_levels


class DnCNN(Denoiser):
    """DnCNN, a stack of 3-wide convolutions with ReLUs that predicts the noise [1]_.

    It is blind: one network for all noise levels of its training. There is no batch normalisation,
    with which an image's result would depend on others in training. Nothing is certified;
    `SpectralDenoiser` has the same layers with a certified Lipschitz constant.

    Parameters
    ----------
    layers : int
        Number of convolutions, at least 2; [1]_ has 17 or, for many noise levels, 20.
    channels : int
        Channels between them; [1]_ has 64.
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
    .. [1] K. Zhang, W. Zuo, Y. Chen, D. Meng, L. Zhang, "Beyond a Gaussian denoiser: residual
       learning of deep CNN for image denoising", IEEE Trans. Image Process. 26 (2017),
       arXiv:1608.03981
    """

    blind = True

    def __init__(
        self,
        *,
        layers: int = 17,
        channels: int = 64,
        ndim: int = 2,
        noise_levels: Sequence[float] = (0.0, 55 / 255),
    ) -> None:
        self.noise_levels = check_noise_levels(noise_levels)
        super().__init__(
            {
                "layers": check_int("layers", layers, minimum=2),
                "channels": check_int("channels", channels, minimum=1),
                "ndim": check_axes(ndim),
                "noise_levels": list(self.noise_levels),
            }
        )
        self.ndim = ndim
        self.noise = _Stack([1, *[channels] * (layers - 1), 1], ndim)

    def denoise(self, image: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        """Subtract the noise."""
        return image - self.noise(image).to(image.dtype)


class _Stack(Compilable):
    """Convolutions with ReLUs in between."""

    def __init__(self, widths: Sequence[int], ndim: int) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(
            CONVOLUTIONS[ndim](n_in, n_out, 3, padding=1) for n_in, n_out in pairwise(widths)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (batch, 1, *spatial axes) to the same shape."""
        x = channels_last(x) if x.ndim == 4 else x
        *inner, last = self.convolutions
        for convolution in inner:
            x = torch.relu(convolution(x))
        found: torch.Tensor = last(x)
        return found
