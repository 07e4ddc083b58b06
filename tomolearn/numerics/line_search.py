"""Line searches of a whole batch, each entry with a step of its own."""

from __future__ import annotations

from collections.abc import Callable

import torch

_ARMIJO, _CURVATURE = 1e-4, 0.9


def weak_wolfe(
    along: Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]],
    value: torch.Tensor,
    slope: torch.Tensor,
    first: torch.Tensor,
    *,
    rounding: torch.Tensor,
    max_evaluations: int = 40,
) -> torch.Tensor:
    """Return steps that satisfy Wolfe's weak conditions, by bracketing and bisection [1]_.

    Near a minimum, where values differ by rounding alone, the condition of descent is that of
    Hager and Zhang [2]_, on slopes.

    Parameters
    ----------
    along : callable
        Maps steps (batch,) to values and slopes there, each (batch,).
    value, slope : torch.Tensor, shape (batch,)
        At step zero; the slope is negative where there is anything to gain.
    first : torch.Tensor, shape (batch,)
        Step to try first.
    rounding : torch.Tensor, shape (batch,)
        By how much values may be off.
    max_evaluations : int
        Largest number of evaluations.

    Returns
    -------
    torch.Tensor, shape (batch,)
        Zero where there is none: the slope is not negative, or no step descends.

    References
    ----------
    .. [1] A. S. Lewis, M. L. Overton, "Nonsmooth optimization via quasi-Newton methods", Math.
       Program. 141 (2013), doi 10.1007/s10107-012-0514-2
    .. [2] W. W. Hager, H. Zhang, "A new conjugate gradient method with guaranteed descent and an
       efficient line search", SIAM J. Optim. 16 (2005), doi 10.1137/030601880
    """
    low, high = torch.zeros_like(first), torch.full_like(first, torch.inf)
    step = first.clone()
    going = slope < 0
    found = torch.zeros_like(first)
    for _ in range(max_evaluations):
        if not bool(going.any()):
            break
        new, incline = along(torch.where(going, step, found))
        descends = (new <= value + _ARMIJO * step * slope) | (
            (new <= value + rounding) & (incline <= (1 - 2 * _ARMIJO) * slope.abs())
        )
        steep = incline < _CURVATURE * slope
        found = torch.where(going & descends, step, found)
        going = going & ~(descends & ~steep)
        low = torch.where(going & descends, step, low)
        high = torch.where(going & ~descends, step, high)
        step = torch.where(high.isinf(), 2 * step, (low + high) / 2)
    return found
