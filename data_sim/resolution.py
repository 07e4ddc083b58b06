"""Sharpness and texture of clinical images: blur and noise of a reconstruction kernel."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import fft, ndimage

from tomolearn._core.checks import check_float, check_generator, real_array
from tomolearn._core.errors import TomolearnError

# frequency at which a Gaussian exp(-(f / cutoff)^2) is one half, in its cutoffs
_HALF = math.sqrt(math.log(2))


def as_scanned(
    image: ArrayLike,
    rng: np.random.Generator,
    *,
    spacing: float,
    mtf50: float,
    noise: float = 0.0,
) -> NDArray[np.floating]:
    """Axial slice as a scanner shows it: less sharp, and with the noise of its kernel.

    Parameters
    ----------
    image : array_like, shape (rows, columns)
        Ideal slice.
    rng : numpy.random.Generator
        Source of the noise.
    spacing : float
        Pixels in mm.
    mtf50 : float
        Frequency in 1/mm at which the modulation transfer function, a Gaussian, is one half:
        0.3 to 0.45 for kernels of soft tissue.
    noise : float
        Standard deviation of the noise in the image's unit.

    Returns
    -------
    numpy.ndarray, shape (rows, columns)
        New image of the floating type of `image`.

    Raises
    ------
    TypeError, ValueError
        If `image` has not two axes, or a number is not what it should be.
    """
    ideal = real_array("image", image)
    if ideal.ndim != 2:
        raise TomolearnError(f"image: expected shape (rows, columns), got {ideal.shape}")
    check_generator(rng)
    check_float("spacing", spacing, positive=True)
    check_float("mtf50", mtf50, positive=True)
    check_float("noise", noise, nonnegative=True)
    cutoff = spacing * mtf50 / _HALF
    shown = ndimage.gaussian_filter(ideal, 1 / (math.sqrt(2) * math.pi * cutoff), mode="nearest")
    shown += noise * kernel_noise(rng, ideal.shape, cutoff)
    dtype = getattr(image, "dtype", ideal.dtype)
    return shown.astype(dtype if dtype in (np.float16, np.float32) else np.float64)


def kernel_noise(
    rng: np.random.Generator, shape: tuple[int, ...], cutoff: float
) -> NDArray[np.float32]:
    """Return a periodic random field of standard deviation 1 with the spectrum of CT noise.

    That is the ramp of a filtered back-projection times a Gaussian, which is down to 1/e at the
    cutoff in cycles per pixel.
    """
    frequency = np.hypot(fft.fftfreq(shape[0])[:, None], fft.fftfreq(shape[1]))
    transfer = frequency * np.exp(-((frequency / cutoff) ** 2))
    transfer /= np.sqrt(np.mean(transfer**2))
    half = transfer[:, : shape[1] // 2 + 1].astype(np.float32)
    white = rng.standard_normal(shape, dtype=np.float32)
    return fft.irfft2(fft.rfft2(white) * half, s=shape)
