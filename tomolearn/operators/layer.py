"""Any linear operator of another package as a torch layer."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch

from tomolearn._core.errors import TomolearnTypeError
from tomolearn.operators.base import LinearOperator


class OperatorLayer(LinearOperator):
    """A linear operator of another package as a torch layer.

    Parameters
    ----------
    apply, apply_adjoint : callable
        Map contiguous tensors ``(batch, *domain_shape)`` to ``(batch, *range_shape)`` and back,
        keeping the precision. Their results must be fresh tensors, and they must be transposes
        of each other for plain sums.
    domain_shape, range_shape : sequence of int
        Shapes of one input and one output, without the batch dimension.
    adjoint_is_exact : bool, optional
        Whether `apply_adjoint` is the transpose up to rounding.

    Raises
    ------
    TypeError
        If `apply` or `apply_adjoint` cannot be called.

    Examples
    --------
    >>> import odl
    >>> space = odl.uniform_discr([0, 0], [1, 1], (8, 8), dtype="float32")
    >>> D = OperatorLayer.from_odl(odl.Gradient(space))
    >>> D(torch.ones(5, 1, 8, 8)).shape
    torch.Size([5, 1, 2, 8, 8])
    """

    def __init__(
        self,
        apply: Callable[[torch.Tensor], torch.Tensor],
        apply_adjoint: Callable[[torch.Tensor], torch.Tensor],
        domain_shape: Sequence[int],
        range_shape: Sequence[int],
        *,
        adjoint_is_exact: bool = True,
    ) -> None:
        for name, function in (("apply", apply), ("apply_adjoint", apply_adjoint)):
            if not callable(function):
                raise TomolearnTypeError(
                    f"{name}: expected a callable, got {type(function).__name__}"
                )
        super().__init__(tuple(domain_shape), tuple(range_shape))
        self._forward_map, self._adjoint_map = apply, apply_adjoint
        self.adjoint_is_exact = adjoint_is_exact

    @classmethod
    def from_odl(cls, operator: Any) -> OperatorLayer:
        """Wrap a linear ODL operator.

        The weights of ODL's inner products are removed: the layer's adjoint is the transpose
        for plain sums. A power of a space (the range of ``odl.Gradient``) becomes a leading axis.
        It computes on the CPU, in the precision of the operator's spaces; input of less
        precision is computed in theirs and returned in its own.

        Not every adjoint in ODL is one. It is tried on a pair of vectors, and where it is the
        transpose only without the weights it is taken as it is.

        Parameters
        ----------
        operator : odl.Operator
            Linear, between real tensor or discretised spaces on numpy arrays or powers of them.

        Raises
        ------
        TypeError, ValueError
            If `operator` is not a linear ODL operator with an adjoint, one of its spaces is not a
            real floating-point one on numpy arrays, weighted by a number or an array, or the parts
            of a product space differ in shape.

        Warns
        -----
        UserWarning
            If the adjoint that ODL offers is not the transpose either way: gradients are then as
            inexact as it is, and ``adjoint_is_exact`` is False.
        """
        from tomolearn.operators.backends.odl_operator import OdlMap

        wrapped = OdlMap(operator)
        if not wrapped.adjoint_is_exact:
            warnings.warn(
                f"{type(operator).__name__}.adjoint is not the transpose: on a pair of vectors it "
                f"is off by {wrapped.mismatch:.1e}; gradients are as inexact",
                stacklevel=2,
            )
        return cls(
            wrapped.forward,
            wrapped.adjoint,
            wrapped.domain_shape,
            wrapped.range_shape,
            adjoint_is_exact=wrapped.adjoint_is_exact,
        )

    def _evaluate(self, x: torch.Tensor) -> torch.Tensor:
        return self._forward_map(x)

    def _evaluate_adjoint(self, y: torch.Tensor) -> torch.Tensor:
        return self._adjoint_map(y)
