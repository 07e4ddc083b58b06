"""Sizes of noise: of counted photons in a bin, and of back-projected noise in a pixel."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from tomolearn.operators import LinearOperator

# of random signs: on scans of 12 to 60 views the norm is known to about one per cent
_PROBES = 4


def photon_noise_level(
    sinogram: torch.Tensor, *, photons: float, electronic_std: float = 0.0, ndim: int = 2
) -> torch.Tensor:
    """Return the standard deviation of line integrals of counted photons, of each sinogram.

    It is that of Poisson counts and electronics, ``sqrt(counts + electronic_std**2) / counts``, its
    root mean square over the bins, none counting more than 1.

    Parameters
    ----------
    sinogram : torch.Tensor, shape (..., *bins)
        Line integrals, dimensionless.
    photons, electronic_std : float
        Mean number of photons per detector element without an object, and standard deviation of
        the electronic noise in photons.
    ndim : int
        Number of axes of a sinogram.

    Returns
    -------
    torch.Tensor of float64, shape (...)
    """
    counts = photons * sinogram.double().neg().exp()
    variance = (counts + electronic_std**2) / counts**2
    return variance.clamp(max=1.0).mean(tuple(range(-ndim, 0))).sqrt()


def column_norm(operator: LinearOperator) -> float:
    """Return the root mean square of the norms of an operator's columns.

    White noise of standard deviation one in each bin has, back-projected, this size in a pixel. It
    is estimated with data of random signs, always the same ones.
    """
    import torch

    device = operator._norm_device()
    generator = torch.Generator().manual_seed(0)
    signs = torch.randint(0, 2, (_PROBES, *operator.range_shape), generator=generator)
    with torch.no_grad():
        found = operator.adjoint((2.0 * signs - 1).to(device))
    return math.sqrt(float(found.square().mean(dtype=torch.float64)))
