"""View angles in files: their units, and text files of them."""

from __future__ import annotations

import math
import os
from typing import Any

import numpy as np

from tomolearn._core.errors import TomolearnError, UnitWarning
from tomolearn._core.reading import read_text
from tomolearn._core.telling import warn_user

_UNITS = {
    **dict.fromkeys(("degree", "degrees", "deg", "°"), math.pi / 180),
    **dict.fromkeys(("radian", "radians", "rad"), 1.0),
}
# Many views within less than two radians' number of degrees: more probably radians, whole turns.
_FEW_DEGREES, _MANY = 2 * math.pi + 0.1, 20


def in_radians(angles: Any, unit: str | None, where: str) -> np.ndarray:
    """Return angles in radians.

    Parameters
    ----------
    angles : array-like, shape (views,)
    unit : str or None
        As files call it; None: degrees, which every format here has where it says nothing.
    where : str
        For messages.

    Raises
    ------
    ValueError
        If they are not finite numbers, or the unit is not known.

    Warns
    -----
    UnitWarning
        If no unit is told, and the numbers look like radians.
    """
    try:
        values = np.asarray(angles, np.float64).reshape(-1)
    except (TypeError, ValueError) as error:
        raise TomolearnError(f"{where}: expected angles as numbers, got {error}") from error
    if values.size == 0 or not np.isfinite(values).all():
        raise TomolearnError(f"{where}: expected finite angles, got {values.size} with others")
    if unit is None:
        span = float(np.ptp(values))
        if values.size >= _MANY and 1 < span < _FEW_DEGREES:
            warn_user(
                f"{where}: {values.size} angles span {span:.4g}, taken as degrees; if they are "
                "radians, give angle_unit='radian'",
                UnitWarning,
            )
        return np.deg2rad(values)
    known = unit.strip().lower()
    if known not in _UNITS:
        raise TomolearnError(f"angle_unit: expected degree or radian, got {unit!r}")
    return values * _UNITS[known]


def read_angles(path: str | os.PathLike[str], unit: str | None = None) -> np.ndarray:
    """Return the angles of a text file in radians: the last number of each line, or all of one.

    Lines without a number that begin the file, and those that begin with ``#``, are headings.

    Raises
    ------
    OSError, ValueError
        If it cannot be read, has no angles or a line without one.
    """
    lines = [line.split("#")[0].replace(",", " ").split() for line in read_text(path).splitlines()]
    lines = [words for words in lines if words]
    while lines and not _is_number(lines[0][-1]):
        lines.pop(0)
    if not lines:
        raise TomolearnError(f"{path}: expected a text file of view angles, got no number")
    found = lines[0] if len(lines) == 1 else [words[-1] for words in lines]
    wrong = next((word for word in found if not _is_number(word)), None)
    if wrong is not None:
        raise TomolearnError(f"{path}: expected an angle in each line, got {wrong!r}")
    return in_radians([float(word) for word in found], unit, os.fspath(path))


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True
