"""Hounsfield units and linear attenuation."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from tomolearn._core.checks import check_float
from tomolearn._core.errors import TomolearnError, TomolearnTypeError

if TYPE_CHECKING:
    import torch

Values = TypeVar("Values", NDArray[Any], "torch.Tensor")

MU_WATER_PER_MM = 0.01929
"""Linear attenuation in 1/mm of water at 70 keV, about the mean energy of a 120 kV CT beam.

Mass attenuation 0.1929 cm^2/g (NIST XCOM, with coherent scattering) times 1 g/cm^3.
"""

# Hubbell and Seltzer's table 4 for liquid water: keV -> cm^2/g.
_WATER = {40: 0.2683, 50: 0.2269, 60: 0.2059, 80: 0.1837, 100: 0.1707, 150: 0.1505}


def mu_water_at(energy: float) -> float:
    """Return the linear attenuation of water for photons of one energy.

    A cubic spline through the tabulated mass attenuation coefficients [1]_, in the logarithms of
    both, times a density of 1 g/cm^3. Straight lines between the logarithms would be 0.4 % too
    high at 70 keV.

    Parameters
    ----------
    energy : float
        Photon energy in keV, from 40 to 150.

    Returns
    -------
    float
        In 1/mm.

    Raises
    ------
    TypeError, ValueError
        If `energy` is not a number; if it is outside the table.

    References
    ----------
    .. [1] J. H. Hubbell, S. M. Seltzer, Tables of X-Ray Mass Attenuation Coefficients and Mass
       Energy-Absorption Coefficients, NISTIR 5632 (1995), doi 10.18434/T4D01F.
    """
    energy = check_float("energy", energy, positive=True)
    lowest, highest = min(_WATER), max(_WATER)
    if not lowest <= energy <= highest:
        raise TomolearnError(f"energy: expected {lowest} to {highest} keV, got {energy:g}")
    from scipy.interpolate import CubicSpline

    spline = CubicSpline(np.log(list(_WATER)), np.log(list(_WATER.values())))
    per_cm = float(np.exp(spline(np.log(energy))))
    return per_cm / 10


def hounsfield_to_attenuation(
    hounsfield: Values, *, mu_water: float = MU_WATER_PER_MM, clip: bool = True
) -> Values:
    """Turn Hounsfield units into linear attenuation, ``mu_water * (1 + hounsfield / 1000)``.

    Parameters
    ----------
    hounsfield : numpy.ndarray or torch.Tensor
        Hounsfield units. Floating types are kept; integers become the default floating type.
    mu_water : float
        Linear attenuation of water in 1/mm, see `mu_water_at`.
    clip : bool
        Whether values below -1000 HU, noise in air or filling outside the scanned circle, become
        the zero of air. Without it their attenuation is negative, and the map can be inverted.

    Returns
    -------
    numpy.ndarray or torch.Tensor, same shape
        In 1/mm; a new array.

    Raises
    ------
    TypeError, ValueError
        If `hounsfield` is neither array nor tensor, or `mu_water` not a number; if `mu_water` is
        not positive.
    """
    mu_water = _checked(hounsfield, "hounsfield", mu_water)
    attenuation = mu_water * (1 + hounsfield / 1000)
    return attenuation.clip(min=0) if clip else attenuation


def attenuation_to_hounsfield(attenuation: Values, *, mu_water: float = MU_WATER_PER_MM) -> Values:
    """Turn linear attenuation into Hounsfield units, ``1000 * (attenuation / mu_water - 1)``.

    Parameters
    ----------
    attenuation : numpy.ndarray or torch.Tensor
        In 1/mm. Floating types are kept.
    mu_water : float
        Linear attenuation of water in 1/mm: the one that the attenuation was made with.

    Returns
    -------
    numpy.ndarray or torch.Tensor, same shape
        A new array. Nothing is clipped.

    Raises
    ------
    TypeError, ValueError
        As for `hounsfield_to_attenuation`.
    """
    mu_water = _checked(attenuation, "attenuation", mu_water)
    return 1000 * (attenuation / mu_water - 1)


def _is_tensor(values: Any) -> bool:
    # Series are read without torch; who has a tensor has loaded it.
    loaded = sys.modules.get("torch")
    return loaded is not None and isinstance(values, loaded.Tensor)


def _checked(values: Any, name: str, mu_water: Any) -> float:
    if not isinstance(values, np.ndarray) and not _is_tensor(values):
        raise TomolearnTypeError(
            f"{name}: expected a numpy.ndarray or torch.Tensor, got {type(values).__name__}"
        )
    return check_float("mu_water", mu_water, positive=True)
