"""Variational autoencoders of images, whose decoder also says how images differ from its mean."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from torch import nn
from torch.nn.functional import interpolate, silu, softplus

from tomolearn._core.checks import check_choice, check_float, check_generator, check_int
from tomolearn._core.errors import TomolearnError
from tomolearn._core.tensors import channels_last
from tomolearn.priors.network_regulariser import NetworkRegulariser
from tomolearn.priors.structured_gaussian import StructuredGaussian, stencil

COVARIANCES = ("constant", "diagonal", "structured")
# what encoders may say of the logarithm of a standard deviation
_MOST_LOG = 5.0
# rows and columns of maps of places, which are drawn out to the latent image's
_PLACES = 8


class VariationalAutoencoder(NetworkRegulariser):
    """Variational autoencoder, a generative regulariser: ``-log p(x | z) + ||z||^2 / 2``.

    The decoder makes of a latent image z, with few pixels and several channels, a normal
    distribution of images: mean G(z) and covariance Sigma(z), which is one variance for all pixels
    and images ("constant"), one for each pixel ("diagonal"), or has a precision with a sparse
    Cholesky factor ("structured"), see `StructuredGaussian`. Objective "variational-autoencoder"
    trains it on images alone. Method "generative" minimises over x and z [1]_, [2]_; the value here
    is that at the encoder's mean, z = E(x). Nothing is certified. Images may have any size, those
    of the training's are what was learned.

    Parameters
    ----------
    covariance : {"structured", "diagonal", "constant"}
        Covariance of images around the decoder's mean.
    radius : int
        Radius of the stencil of "structured"; each pixel has ``2 * radius * (radius + 1)``
        couplings.
    channels : sequence of int
        Channels at full resolution, at half of it and so on; the last are the latent image's
        resolution.
    latent_channels : int
        Channels of the latent image.
    scale : float
        What image values are multiplied by for the network: one over their spread.
    floor : float
        Smallest standard deviation of a pixel given those after it, in the image's unit.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of its range.

    References
    ----------
    .. [1] M. Duff, N. Campbell, M. Ehrhardt, "Regularising inverse problems with generative
       machine learning models", J. Math. Imaging Vis. 66 (2024), arXiv:2107.11191
    .. [2] M. Duff, I. Simpson, M. Ehrhardt, N. Campbell, "VAEs with structured image covariance
       applied to compressed sensing MRI", Phys. Med. Biol. 68 (2023), arXiv:2210.14586
    """

    def __init__(
        self,
        *,
        covariance: str = "structured",
        radius: int = 2,
        channels: Sequence[int] = (16, 32, 48, 64),
        latent_channels: int = 8,
        scale: float = 10.0,
        floor: float = 0.002,
    ) -> None:
        widths = tuple(check_int(f"channels[{k}]", n, minimum=1) for k, n in enumerate(channels))
        if len(widths) < 2:
            raise TomolearnError(f"channels: expected two numbers or more, got {channels}")
        super().__init__(
            {
                "covariance": check_choice("covariance", covariance, COVARIANCES),
                "radius": check_int("radius", radius, minimum=1),
                "channels": list(widths),
                "latent_channels": check_int("latent_channels", latent_channels, minimum=1),
                "scale": check_float("scale", scale, positive=True),
                "floor": check_float("floor", floor, positive=True),
            }
        )
        self.covariance, self.latent_channels = covariance, latent_channels
        self.radius = radius if covariance == "structured" else 0
        self.scale, self.floor, self.n_scales = scale, floor, len(widths) - 1
        self.encoder = _Encoder(widths, latent_channels)
        n_outputs = {"constant": 1, "diagonal": 2, "structured": 2 + len(stencil(self.radius))}
        self.decoder = _Decoder(widths, latent_channels, n_outputs[covariance])
        if covariance == "constant":
            self.spread = nn.Parameter(torch.zeros(1))

    def latent_shape(self, shape: Sequence[int]) -> tuple[int, int, int]:
        """Return the shape of the latent image of an image (rows, columns)."""
        rows, columns = shape
        for _ in range(self.n_scales):
            rows, columns = -(-rows // 2), -(-columns // 2)
        return self.latent_channels, rows, columns

    def encode(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return mean and logarithm of the standard deviation of z given images.

        Parameters
        ----------
        image : torch.Tensor, shape (batch, 1, rows, columns)

        Returns
        -------
        mean, log_deviation : torch.Tensor, shape (batch, *latent_shape)
        """
        mean, log_deviation = self.encoder(channels_last(self.scale * image)).chunk(2, 1)
        return mean, _MOST_LOG * torch.tanh(log_deviation / _MOST_LOG)

    def decode(self, latent: torch.Tensor, shape: Sequence[int]) -> StructuredGaussian:
        """Return the distribution of images given z.

        Parameters
        ----------
        latent : torch.Tensor, shape (batch, *latent_shape)
        shape : (int, int)
            Rows and columns of the images.

        Raises
        ------
        ValueError
            If the latent images have another size.
        """
        expected = self.latent_shape(shape)
        if latent.ndim != 4 or tuple(latent.shape[1:]) != expected:
            raise TomolearnError(
                f"latent: expected shape (batch, {', '.join(map(str, expected))}) for images "
                f"{tuple(shape)}, got {tuple(latent.shape)}"
            )
        out = self.decoder(latent, (shape[0], shape[1])).contiguous()
        mean, rest = out[:, :1] / self.scale, out[:, 1:]
        raw = self.spread.expand_as(mean) if self.covariance == "constant" else rest[:, :1]
        # begins at a third of the spread of images, and is bounded by the floor
        most = -math.log(self.floor)
        log_diagonal = most - softplus(most - math.log(3 * self.scale) - raw)
        return StructuredGaussian(mean, log_diagonal, rest[:, 1:], self.radius)

    def energy(self, image: torch.Tensor) -> torch.Tensor:
        """Return the values (batch,) of images (batch, 1, rows, columns)."""
        latent, _ = self.encode(image)
        return self.joint_energy(image, latent)

    def joint_energy(self, image: torch.Tensor, latent: torch.Tensor) -> torch.Tensor:
        """Return ``-log p(image | latent) + ||latent||^2 / 2`` of each pair, (batch,)."""
        given = self.decode(latent, image.shape[-2:])
        return latent.square().flatten(1).sum(1) / 2 - given.log_density(image)

    @torch.no_grad()
    def sample(
        self, n: int, shape: Sequence[int], rng: np.random.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return images drawn at random, and the decoder's means of which they are.

        Parameters
        ----------
        n : int
            Number of images.
        shape : (int, int)
            Rows and columns.
        rng : numpy.random.Generator
            What is random.

        Returns
        -------
        images, means : torch.Tensor, shape (n, rows, columns)
        """
        check_generator(rng)
        size = (check_int("n", n, minimum=1), *self.latent_shape(shape))
        latent = torch.from_numpy(rng.standard_normal(size)).to(next(self.parameters()))
        given = self.decode(latent, shape)
        return given.sample(rng)[:, 0], given.mean[:, 0]


class _Encoder(nn.Module):
    """Convolutions, the second of each pair with stride two."""

    def __init__(self, widths: Sequence[int], latent: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, widths[0], 3, padding=1)
        self.down = nn.ModuleList(nn.Conv2d(n, m, 3, 2, 1) for n, m in pairwise(widths))
        self.places = _Places(widths[-1])
        self.block = _Residual(widths[-1])
        self.last = nn.Conv2d(widths[-1], 2 * latent, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return means and raw logarithms."""
        x = silu(self.first(x))
        for layer in self.down:
            x = silu(layer(x))
        found: torch.Tensor = self.last(self.block(self.places(x)))
        return found


class _Decoder(nn.Module):
    """Convolutions, each pair at twice the resolution of the one before."""

    def __init__(self, widths: Sequence[int], latent: int, n_outputs: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(latent, widths[-1], 3, padding=1)
        self.places = _Places(widths[-1])
        self.block = _Residual(widths[-1])
        steps = list(pairwise(reversed(widths)))
        self.up = nn.ModuleList(nn.Conv2d(n, m, 3, padding=1) for n, m in steps)
        self.smooth = nn.ModuleList(nn.Conv2d(m, m, 3, padding=1) for _, m in steps)
        self.last = nn.Conv2d(widths[0], n_outputs, 3, padding=1)

    def forward(self, x: torch.Tensor, shape: tuple[int, int]) -> torch.Tensor:
        """Return the channels of images of this shape."""
        sizes = [shape]
        for _ in self.up:
            sizes.append((-(-sizes[-1][0] // 2), -(-sizes[-1][1] // 2)))
        x = self.block(silu(self.places(self.first(channels_last(x)))))
        for up, smooth, size in zip(self.up, self.smooth, reversed(sizes[:-1]), strict=True):
            x = silu(up(interpolate(x, size=size)))
            x = x + silu(smooth(x))
        found: torch.Tensor = self.last(x)
        return found


class _Places(nn.Module):
    """What is added to features by where they are: organs have their places."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.map = nn.Parameter(torch.zeros(1, width, _PLACES, _PLACES))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return features (batch, width, rows, columns) with the map drawn out to their shape."""
        shown = interpolate(self.map, size=x.shape[-2:], mode="bilinear", align_corners=False)
        return x + shown


class _Residual(nn.Module):
    """Two convolutions that are added to their input."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in range(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the sum."""
        y = x
        for layer in self.layers:
            y = silu(layer(y))
        return x + y
