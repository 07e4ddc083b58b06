"""The minimiser of a smooth function as a differentiable layer: implicit derivatives."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch

from tomolearn._core.checks import check_float, check_int
from tomolearn._core.errors import ConvergenceWarning, TomolearnError
from tomolearn._core.tensors import check_real_tensor, is_followed, is_transformed
from tomolearn.numerics.conjugate_gradients import conjugate_gradients
from tomolearn.numerics.fixed_point import FixedPoint
from tomolearn.numerics.once import once

_ONCE = (
    "minimiser: its gradients cannot be differentiated again; second derivatives need an unrolled "
    "iteration"
)
_BACKWARDS = (
    "minimiser: it has derivatives by torch.autograd in reverse only, one at a time; forward mode, "
    "torch.func and batches of gradients need an unrolled iteration"
)


def implicit_minimiser(
    gradient: Callable[..., torch.Tensor],
    minimiser: torch.Tensor,
    *context: torch.Tensor,
    free: torch.Tensor | None = None,
    tolerance: float = 1e-6,
    max_iterations: int = 1000,
    report: Callable[[FixedPoint], None] | None = None,
) -> torch.Tensor:
    """Return minimisers that were found, differentiable once in all that the objective depends on.

    With the gradient G(x, p) of an objective and its Hessian H at the minimiser, derivatives with
    respect to parameters p are ``-H^-1 dG/dp`` [1]_: in the backward pass one linear system is
    solved by conjugate gradients on products with the Hessian. They are exact where the minimiser
    and the solution of that system are; the memory does not depend on how the minimiser was found.

    Parameters
    ----------
    gradient : callable
        ``gradient(x, *context)`` maps (batch, ...) to the gradient of the objective there, each
        entry for itself; differentiable by torch. What it depends on besides, such as the weights
        of a regulariser, gets gradients as well.
    minimiser : torch.Tensor, shape (batch, ...)
        Where the gradient vanishes. No gradient is given to it.
    *context : torch.Tensor
        What else the function needs. They get gradients.
    free : torch.Tensor of bool, shape (batch, ...), optional
        Entries that constraints do not hold; derivatives of the others are zero. Default: all.
    tolerance : float
        Largest relative residual of the linear system.
    max_iterations : int
        Largest number of products with the Hessian.
    report : callable, optional
        Called in the backward pass with the solution of the linear system.

    Returns
    -------
    torch.Tensor, shape (batch, ...)
        `minimiser`, connected to what it depends on.

    Warns
    -----
    ConvergenceWarning
        In the backward pass, if the linear system was not solved to its tolerance and there is no
        `report`.

    Raises
    ------
    IndefiniteError
        In the backward pass, if the Hessian has a direction of no positive curvature: the objective
        is not strongly convex there.
    ValueError
        If a gradient is differentiated again, or asked for in forward mode or by `torch.func`.
    TypeError, ValueError
        If an argument is not of the kind named above.

    References
    ----------
    .. [1] F. Pedregosa, "Hyperparameter optimization with approximate gradient", ICML 2016,
       arXiv:1602.02355

    Examples
    --------
    >>> x = implicit_minimiser(lambda x, y: A.T(A(x) - y) + prior.gradient(x), x, y)
    >>> (x - truth).square().sum().backward()  # gradients of y and of the prior's weights
    """
    check_real_tensor("minimiser", minimiser)
    check_float("tolerance", tolerance, nonnegative=True)
    check_int("max_iterations", max_iterations, minimum=1)
    x = minimiser.detach()
    if not torch.is_grad_enabled():
        return x
    slope = gradient(x, *context)
    if slope.shape != x.shape:
        raise TomolearnError(
            f"gradient: expected values of the shape of its argument, {tuple(x.shape)}, got "
            f"{tuple(slope.shape)}"
        )
    if not is_followed(slope):
        return x
    if is_transformed(slope):
        raise TomolearnError(_BACKWARDS)
    if free is not None:
        slope = slope * free
    # the value is the minimiser's, the derivative minus that of the gradient
    connected = once(x - (slope - slope.detach()), _ONCE)
    fixed = tuple(values.detach() for values in context)
    system = _Hessian(gradient, x, fixed, free, tolerance, max_iterations, report)
    found: torch.Tensor = _Implicit.apply(connected, system)
    return found


class _Implicit(torch.autograd.Function):
    """The identity, whose gradient is the solution of a linear system."""

    @staticmethod
    def forward(ctx: Any, value: torch.Tensor, system: _Hessian) -> torch.Tensor:
        ctx.system = system
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> Any:
        if torch._C._functorch.is_legacy_batchedtensor(gradient):
            raise TomolearnError(_BACKWARDS)
        return ctx.system.solve(gradient.detach()), None


class _Hessian:
    """The Hessian of an objective at its minimiser, and systems with it."""

    def __init__(
        self,
        gradient: Callable[..., torch.Tensor],
        minimiser: torch.Tensor,
        context: tuple[torch.Tensor, ...],
        free: torch.Tensor | None,
        tolerance: float,
        max_iterations: int,
        report: Callable[[FixedPoint], None] | None,
    ) -> None:
        self._gradient, self._minimiser, self._context = gradient, minimiser, context
        self._free, self._report = free, report
        self._limits = {"tolerance": tolerance, "max_iterations": max_iterations}

    def solve(self, b: torch.Tensor) -> torch.Tensor:
        """Return the q with ``H q = b`` on the free entries, zero elsewhere."""
        if not torch.isfinite(b).all():
            # whoever scales losses, or checks gradients, is to see it
            return torch.full_like(b, torch.nan)
        x = self._minimiser.detach().requires_grad_()
        with torch.enable_grad():
            slope = self._gradient(x, *self._context)
        free = self._free

        def product(v: torch.Tensor) -> torch.Tensor:
            (found,) = torch.autograd.grad(slope, x, v, retain_graph=True, materialize_grads=True)
            # what is held is not moved: there the system is the identity
            return found if free is None else torch.where(free, found, v)

        right = b if free is None else b * free
        solution = conjugate_gradients(product, right, **self._limits)  # type: ignore[arg-type]
        if self._report is not None:
            self._report(solution)
        elif not bool(solution.converged.all()):
            warnings.warn(
                "minimiser: in the backward pass conjugate gradients did not converge to "
                f"{self._limits['tolerance']:g} within {int(solution.iterations.max())} iterations "
                f"(largest residual {float(solution.residual.max()):.2g}); the gradient is not "
                "exact",
                ConvergenceWarning,
                stacklevel=2,
            )
        return solution.state
