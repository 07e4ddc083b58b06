"""Priors: what is known of images without a scanner, as a regulariser or as a denoiser."""

from typing import Any

from tomolearn._core.errors import TomolearnError
from tomolearn._core.tables import Table
from tomolearn.priors.denoisers import NetworkDenoiser, ProximalDenoiser
from tomolearn.priors.prior import Denoiser, Prior, Regulariser
from tomolearn.priors.smoothness import SquaredDifferences
from tomolearn.priors.spectral import SpectralConv2d, spectral_norm_bound
from tomolearn.priors.spectral_denoiser import SpectralDenoiser
from tomolearn.priors.total_variation import TotalVariation

__all__ = [
    "PRIORS",
    "Denoiser",
    "NetworkDenoiser",
    "Prior",
    "ProximalDenoiser",
    "Regulariser",
    "SpectralConv2d",
    "SpectralDenoiser",
    "SquaredDifferences",
    "TotalVariation",
    "spectral_norm_bound",
]


def _check(where: str, value: Any) -> type[Regulariser] | type[Denoiser]:
    if not (isinstance(value, type) and issubclass(value, (Regulariser, Denoiser))):
        raise TomolearnError(
            f"prior {where}: expected a subclass of Regulariser or Denoiser, got {value!r}"
        )
    return value


PRIORS: Table[type[Regulariser] | type[Denoiser]] = Table(
    "prior",
    {
        "squared-differences": "tomolearn.priors.smoothness:SquaredDifferences",
        "total-variation": "tomolearn.priors.total_variation:TotalVariation",
        "spectral-denoiser": "tomolearn.priors.spectral_denoiser:SpectralDenoiser",
    },
    group="tomolearn.priors",
    check=_check,
)
"""Regularisers and denoisers by the names that files have for them."""
