"""Figures that publications print for the tasks of this package, to stand beside measured ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Published:
    """A row of a publication's table.

    Parameters
    ----------
    method : str
        What the publication calls it.
    name : str or None
        The method or network of this package that it is, None if there is none.
    psnr, ssim : float or None
        Mean PSNR in dB and SSIM, in the convention of the task.
    milliseconds : float or None
        Time per image, on the publication's machine.
    parameters : int or None
        Number of learned parameters.
    source : str
        Where it is printed.
    """

    method: str
    name: str | None
    psnr: float | None = None
    ssim: float | None = None
    milliseconds: float | None = None
    parameters: int | None = None
    source: str

    def to_dict(self) -> dict[str, Any]:
        """Return the fields, ready for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class PublishedCurve:
    """PSNR of a network by the amount of data that it was trained with.

    Parameters
    ----------
    method : str
        What the publication calls it.
    amounts, psnr : tuple of float
        Training images, or parts of the training set in percent; and PSNR in dB.
    unit : str
        Of the amounts.
    data : str
        What it was trained and tested on.
    source : str
        Where it is printed.
    """

    method: str
    amounts: tuple[float, ...]
    psnr: tuple[float, ...]
    unit: str
    data: str
    source: str

    def to_dict(self) -> dict[str, Any]:
        """Return the fields, ready for JSON."""
        return asdict(self)


def _table(source: str, *rows: tuple[Any, ...]) -> tuple[Published, ...]:
    names = ("method", "name", "psnr", "ssim", "milliseconds", "parameters")
    return tuple(Published(source=source, **dict(zip(names, row, strict=False))) for row in rows)


def _curves(
    source: str,
    data: str,
    unit: str,
    amounts: tuple[float, ...],
    found: Mapping[str, tuple[float, ...]],
) -> tuple[PublishedCurve, ...]:
    return tuple(
        PublishedCurve(method, amounts, psnr, unit, data, source) for method, psnr in found.items()
    )


_LODOPAB = "tables of github.com/oterobaguer/dip-ct-benchmark, with arXiv:2003.04989"

PUBLISHED: Mapping[str, tuple[Published, ...]] = MappingProxyType(
    {
        "ellipses": _table(
            "Adler, Öktem, arXiv:1707.06474, table 1",
            ("FBP", "fbp", 19.75, 0.597, 4),
            ("TV", "tv", 28.06, 0.928, 5166),
            ("FBP + U-Net", "fbp-unet", 29.20, 0.943, 9, 10_000_000),
            ("Learned gradient", "learned-gradient", 32.02, 0.981, 58, 13_318),
            ("Learned primal-dual", "learned-primal-dual", 38.28, 0.988, 49, 253_220),
        ),
        "ellipses-dival": _table(
            "Baguer, Leuschner, Schmidt, arXiv:2003.04989",
            ("FBP", "fbp", 24.18),
            ("TV", "tv", 27.96),
            ("DIP + TV", None, 28.94),
            ("FBP + U-Net, 32,000 images", "fbp-unet", 29.36),
            ("Learned gradient, 32,000 images", "learned-gradient", 30.30),
            ("Learned primal-dual, 32,000 images", "learned-primal-dual", 32.27),
        ),
        "lodopab": _table(
            _LODOPAB,
            ("FBP", "fbp", 30.37, 0.739),
            ("TV", "tv", 32.95, 0.803),
            ("iRadonMap", "iradonmap", 30.99),
            ("DIP + TV", None, 34.44),
            ("Learned gradient", "learned-gradient", 34.67, 0.817),
            ("FBP + U-Net", "fbp-unet", 35.48, 0.837),
            ("Learned primal-dual", "learned-primal-dual", 35.73, 0.843),
        ),
        "lodopab-200": _table(_LODOPAB, ("Learned primal-dual", "learned-primal-dual", 33.64)),
    }
)
"""Rows of publications by task, in the task's own convention of metrics."""

_SHARES = (0.01, 0.1, 1.0, 10.0, 100.0)
_IMAGES = (32, 64, 160, 320, 640, 1600, 3200, 8000, 16000, 32000)
# with 1000 and with 200 views; each figure has both
_OF_LODOPAB = (
    *_curves(
        _LODOPAB,
        "LoDoPaB",
        "% of the training set",
        _SHARES,
        {
            "Learned primal-dual": (32.68, 34.65, 35.27, 35.63, 35.73),
            "U-Net": (31.36, 33.27, 34.62, 35.18, 35.48),
        },
    ),
    *_curves(
        _LODOPAB,
        "LoDoPaB-200",
        "% of the training set",
        _SHARES,
        {"Learned primal-dual": (29.65, 32.48, 33.21, 33.53, 33.64)},
    ),
)
CURVES: Mapping[str, tuple[PublishedCurve, ...]] = MappingProxyType(
    {
        "lodopab": _OF_LODOPAB,
        "lodopab-200": _OF_LODOPAB,
        "ellipses-dival": _curves(
            "Baguer, Leuschner, Schmidt, arXiv:2003.04989",
            "ellipses",
            "training images",
            _IMAGES,
            {
                "Learned primal-dual": (
                    *(28.09, 28.45, 29.35, 30.11, 30.84),
                    *(31.44, 31.84, 32.15, 32.21, 32.27),
                ),
                "Learned gradient": (
                    *(27.81, 28.40, 29.15, 29.55, 29.70),
                    *(29.84, 29.88, 29.95, 30.07, 30.30),
                ),
                "U-Net": (
                    *(26.33, 26.59, 26.80, 27.12, 27.44),
                    *(27.97, 28.49, 28.80, 29.10, 29.36),
                ),
            },
        ),
    }
)
"""Data efficiency of publications by task, with that of its siblings."""
