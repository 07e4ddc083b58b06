"""Total deep variation: a learned multiscale regulariser."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.functional import conv2d, conv_transpose2d

from tomolearn._core.checks import check_float, check_int
from tomolearn._core.tensors import channels_last
from tomolearn.priors.network_regulariser import NetworkRegulariser


class TotalDeepVariation(NetworkRegulariser):
    """Total deep variation, the sum over the image of a network of U-shaped residual blocks.

    Filters without mean see the image, so that constants cost nothing; `blocks` U-nets follow,
    each of residual pairs of convolutions on several resolutions, without biases and with the
    potential ``log(1 + nu t^2) / (2 nu)`` in between, and a weighted sum of their channels [1]_.
    The publication has 32 channels and 3 blocks of 3 resolutions, 470,000 parameters; the defaults
    here are a modest version of it. Nothing is certified: it is smooth, but neither convex nor
    bounded below, and its minimisers depend on where an algorithm starts.

    Parameters
    ----------
    channels : int
        Channels of all convolutions.
    blocks : int
        Number of U-nets.
    scales : int
        Number of resolutions of each.
    nu : float
        Of the potential.
    scale : float
        What image values are multiplied by for the network, and its value divided by.

    Raises
    ------
    TypeError, ValueError
        If an argument is not positive.

    References
    ----------
    .. [1] E. Kobler, A. Effland, K. Kunisch, T. Pock, "Total deep variation for linear inverse
       problems", CVPR 2020, arXiv:2001.05005
    """

    def __init__(
        self,
        *,
        channels: int = 16,
        blocks: int = 1,
        scales: int = 3,
        nu: float = 9.0,
        scale: float = 10.0,
    ) -> None:
        super().__init__(
            {
                "channels": check_int("channels", channels, minimum=1),
                "blocks": check_int("blocks", blocks, minimum=1),
                "scales": check_int("scales", scales, minimum=1),
                "nu": check_float("nu", nu, positive=True),
                "scale": check_float("scale", scale, positive=True),
            }
        )
        self.scale = scale
        self.filters = _kernel(channels, 1, 3)
        self.blocks = nn.ModuleList(_UShape(channels, scales, nu) for _ in range(blocks))
        self.last = nn.Parameter(torch.randn(channels) / channels)

    def energy(self, image: torch.Tensor) -> torch.Tensor:
        """Return the values (batch,) of images (batch, 1, rows, columns)."""
        filters = self.filters - self.filters.mean((2, 3), keepdim=True)
        x = conv2d(_framed(channels_last(self.scale * image)), filters)
        for block in self.blocks:
            x = block(x)
        return (x * self.last.reshape(-1, 1, 1)).flatten(1).sum(1) / self.scale


def _framed(image: torch.Tensor) -> torch.Tensor:
    """Continue an image by its border, so that zeros beyond it are no edges."""
    return torch.nn.functional.pad(image, (1, 1, 1, 1), mode="replicate")


class _UShape(nn.Module):
    """Residual pairs of convolutions on the way down, and on the way up again."""

    def __init__(self, channels: int, scales: int, nu: float) -> None:
        super().__init__()
        finer = scales - 1
        self.down = nn.ModuleList(_Residual(channels, nu) for _ in range(scales))
        self.up = nn.ModuleList(_Residual(channels, nu) for _ in range(finer))
        self.coarsen = nn.ParameterList(_kernel(channels, channels, 3) for _ in range(finer))
        self.refine = nn.ParameterList(_kernel(channels, channels, 3) for _ in range(finer))
        self.join = nn.ParameterList(_kernel(channels, 2 * channels, 1) for _ in range(finer))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map features (batch, channels, rows, columns) to the same shape."""
        skipped = []
        for i, residual in enumerate(self.down):
            if i > 0:
                x = conv2d(x, self.coarsen[i - 1], stride=2, padding=1)
            x = residual(x)
            skipped.append(x)
        for i in range(len(self.up) - 1, -1, -1):
            beside = skipped[i]
            even = [1 - n % 2 for n in beside.shape[-2:]]
            x = conv_transpose2d(x, self.refine[i], stride=2, padding=1, output_padding=even)
            x = conv2d(torch.cat((beside, x), 1), self.join[i])
            x = self.up[i](x)
        return x


class _Residual(nn.Module):
    """A convolution, the potential, a convolution, added to what came in."""

    def __init__(self, channels: int, nu: float) -> None:
        super().__init__()
        self.nu = nu
        self.first, self.second = _kernel(channels, channels, 3), _kernel(channels, channels, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        inner = conv2d(x, self.first, padding=1)
        potential = torch.log1p(self.nu * inner.square()) / (2 * self.nu)
        return x + conv2d(potential, self.second, padding=1)


def _kernel(n_out: int, n_in: int, size: int) -> nn.Parameter:
    return nn.Parameter(nn.init.kaiming_normal_(torch.empty(n_out, n_in, size, size), a=1.0))
