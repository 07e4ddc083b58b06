"""Linear systems of a whole batch by GMRES."""

from __future__ import annotations

from collections.abc import Callable

import torch

from tomolearn._core.checks import check_float, check_int
from tomolearn._core.errors import DivergenceError
from tomolearn._core.tensors import norm
from tomolearn.numerics.fixed_point import FixedPoint


@torch.no_grad()
def gmres(
    apply: Callable[[torch.Tensor], torch.Tensor],
    right: torch.Tensor,
    *,
    tolerance: float = 1e-6,
    max_iterations: int = 100,
    restart: int = 30,
) -> FixedPoint:
    """Solve M x = b for each entry of a batch by GMRES [1]_, starting at zero.

    Parameters
    ----------
    apply : callable
        M, which maps (batch, ...) to the same shape, each entry for itself.
    right : torch.Tensor, shape (batch, ...)
        b.
    tolerance : float
        Largest relative residual ||b - M x|| / ||b||. 0: run until `max_iterations`. Ten units of
        rounding count as converged in any case.
    max_iterations : int
        Largest number of applications of M within the Krylov spaces.
    restart : int
        Dimension at which the Krylov space is begun anew, which bounds the memory.

    Returns
    -------
    FixedPoint
        Its `iterations` are those after which an entry was within the tolerance; the batch is
        computed together until all are.

    Raises
    ------
    DivergenceError
        If a value is not finite.
    TypeError, ValueError
        If an argument is not of the kind named above.

    References
    ----------
    .. [1] Y. Saad, M. H. Schultz, "GMRES: a generalized minimal residual algorithm for solving
       nonsymmetric linear systems", SIAM J. Sci. Stat. Comput. 7 (1986), doi 10.1137/0907058
    """
    check_float("tolerance", tolerance, nonnegative=True)
    check_int("max_iterations", max_iterations, minimum=1)
    check_int("restart", restart, minimum=1)
    shape = right.shape[1:]
    b = right.detach().flatten(1)
    n = b.shape[0]
    tiny = torch.finfo(b.dtype).tiny
    size = norm(b).clamp_min(tiny)
    x, r = torch.zeros_like(b), b
    residual = norm(r) / size
    _check_finite(residual)
    iterations = torch.zeros(n, dtype=torch.int64, device=b.device)
    history: list[torch.Tensor] = []

    def product(v: torch.Tensor) -> torch.Tensor:
        return apply(v.unflatten(1, shape)).flatten(1)

    while len(history) < max_iterations and bool((residual > tolerance).any()):
        length = min(restart, max_iterations - len(history))
        beta = norm(r)
        basis = b.new_zeros(n, length + 1, b.shape[1])
        basis[:, 0] = r / beta.clamp_min(tiny).to(r.dtype)[:, None]
        hessenberg = torch.zeros(n, length + 1, length, dtype=torch.float64, device=b.device)
        target = torch.zeros(n, length + 1, 1, dtype=torch.float64, device=b.device)
        target[:, 0, 0] = beta
        used, y = 0, target[:, :0]
        for j in range(length):
            w = product(basis[:, j])
            for _ in range(2):  # twice is enough (Kahan, Parlett)
                overlap = basis[:, : j + 1] @ w[:, :, None]
                w = w - (basis[:, : j + 1].mT @ overlap)[:, :, 0]
                hessenberg[:, : j + 1, j] += overlap[:, :, 0].double()
            size_of_w = norm(w)
            hessenberg[:, j + 1, j] = size_of_w
            basis[:, j + 1] = w / size_of_w.clamp_min(tiny).to(w.dtype)[:, None]
            _check_finite(size_of_w)
            iterations[residual > tolerance] += 1
            used = j + 1
            part = hessenberg[:, : used + 1, :used]
            y = torch.linalg.pinv(part) @ target[:, : used + 1]
            residual = (target[:, : used + 1] - part @ y).norm(dim=(1, 2)) / size
            history.append(residual)
            if not (residual > tolerance).any():
                break
        x = x + (basis[:, :used].mT @ y.to(b.dtype))[:, :, 0]
        r = b - product(x)
        residual = norm(r) / size
        _check_finite(residual)
    # the true residual may miss the tolerance by the rounding of its computation
    rounding = 10 * torch.finfo(b.dtype).eps
    return FixedPoint(
        x.unflatten(1, shape),
        iterations,
        residual,
        residual <= max(tolerance, rounding),
        torch.stack(history) if history else residual.new_zeros(0, n),
    )


def _check_finite(values: torch.Tensor) -> None:
    if not torch.isfinite(values).all():
        raise DivergenceError("gmres: the right side or a product with the matrix is not finite")
