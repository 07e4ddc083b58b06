"""Multiplication of each value by a number of its own."""

from __future__ import annotations

import torch

from tomolearn._core.errors import TomolearnError
from tomolearn._core.tensors import check_real_tensor
from tomolearn.operators.base import LinearOperator


class Diagonal(LinearOperator):
    """Multiplication of each value by a number: a diagonal matrix.

    ``Diagonal(w.sqrt()) @ A`` on data ``w.sqrt() * y`` are the least squares of A with weights w.
    So learned schemes get weights and masks, which see an operator and its adjoint only; methods
    that iterate take them as ``weights=``.

    Parameters
    ----------
    diagonal : torch.Tensor, shape (...)
        The factors, of one or more axes; they are computed in the precision and on the device of
        what they multiply.

    Raises
    ------
    TypeError, ValueError
        If `diagonal` is not a real floating-point tensor of at least one axis and finite values.

    Examples
    --------
    >>> measured = torch.ones(A.range_shape)
    >>> measured[:, 31] = 0.0  # a dead column
    >>> M = Diagonal(measured) @ A
    >>> image = model(measured * y, M)
    """

    def __init__(self, diagonal: torch.Tensor) -> None:
        check_real_tensor("diagonal", diagonal)
        if diagonal.ndim == 0 or diagonal.numel() == 0:
            raise TomolearnError(
                "diagonal: expected a value and an axis or more, got shape "
                f"{tuple(diagonal.shape)}; 2 * A scales by one number"
            )
        if not bool(diagonal.isfinite().all()):
            count = int((~diagonal.isfinite()).sum())
            raise TomolearnError(f"diagonal: expected finite values, got {count} that are not")
        shape = tuple(diagonal.shape)
        super().__init__(shape, shape)
        self.diagonal = diagonal.detach().clone()

    def _evaluate(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.diagonal.to(x)

    def _evaluate_adjoint(self, y: torch.Tensor) -> torch.Tensor:
        return y * self.diagonal.to(y)

    def norm(self, *, tolerance: float = 1e-6, max_iterations: int = 1000) -> float:
        """Return the largest size of a factor.

        The parameters are those of every operator and change nothing here.
        """
        return float(self.diagonal.abs().max())

    def extra_repr(self) -> str:
        """Return the shape and the range of the factors, for ``repr``."""
        low, high = (float(v) for v in (self.diagonal.min(), self.diagonal.max()))
        return f"{self.domain_shape}, from {low:.4g} to {high:.4g}"
