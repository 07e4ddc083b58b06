"""Gaussians of images whose precision has a sparse Cholesky factor."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn.functional import pad

from tomolearn._core.checks import check_generator
from tomolearn._core.errors import TomolearnError


def stencil(radius: int) -> tuple[tuple[int, int], ...]:
    """Return the offsets (rows, columns) of the pixels within a radius that come after a pixel.

    Pixels are ordered row by row; there are ``2 * radius * (radius + 1)`` offsets.
    """
    after = tuple((0, j) for j in range(1, radius + 1))
    below = range(-radius, radius + 1)
    return after + tuple((i, j) for i in range(1, radius + 1) for j in below)


@dataclass(frozen=True, eq=False)
class StructuredGaussian:
    """Normal distribution with precision ``L L^T``, L sparse and lower-triangular [1]_, [2]_.

    With pixels ordered row by row, column i of L has ``exp(d_i)`` on the diagonal and ``exp(d_i) *
    a_ik`` at the pixel of offset k, `stencil`. So ``(L^T r)_i = exp(d_i) (r_i + sum_k a_ik r_ik)``:
    each pixel is predicted from those after it, with standard deviation ``exp(-d_i)``. The
    determinant is that of the diagonal, and neither density nor precision needs a matrix. Without
    offsets the covariance is diagonal.

    Parameters
    ----------
    mean : torch.Tensor, shape (batch, 1, rows, columns)
        Mean images.
    log_diagonal : torch.Tensor, shape (batch, 1, rows, columns)
        d, minus the logarithms of the conditional standard deviations.
    couplings : torch.Tensor, shape (batch, len(stencil(radius)), rows, columns)
        a, by pixel; offsets that lead out of the image are without effect.
    radius : int
        Of the stencil; 0: a diagonal covariance.

    Raises
    ------
    ValueError
        If the shapes do not fit.

    References
    ----------
    .. [1] G. Dorta et al., "Structured uncertainty prediction networks", CVPR 2018,
       arXiv:1802.07079
    .. [2] M. Duff, I. Simpson, M. Ehrhardt, N. Campbell, "VAEs with structured image covariance
       applied to compressed sensing MRI", Phys. Med. Biol. 68 (2023), arXiv:2210.14586
    """

    mean: torch.Tensor
    log_diagonal: torch.Tensor
    couplings: torch.Tensor
    radius: int

    def __post_init__(self) -> None:
        batch, _, *shape = self.mean.shape
        for name, tensor, channels in (
            ("mean", self.mean, 1),
            ("log_diagonal", self.log_diagonal, 1),
            ("couplings", self.couplings, len(stencil(self.radius))),
        ):
            expected = (batch, channels, *shape)
            if len(shape) != 2 or tuple(tensor.shape) != expected:
                raise TomolearnError(
                    f"{name}: expected shape {expected}, got {tuple(tensor.shape)}"
                )

    def whitened(self, residual: torch.Tensor) -> torch.Tensor:
        """Return ``L^T r`` of residuals (batch, 1, rows, columns), white for ``x - mean``."""
        predicted = residual
        if self.radius:
            rows, columns = residual.shape[-2:]
            wide = pad(residual, (self.radius, self.radius, 0, self.radius))
            for k, (i, j) in enumerate(stencil(self.radius)):
                left = j + self.radius
                near = wide[..., i : i + rows, left : left + columns]
                predicted = torch.addcmul(predicted, self.couplings[:, k : k + 1], near)
        return self.log_diagonal.exp() * predicted

    def coloured(self, white: torch.Tensor) -> torch.Tensor:
        """Return ``L w``, the transpose of `whitened`."""
        scaled = self.log_diagonal.exp() * white
        if not self.radius:
            return scaled
        rows, columns = white.shape[-2:]
        wide = pad(scaled, (self.radius, self.radius, 0, self.radius))
        for k, (i, j) in enumerate(stencil(self.radius)):
            left = j + self.radius
            wide[..., i : i + rows, left : left + columns] += self.couplings[:, k : k + 1] * scaled
        return wide[..., :rows, self.radius : self.radius + columns]

    def precision(self, residual: torch.Tensor) -> torch.Tensor:
        """Return ``L L^T r``."""
        return self.coloured(self.whitened(residual))

    def log_density(self, image: torch.Tensor) -> torch.Tensor:
        """Return the logarithm of the density, (batch,), at images (batch, 1, rows, columns)."""
        n = image[0].numel()
        square = self.whitened(image - self.mean).square().flatten(1).sum(1)
        return self.log_diagonal.flatten(1).sum(1) - square / 2 - n / 2 * math.log(2 * math.pi)

    def sample(self, rng: np.random.Generator) -> torch.Tensor:
        """Return one image of each distribution, (batch, 1, rows, columns), on the CPU.

        Triangular systems are solved pixel after pixel, from the last one on.
        """
        from scipy.sparse import diags_array
        from scipy.sparse.linalg import spsolve_triangular

        check_generator(rng)
        means, roots = self.mean.detach().cpu(), self.log_diagonal.detach().cpu().double().exp()
        couplings = self.couplings.detach().cpu().double()
        rows, columns = means.shape[-2:]
        row, column = np.indices((rows, columns))
        found = []
        for mean, root, near in zip(means, roots, couplings, strict=True):
            bands, places = [np.ones(rows * columns)], [0]
            for (i, j), values in zip(stencil(self.radius), near.numpy(), strict=True):
                inside = (row + i < rows) & (column + j >= 0) & (column + j < columns)
                band = np.where(inside, values, 0).ravel()
                place = i * columns + j
                if 0 < place < rows * columns:
                    bands.append(band[: rows * columns - place])
                    places.append(place)
            upper = diags_array(bands, offsets=places, format="csr")
            white = rng.standard_normal(rows * columns) / root.numpy().ravel()
            away = spsolve_triangular(upper, white, lower=False)
            found.append(mean + torch.from_numpy(away.reshape(1, rows, columns)).to(mean))
        return torch.stack(found)
