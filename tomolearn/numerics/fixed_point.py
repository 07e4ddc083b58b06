"""Fixed points u = f(u) of a whole batch, each entry stopping on its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch

from tomolearn._core.checks import check_float, check_int
from tomolearn._core.errors import DivergenceError, TomolearnError
from tomolearn._core.tensors import check_real_tensor, norm
from tomolearn.numerics.solvers import Solver, as_solver


@dataclass(frozen=True)
class FixedPoint:
    """What a solver found, one entry per entry of the batch.

    Attributes
    ----------
    state : torch.Tensor, shape (batch, ...)
        Of all states that were visited, those of the smallest residuals.
    iterations : torch.Tensor of int64, shape (batch,)
        How often the function was evaluated.
    residual : torch.Tensor of float64, shape (batch,)
        Of the state: ||f(u) - u|| / ||f(u)||.
    converged : torch.Tensor of bool, shape (batch,)
        Whether the residual is within the tolerance.
    history : torch.Tensor of float64, shape (evaluations, batch)
        Residual at each evaluation; NaN for entries that had stopped before.
    """

    state: torch.Tensor
    iterations: torch.Tensor
    residual: torch.Tensor
    converged: torch.Tensor
    history: torch.Tensor = field(repr=False)


def relative_residual(u: torch.Tensor, f: torch.Tensor) -> torch.Tensor:
    """Return ||f - u|| / ||f|| of each entry, in double precision."""
    return norm(f - u) / norm(f).clamp_min(torch.finfo(torch.float32).tiny)


@torch.no_grad()
def fixed_point(
    function: Callable[..., torch.Tensor],
    start: torch.Tensor,
    *context: torch.Tensor,
    solver: str | Solver = "anderson",
    tolerance: float = 1e-4,
    max_iterations: int = 100,
) -> FixedPoint:
    """Solve u = f(u, ...) for each entry of a batch.

    An entry stops as soon as its own residual is within the tolerance; it is not computed any
    further, and the result for an entry does not depend on the others.

    Parameters
    ----------
    function : callable
        ``function(u, *context)`` maps (batch, ...) to the same shape, each entry for itself.
    start : torch.Tensor, shape (batch, ...)
        Where to begin.
    *context : torch.Tensor, shape (batch, ...)
        What else the function needs to know about each entry.
    solver : {"picard", "anderson", "broyden"} or Solver
        By name with its default parameters, or a solver with others.
    tolerance : float
        Largest relative residual ||f(u) - u|| / ||f(u)||. In single precision it does not get
        below some 1e-7. 0: run until `max_iterations`.
    max_iterations : int
        Largest number of evaluations of the function.

    Returns
    -------
    FixedPoint
        State, iterations, residual, and whether it converged: a limit that was reached is no
        error here.

    Raises
    ------
    DivergenceError
        If a value is not finite.
    TypeError, ValueError
        If an argument is not of the kind named above, or the function's value not of the shape of
        its argument.
    """
    check_real_tensor("start", start)
    rule = as_solver("solver", solver)
    check_float("tolerance", tolerance, nonnegative=True)
    check_int("max_iterations", max_iterations, minimum=1)
    n, shape = start.shape[0], start.shape[1:]
    device = start.device
    method = rule.begin()
    u = start.detach().flatten(1)
    found = FixedPoint(
        u.clone(),
        torch.zeros(n, dtype=torch.int64, device=device),
        torch.full((n,), torch.inf, dtype=torch.float64, device=device),
        torch.zeros(n, dtype=torch.bool, device=device),
        torch.full((max_iterations, n), torch.nan, dtype=torch.float64, device=device),
    )
    index = torch.arange(n, device=device)
    evaluations = 0
    while len(index) and evaluations < max_iterations:
        value = function(u.unflatten(1, shape), *context)
        if value.shape != (len(u), *shape):
            raise TomolearnError(
                f"function: expected values of the shape of its argument, {(len(u), *shape)}, "
                f"got {tuple(value.shape)}"
            )
        f = value.detach().flatten(1)  # tangents of forward mode would be recorded
        evaluations += 1
        residual = relative_residual(u, f)
        if not torch.isfinite(residual).all():
            raise DivergenceError(
                f"fixed point: evaluation {evaluations} gave values that are not finite"
            )
        found.history[evaluations - 1, index] = residual
        found.iterations[index] = evaluations
        better = residual < found.residual[index]
        found.state[index[better]] = u[better]
        found.residual[index[better]] = residual[better]
        going = residual > tolerance
        if evaluations == max_iterations:
            break
        if not going.all():
            index, u, f = index[going], u[going], f[going]
            context = tuple(values[going] for values in context)
            method.keep(going)
        if len(index):
            u = method.step(u, f)
    torch.le(found.residual, tolerance, out=found.converged)
    return FixedPoint(
        found.state.unflatten(1, shape),
        found.iterations,
        found.residual,
        found.converged,
        found.history[:evaluations],
    )
