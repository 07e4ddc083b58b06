"""The table of regularisers and denoisers."""

from __future__ import annotations

from typing import Any

from tomolearn._core.errors import TomolearnError
from tomolearn._core.tables import Table
from tomolearn.priors.prior import Denoiser, Regulariser


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
