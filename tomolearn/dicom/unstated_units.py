"""Slices whose values have no stated unit, and the judgement on whether they are Hounsfield units.

RescaleType US, unspecified, is what GDCM and all that writes with it put where a CT image had no
type, and what DICOM's own sample of an enhanced CT image has.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from tomolearn._core.errors import TomolearnError
from tomolearn.dicom.elements import element_error
from tomolearn.dicom.skipping import NotASlice, SkipReason

_UNSPECIFIED: Final = ("US", "UNSPECIFIED")
# Defined terms of RescaleType (PS3.3 C.11.1.1.2) that say what values are instead.
_OTHER: Final = ("OD", "MGML", "Z_EFF", "ED", "EDW", "PCT")

_AIR: Final = (-1100.0, -900.0)
_WATER: Final = (-150.0, 150.0)
_SHARE: Final = 0.01  # of the pixels: one in a hundred is more than noise or a border has

REMEDY: Final = "assume_hu=True, --assume-hu on the command line, takes them as Hounsfield units"


def unstated_unit(unit: str, *, assume_hu: bool) -> str:
    """Return a RescaleType that does not say what values are; nothing if they are HU.

    Raises
    ------
    NotASlice
        If the values are something else, or seem to be and `assume_hu` is not set.
    """
    if unit.upper() in ("", "HU"):
        return ""
    if unit.upper() in _UNSPECIFIED or (assume_hu and unit.upper() not in _OTHER):
        return unit
    error = str(element_error("RescaleType", "HU", unit))
    if unit.upper() not in _OTHER:
        error = f"{error}: if values are in it all the same, {REMEDY}"
    raise NotASlice(SkipReason.NO_HOUNSFIELD_UNITS, error)


def look_like_hounsfield(values: NDArray[np.float32], padding: NDArray[np.bool_]) -> bool:
    """Return whether there are air and soft tissue or water among values, where they belong."""
    measured = values[~padding]
    return all(
        ((measured >= low) & (measured <= high)).sum() >= max(1, _SHARE * measured.size)
        for low, high in (_AIR, _WATER)
    )


def no_unit_error(unit: str) -> TomolearnError:
    """Return the error for values that may be Hounsfield units, and do not look it."""
    found = f"{unit}, unspecified, of values without air near -1000 and water near 0: {REMEDY}"
    return element_error("RescaleType", "HU", found)


def assumed_unit(unit: str) -> str:
    """Return the deviation of values that are taken as Hounsfield units."""
    return f"{element_error('RescaleType', 'HU', unit)}; values are taken as Hounsfield units"
