"""Photon transfer: how many photons a count stands for, from how much frames differ.

A photon counter's variance is its mean. Of counts ``c = N / g + dark`` with ``g`` photons per
count, the variance is ``mean / g`` (J. R. Janesick, "Photon Transfer", SPIE 2007,
doi:10.1117/3.725073). A detector that spreads its light over bins seems to have more photons than
it has.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_Array = NDArray[np.float64]
# Of a normal distribution, standard deviation over median absolute value.
_MAD_TO_STD = 1.482602218505602


def photons_from_frames(flats: _Array, darks: _Array | None) -> float | None:
    """Return the photons per count from repeated flat fields.

    Frames are first brought to one mean intensity, for the source flickers. The median over the
    bins is taken, so that bad bins do not count, and divided by that of a chi-squared variable.

    Parameters
    ----------
    flats, darks : numpy.ndarray, shape (frames, *bins), or None

    Returns
    -------
    float or None
        None from fewer than two frames, or if these do not differ.
    """
    from scipy.stats import chi2

    if len(flats) < 2:
        return None
    net = flats if darks is None else flats - darks.mean(0)
    bins = tuple(range(1, net.ndim))
    intensities = net.mean(bins, keepdims=True)
    net = net * (intensities.mean() / intensities)
    degrees = len(flats) - 1
    variances = net.var(0, ddof=1)
    if darks is not None and len(darks) > 1:
        variances = variances - np.median(darks.var(0, ddof=1))
    means = net.mean(0)
    live = means > 0
    if not live.any():
        return None
    ratio = np.median(variances[live] / means[live]) / (chi2.median(degrees) / degrees)
    ratio /= 1 - 1 / means.size if means.size > 1 else 1.0  # what the mean of the bins took away
    return float(1 / ratio) if ratio > 0 else None


def photons_from_air(air: _Array) -> float | None:
    """Return the photons per count from columns of air, without flat fields.

    Differences of neighbouring views and bins at once know neither the drift of the source nor
    the response of the bins.

    Parameters
    ----------
    air : numpy.ndarray, shape (views, bins)
        Counts less dark.

    Returns
    -------
    float or None
        None of fewer than two views or bins, or if they do not differ.
    """
    if min(air.shape) < 2:
        return None
    differences = np.diff(np.diff(air, axis=0), axis=1)
    variance = (_MAD_TO_STD * np.median(np.abs(differences))) ** 2 / 4
    return float(np.median(air) / variance) if variance > 0 else None
