"""How far a reconstruction is from the slice that it was made of."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from tomolearn.dicom import body_mask

__all__ = ["DATA_RANGE", "SeriesErrors", "SliceErrors", "slice_errors"]

DATA_RANGE = 2000.0
"""Of PSNR and SSIM, in HU: air to dense bone. Scores of different slices are comparable."""


@dataclass(frozen=True)
class SliceErrors:
    """Errors of one slice within the body.

    Parameters
    ----------
    pixels : int
        Number of pixels of the body that were measured.
    error_sum, error_square_sum : float
        Sums over them of the error in HU, and of its square.
    ssim : float or None
        Structural similarity of the whole slice, data range 2000 HU; None where it is smaller
        than the window.
    """

    pixels: int
    error_sum: float
    error_square_sum: float
    ssim: float | None

    def to_dict(self) -> dict[str, float | int | None]:
        """Return the fields, ready for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class SeriesErrors:
    """Errors of a series within the body; None where no slice has one.

    Parameters
    ----------
    rmse_hu : float or None
        Root mean square error in HU over the body in all slices.
    bias_hu : float or None
        Mean error in HU.
    psnr : float or None
        In dB, of `rmse_hu` with a data range of 2000 HU.
    ssim : float or None
        Mean over the slices, data range 2000 HU.
    """

    rmse_hu: float | None
    bias_hu: float | None
    psnr: float | None
    ssim: float | None

    @classmethod
    def of(cls, slices: Iterable[SliceErrors]) -> SeriesErrors:
        """Sum up slices."""
        measured = list(slices)
        pixels = sum(one.pixels for one in measured)
        scores = [one.ssim for one in measured if one.ssim is not None]
        similarity = sum(scores) / len(scores) if scores else None
        if pixels == 0:
            return cls(None, None, None, similarity)
        rmse = math.sqrt(sum(one.error_square_sum for one in measured) / pixels)
        bias = sum(one.error_sum for one in measured) / pixels
        psnr = 20 * math.log10(DATA_RANGE / rmse) if rmse > 0 else None
        return cls(rmse, bias, psnr, similarity)

    def to_dict(self) -> dict[str, float | None]:
        """Return the fields, ready for JSON."""
        return asdict(self)


def slice_errors(
    found: NDArray[np.float32], source: NDArray[np.float32], padding: NDArray[np.bool_]
) -> SliceErrors:
    """Measure a reconstruction against the slice that was scanned.

    Parameters
    ----------
    found, source : numpy.ndarray of float32, shape (rows, columns)
        Hounsfield units; of the source, what is below -1000 counts as air.
    padding : numpy.ndarray of bool, shape (rows, columns)
        Where the source has nothing.
    """
    import torch

    from tomolearn.metrics import ssim

    truth = np.maximum(source, -1000.0)
    inside = body_mask(truth) & ~padding
    error = (found[inside] - truth[inside]).astype(np.float64)
    similarity = None
    if min(truth.shape) >= 7:
        pair = (torch.from_numpy(np.ascontiguousarray(values)) for values in (found, truth))
        similarity = float(ssim(*pair, data_range=DATA_RANGE))
    return SliceErrors(
        int(inside.sum()), float(error.sum()), float(np.square(error).sum()), similarity
    )
