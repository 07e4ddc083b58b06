"""Least squares by conjugate gradients, plain and with Tikhonov's penalty."""

from __future__ import annotations

import math

import torch

from tomolearn._core.checks import check_float
from tomolearn._core.errors import TomolearnError
from tomolearn.methods.checks import check_linear_operator, start
from tomolearn.methods.iteration import Callback, Loop, per_image
from tomolearn.operators import LinearOperator

__all__ = ["cgls", "tikhonov"]

_REMEDY = "check that the operator's adjoint is its transpose and its values are of a sane size"


@torch.no_grad()
def cgls(
    sinogram: torch.Tensor,
    operator: LinearOperator,
    *,
    iterations: int = 20,
    x0: torch.Tensor | None = None,
    tolerance: float | None = None,
    noise_level: float | None = None,
    tau: float = 1.0,
    progress: bool = False,
    callback: Callback | None = None,
) -> torch.Tensor:
    """Reconstruct by CGLS, conjugate gradients for the least-squares misfit.

    Each iterate is the best of all methods that add up gradients: the minimum of
    ``||A x - y||**2`` over the Krylov space of ``A.T A``. It tends to the least-squares solution
    closest to `x0`; with noisy data it has to be stopped after a few iterations. Non-negativity
    cannot be had: see `landweber` or `total_variation`. It runs without gradients; the result does
    not depend differentiably on `sinogram`.

    Parameters
    ----------
    sinogram : torch.Tensor, shape (..., *operator.range_shape)
        Line integrals, dimensionless. Each image of a batch has its own step lengths.
    operator : LinearOperator
        The ray transform, or any other linear operator with an exact adjoint.
    iterations : int
        Largest number of iterations.
    x0, tolerance, noise_level, tau, progress, callback
        As for `landweber`. The residual that is reported is the recursively updated one.

    Returns
    -------
    torch.Tensor, shape (..., *operator.domain_shape)
        In 1/mm for line integrals.

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
    .. [1] M. R. Hestenes, E. Stiefel, Methods of conjugate gradients for solving linear systems,
       J. Res. Nat. Bur. Stand. 49 (1952), doi 10.6028/jres.049.044.
    """
    y, x, leading = start(sinogram, operator, x0)
    loop = Loop(
        "cgls",
        _REMEDY,
        leading,
        math.prod(operator.range_shape),
        iterations=iterations,
        tolerance=tolerance,
        noise_level=noise_level,
        tau=tau,
        progress=progress,
        callback=callback,
    )
    x = _minimise(y, operator, x, loop, 0.0, None)
    return x.reshape(*leading, *operator.domain_shape)


@torch.no_grad()
def tikhonov(
    sinogram: torch.Tensor,
    operator: LinearOperator,
    *,
    weight: float,
    regularizer: LinearOperator | None = None,
    iterations: int = 100,
    x0: torch.Tensor | None = None,
    tolerance: float | None = None,
    noise_level: float | None = None,
    tau: float = 1.0,
    progress: bool = False,
    callback: Callback | None = None,
) -> torch.Tensor:
    """Reconstruct by Tikhonov's regularisation.

    Minimises ``||A x - y||**2 + weight * ||L x||**2`` (no one half) by conjugate gradients on the
    stacked least-squares problem. It runs without gradients; the result does not depend
    differentiably on `sinogram`.

    Parameters
    ----------
    sinogram : torch.Tensor, shape (..., *operator.range_shape)
        Line integrals, dimensionless.
    operator : LinearOperator
        The ray transform, or any other linear operator with an exact adjoint.
    weight : float
        Weight of the penalty, not negative.
    regularizer : LinearOperator, optional
        ``L``, on the operator's domain, for example ``FiniteDifferences(operator.domain_shape)``.
        Default: the identity.
    iterations : int
        Largest number of iterations.
    x0, tolerance, noise_level, tau, progress, callback
        As for `landweber`. The objective is reported too.

    Returns
    -------
    torch.Tensor, shape (..., *operator.domain_shape)
        In 1/mm for line integrals.

    Raises
    ------
    TypeError, ValueError, FloatingPointError
        As for `landweber`, and ValueError if `regularizer` has another domain.

    Warns
    -----
    ConvergenceWarning
        If a stopping rule was asked for and not met within `iterations`.

    References
    ----------
    .. [1] A. N. Tikhonov, Solution of incorrectly formulated problems and the regularization
       method, Soviet Math. Dokl. 4 (1963).
    .. [2] P. C. Hansen, Discrete Inverse Problems (2010), doi 10.1137/1.9780898718836.
    """
    weight = check_float("weight", weight, nonnegative=True)
    y, x, leading = start(sinogram, operator, x0)
    if regularizer is not None:
        check_linear_operator("regularizer", regularizer)
        if regularizer.domain_shape != operator.domain_shape:
            raise TomolearnError(
                f"regularizer: expected domain shape {operator.domain_shape}, "
                f"got {regularizer.domain_shape}"
            )
    loop = Loop(
        "tikhonov",
        _REMEDY,
        leading,
        math.prod(operator.range_shape),
        iterations=iterations,
        tolerance=tolerance,
        noise_level=noise_level,
        tau=tau,
        progress=progress,
        callback=callback,
    )
    x = _minimise(y, operator, x, loop, weight, regularizer)
    return x.reshape(*leading, *operator.domain_shape)


def _minimise(
    y: torch.Tensor,
    operator: LinearOperator,
    x: torch.Tensor,
    loop: Loop,
    weight: float,
    regularizer: LinearOperator | None,
) -> torch.Tensor:
    """Minimise ``||A x - y||**2 + weight ||L x||**2`` from `x` on, which it overwrites."""

    def penalised(image: torch.Tensor) -> torch.Tensor:
        return image if regularizer is None else regularizer(image)

    def gradient() -> torch.Tensor:
        s = operator.adjoint(residual)
        if weight:
            s.sub_(penalty if regularizer is None else regularizer.adjoint(penalty), alpha=weight)
        return s

    def objective() -> tuple[torch.Tensor, None]:
        value = _dot(residual, residual)
        return (value + weight * _dot(penalty, penalty) if weight else value), None

    residual = y - operator(x)
    penalty = penalised(x).clone() if weight else x
    s = gradient()
    p = s.clone()
    slope = _dot(s, s)
    for _ in loop:
        q = operator(p)
        curvature = _dot(q, q)
        if weight:
            lp = penalised(p)
            curvature += weight * _dot(lp, lp)
        step = per_image(_quotient(slope, curvature), x)
        previous = x
        x = torch.addcmul(x, step, p)
        residual.sub_(q.mul_(per_image(step.flatten(), q)))
        if weight:
            penalty = torch.addcmul(penalty, per_image(step.flatten(), lp), lp)
        s = gradient()
        old, slope = slope, _dot(s, s)
        p = torch.addcmul(s, per_image(_quotient(slope, old), p), p)
        loop.check(
            x,
            previous,
            lambda: residual,
            objective,
        )
    return x


def _dot(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Return the inner product of each image of the batch."""
    return torch.linalg.vecdot(a.flatten(1), b.flatten(1), dim=1)


def _quotient(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Divide; a direction of zero length, at the solution, has step zero."""
    return torch.where(b > 0, a / b, 0)
