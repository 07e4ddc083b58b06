"""Image quality as CT physics measures it: noise power spectrum, edge MTF, contrast to noise."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tomolearn._core.checks import check_float, check_floats
from tomolearn._core.errors import TomolearnError, TomolearnTypeError
from tomolearn._core.tensors import check_real_tensor

_BIN = 0.25  # of a pixel, for the profile across an edge
_LEAST_ROI = 8  # pixels
_ENDS = 4  # bins at either end of the edge's profile that its plateaus are the means of


@dataclass(frozen=True)
class NoisePower:
    """Radial noise power spectrum.

    Parameters
    ----------
    frequencies : tuple of float
        Spatial frequencies in cycles per mm, ascending, without zero.
    power : tuple of float
        Power in (image unit)^2 mm^2, averaged over directions.
    std : float
        Standard deviation of the noise in a pixel, in image units.
    """

    frequencies: tuple[float, ...]
    power: tuple[float, ...]
    std: float

    @property
    def mean_frequency(self) -> float:
        """Mean spatial frequency of the noise in cycles per mm: coarse noise has a low one."""
        f, weight = np.array(self.frequencies), np.array(self.frequencies) * np.array(self.power)
        return float((f * weight).sum() / weight.sum()) if weight.sum() > 0 else math.nan

    def to_dict(self) -> dict[str, Any]:
        """Return all of it, ready for JSON."""
        return {
            "frequencies": list(self.frequencies),
            "power": list(self.power),
            "std": self.std,
            "mean_frequency": self.mean_frequency,
        }


@dataclass(frozen=True)
class EdgeMTF:
    """Modulation transfer function across an edge.

    Parameters
    ----------
    frequencies : tuple of float
        Spatial frequencies in cycles per mm from zero to the Nyquist frequency of the pixels.
    values : tuple of float
        Modulation, 1 at frequency zero.
    contrast : float
        Difference between the plateaus inside and outside, in image units.
    """

    frequencies: tuple[float, ...]
    values: tuple[float, ...]
    contrast: float

    def frequency_at(self, level: float) -> float:
        """Return the first frequency at which the modulation falls to `level`, else the last."""
        check_float("level", level, positive=True)
        values, f = np.array(self.values), np.array(self.frequencies)
        below = np.flatnonzero(values <= level)
        if not len(below):
            return float(f[-1])
        n = int(below[0])
        if n == 0:
            return float(f[0])
        part = (values[n - 1] - level) / (values[n - 1] - values[n])
        return float(f[n - 1] + part * (f[n] - f[n - 1]))

    def to_dict(self) -> dict[str, Any]:
        """Return all of it, ready for JSON, with the frequencies of 50 and 10 % modulation."""
        return {
            "frequencies": list(self.frequencies),
            "values": list(self.values),
            "contrast": self.contrast,
            "f50": self.frequency_at(0.5),
            "f10": self.frequency_at(0.1),
        }


def noise_power_spectrum(images: torch.Tensor, spacing: Any) -> NoisePower:
    """Return the radial noise power spectrum of a uniform region [1]_.

    ``dx dy / (rows columns) |DFT(noise)|^2``, averaged over images and over directions.

    Parameters
    ----------
    images : torch.Tensor, shape (n, rows, columns)
        The region in n images of one object with independent noise. Noise is what differs from
        their mean, so that structure and artefacts do not count; of a single image, what differs
        from the mean of its pixels.
    spacing : float or (float, float)
        Distances of rows and columns in mm.

    Returns
    -------
    NoisePower
        In rings as wide as one frequency of the transform, up to the smaller Nyquist frequency.

    Raises
    ------
    TypeError, ValueError
        If the images are no real tensor, not finite, of another number of dimensions or smaller
        than 8 x 8 pixels, or the spacing is not positive.

    References
    ----------
    .. [1] E. Samei et al., "Performance evaluation of computed tomography systems: summary of AAPM
       Task Group 233", Med. Phys. 46 (2019), doi:10.1002/mp.13763
    """
    values = _images("images", images, ndim=3, smallest=_LEAST_ROI)
    dx, dy = _spacing(spacing)
    n, rows, columns = values.shape
    if n > 1:
        noise = (values - values.mean(0)) * math.sqrt(n / (n - 1))
    else:
        noise = (values - values.mean()) * math.sqrt(values[0].size / (values[0].size - 1))
    power = (np.abs(np.fft.fft2(noise)) ** 2).mean(0) * dx * dy / (rows * columns)
    f = np.hypot(np.fft.fftfreq(rows, dx)[:, None], np.fft.fftfreq(columns, dy)[None])
    step = max(1 / (rows * dx), 1 / (columns * dy))
    ring = np.rint(f / step).astype(int)
    last = int(min(0.5 / dx, 0.5 / dy) / step + 1e-9)
    rings = [ring == k for k in range(1, last + 1)]
    return NoisePower(
        tuple(float(f[one].mean()) for one in rings),
        tuple(float(power[one].mean()) for one in rings),
        float(np.sqrt((noise**2).mean())),
    )


def edge_mtf(
    image: torch.Tensor,
    spacing: Any,
    *,
    center: tuple[float, float],
    radius: float,
    reach: float,
) -> EdgeMTF:
    """Return the MTF across the edge of a disc [1]_.

    All pixels near the edge are put in order by their distance from the disc's centre, which gives
    the edge's profile in steps of a quarter of a pixel; its derivative is the line spread function,
    whose Fourier transform, divided by what bins and differences damp, is the MTF. Pixels that are
    means over their area have the MTF of these pixels in it.

    Parameters
    ----------
    image : torch.Tensor, shape (rows, columns) or (n, rows, columns)
        Image of the disc, or several with independent noise, of which the mean is taken.
    spacing : float or (float, float)
        Distances of rows and columns in mm.
    center : (float, float)
        Centre of the disc in mm along rows and columns, from the middle of the image.
    radius : float
        Radius of the disc in mm.
    reach : float
        How far from the edge pixels count, in mm to either side; no other structure may be there.

    Raises
    ------
    TypeError, ValueError
        If an argument will not do, the ring is not within the image, or the image has no
        contrast across the edge.

    References
    ----------
    .. [1] S. Richard et al., "Towards task-based assessment of CT performance: system and object
       MTF across different reconstruction algorithms", Med. Phys. 39 (2012),
       doi:10.1118/1.4725171
    """
    ndim = 2 if isinstance(image, torch.Tensor) and image.ndim == 2 else 3
    values = _images("image", image, ndim=ndim, smallest=_LEAST_ROI)
    values = values if ndim == 2 else values.mean(0)
    dx, dy = _spacing(spacing)
    x0, y0 = check_floats("center", center, length=2)
    radius = check_float("radius", radius, positive=True)
    reach = check_float("reach", reach, positive=True)
    rows, columns = values.shape
    x = (np.arange(rows) - (rows - 1) / 2) * dx
    y = (np.arange(columns) - (columns - 1) / 2) * dy
    if reach >= radius:
        raise TomolearnError(f"reach: expected less than the radius, {radius:g} mm, got {reach:g}")
    if abs(x0) + radius + reach > -x[0] or abs(y0) + radius + reach > -y[0]:
        raise TomolearnError(
            f"radius: expected a disc and {reach:g} mm around it within the image, got {radius:g} "
            f"mm about {(x0, y0)}"
        )
    width = _BIN * min(dx, dy)
    distance = np.hypot(x[:, None] - x0, y[None] - y0) - radius
    half = int(reach / width)
    number = np.floor(distance / width).astype(int) + half
    near = (number >= 0) & (number < 2 * half)
    counts = np.bincount(number[near], minlength=2 * half)
    if half < 2 * _ENDS:
        raise TomolearnError(
            f"reach: expected two pixels of {min(dx, dy):g} mm at least, got {reach:g} mm"
        )
    some = np.flatnonzero(counts)
    # where pixels lie in symmetry to the centre, many have one distance, and some distances none
    places, means = (
        np.bincount(number[near], one[near], 2 * half)[some] / counts[some]
        for one in (distance, values)
    )
    middles = (np.arange(2 * half) + 0.5 - half) * width
    profile = np.interp(middles, places, means)
    contrast = float(profile[:_ENDS].mean() - profile[-_ENDS:].mean())
    if abs(contrast) <= 1e-6 * float(np.abs(values).max()):
        raise TomolearnError("image: expected contrast across the edge, got none")
    # differences of the plateaus' noise are no edge
    spread = -np.diff(profile) * _taper(2 * half - 1)
    f = np.linspace(0, 0.5 / max(dx, dy), 65)
    at = (np.arange(1, 2 * half) - half) * width
    transform = np.abs(np.exp(-2j * np.pi * f[:, None] * at) @ spread)
    values_at = transform / np.sinc(f * width) ** 2
    if values_at[0] == 0:
        raise TomolearnError("image: expected contrast across the edge, got none")
    return EdgeMTF(tuple(f.tolist()), tuple((values_at / values_at[0]).tolist()), contrast)


def contrast_to_noise(
    images: torch.Tensor, inside: torch.Tensor, background: torch.Tensor
) -> float:
    """Return the contrast-to-noise ratio of an insert.

    The mean inside minus that of the background, by its sign, over the standard deviation of a
    background pixel; with several images each is measured by itself, and the ratios are averaged.

    Parameters
    ----------
    images : torch.Tensor, shape (rows, columns) or (n, rows, columns)
        Images.
    inside, background : torch.Tensor of bool, shape (rows, columns)
        Which pixels count.

    Raises
    ------
    TypeError, ValueError
        If the images are no real tensor, a mask is not one of their shape or has no pixel (the
        background two), or the background has no noise.
    """
    ndim = 2 if isinstance(images, torch.Tensor) and images.ndim == 2 else 3
    values = _images("images", images, ndim=ndim, smallest=1)
    stack = values[None] if ndim == 2 else values
    masks = []
    for name, mask, least in (("inside", inside, 1), ("background", background, 2)):
        if not isinstance(mask, torch.Tensor) or mask.dtype != torch.bool:
            raise TomolearnTypeError(f"{name}: expected a torch.Tensor of bool, got {type(mask)}")
        if tuple(mask.shape) != stack.shape[1:] or int(mask.sum()) < least:
            raise TomolearnError(
                f"{name}: expected {least} pixels at least of shape {stack.shape[1:]}, got "
                f"{int(mask.sum())} of {tuple(mask.shape)}"
            )
        masks.append(mask.cpu().numpy())
    within, around = (stack[:, mask] for mask in masks)
    noise = around.std(1, ddof=1)
    if (noise == 0).any():
        raise TomolearnError("background: expected noise in each image, got a constant")
    return float(((within.mean(1) - around.mean(1)) / noise).mean())


def _taper(n: int) -> NDArray[np.float64]:
    """Return a window of ones that falls to zero over the outer quarter at either end."""
    from scipy.signal.windows import tukey

    window: NDArray[np.float64] = tukey(n, 0.5)
    return window


def _images(name: str, images: Any, *, ndim: int, smallest: int) -> NDArray[np.float64]:
    check_real_tensor(name, images)
    if images.ndim != ndim or min(images.shape) < 1 or min(images.shape[-2:]) < smallest:
        raise TomolearnError(
            f"{name}: expected {ndim} dimensions, rows and columns of at least {smallest}, got "
            f"shape {tuple(images.shape)}"
        )
    values: NDArray[np.float64] = images.detach().to("cpu", torch.float64).numpy()
    if not np.isfinite(values).all():
        raise TomolearnError(f"{name}: expected finite values")
    return values


def _spacing(spacing: Any) -> tuple[float, float]:
    pair = (spacing, spacing) if isinstance(spacing, (int, float)) else spacing
    dx, dy = check_floats("spacing", pair, length=2)
    if min(dx, dy) <= 0:
        raise TomolearnError(f"spacing: expected positive distances, got {(dx, dy)}")
    return dx, dy
