"""Network Tikhonov regularisation: how far an autoencoder is from leaving an image as it is."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import nn
from torch.nn.functional import conv2d, conv_transpose2d

from tomolearn._core.checks import check_float, check_int
from tomolearn._core.tensors import channels_last
from tomolearn.priors.denoisers import NetworkDenoiser
from tomolearn.priors.network_regulariser import (
    NetworkRegulariser,
    convolutions,
    leaky_softplus,
)


class NetworkTikhonov(NetworkRegulariser):
    """Half the squared distance of an image from what an autoencoder makes of it.

    With an encoder E and a decoder D it is ``||x - D(E(x))||^2 / 2 + sparsity * |E(x)|_1`` [1]_,
    [2]_, the latter smoothed. The autoencoder is learned by objective "denoising" with noise levels
    that begin at zero: images then stay as they are, and noise does not. Without skip connections
    artefacts have to pass its bottleneck. Nothing is certified.

    Parameters
    ----------
    channels : int
        Channels at the finest resolution, doubled at the next ones.
    scales : int
        Number of times that the resolution is halved.
    sparsity : float
        Weight of the code's one-norm, not negative.
    scale : float
        What image values are multiplied by for the network; what it returns is divided by it.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of its range.

    References
    ----------
    .. [1] H. Li, J. Schwab, S. Antholzer, M. Haltmeier, "NETT: solving inverse problems with deep
       neural networks", Inverse Problems 36 (2020), arXiv:1803.00092
    .. [2] D. Obmann, L. Nguyen, J. Schwab, M. Haltmeier, "Augmented NETT regularization of inverse
       problems", J. Phys. Commun. 5 (2021), arXiv:1908.03006
    """

    def __init__(
        self,
        *,
        channels: int = 16,
        scales: int = 2,
        sparsity: float = 0.0,
        scale: float = 10.0,
    ) -> None:
        super().__init__(
            {
                "channels": check_int("channels", channels, minimum=1),
                "scales": check_int("scales", scales, minimum=1),
                "sparsity": check_float("sparsity", sparsity, nonnegative=True),
                "scale": check_float("scale", scale, positive=True),
            }
        )
        self.sparsity = sparsity
        self.autoencoder = _Autoencoder(channels, scales, scale)

    def energy(self, image: torch.Tensor) -> torch.Tensor:
        """Return the values (batch,) of images (batch, 1, rows, columns)."""
        code = self.autoencoder.encode(image)
        residual = image - self.autoencoder.decode(code, image.shape)
        value = residual.square().flatten(1).sum(1) / 2
        if self.sparsity:
            value = value + self.sparsity * _smooth_modulus(code).flatten(1).sum(1)
        return value

    def denoiser(self) -> NetworkDenoiser:
        """Return the autoencoder as a denoiser, whose weights it shares."""
        return NetworkDenoiser(self.autoencoder)


_BEND = 0.1


def _smooth_modulus(x: torch.Tensor) -> torch.Tensor:
    return (x.square() + _BEND**2).sqrt() - _BEND


class _Autoencoder(nn.Module):
    """Pairs of convolutions, the second of each with stride two, and their counterpart."""

    def __init__(self, channels: int, scales: int, scale: float) -> None:
        super().__init__()
        self.scale = scale
        widths = [channels * 2 ** min(i, 2) for i in range(scales + 1)]
        self.first, self.last = nn.Conv2d(1, channels, 3), nn.Conv2d(channels, 1, 3)
        self.down = nn.ModuleList(nn.Conv2d(n, m, 3) for n, m in pairwise(widths))
        self.up = nn.ModuleList(nn.ConvTranspose2d(m, n, 3) for n, m in pairwise(widths))
        self.smooth = nn.ModuleList(nn.Conv2d(n, n, 3) for n in widths[:-1])

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Map images (batch, 1, rows, columns) to the same shape."""
        return self.decode(self.encode(image), image.shape)

    def encode(self, image: torch.Tensor) -> torch.Tensor:
        """Return the code, of fewer pixels."""
        x = _active(_convolved(channels_last(self.scale * image), self.first))
        for layer in convolutions(self.down):
            x = _active(_convolved(x, layer, stride=2))
        return x

    def decode(self, code: torch.Tensor, shape: torch.Size) -> torch.Tensor:
        """Return images of this shape."""
        sizes = [tuple(shape[-2:])]
        for _ in self.up:
            sizes.append((-(-sizes[-1][0] // 2), -(-sizes[-1][1] // 2)))
        x = code
        ups = [layer for layer in self.up if isinstance(layer, nn.ConvTranspose2d)]
        steps = zip(ups, convolutions(self.smooth), sizes[:-1], strict=True)
        for up, smooth, size in reversed(list(steps)):
            even = [1 - n % 2 for n in size]
            x = _active(conv_transpose2d(x, up.weight, up.bias, 2, 1, output_padding=even))
            x = _active(_convolved(x, smooth))
        return _convolved(x, self.last) / self.scale


def _convolved(x: torch.Tensor, layer: nn.Conv2d, stride: int = 1) -> torch.Tensor:
    return conv2d(x, layer.weight, layer.bias, stride, padding=1)


def _active(x: torch.Tensor) -> torch.Tensor:
    return leaky_softplus(x, 0.1, 10.0)
