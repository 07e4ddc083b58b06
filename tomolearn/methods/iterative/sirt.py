"""Simultaneous iterative reconstruction."""

from __future__ import annotations

import math

import torch

from tomolearn._core.checks import check_float
from tomolearn._core.errors import TomolearnError
from tomolearn.methods.checks import check_flag, start
from tomolearn.methods.iteration import Callback, Loop
from tomolearn.operators import LinearOperator

__all__ = ["check_relaxation", "inverse_sums", "sirt"]

# Sums below this part of the largest are rays or pixels that the other side hardly sees.
_NEGLIGIBLE = 1e-6


@torch.no_grad()
def sirt(
    sinogram: torch.Tensor,
    operator: LinearOperator,
    *,
    iterations: int = 100,
    relaxation: float = 1.0,
    x0: torch.Tensor | None = None,
    tolerance: float | None = None,
    noise_level: float | None = None,
    tau: float = 1.0,
    nonnegative: bool = False,
    progress: bool = False,
    callback: Callback | None = None,
) -> torch.Tensor:
    """Reconstruct by SIRT, the simultaneous iterative reconstruction technique.

    ``x <- x + relaxation * C A.T R (y - A x)`` with the inverse row sums ``R`` and column sums
    ``C`` of ``A``. It tends to the least-squares solution in the norm weighted by ``R`` [1]_, and
    stopped early it is a regularisation. It needs no norm of the operator. It runs without
    gradients; the result does not depend differentiably on `sinogram`.

    Parameters
    ----------
    sinogram : torch.Tensor, shape (..., *operator.range_shape)
        Line integrals, dimensionless.
    operator : LinearOperator
        The ray transform, or another linear operator with entries of one sign.
    iterations : int
        Largest number of iterations.
    relaxation : float
        Factor of the step, in (0, 2).
    x0, tolerance, noise_level, tau, nonnegative, progress, callback
        As for `landweber`.

    Returns
    -------
    torch.Tensor, shape (..., *operator.domain_shape)
        In 1/mm for line integrals. Pixels that no ray crosses stay as they were in `x0`.

    Raises
    ------
    TypeError, ValueError, FloatingPointError
        As for `landweber`.

    Warns
    -----
    ConvergenceWarning
        If a stopping rule was asked for and not met within `iterations`.

    References
    ----------
    .. [1] J. Gregor, T. Benson, Computational analysis and improvement of SIRT, IEEE Trans. Med.
       Imaging 27 (2008), doi 10.1109/TMI.2008.923696.
    """
    check_flag("nonnegative", nonnegative)
    relaxation = check_relaxation(relaxation)
    y, x, leading = start(sinogram, operator, x0)
    loop = Loop(
        "sirt",
        "choose a relaxation below 2",
        leading,
        math.prod(operator.range_shape),
        iterations=iterations,
        tolerance=tolerance,
        noise_level=noise_level,
        tau=tau,
        progress=progress,
        callback=callback,
    )
    rows, columns = inverse_sums(operator, y)
    columns *= relaxation
    residual = y if x0 is None else y - operator(x)
    for _ in loop:
        previous = x
        x = torch.addcmul(x, columns, operator.adjoint(rows * residual))
        if nonnegative:
            x.clamp_(min=0)
        residual = y - operator(x)
        loop.check(x, previous, lambda r=residual: r)  # type: ignore[misc]
    return x.reshape(*leading, *operator.domain_shape)


def check_relaxation(relaxation: float) -> float:
    """Return `relaxation` if it is in (0, 2).

    Raises
    ------
    TypeError, ValueError
        If it is not.
    """
    relaxation = check_float("relaxation", relaxation, positive=True)
    if relaxation >= 2:
        raise TomolearnError(f"relaxation: expected a number in (0, 2), got {relaxation}")
    return relaxation


def inverse_sums(operator: LinearOperator, like: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the inverse row sums and column sums of an operator's matrix.

    Parameters
    ----------
    operator : LinearOperator
        The operator.
    like : torch.Tensor
        Gives precision and device.

    Returns
    -------
    rows : torch.Tensor, shape operator.range_shape
    columns : torch.Tensor, shape operator.domain_shape
        Zero where a sum is negligible: there is nothing to be divided.
    """
    rows = operator(like.new_ones(operator.domain_shape))
    columns = operator.adjoint(like.new_ones(operator.range_shape))
    inverse = [
        torch.where(sums.abs() > _NEGLIGIBLE * sums.abs().max(), 1 / sums, 0)
        for sums in (rows, columns)
    ]
    return inverse[0], inverse[1]
