"""Noise levels of diffusions: schedules of exploding and of preserved variance."""

from __future__ import annotations

import math

from tomolearn._core.checks import check_choice
from tomolearn._core.errors import TomolearnError

SCHEDULES = ("karras", "exploding", "preserving")
"""How noise levels fall, see `noise_schedule`."""

# of Karras et al. (arXiv:2206.00364), and of Song et al. (arXiv:2011.13456)
_RHO = 7.0
_BETA_MIN, _BETA_MAX = 0.1, 20.0


def noise_schedule(kind: str, start: float, end: float, steps: int) -> list[float]:
    """Return noise levels that fall from one to another.

    Parameters
    ----------
    kind : {"karras", "exploding", "preserving"}
        Even steps of ``sigma^(1/7)``; of the logarithm, as in the variance-exploding diffusion; or
        of the time of the variance-preserving one, ``sigma^2 = exp(b t + (B - b) t^2 / 2) - 1``
        with b = 0.1 and B = 20, whose images ``x / sqrt(1 + sigma^2)`` have constant variance.
    start, end : float
        The first and the last level.
    steps : int
        Number of levels; of one it is the first.
    """
    check_choice("schedule", kind, SCHEDULES)
    if not 0 < end <= start:
        raise TomolearnError(
            f"sigma_end: expected a positive level, at most the first, {start:g}; got {end:g}"
        )
    along = [k / max(steps - 1, 1) for k in range(steps)]
    if kind == "exploding":
        return [start * (end / start) ** u for u in along]
    if kind == "karras":
        first, last = start ** (1 / _RHO), end ** (1 / _RHO)
        return [(first + u * (last - first)) ** _RHO for u in along]
    slope = _BETA_MAX - _BETA_MIN
    first, last = (
        (math.sqrt(_BETA_MIN**2 + 2 * slope * math.log1p(s**2)) - _BETA_MIN) / slope
        for s in (start, end)
    )
    times = [first + u * (last - first) for u in along]
    return [math.sqrt(math.expm1(_BETA_MIN * t + slope * t**2 / 2)) for t in times]
