"""Image errors against the source in Hounsfield units: RMSE, bias, PSNR and SSIM."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tomolearn.dicom import body_mask

DATA_RANGE = 2000.0
"""Data range of PSNR and SSIM in HU, air to dense bone: scores of slices are comparable."""


@dataclass(frozen=True)
class ImageErrors:
    """Errors of a slice, or of the slices of a series, within the body.

    Parameters
    ----------
    pixels : int
        Number of pixels of the body that were measured.
    error_sum, error_square_sum : float
        Sums over them of the error in HU, and of its square.
    ssim : float or None
        Structural similarity of the whole slice, or its mean over slices, data range 2000 HU; None
        where the image is smaller than the window.
    """

    pixels: int
    error_sum: float
    error_square_sum: float
    ssim: float | None

    @classmethod
    def pooled(cls, slices: Iterable[ImageErrors]) -> ImageErrors:
        """Return the errors of all pixels of some slices, and their mean similarity."""
        every = list(slices)
        scores = [one.ssim for one in every if one.ssim is not None]
        return cls(
            sum(one.pixels for one in every),
            sum(one.error_sum for one in every),
            sum(one.error_square_sum for one in every),
            sum(scores) / len(scores) if scores else None,
        )

    @property
    def rmse_hu(self) -> float | None:
        """Root mean square error in HU; None without pixels."""
        return math.sqrt(self.error_square_sum / self.pixels) if self.pixels else None

    @property
    def bias_hu(self) -> float | None:
        """Mean error in HU; None without pixels."""
        return self.error_sum / self.pixels if self.pixels else None

    @property
    def psnr(self) -> float | None:
        """PSNR in dB, data range 2000 HU; None without pixels and without error."""
        return 20 * math.log10(DATA_RANGE / self.rmse_hu) if self.rmse_hu else None


def measure_errors(
    found: NDArray[np.float32], source: NDArray[np.float32], padding: NDArray[np.bool_]
) -> ImageErrors:
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
    return ImageErrors(
        int(inside.sum()), float(error.sum()), float(np.square(error).sum()), similarity
    )
