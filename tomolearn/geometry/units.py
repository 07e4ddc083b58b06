"""Units that were probably meant: degrees among angles."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

import numpy as np

from tomolearn._core.errors import UnitWarning
from tomolearn._core.telling import warn_user

# Two turns; scans of more wind along their axis, have golden angles, or another good reason.
_MOST = 4 * math.pi
_ENOUGH = 5  # angles in whole numbers
_DIGITS = 1000.0

_derived: ContextVar[bool] = ContextVar("derived", default=False)


@contextmanager
def derived() -> Iterator[None]:
    """Make scans of others without telling again what was told of those."""
    token = _derived.set(True)
    try:
        yield
    finally:
        _derived.reset(token)


def warn_of_degrees(
    angles: Sequence[float] | None, angular_range: float | None, start: float | None
) -> None:
    """Warn (`UnitWarning`) if a scan's angles look like degrees."""
    if _derived.get():
        return
    if angles is not None:
        text = _about_list(np.asarray(angles))
    elif angular_range is not None and _are_degrees(angular_range):
        text = (
            f"angular_range: {angular_range:g} radians are {angular_range / (2 * math.pi):.3g} "
            f"turns; if degrees were meant, give np.deg2rad({angular_range:g})"
        )
    elif start is not None and _are_degrees(abs(start)):
        text = (
            f"start_angle: {start:g} radians are {start / (2 * math.pi):.3g} turns; if degrees "
            f"were meant, give np.deg2rad({start:g})"
        )
    else:
        return
    if text is not None:
        warn_user(text, UnitWarning)


def _about_list(angles: np.ndarray) -> str | None:
    span = float(np.ptp(angles))
    whole = len(angles) >= _ENOUGH and bool((angles == np.round(angles)).all())
    if span <= _MOST and not (whole and span > 2 * math.pi) and abs(angles).max() <= 10 * _MOST:
        return None
    if len(angles) == 3 and angles[2] == round(angles[2]) and angles[2] > _MOST:
        return (
            f"angles: these are three angles, {', '.join(f'{one:g}' for one in angles)} radians; "
            f"for {angles[2]:g} views between the first two give n_angles={angles[2]:g}, or "
            "np.linspace(..., endpoint=False)"
        )
    steps = np.diff(angles)
    uniform = bool(np.ptp(steps) <= 1e-9 * span) if len(steps) else True
    # a turn by the golden angle, say, from view to view; or some turns at a changing speed
    if not (_is_round(float(steps[0]), span) if uniform and span else whole or _are_degrees(span)):
        return None
    return (
        f"angles: from {angles.min():g} to {angles.max():g} radians, "
        f"{span / (2 * math.pi):.3g} turns; if degrees were meant, give np.deg2rad(angles)"
    )


def _are_degrees(arc: float) -> bool:
    """Return whether an arc is of more than two turns, and of few digits, or of very many turns."""
    return arc > 5 * _MOST or (arc > _MOST and abs(arc * _DIGITS - round(arc * _DIGITS)) < 1e-6)


def _is_round(step: float, span: float) -> bool:
    """Return whether equal steps are degrees: of few digits, or parts of quarter turns."""
    if abs(step * _DIGITS - round(step * _DIGITS)) < 1e-6:
        return True
    return any(abs(arc / 90 - round(arc / 90)) < 1e-6 for arc in (span, span + abs(step)))
