"""Ramp filters of filtered back-projection."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from scipy.fft import next_fast_len

__all__ = ["FILTERS", "apply_filter", "ramp_response", "window"]

# name -> window over the frequency as a part of the cut-off, in [0, 1]
FILTERS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "ram-lak": np.ones_like,
    "shepp-logan": lambda x: np.sinc(x / 2),
    "cosine": lambda x: np.cos(np.pi * x / 2),
    "hamming": lambda x: 0.54 + 0.46 * np.cos(np.pi * x),
    "hann": lambda x: 0.5 + 0.5 * np.cos(np.pi * x),
}


def window(name: str, frequency_scaling: float, length: int) -> np.ndarray:
    """Return the window `name` at the non-negative frequencies of a real FFT.

    Parameters
    ----------
    name : str
        One of `FILTERS`.
    frequency_scaling : float
        Cut-off as a part of Nyquist's frequency; the window is zero above.
    length : int
        Length of the FFT.

    Returns
    -------
    numpy.ndarray of float64, shape (length // 2 + 1,)
    """
    relative = np.fft.rfftfreq(length, d=0.5) / frequency_scaling
    # a cut-off at Nyquist's frequency itself must not fall victim to rounding
    inside = relative <= 1 + 1e-12
    return np.where(inside, FILTERS[name](np.minimum(relative, 1.0)), 0.0)


def ramp_response(
    n_bins: int, spacing: float, name: str, frequency_scaling: float, *, equiangular: bool = False
) -> np.ndarray:
    """Return the windowed ramp at the non-negative frequencies of a padded real FFT.

    The ramp is the transform of the band-limited kernel sampled at the bins [1]_, chapter 3, not
    ``|frequency|`` sampled, whose periodic kernel would shift the image's mean. Convolution with
    it stands for the integral over the detector: the bins' distance is contained.

    Parameters
    ----------
    n_bins : int
        Number of bins to be filtered.
    spacing : float
        Distance of the bins, in mm at the rotation axis, or in radians if `equiangular`.
    name, frequency_scaling
        As for `window`.
    equiangular : bool
        Whether the bins are equal angles of a fan: the kernel at angle ``g`` is then multiplied by
        ``(g / sin g)**2``.

    Returns
    -------
    numpy.ndarray of float64
        For FFTs of `padded_length` points, in 1/mm (1/rad if `equiangular`).

    References
    ----------
    .. [1] A. C. Kak, M. Slaney, Principles of Computerized Tomographic Imaging (1988),
       doi 10.1137/1.9780898719277.
    """
    length = padded_length(n_bins)
    lag = np.minimum(np.arange(length), length - np.arange(length))
    odd = lag % 2 == 1
    kernel = np.zeros(length)
    kernel[0] = 1 / (4 * spacing)
    if equiangular:
        # lags of the padding may reach half a turn, where the sine vanishes; no bins are so far
        odd &= lag < n_bins
        kernel[odd] = -spacing / (np.pi * np.sin(lag[odd] * spacing)) ** 2
    else:
        kernel[odd] = -1 / (spacing * (np.pi * lag[odd]) ** 2)
    return np.fft.rfft(kernel).real * window(name, frequency_scaling, length)


def padded_length(n_bins: int) -> int:
    """Return a length good for the FFT at which the convolution does not wrap around."""
    return int(next_fast_len(max(2 * n_bins, 16), real=True))


def apply_filter(sinogram: torch.Tensor, response: torch.Tensor, n_bins: int) -> torch.Tensor:
    """Filter along the last axis with a response of `ramp_response`.

    Parameters
    ----------
    sinogram : torch.Tensor, shape (..., n_bins)
        Float32 or float64.
    response : torch.Tensor
        Of the same precision on the same device.
    n_bins : int
        Number of bins.

    Returns
    -------
    torch.Tensor, shape (..., n_bins)
    """
    length = padded_length(n_bins)
    spectrum = torch.fft.rfft(sinogram, n=length, dim=-1)
    return torch.fft.irfft(spectrum * response, n=length, dim=-1)[..., :n_bins]
