"""Preparation of slices: cropping, resampling, air outside of the body."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tomolearn._core.checks import check_float, check_int
from tomolearn.dicom import body_mask

_AIR = -1000.0
# Below any noise in air: the -2000 outside of the scanner's circle, where the file does not say so.
_LOWEST = -1500.0


@dataclass(frozen=True)
class Preparation:
    """What is done with each slice.

    Parameters
    ----------
    size : int
        Rows, and columns, of the result: the middle of larger slices, smaller ones amid air.
    spacing : float, optional
        Distance in mm of the result's pixels, linearly interpolated, after a Gaussian blur where
        pixels grow. Default: those of the slice.
    body_only : bool
        Whether everything outside of the body becomes air, see `dicom.body_mask`.

    Raises
    ------
    TypeError, ValueError
        If a number is not positive.
    """

    size: int = 512
    spacing: float | None = None
    body_only: bool = False

    def __post_init__(self) -> None:
        check_int("size", self.size, minimum=1)
        if self.spacing is not None:
            check_float("spacing", self.spacing, positive=True)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields, ready for JSON."""
        return asdict(self)

    def spacing_of(self, spacing: tuple[float, float]) -> tuple[float, float]:
        """Return the distances in mm of the result's rows and columns."""
        return spacing if self.spacing is None else (self.spacing, self.spacing)

    def image(
        self,
        hounsfield: NDArray[np.floating],
        padding: NDArray[np.bool_],
        spacing: tuple[float, float],
    ) -> NDArray[np.int16]:
        """Return a slice in whole Hounsfield units, shape (size, size).

        Parameters
        ----------
        hounsfield, padding : numpy.ndarray, numpy.ndarray of bool, shape (rows, columns)
            Hounsfield units, and where nothing was measured: that becomes air, as do values below
            -1500 HU.
        spacing : (float, float)
            Distances in mm of rows and columns.
        """
        filling = padding | (hounsfield < _LOWEST)
        values = np.where(filling, np.float32(_AIR), hounsfield).astype(np.float32)
        if self.body_only:
            values[~body_mask(values)] = _AIR
        if self.spacing is not None:
            values = self._resampled(values, spacing, order=1)
        else:
            values = self._cut(values, _AIR)
        limits = np.iinfo(np.int16)
        return np.clip(np.rint(values), limits.min, limits.max).astype(np.int16)

    def mask(self, mask: NDArray[np.bool_], spacing: tuple[float, float]) -> NDArray[np.bool_]:
        """Return a mask of the slice, with the nearest pixel's value in each of the result's."""
        if self.spacing is None:
            return self._cut(mask, 0)
        return self._resampled(mask.astype(np.float32), spacing, order=0) > 0.5

    def _cut(self, image: NDArray[Any], fill: float) -> NDArray[Any]:
        result = np.full((self.size, self.size), fill, image.dtype)
        source, target = [], []
        for n in image.shape:
            first, before = max((n - self.size) // 2, 0), max((self.size - n) // 2, 0)
            kept = min(n, self.size)
            source.append(slice(first, first + kept))
            target.append(slice(before, before + kept))
        result[tuple(target)] = image[tuple(source)]
        return result

    def _resampled(
        self, image: NDArray[np.float32], spacing: tuple[float, float], *, order: int
    ) -> NDArray[np.float32]:
        from scipy.ndimage import affine_transform, gaussian_filter

        # middles lie on each other: with result index i, (i - middle) factor + old middle
        factors = np.array([self.spacing]) / np.array(spacing)
        shape = np.array([self.size, self.size])
        offset = (np.array(image.shape) - 1) / 2 - (shape - 1) / 2 * factors
        fill = _AIR if order else 0
        if order and (factors > 1).any():
            # the blur of scikit-image's `resize`
            sigma = np.maximum(0, (factors - 1) / 2)
            image = gaussian_filter(image, sigma, mode="constant", cval=fill)
        options = {"order": order, "mode": "grid-constant", "cval": fill}
        return affine_transform(image, factors, offset, output_shape=tuple(shape), **options)
