"""Linear maps in torch's automatic differentiation.

The derivative of a linear map is the map, that of its transpose the transpose. Both directions
go through the operators again, so derivatives of any order exist.
"""

from __future__ import annotations

import itertools
import weakref
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from tomolearn.operators.base import LinearOperator


class _Apply(torch.autograd.Function):
    """Evaluation of an operator with reverse and forward derivatives."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, operator: LinearOperator) -> torch.Tensor:
        ctx.operator = operator
        return operator._evaluate_batch(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[torch.Tensor, None]:
        return apply_linear(gradients[0], ctx.operator.T), None

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> torch.Tensor:
        return apply_linear(tangents[0], ctx.operator)


class _ApplyInTransforms(torch.autograd.Function):
    """The same for `torch.func` and `torch.vmap`.

    They want the context to be set up apart, for which torch inspects signatures at every call:
    that would take half as long as a small projection.
    """

    @staticmethod
    def forward(x: torch.Tensor, operator: LinearOperator) -> torch.Tensor:
        return operator._evaluate_batch(x)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: torch.Tensor) -> None:
        ctx.operator = inputs[1]

    backward = _Apply.backward
    jvp = _Apply.jvp

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], x: torch.Tensor, operator: Any) -> Any:
        return apply_linear(x.movedim(in_dims[0], 0), operator), 0


# torch.compile cannot look into compiled projectors; it sees one opaque operation that names
# its operator by a number.
_numbers = itertools.count()
_operators: weakref.WeakValueDictionary[int, LinearOperator] = weakref.WeakValueDictionary()


def register(operator: LinearOperator) -> int:
    """Return a number under which compiled graphs find `operator` while it lives."""
    number = next(_numbers)
    _operators[number] = operator
    return number


@torch.library.custom_op("tomolearn::apply_linear", mutates_args=())
def _apply_by_number(x: torch.Tensor, number: int) -> torch.Tensor:
    return _operators[number]._evaluate_batch(x.detach())


@_apply_by_number.register_fake
def _shape_by_number(x: torch.Tensor, number: int) -> torch.Tensor:
    operator = _operators[number]
    leading = x.shape[: x.ndim - len(operator.domain_shape)]
    return x.new_empty((*leading, *operator.range_shape))


def _number_context(ctx: Any, inputs: tuple[Any, ...], output: torch.Tensor) -> None:
    ctx.number = inputs[1]


def _number_backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
    return _apply_by_number(gradient, _operators[ctx.number].T._number), None


_apply_by_number.register_autograd(_number_backward, setup_context=_number_context)


def apply_linear(x: torch.Tensor, operator: LinearOperator) -> torch.Tensor:
    """Return ``operator(x)`` for a checked tensor, differentiable in `x`."""
    if torch.compiler.is_compiling():
        return _apply_by_number(x, operator._number)
    if torch._C._are_functorch_transforms_active():
        return _ApplyInTransforms.apply(x, operator)
    return _Apply.apply(x, operator)
