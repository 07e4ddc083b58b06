"""Ramp filters of filtered back-projection."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from scipy.fft import next_fast_len

# name -> window over the frequency as a part of the cut-off, in [0, 1]
FILTERS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "ram-lak": np.ones_like,
    "shepp-logan": lambda x: np.sinc(x / 2),
    "cosine": lambda x: np.cos(np.pi * x / 2),
    "hamming": lambda x: 0.54 + 0.46 * np.cos(np.pi * x),
    "hann": lambda x: 0.5 + 0.5 * np.cos(np.pi * x),
}


def window(name: str, frequency_scaling: float, length: int) -> np.ndarray:
    """Return the window `name` at the non-negative frequencies of a real FFT of `length`."""
    relative = np.fft.rfftfreq(length, d=0.5) / frequency_scaling
    # a cut-off at Nyquist's frequency itself must not fall victim to rounding
    inside = relative <= 1 + 1e-12
    return np.where(inside, FILTERS[name](np.minimum(relative, 1.0)), 0.0)


def ramp_response(
    n_bins: int,
    spacing: float,
    name: str,
    frequency_scaling: float,
    *,
    equiangular: bool = False,
    oversampling: int = 1,
) -> np.ndarray:
    """Return the windowed ramp at the non-negative frequencies of a padded real FFT.

    The ramp is the transform of the band-limited kernel sampled at the bins [1]_, chapter 3, not
    ``|frequency|`` sampled, whose periodic kernel would shift the image's mean. Convolution with
    it stands for the integral over the detector: the bins' distance is contained.

    `spacing` is the bins' distance in mm at the rotation axis, or in radians if they are
    `equiangular` in a fan: the kernel at angle ``g`` is then multiplied by ``(g / sin g)**2``. The
    response is in 1/mm or 1/rad. `oversampling` is that of `apply_filter`.

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
    response = np.fft.rfft(kernel).real * window(name, frequency_scaling, length)
    if oversampling > 1:
        response *= oversampling
        if length % 2 == 0:
            # in the longer inverse transform this one, too, has a twin of negative frequency
            response[-1] /= 2
    return response


def padded_length(n_bins: int) -> int:
    """Return a length good for the FFT at which the convolution does not wrap around."""
    return int(next_fast_len(max(2 * n_bins, 16), real=True))


def apply_filter(
    sinogram: torch.Tensor, response: torch.Tensor, oversampling: int = 1
) -> torch.Tensor:
    """Filter along the last axis by a `ramp_response`, and interpolate between the bins.

    There are `oversampling` values for each bin, those of the band-limited function through the
    bins' values: ``oversampling * (n_bins - 1) + 1`` from the first bin's middle to the last one's,
    and ``oversampling // 2`` more at each end.
    """
    n_bins = sinogram.shape[-1]
    length = padded_length(n_bins)
    spectrum = torch.fft.rfft(sinogram, n=length, dim=-1)
    filtered = torch.fft.irfft(spectrum * response, n=oversampling * length, dim=-1)
    beyond, inner = oversampling // 2, oversampling * (n_bins - 1) + 1
    if not beyond:
        return filtered[..., :inner]
    # what lies before the first bin stands at the period's end
    return torch.cat([filtered[..., -beyond:], filtered[..., : inner + beyond]], dim=-1)


def apply_transposed_filter(
    projections: torch.Tensor, response: torch.Tensor, n_bins: int, oversampling: int = 1
) -> torch.Tensor:
    """Apply the transpose of `apply_filter`, from refined projections to bins."""
    length = padded_length(n_bins)
    beyond, inner = oversampling // 2, oversampling * (n_bins - 1) + 1
    period = projections.new_zeros((*projections.shape[:-1], oversampling * length))
    period[..., : inner + beyond] = projections[..., beyond:]
    if beyond:
        period[..., -beyond:] = projections[..., :beyond]
    spectrum = torch.fft.rfft(period, dim=-1)[..., : length // 2 + 1] * response
    if oversampling > 1 and length % 2 == 0:
        spectrum[..., -1] *= 2  # for its twin of negative frequency
    return torch.fft.irfft(spectrum, n=length, dim=-1)[..., :n_bins] / oversampling
