"""Symmetric positive definite systems of a whole batch by conjugate gradients."""

from __future__ import annotations

from collections.abc import Callable

import torch

from tomolearn._core.checks import check_float, check_int
from tomolearn._core.errors import DivergenceError, TomolearnError
from tomolearn._core.tensors import inner, norm
from tomolearn.numerics.fixed_point import FixedPoint


class IndefiniteError(TomolearnError):
    """A matrix that is not positive definite, as a Hessian where a function is not convex."""


@torch.no_grad()
def conjugate_gradients(
    apply: Callable[[torch.Tensor], torch.Tensor],
    right: torch.Tensor,
    *,
    start: torch.Tensor | None = None,
    tolerance: float = 1e-6,
    max_iterations: int = 1000,
) -> FixedPoint:
    """Solve M x = b for each entry of a batch by conjugate gradients [1]_.

    Each entry has its own step lengths and stays as it is once its residual is within the
    tolerance; the result for an entry does not depend on the others.

    Parameters
    ----------
    apply : callable
        M, which maps (batch, ...) to the same shape, each entry for itself: symmetric and positive
        definite.
    right : torch.Tensor, shape (batch, ...)
        b.
    start : torch.Tensor, shape (batch, ...), optional
        Where to begin. Default: zero.
    tolerance : float
        Largest relative residual ||b - M x|| / ||b||. 0: run until `max_iterations`. Ten units of
        rounding count as converged in any case.
    max_iterations : int
        Largest number of products with M.

    Returns
    -------
    FixedPoint
        Whether it converged is said there: a limit that was reached is no error here.

    Raises
    ------
    IndefiniteError
        If a direction is met along which M is not positive.
    DivergenceError
        If a value is not finite.
    TypeError, ValueError
        If an argument is not of the kind named above.

    References
    ----------
    .. [1] M. R. Hestenes, E. Stiefel, Methods of conjugate gradients for solving linear systems,
       J. Res. Nat. Bur. Stand. 49 (1952), doi 10.6028/jres.049.044
    """
    check_float("tolerance", tolerance, nonnegative=True)
    check_int("max_iterations", max_iterations, minimum=1)
    b = right.detach()
    eps = torch.finfo(b.dtype).eps
    size = norm(b).clamp_min(torch.finfo(torch.float64).tiny)
    x = torch.zeros_like(b) if start is None else start.detach().clone()
    r = b.clone() if start is None else b - apply(x)
    residual = norm(r) / size
    _check_finite(residual)
    iterations = torch.zeros(len(b), dtype=torch.int64, device=b.device)
    history: list[torch.Tensor] = []
    p, square = r.clone(), inner(r, r)
    going = residual > tolerance
    while len(history) < max_iterations and bool(going.any()):
        q = apply(p)
        curvature = inner(p, q)
        length = inner(p, p)
        flat = going & ~(curvature > eps * norm(q) * length.sqrt())
        if bool((going & ~curvature.isfinite()).any()):
            raise _not_finite()
        if bool(flat.any()):
            # what is left of a residual at the level of rounding has no direction any more
            settled = flat & (residual <= 1e3 * eps)
            if bool((flat & ~settled).any()):
                worst = float((curvature / length)[flat & ~settled].min())
                raise IndefiniteError(
                    "conjugate gradients: expected a positive definite matrix, got a direction "
                    f"with curvature {worst:.3g}; if it is a Hessian, the function is not strongly "
                    "convex there: a term such as a small multiple of ||x||^2 makes it so"
                )
            going = going & ~settled
        step = torch.where(going, square / curvature, 0)
        x.addcmul_(_each(step, x), p)
        r.addcmul_(_each(step, r), q, value=-1)
        old, square = square, inner(r, r)
        residual = torch.where(going, square.sqrt() / size, residual)
        _check_finite(residual)
        iterations[going] += 1
        history.append(residual)
        going = going & (residual > tolerance)
        p = torch.addcmul(r, _each(torch.where(old > 0, square / old, 0), p), p)
    return FixedPoint(
        x,
        iterations,
        residual,
        residual <= max(tolerance, 10 * eps),
        torch.stack(history) if history else residual.new_zeros(0, len(b)),
    )


def _each(numbers: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    return numbers.to(like.dtype).reshape(-1, *(1,) * (like.ndim - 1))


def _check_finite(values: torch.Tensor) -> None:
    if not bool(torch.isfinite(values).all()):
        raise _not_finite()


def _not_finite() -> DivergenceError:
    return DivergenceError(
        "conjugate gradients: the right side or a product with the matrix is not finite"
    )
