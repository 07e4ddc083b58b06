"""Diffusion priors: a denoiser of all noise levels, whose scores lead from noise to images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import nn
from torch.nn.functional import pad, silu

from tomolearn._core.checks import check_float, check_int
from tomolearn._core.errors import TomolearnError
from tomolearn._core.tensors import channels_last
from tomolearn.priors.drunet import CONVOLUTIONS, TRANSPOSED, check_axes, check_widths
from tomolearn.priors.prior import Denoiser, check_noise_levels

_FREQUENCIES = 8
_EMBEDDING = 64


class _ModulatedBlock(nn.Module):
    """``x + C2(silu((1 + s) C1(silu(x)) + t))``, where s and t come from the noise level."""

    def __init__(self, channels: int, ndim: int) -> None:
        super().__init__()
        self.first, self.second = (
            CONVOLUTIONS[ndim](channels, channels, 3, padding=1) for _ in range(2)
        )
        self.modulation = nn.Linear(_EMBEDDING, 2 * channels)
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)

    def forward(self, x: torch.Tensor, embedding: torch.Tensor) -> torch.Tensor:
        """Map (batch, channels, *spatial axes) to the same shape."""
        numbers = self.modulation(embedding)
        numbers = numbers.reshape(*numbers.shape, *(1,) * (x.ndim - 2))
        scale, shift = numbers.chunk(2, dim=1)
        found: torch.Tensor = x + self.second(silu(self.first(silu(x)) * (1 + scale) + shift))
        return found


class ConditionalUNet(nn.Module):
    """U-Net of residual blocks whose channels are scaled and shifted by what the noise level says.

    Patches of pixels are its finest resolution; outputs of one resolution are added. An image is
    continued by its border to a multiple of the coarsest pixels.

    Parameters
    ----------
    channels : sequence of int
        Channels at each resolution, the finest first.
    blocks : int
        Residual blocks at each resolution, on the way down and on the way up.
    patch : int
        Pixels of the image, along each axis, in one of the finest resolution.
    ndim : {1, 2, 3}
        Number of spatial axes.
    """

    def __init__(self, channels: Sequence[int], blocks: int, *, patch: int, ndim: int) -> None:
        super().__init__()

        def level(width: int) -> nn.ModuleList:
            return nn.ModuleList(_ModulatedBlock(width, ndim) for _ in range(blocks))

        convolution, transposed = CONVOLUTIONS[ndim], TRANSPOSED[ndim]
        self.ndim, self.unit = ndim, patch * 2 ** (len(channels) - 1)
        self.embed = nn.Sequential(
            nn.Linear(2 * _FREQUENCIES, _EMBEDDING), nn.SiLU(), nn.Linear(_EMBEDDING, _EMBEDDING)
        )
        self.head = convolution(1, channels[0], patch, stride=patch)
        self.down = nn.ModuleList(level(width) for width in channels[:-1])
        self.coarser = nn.ModuleList(convolution(n, m, 2, stride=2) for n, m in pairwise(channels))
        self.body = level(channels[-1])
        self.finer = nn.ModuleList(transposed(m, n, 2, stride=2) for n, m in pairwise(channels))
        self.up = nn.ModuleList(level(width) for width in channels[:-1])
        self.tail = transposed(channels[0], 1, patch, stride=patch)

    def forward(self, image: torch.Tensor, position: torch.Tensor) -> torch.Tensor:
        """Map images (batch, 1, *spatial axes) and numbers (batch,) in [0, 1] to such images."""
        shape = image.shape[2:]
        frequencies = math.pi * torch.arange(1, _FREQUENCIES + 1).to(position)
        waves = position[:, None] * frequencies
        embedding = silu(self.embed(torch.cat((waves.sin(), waves.cos()), 1)))
        x, missing = image, [-n % self.unit for n in shape]
        if any(missing):
            x = pad(x, [end for n in reversed(missing) for end in (0, n)], mode="replicate")
        x = self.head(channels_last(x) if self.ndim == 2 else x)
        skipped = []
        for level, coarser in zip(self.down, self.coarser, strict=True):
            x = _through(level, x, embedding)
            skipped.append(x)
            x = coarser(x)
        x = _through(self.body, x, embedding)
        for level, finer in zip(reversed(self.up), reversed(self.finer), strict=True):
            x = _through(level, finer(x) + skipped.pop(), embedding)
        x = self.tail(silu(x))
        return x[(..., *(slice(0, n) for n in shape))]


def _through(level: nn.Module, x: torch.Tensor, embedding: torch.Tensor) -> torch.Tensor:
    for block in level.children():
        x = block(x, embedding)
    return x


class DiffusionPrior(Denoiser):
    """Diffusion prior: a conditional U-Net that denoises at all levels, preconditioned [1]_.

    ``D(x, s) = c_skip x + c_out F(c_in x, log s)``, with coefficients by which inputs and targets
    of the network F have unit variance at each noise level s. The score of noisy images is
    ``(D(x, s) - x) / s^2`` by Tweedie's formula; this is the variance-exploding form, and
    ``D(x / a, s / a)`` the estimate for the variance-preserving ``x = a image + s noise`` with
    ``a^2 + s^2 = 1``.

    Parameters
    ----------
    channels : sequence of int
        Channels at each resolution, the finest first.
    blocks : int
        Residual blocks at each resolution, on the way down and on the way up.
    patch : int
        Pixels of the image, along each axis, in one of the network's finest resolution.
    ndim : {1, 2, 3}
        Number of spatial axes.
    noise_levels : (float, float)
        Smallest and largest noise level, both positive. At the largest, images must be lost in the
        noise if they are to be sampled without data.
    data_std : float
        Standard deviation of the values of the images.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of its range.

    References
    ----------
    .. [1] T. Karras, M. Aittala, T. Aila, S. Laine, "Elucidating the design space of
       diffusion-based generative models", NeurIPS 2022, arXiv:2206.00364
    """

    def __init__(
        self,
        *,
        channels: Sequence[int] = (32, 64, 96, 128),
        blocks: int = 1,
        patch: int = 2,
        ndim: int = 2,
        noise_levels: Sequence[float] = (0.005, 20.0),
        data_std: float = 0.5,
    ) -> None:
        self.noise_levels = check_noise_levels(noise_levels)
        if self.noise_levels[0] <= 0:
            raise TomolearnError(
                f"noise_levels: expected positive ones, got {self.noise_levels[0]:g}"
            )
        widths = check_widths(channels)
        super().__init__(
            {
                "channels": widths,
                "blocks": check_int("blocks", blocks, minimum=1),
                "patch": check_int("patch", patch, minimum=1),
                "ndim": check_axes(ndim),
                "noise_levels": list(self.noise_levels),
                "data_std": check_float("data_std", data_std, positive=True),
            }
        )
        self.ndim, self.data_std = ndim, float(data_std)
        self.network = ConditionalUNet(widths, blocks, patch=patch, ndim=ndim)

    def denoise(self, image: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        """Return the estimate of the images' mean given the noisy ones."""
        low, high = self.noise_levels or (1.0, 1.0)
        size = (sigma.square() + self.data_std**2).sqrt()
        position = (sigma.flatten() / low).log() / max(math.log(high / low), 1.0)
        found = self.network(image / size, position).to(image.dtype)
        return (self.data_std / size) ** 2 * image + sigma * self.data_std / size * found
