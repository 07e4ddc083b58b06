"""Measurement noise: Gaussian on the sinogram, or photons counted by a detector with electronics.

Every function takes its source of randomness explicitly, leaves its input alone and returns the
floating type it was given. Draws are made in float64, so a seed gives the same noise for both
float32 and float64 input.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tomolearn._core.checks import check_float, check_generator, real_array
from tomolearn._core.errors import TomolearnError, TomolearnTypeError

# What numpy's Poisson sampler takes at most is a little below 2^63.
_MAX_EXPECTED_COUNTS = 9.2e18


def gaussian_noise(
    sinogram: NDArray[Any],
    rng: np.random.Generator,
    *,
    relative: float | None = None,
    sigma: float | None = None,
) -> NDArray[Any]:
    """Add white Gaussian noise to sinograms.

    Parameters
    ----------
    sinogram : numpy.ndarray of float32 or float64, shape (..., angles, detectors)
        Line integrals, noise-free; leading axes are a batch.
    rng : numpy.random.Generator
        Source of randomness.
    relative : float, optional
        Standard deviation as a multiple of the mean of each ``abs(sinogram)``; 0.05 in [1]_.
    sigma : float, optional
        Standard deviation in the sinogram's unit. Exactly one of the two is given.

    Returns
    -------
    numpy.ndarray, same shape and type as ``sinogram``

    Raises
    ------
    TypeError, ValueError
        If ``sinogram`` is not finite, lacks an axis or is of another type; if a level is negative,
        or not exactly one of ``relative`` and ``sigma`` is given.

    References
    ----------
    .. [1] J. Adler, O. Öktem, "Learned Primal-Dual Reconstruction", IEEE Trans. Med. Imaging 37
       (2018), arXiv:1707.06474
    """
    check_generator(rng)
    clean = _sinogram("sinogram", sinogram)
    deviation: Any
    if relative is not None and sigma is None:
        level = check_float("relative", relative, nonnegative=True)
        deviation = level * np.mean(np.abs(clean), axis=(-2, -1), keepdims=True, dtype=np.float64)
    elif sigma is not None and relative is None:
        deviation = check_float("sigma", sigma, nonnegative=True)
    else:
        found = f"relative={relative} and sigma={sigma}"
        raise TomolearnTypeError(f"relative, sigma: expected exactly one of the two, got {found}")
    noise = rng.standard_normal(clean.shape)
    noise *= deviation
    noise += clean
    return noise.astype(clean.dtype)


def photon_counts(
    sinogram: NDArray[Any],
    rng: np.random.Generator,
    *,
    photons: ArrayLike,
    electronic_std: float = 0.0,
) -> NDArray[Any]:
    """Count the photons that reach the detector: Poisson, plus Gaussian noise of the electronics.

    counts ~ Poisson(photons exp(-sinogram)) + Normal(0, electronic_std^2)

    Parameters
    ----------
    sinogram : numpy.ndarray of float32 or float64, shape (..., angles, detectors)
        Line integrals of the attenuation, dimensionless (1/mm times mm), noise-free.
    rng : numpy.random.Generator
        Source of randomness.
    photons : float or array_like
        Mean number of photons that each detector element receives without an object. An array
        broadcasts against the sinogram: shape (detectors,) for a bow-tie filter, (angles, 1) for
        a modulated tube current.
    electronic_std : float
        Standard deviation of the electronic noise, in counts.

    Returns
    -------
    numpy.ndarray, same shape and type as ``sinogram``
        Counts, not rounded and, with electronic noise, possibly negative.

    Raises
    ------
    TypeError, ValueError
        If ``sinogram`` is not finite, lacks an axis or is of another type; ``photons`` is not
        positive, finite and of a fitting shape; ``electronic_std`` is negative; or more than
        9.2e18 counts are expected.
    """
    check_generator(rng)
    clean = _sinogram("sinogram", sinogram)
    blank = _photons(photons, clean.shape)
    std = check_float("electronic_std", electronic_std, nonnegative=True)
    with np.errstate(over="ignore"):
        expected = blank * np.exp(-clean.astype(np.float64))
    if expected.max() > _MAX_EXPECTED_COUNTS:
        raise TomolearnError(
            f"sinogram, photons: expected at most {_MAX_EXPECTED_COUNTS:g} photons on average, "
            f"got {expected.max():g} at a line integral of {clean.min():g}"
        )
    counts = rng.poisson(expected).astype(np.float64)
    if std > 0:
        counts += std * rng.standard_normal(clean.shape)
    return counts.astype(clean.dtype)


def counts_to_line_integrals(
    counts: NDArray[Any], *, photons: ArrayLike, floor: float = 0.1
) -> NDArray[Any]:
    """Turn photon counts into line integrals: -log(max(counts, floor) / photons).

    Parameters
    ----------
    counts : numpy.ndarray of float32 or float64, shape (..., angles, detectors)
        Photon counts.
    photons : float or array_like
        Mean counts without an object, see `photon_counts`.
    floor : float
        Counts below this are raised to it, so that the logarithm exists. LoDoPaB-CT has 0.1.

    Returns
    -------
    numpy.ndarray, same shape and type as ``counts``
        Line integrals, dimensionless.

    Raises
    ------
    TypeError, ValueError
        As for `photon_counts`, and if ``floor`` is not positive.
    """
    measured = _sinogram("counts", counts)
    blank = _photons(photons, measured.shape)
    lowest = check_float("floor", floor, positive=True)
    integrals = np.log(blank) - np.log(np.maximum(measured, lowest, dtype=np.float64))
    return integrals.astype(measured.dtype)


def low_dose(
    sinogram: NDArray[Any],
    rng: np.random.Generator,
    *,
    photons: ArrayLike,
    electronic_std: float = 0.0,
    floor: float = 0.1,
) -> NDArray[Any]:
    """Return the line integrals that a scan with few photons measures.

    `photon_counts` followed by `counts_to_line_integrals`. With 4096 photons, no electronic noise
    and a floor of 0.1 this is the measurement of LoDoPaB-CT [1]_.

    Parameters
    ----------
    sinogram, rng, photons, electronic_std
        As for `photon_counts`.
    floor : float
        Smallest count, see `counts_to_line_integrals`.

    Returns
    -------
    numpy.ndarray, same shape and type as ``sinogram``
        Noisy line integrals. At count c their standard deviation is about 1 / sqrt(c).

    Raises
    ------
    TypeError, ValueError
        As for `photon_counts` and `counts_to_line_integrals`.

    References
    ----------
    .. [1] J. Leuschner, M. Schmidt, D. O. Baguer, P. Maass, "LoDoPaB-CT, a benchmark dataset for
       low-dose computed tomography reconstruction", Sci. Data 8, 109 (2021),
       doi:10.1038/s41597-021-00893-z
    """
    check_float("floor", floor, positive=True)
    counts = photon_counts(sinogram, rng, photons=photons, electronic_std=electronic_std)
    return counts_to_line_integrals(counts, photons=photons, floor=floor)


def _photons(photons: ArrayLike, shape: tuple[int, ...]) -> NDArray[np.float64]:
    blank = real_array("photons", photons)
    if blank.size and blank.min() <= 0:
        raise TomolearnError(f"photons: expected positive numbers, got {blank.min():g}")
    try:
        fits = np.broadcast_shapes(blank.shape, shape) == shape
    except ValueError:
        fits = False
    if not fits:
        expected = f"a shape that broadcasts to the sinogram's {shape}"
        raise TomolearnError(f"photons: expected {expected}, got {blank.shape}")
    return blank


def _sinogram(name: str, value: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return ``value`` if it is a finite float32 or float64 array (..., angles, detectors)."""
    array = np.asarray(value)
    if array.dtype not in (np.float32, np.float64):
        raise TomolearnTypeError(
            f"{name}: expected a float32 or float64 array, got dtype {array.dtype}"
        )
    if array.ndim < 2 or array.size == 0:
        raise TomolearnError(
            f"{name}: expected a non-empty array of shape (..., angles, detectors), "
            f"got shape {array.shape}"
        )
    real_array(name, array)
    return array
