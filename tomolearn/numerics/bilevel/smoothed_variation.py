"""Reconstruction with smoothed total variation as the lower level of bilevel learning."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch

from tomolearn._core.checks import check_float
from tomolearn._core.errors import TomolearnError
from tomolearn.numerics.bilevel.lower_level import LowerLevel
from tomolearn.operators import FiniteDifferences, Identity, LinearOperator

Number = float | torch.Tensor
PARAMETERS = ("alpha", "nu", "xi")
"""What can be learned: weight, smoothing, and weight of the squared norm."""


class SmoothedVariation(LowerLevel):
    """Smoothed total variation with a data term, and a squared norm that makes it strongly convex.

    For data y, an image minimises [1]_ ::

        ||A u - y||^2 / 2 + alpha sum sqrt(|D u|^2 + nu^2) + xi ||u||^2 / 2

    The parameters theta are the decimal logarithms of those of alpha, nu and xi that are free. Its
    constants are ``mu = s + xi``, with s the smallest eigenvalue of A^T A, and
    ``L = ||A||^2 + alpha ||D||^2 / nu + xi``.

    Parameters
    ----------
    operator : LinearOperator
        A, from images to data.
    free : sequence of {"alpha", "nu", "xi"}
        Which of them are parameters.
    alpha, nu, xi : float
        Those that are not free.
    smallest : float, optional
        A lower bound of the eigenvalues of A^T A, proven by whoever gives it. Default: 1 for
        `Identity`, else 0.
    differences : LinearOperator, optional
        D, from images to (components, ...), whose norm over the components is summed. Default:
        `FiniteDifferences`.

    Raises
    ------
    TypeError, ValueError
        If a name is not one of the three or comes twice, a number is not positive (xi and
        `smallest`: negative), or D has another domain than A.

    References
    ----------
    .. [1] M. J. Ehrhardt, L. Roberts, "Inexact derivative-free optimization for bilevel learning",
       J. Math. Imaging Vis. 63 (2021), arXiv:2006.12674, doi 10.1007/s10851-021-01020-8
    """

    remedy = (
        "add xi to the free parameters or give it a positive value, or give smallest, the smallest "
        "eigenvalue of A^T A, if A is injective"
    )

    def __init__(
        self,
        operator: LinearOperator,
        *,
        free: Sequence[str] = PARAMETERS,
        alpha: float = 1.0,
        nu: float = 1e-3,
        xi: float = 1e-3,
        smallest: float | None = None,
        differences: LinearOperator | None = None,
    ) -> None:
        self.parameters = tuple(free)
        if not self.parameters or len({*self.parameters} & {*PARAMETERS}) != len(self.parameters):
            raise TomolearnError(
                f"free: expected some of {', '.join(PARAMETERS)}, each once, got {free}"
            )
        self.operator = operator
        self.differences = differences or FiniteDifferences(operator.domain_shape)
        if self.differences.domain_shape != operator.domain_shape:
            raise TomolearnError(
                f"differences: expected an operator on images {operator.domain_shape}, got one on "
                f"{self.differences.domain_shape}"
            )
        self._fixed = {
            "alpha": check_float("alpha", alpha, positive=True),
            "nu": check_float("nu", nu, positive=True),
            "xi": check_float("xi", xi, nonnegative=True),
        }
        if smallest is None:
            smallest = 1.0 if isinstance(operator, Identity) else 0.0
        self._smallest = check_float("smallest", smallest, nonnegative=True)
        self._squared_norms = operator.norm() ** 2, self.differences.norm() ** 2
        self._axis = -len(self.differences.range_shape)

    def values(self, theta: torch.Tensor) -> tuple[Number, Number, Number]:
        """Return alpha, nu and xi, as tensors where derivatives are recorded."""
        numbers: Iterable[Number]
        # numbers are multiplied faster, and most of all calls are those of iterations
        numbers = 10.0**theta if theta.requires_grad else [10.0**x for x in theta.tolist()]
        known: dict[str, Number] = {
            **self._fixed,
            **dict(zip(self.parameters, numbers, strict=True)),
        }
        return known["alpha"], known["nu"], known["xi"]

    def strong_convexity(self, theta: torch.Tensor) -> torch.Tensor:
        """Return the smallest eigenvalue of A^T A, plus xi."""
        _, _, xi = self.values(theta)
        return torch.as_tensor(self._smallest + xi, dtype=theta.dtype)

    def lipschitz(self, theta: torch.Tensor) -> torch.Tensor:
        """Return the sum of the constants of the three terms."""
        alpha, nu, xi = self.values(theta)
        of_operator, of_differences = self._squared_norms
        return torch.as_tensor(of_operator + of_differences * alpha / nu + xi, dtype=theta.dtype)

    def start(self, y: torch.Tensor) -> torch.Tensor:
        """Return images of zeros."""
        return y.new_zeros((len(y), *self.operator.domain_shape))

    def objective(self, u: torch.Tensor, y: torch.Tensor, theta: torch.Tensor) -> torch.Tensor:
        """Return the values (batch,)."""
        alpha, nu, xi = self.values(theta)
        misfit = (self.operator(u) - y).square().flatten(1).sum(1) / 2
        variation = self._lengths(self.differences(u), nu).flatten(1).sum(1)
        return misfit + alpha * variation + xi * u.square().flatten(1).sum(1) / 2

    def gradient(self, u: torch.Tensor, y: torch.Tensor, theta: torch.Tensor) -> torch.Tensor:
        """Return the gradients in closed form."""
        alpha, nu, xi = self.values(theta)
        d = self.differences(u)
        steep = self.differences.adjoint(d / self._lengths(d, nu))
        return self._normal(u, y) + alpha * steep + xi * u

    def hessian_product(
        self, u: torch.Tensor, y: torch.Tensor, theta: torch.Tensor, v: torch.Tensor
    ) -> torch.Tensor:
        """Return the Hessians times images v in closed form."""
        alpha, nu, xi = self.values(theta)
        d, e = self.differences(u), self.differences(v)
        length = self._lengths(d, nu)
        along = (d * e).sum(self._axis, keepdim=True) / length.square()
        bent = self.differences.adjoint((e - along * d) / length)
        return self._normal(v) + alpha * bent + xi * v

    def _normal(self, u: torch.Tensor, y: torch.Tensor | None = None) -> torch.Tensor:
        """Return A^T (A u - y), or A^T A u."""
        if isinstance(self.operator, Identity):  # two copies, in the innermost of all loops
            return u if y is None else u - y
        projected = self.operator(u)
        return self.operator.adjoint(projected if y is None else projected - y)

    def _lengths(self, d: torch.Tensor, nu: Number) -> torch.Tensor:
        """Return the smoothed norms over the components, which stay as an axis of length one."""
        return (d.square().sum(self._axis, keepdim=True) + nu**2).sqrt()
