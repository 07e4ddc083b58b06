"""The fixed point of a function as a differentiable layer, and its backward modes."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any

import torch

from tomolearn._core.checks import check_choice, check_float, check_int
from tomolearn._core.errors import ConvergenceWarning, DivergenceError, TomolearnError
from tomolearn._core.tensors import is_followed, is_transformed, is_vectorised, plain
from tomolearn.numerics.fixed_point import (
    FixedPoint,
    fixed_point,
    relative_residual,
)
from tomolearn.numerics.gmres import gmres
from tomolearn.numerics.once import once
from tomolearn.numerics.solvers import SOLVERS, Solver, as_solver

BACKWARD_MODES = ("implicit", "jfb", "phantom", "unrolled")
"""How gradients go through a fixed point."""
BACKWARD_SOLVERS = (*SOLVERS, "gmres")
"""Solvers of the linear system in the backward pass."""

_ONCE = (
    "equilibrium: its gradients in mode {mode!r} cannot be differentiated again; second "
    "derivatives, as of a gradient penalty, are right in mode 'unrolled'"
)
_BACKWARDS = (
    "equilibrium: mode 'implicit' has derivatives by torch.autograd in reverse only, one at a "
    "time; forward mode, torch.func and batches of gradients need mode 'unrolled'"
)


@dataclass(frozen=True)
class Backward:
    """How gradients go through a fixed point u = f(u), with J the Jacobian of f there.

    Parameters
    ----------
    mode : {"implicit", "jfb", "phantom", "unrolled"}
        "implicit": the implicit function theorem; solves g = J^T g + (incoming gradient), exact to
        the tolerance [1]_. "jfb": takes J for zero there, one application of the function is
        differentiated [2]_. "phantom": differentiates a few damped steps from the fixed point
        [3]_. "unrolled": differentiates Picard's iteration from the start, all of it, with its
        memory; the solver and its tolerance are not used.
    solver : {"anderson", "broyden", "gmres", "picard"} or Solver
        Of the linear system in mode "implicit".
    tolerance : float
        Largest relative residual of the linear system.
    max_iterations : int
        Largest number of products with J^T.
    steps : int
        Number of steps in mode "phantom".
    damping : float
        Of these steps, in (0, 1].

    References
    ----------
    .. [1] S. Bai, J. Z. Kolter, V. Koltun, "Deep equilibrium models", NeurIPS 2019,
       arXiv:1909.01377
    .. [2] S. W. Fung et al., "JFB: Jacobian-free backpropagation for implicit networks", AAAI
       2022, arXiv:2103.12803
    .. [3] Z. Geng et al., "On training implicit models", NeurIPS 2021, arXiv:2111.05177
    """

    mode: str = "implicit"
    solver: str | Solver = "anderson"
    tolerance: float = 1e-4
    max_iterations: int = 100
    steps: int = 5
    damping: float = 0.5

    def __post_init__(self) -> None:
        check_choice("mode", self.mode, BACKWARD_MODES)
        if self.solver != "gmres":
            if isinstance(self.solver, str):
                check_choice("solver", self.solver, BACKWARD_SOLVERS)
            as_solver("solver", self.solver)
        check_float("tolerance", self.tolerance, nonnegative=True)
        check_int("max_iterations", self.max_iterations, minimum=1)
        check_int("steps", self.steps, minimum=1)
        check_float("damping", self.damping, positive=True)
        if self.damping > 1:
            raise TomolearnError(f"damping: expected one in (0, 1], got {self.damping}")


def equilibrium(
    function: Callable[..., torch.Tensor],
    start: torch.Tensor,
    *context: torch.Tensor,
    solver: str | Solver = "anderson",
    tolerance: float = 1e-4,
    max_iterations: int = 100,
    backward: Backward | None = None,
    report: Callable[[FixedPoint], None] | None = None,
) -> FixedPoint:
    """Return the fixed point u = f(u, ...), differentiable once in all that the function needs.

    Gradients that are differentiated again, as those of a gradient penalty are, raise an error but
    in mode "unrolled", which is differentiable to any order.

    Except in mode "unrolled", which is Picard's iteration of `max_iterations` steps, it is
    `fixed_point`, and the memory does not depend on the number of iterations: where gradients are
    recorded, they are of one more application of the function, whose value is the result's state.

    Parameters
    ----------
    function : callable
        ``function(u, *context)`` maps (batch, ...) to the same shape, each entry for itself;
        differentiable by torch. It may be called again in the backward pass.
    start : torch.Tensor, shape (batch, ...)
        Where to begin. No gradient is given to it, for the fixed point does not depend on it,
        except in mode "unrolled".
    *context : torch.Tensor, shape (batch, ...)
        What else the function needs to know about each entry. They get gradients, as the
        parameters in the function do.
    solver, tolerance, max_iterations
        As for `fixed_point`.
    backward : Backward, optional
        How gradients are computed. Default: ``Backward()``.
    report : callable, optional
        Called in the backward pass with the solution of the linear system.

    Returns
    -------
    FixedPoint
        With residual and iterations of the forward pass. In mode "unrolled" the residual is that
        of the last state but one.

    Warns
    -----
    ConvergenceWarning
        In the backward pass, if the linear system was not solved to its tolerance, as where it is
        singular, and there is no `report`.

    Raises
    ------
    ValueError
        If a gradient is differentiated again, or asked for in forward mode, by `torch.func` or
        batched, and the mode has none.
    DivergenceError
        If a value is not finite, in the forward or the backward pass. An incoming gradient that is
        not finite becomes NaN and is no error.
    TypeError, ValueError
        If an argument is not of the kind named above.
    """
    mode = Backward() if backward is None else backward
    if mode.mode == "unrolled":
        return _unrolled(function, start, context, tolerance, max_iterations)
    if any(is_vectorised(values) for values in (start, *context)):
        raise TomolearnError(_BACKWARDS)
    found = fixed_point(
        function,
        start,
        *context,
        solver=solver,
        tolerance=tolerance,
        max_iterations=max_iterations,
    )
    if not torch.is_grad_enabled():
        return found
    u = found.state
    if mode.mode == "phantom":
        for _ in range(mode.steps):
            u = torch.lerp(u, function(u, *context), mode.damping)
        value = u
    else:
        value = function(u, *context)
    # the state is constant in there: what is differentiated again would lack its derivative
    value = once(_finite(value), _ONCE.format(mode=mode.mode))
    if mode.mode == "implicit" and is_followed(value):
        if is_transformed(value):
            raise TomolearnError(_BACKWARDS)
        fixed = tuple(values.detach() for values in context)
        value = _Implicit.apply(value, _LinearSystem(function, found.state, fixed, mode, report))
    return replace(found, state=value)


def _unrolled(
    function: Callable[..., torch.Tensor],
    start: torch.Tensor,
    context: tuple[torch.Tensor, ...],
    tolerance: float,
    max_iterations: int,
) -> FixedPoint:
    u = start
    history = []
    for _ in range(max_iterations):
        f = _finite(function(u, *context))
        history.append(relative_residual(u.detach(), f.detach()))
        u = f
    n = torch.full((start.shape[0],), max_iterations, dtype=torch.int64, device=start.device)
    return FixedPoint(u, n, history[-1], history[-1] <= tolerance, torch.stack(history))


def _finite(value: torch.Tensor) -> torch.Tensor:
    if not torch.isfinite(plain(value)).all():
        raise DivergenceError("fixed point: an evaluation gave values that are not finite")
    return value


class _Implicit(torch.autograd.Function):
    """The identity, whose gradient is the solution of a linear system."""

    @staticmethod
    def forward(ctx: Any, value: torch.Tensor, solve: _LinearSystem) -> torch.Tensor:
        ctx.solve = solve
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> Any:
        if torch._C._functorch.is_legacy_batchedtensor(gradient):
            raise TomolearnError(_BACKWARDS)
        return ctx.solve(gradient.detach()), None


class _LinearSystem:
    """g = J^T g + b, with the Jacobian J of a function at its fixed point."""

    def __init__(
        self,
        function: Callable[..., torch.Tensor],
        state: torch.Tensor,
        context: tuple[torch.Tensor, ...],
        mode: Backward,
        report: Callable[[FixedPoint], None] | None,
    ) -> None:
        self._function, self._state, self._context = function, state, context
        self._mode, self._report = mode, report
        kind = state.device.type
        # the backward pass runs outside of the forward pass's autocast
        self._autocast = torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind)

    def __call__(self, b: torch.Tensor) -> torch.Tensor:
        if not torch.isfinite(b).all():
            # whoever scales losses, or checks gradients, is to see it
            return torch.full_like(b, torch.nan)
        u = self._state.detach().requires_grad_()
        with torch.enable_grad(), self._precision():
            value = self._function(u, *self._context)

        def transposed(g: torch.Tensor) -> torch.Tensor:
            (product,) = torch.autograd.grad(value, u, g, retain_graph=True, materialize_grads=True)
            return product

        mode = self._mode
        limits: dict[str, Any] = {
            "tolerance": mode.tolerance,
            "max_iterations": mode.max_iterations,
        }
        if mode.solver == "gmres":
            found = gmres(lambda g: g - transposed(g), b, **limits)
        else:
            indices = torch.arange(b.shape[0], device=b.device)

            def step(g: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
                if len(index) == len(b):
                    return transposed(g) + b
                every = torch.zeros_like(b)
                every[index] = g
                return (transposed(every) + b)[index]

            found = fixed_point(step, b, indices, solver=mode.solver, **limits)
        if self._report is not None:
            self._report(found)
        elif not found.converged.all():
            warnings.warn(
                f"backward pass: {unsolved(found, mode.tolerance)}; the gradient is not exact",
                ConvergenceWarning,
                stacklevel=2,
            )
        return found.state

    def _precision(self) -> AbstractContextManager[Any]:
        enabled, dtype = self._autocast
        return torch.autocast(self._state.device.type, dtype=dtype, enabled=enabled)


def unsolved(found: FixedPoint, tolerance: float) -> str:
    """Say in words how far a solver got."""
    failed = int((~found.converged).sum())
    return (
        f"{failed} of {len(found.converged)} did not converge to the tolerance {tolerance:g} "
        f"within {int(found.iterations.max())} iterations (largest residual "
        f"{float(found.residual.max()):.2g})"
    )
