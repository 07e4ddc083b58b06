"""Landweber's iteration."""

from __future__ import annotations

import math

import torch

from tomolearn._core.checks import check_float
from tomolearn.methods.checks import check_flag, positive_norm, start
from tomolearn.methods.iteration import Callback, Loop
from tomolearn.operators import LinearOperator

__all__ = ["landweber"]


@torch.no_grad()
def landweber(
    sinogram: torch.Tensor,
    operator: LinearOperator,
    *,
    iterations: int = 100,
    step: float | None = None,
    x0: torch.Tensor | None = None,
    tolerance: float | None = None,
    noise_level: float | None = None,
    tau: float = 1.0,
    nonnegative: bool = False,
    progress: bool = False,
    callback: Callback | None = None,
) -> torch.Tensor:
    """Reconstruct by Landweber's iteration, gradient descent on the least-squares misfit.

    ``x <- x + step * A.T(y - A x)``, which tends to the least-squares solution closest to `x0`
    and, stopped early, is a regularisation: with noisy data the error falls first and rises later.
    It runs without gradients; the result does not depend differentiably on `sinogram`.

    Parameters
    ----------
    sinogram : torch.Tensor, shape (..., *operator.range_shape)
        Line integrals, dimensionless. The images of a batch are computed side by side.
    operator : LinearOperator
        The ray transform, or any other linear operator.
    iterations : int
        Largest number of iterations.
    step : float, optional
        Step in (0, 2 / operator.norm()**2). Default: 1 / operator.norm()**2.
    x0 : torch.Tensor, shape (..., *operator.domain_shape), optional
        Start, one for each sinogram or one for all. Default: zero.
    tolerance : float, optional
        Stop once ``||x - previous x|| <= tolerance * ||x||`` for all images of the batch.
    noise_level : float, optional
        Standard deviation of the noise in a bin. Stop once ``||A x - y|| <= tau * noise_level *
        sqrt(number of bins)`` for all images of the batch, the discrepancy principle.
    tau : float
        Factor of that principle, usually 1 or a little more.
    nonnegative : bool
        Whether to set negative values to zero after each step.
    progress : bool
        Whether to show a progress bar.
    callback : callable, optional
        Called with an `IterationState` after each iteration, or as rarely as its attribute
        ``every`` says; ends the iteration by returning True. `History` is one.

    Returns
    -------
    torch.Tensor, shape (..., *operator.domain_shape)
        In 1/mm for line integrals, in the sinogram's precision (half precision: float32).

    Raises
    ------
    TypeError, ValueError
        If an argument is not of the kind named above or the sinogram has values that are not
        finite.
    FloatingPointError
        If the iteration diverges.

    Warns
    -----
    ConvergenceWarning
        If a stopping rule was asked for and not met within `iterations`.

    References
    ----------
    .. [1] L. Landweber, An iteration formula for Fredholm integral equations of the first kind,
       Am. J. Math. 73 (1951), doi 10.2307/2372313.
    """
    check_flag("nonnegative", nonnegative)
    if step is not None:
        step = check_float("step", step, positive=True)
    y, x, leading = start(sinogram, operator, x0)
    loop = Loop(
        "landweber",
        "choose a step below 2 / operator.norm()**2",
        leading,
        math.prod(operator.range_shape),
        iterations=iterations,
        tolerance=tolerance,
        noise_level=noise_level,
        tau=tau,
        progress=progress,
        callback=callback,
    )
    if step is None:
        step = 1 / positive_norm(operator) ** 2
    residual = y if x0 is None else y - operator(x)
    for _ in loop:
        previous = x
        x = torch.add(x, operator.adjoint(residual), alpha=step)
        if nonnegative:
            x.clamp_(min=0)
        residual = y - operator(x)
        loop.check(x, previous, lambda r=residual: r)  # type: ignore[misc]
    return x.reshape(*leading, *operator.domain_shape)
