"""Rules for the next state of a fixed-point iteration: Picard, Anderson, Broyden."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol

import torch

from tomolearn._core.checks import check_float, check_int, check_known
from tomolearn._core.errors import TomolearnError, TomolearnTypeError


class SolverState(Protocol):
    """The memory of one run of a solver; all tensors are (batch, values)."""

    def step(self, u: torch.Tensor, f: torch.Tensor) -> torch.Tensor:
        """Return the next state from this one and the function's value there."""

    def keep(self, going: torch.Tensor) -> None:
        """Forget the entries of the batch that have stopped."""


class Solver(Protocol):
    """A rule for the next state."""

    def begin(self) -> SolverState:
        """Return an empty memory."""


@dataclass(frozen=True)
class Picard:
    """Iterate the function itself, u <- (1 - damping) u + damping f(u).

    Parameters
    ----------
    damping : float
        In (0, 1]; 1 is the plain iteration.
    """

    damping: float = 1.0

    def __post_init__(self) -> None:
        check_float("damping", self.damping, positive=True)
        if self.damping > 1:
            raise TomolearnError(f"damping: expected one in (0, 1], got {self.damping}")

    def begin(self) -> SolverState:
        """Return an empty memory."""
        return _PicardRun(self.damping)


class _PicardRun:
    def __init__(self, damping: float) -> None:
        self._damping = damping

    def step(self, u: torch.Tensor, f: torch.Tensor) -> torch.Tensor:
        return f if self._damping == 1.0 else torch.lerp(u, f, self._damping)

    def keep(self, going: torch.Tensor) -> None:
        pass


class _Window:
    """The last few differences of states and residuals of each entry, (batch, history, values)."""

    def __init__(self, length: int) -> None:
        self._length = length
        self._count = 0
        self._last: tuple[torch.Tensor, torch.Tensor] | None = None
        self._pairs: tuple[torch.Tensor, torch.Tensor] | None = None

    def differences(self, u: torch.Tensor, g: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Take in a state and its residual, and return all differences that are remembered."""
        if self._last is None:
            self._last = u, g
            none = u.new_empty(u.shape[0], 0, u.shape[1])
            return none, none
        if self._pairs is None:
            empty = (u.shape[0], self._length, u.shape[1])
            self._pairs = u.new_empty(empty), u.new_empty(empty)
        for window, new, old in zip(self._pairs, (u, g), self._last, strict=True):
            torch.sub(new, old, out=window[:, self._count % self._length])
        self._count += 1
        self._last = u, g
        filled = min(self._count, self._length)
        return self._pairs[0][:, :filled], self._pairs[1][:, :filled]

    def keep(self, going: torch.Tensor) -> None:
        if self._last is not None:
            self._last = self._last[0][going], self._last[1][going]
        if self._pairs is not None:
            self._pairs = self._pairs[0][going], self._pairs[1][going]


@dataclass(frozen=True)
class Anderson:
    """Anderson acceleration [1]_.

    The next state is that affine combination of the last ones whose residual would be the smallest
    if the function were affine.

    Parameters
    ----------
    history : int
        Number of differences of states that are combined.
    mixing : float
        The part of the combined residual that is added to the combined state, beta in [1]_.
    regularisation : float
        Relative to the mean squared norm of the remembered differences of residuals, so that it
        means the same at every distance from the solution.

    References
    ----------
    .. [1] H. F. Walker, P. Ni, "Anderson acceleration for fixed-point iterations", SIAM J. Numer.
       Anal. 49 (2011), doi 10.1137/10078356X
    """

    history: int = 5
    mixing: float = 1.0
    regularisation: float = 1e-6

    def __post_init__(self) -> None:
        check_int("history", self.history, minimum=1)
        check_float("mixing", self.mixing, positive=True)
        check_float("regularisation", self.regularisation, nonnegative=True)

    def begin(self) -> SolverState:
        """Return an empty memory."""
        return _AndersonRun(self)


class _AndersonRun:
    def __init__(self, options: Anderson) -> None:
        self._options = options
        self._window = _Window(options.history)
        self.keep = self._window.keep

    def step(self, u: torch.Tensor, f: torch.Tensor) -> torch.Tensor:
        g = f - u
        du, dg = self._window.differences(u, g)
        beta = self._options.mixing
        plain = f if beta == 1.0 else u + beta * g
        if du.shape[1] == 0:
            return plain
        # a handful of unknowns: the normal equations in double precision, regularised
        gram = (dg @ dg.mT).double()
        size = gram.shape[1]
        scale = gram.diagonal(dim1=1, dim2=2).mean(1).clamp_min(torch.finfo(gram.dtype).tiny)
        identity = torch.eye(size, dtype=gram.dtype, device=gram.device)
        right = (dg @ g[:, :, None]).double()[:, :, 0] / scale[:, None]
        normal = gram / scale[:, None, None] + self._options.regularisation * identity
        gamma = torch.linalg.pinv(normal, hermitian=True) @ right[:, :, None]
        change = (du + beta * dg).mT @ gamma.to(u.dtype)
        return plain - change[:, :, 0]


@dataclass(frozen=True)
class Broyden:
    """Broyden's first method, with limited memory, on the residual f(u) - u [1]_.

    Parameters
    ----------
    history : int
        Number of rank-one changes of the inverse Jacobian that are remembered; the oldest makes
        room for the newest.

    References
    ----------
    .. [1] C. G. Broyden, "A class of methods for solving nonlinear simultaneous equations", Math.
       Comp. 19 (1965), doi 10.1090/S0025-5718-1965-0198670-6
    """

    history: int = 20

    def __post_init__(self) -> None:
        check_int("history", self.history, minimum=1)

    def begin(self) -> SolverState:
        """Return an empty memory."""
        return _BroydenRun(self.history)


class _BroydenRun:
    """The inverse Jacobian of the residual is -1 + sum of left right^T."""

    def __init__(self, history: int) -> None:
        self._history = history
        self._count = 0
        self._last: tuple[torch.Tensor, torch.Tensor] | None = None
        self._left = self._right = torch.empty(0)

    def step(self, u: torch.Tensor, f: torch.Tensor) -> torch.Tensor:
        g = f - u
        if self._last is not None:
            self._update(u - self._last[0], g - self._last[1])
        self._last = u, g
        return u - self._apply(g)

    def _filled(self) -> int:
        return min(self._count, self._history)

    def _apply(self, g: torch.Tensor) -> torch.Tensor:
        n = self._filled()
        if n == 0:
            return -g
        left, right = self._left[:, :n], self._right[:, :n]
        return (left.mT @ (right @ g[:, :, None]))[:, :, 0] - g

    def _apply_transposed(self, u: torch.Tensor) -> torch.Tensor:
        n = self._filled()
        if n == 0:
            return -u
        left, right = self._left[:, :n], self._right[:, :n]
        return (right.mT @ (left @ u[:, :, None]))[:, :, 0] - u

    def _update(self, du: torch.Tensor, dg: torch.Tensor) -> None:
        if self._count == 0:
            empty = (du.shape[0], self._history, du.shape[1])
            self._left, self._right = du.new_zeros(empty), du.new_zeros(empty)
        slot = self._count % self._history
        # what is overwritten must not take part in the new change
        self._left[:, slot] = 0
        self._right[:, slot] = 0
        right = self._apply_transposed(du)
        change = du - self._apply(dg)
        curvature = (right * dg).sum(1)
        # without a usable secant the approximation stays as it is
        least = torch.finfo(du.dtype).eps * right.norm(dim=1) * dg.norm(dim=1)
        usable = curvature.abs() > least
        factor = torch.where(usable, 1 / torch.where(usable, curvature, 1), 0)
        self._left[:, slot] = factor[:, None] * change
        self._right[:, slot] = right
        self._count += 1

    def keep(self, going: torch.Tensor) -> None:
        if self._last is not None:
            self._last = self._last[0][going], self._last[1][going]
        if self._count:
            self._left, self._right = self._left[going], self._right[going]


SOLVERS: Mapping[str, Callable[[], Solver]] = MappingProxyType(
    {"picard": Picard, "anderson": Anderson, "broyden": Broyden}
)
"""Solvers of fixed points by name, with their default parameters."""


def as_solver(name: str, solver: str | Solver) -> Solver:
    """Return a solver that was given by its name, or as it is."""
    if isinstance(solver, str):
        return SOLVERS[check_known(name, solver, tuple(SOLVERS))]()
    if not callable(getattr(solver, "begin", None)):
        raise TomolearnTypeError(
            f"{name}: expected one of {', '.join(SOLVERS)}, or a solver, "
            f"got {type(solver).__name__}"
        )
    return solver
