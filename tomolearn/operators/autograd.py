"""Linear maps in torch's automatic differentiation.

The derivative of a linear map is the map, that of its transpose the transpose. Both directions
go through the operators again, so derivatives of any order exist.
"""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch._functorch.utils import enable_single_level_autograd_function
from torch.autograd.function import _SingleLevelFunction

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


# torch.compile cannot look into compiled projectors; it sees one opaque operation that knows its
# operator by the number in a tensor, the handle. Handles keep their operators: a graph saves them
# for its backward pass as it does other tensors.
_numbers = itertools.count()
_operators: weakref.WeakValueDictionary[int, LinearOperator] = weakref.WeakValueDictionary()

# name: function that makes an operator of another one, from a text with its parameters
_MAKERS: dict[str, Callable[[Any, str], LinearOperator]] = {}


def register(operator: LinearOperator) -> tuple[int, torch.Tensor]:
    """Return a number and a handle by which compiled graphs find `operator`."""
    number = next(_numbers)
    _operators[number] = operator
    # whatever mode torch is in, this is a plain tensor
    with torch.inference_mode(False), torch._C._DisableFuncTorch():
        handle = torch.tensor([number])
    handle.operator = operator  # type: ignore[attr-defined]
    return number, handle


def maker(name: str) -> Callable[[Callable[..., LinearOperator]], Callable[..., LinearOperator]]:
    """Make a function (operator, text) -> operator known to `apply_made`."""

    def enter(function: Callable[..., LinearOperator]) -> Callable[..., LinearOperator]:
        _MAKERS[name] = function
        return function

    return enter


_SCHEMA = "(Tensor x, Tensor handle, str made, str text, bool transposed, SymInt[] shape) -> Tensor"
_library = torch.library.Library("tomolearn", "DEF")
_library.define(f"apply_linear{_SCHEMA}")
_operation = torch.ops.tomolearn.apply_linear


def _evaluate(
    x: torch.Tensor, handle: torch.Tensor, made: str, text: str, transposed: bool, shape: list[int]
) -> torch.Tensor:
    operator = _operators[int(handle)]
    if made:
        if (made, text) not in operator._made:
            operator._made[made, text] = _MAKERS[made](operator, text)
        operator = operator._made[made, text]
    return (operator.T if transposed else operator)._evaluate_batch(x)


def _fake(x: torch.Tensor, *settings: Any) -> torch.Tensor:
    return x.new_empty(settings[-1])


def _vectorised(info: Any, in_dims: tuple[Any, ...], x: torch.Tensor, *settings: Any) -> Any:
    x = x.movedim(in_dims[0], 0)
    return _operation(x, *settings[:-1], [x.shape[0], *settings[-1]]), 0


class _ApplyInGraphs(_SingleLevelFunction):
    """The same for one level of the operation's dispatch, whatever transforms are around it."""

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, handle: torch.Tensor, keys: Any, *settings: Any
    ) -> torch.Tensor:
        ctx.save_for_backward(handle)
        *ctx.made, ctx.transposed, _ = settings
        ctx.shape = x.shape
        with torch._C._AutoDispatchBelowAutograd():
            result: torch.Tensor = _operation.default.redispatch(
                keys & torch._C._after_autograd_keyset, x, handle, *settings
            )
        return result

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[torch.Tensor | None, ...]:
        (handle,) = ctx.saved_tensors
        gradient = _operation(gradients[0], handle, *ctx.made, not ctx.transposed, ctx.shape)
        return gradient, *[None] * 6


def _differentiable(keys: Any, x: torch.Tensor, handle: torch.Tensor, *settings: Any) -> Any:
    with enable_single_level_autograd_function():
        return _ApplyInGraphs.apply(x, handle, keys, *settings)  # type: ignore[attr-defined]


_library.impl("apply_linear", _evaluate, "CompositeExplicitAutograd")
_library.impl("apply_linear", _differentiable, "Autograd", with_keyset=True)
torch.library.register_fake("tomolearn::apply_linear", _fake, lib=_library)
torch.library.register_vmap("tomolearn::apply_linear", _vectorised, lib=_library)


def apply_linear(x: torch.Tensor, operator: LinearOperator) -> torch.Tensor:
    """Return ``operator(x)`` for a checked tensor, differentiable in `x`."""
    if torch.compiler.is_compiling():
        shape = operator._shape_of_value(x)
        base, transposed = operator._base()
        return _operation(x, base._handle, "", "", transposed, shape)
    if torch._C._functorch.is_legacy_batchedtensor(x):
        # a batch of gradients (`is_grads_batched`): torch loops over it
        shape = operator._shape_of_value(x)
        base, transposed = operator._base()
        return _operation(x, base._handle, "", "", transposed, shape)
    if torch._C._are_functorch_transforms_active():
        return _ApplyInTransforms.apply(x, operator)
    return _Apply.apply(x, operator)


def apply_made(
    x: torch.Tensor, operator: LinearOperator, made: str, text: str, shape: list[int]
) -> torch.Tensor:
    """Return what a `maker` makes of an operator, applied to a tensor, in code that is compiled."""
    return _operation(x, operator._handle, made, text, False, shape)


def norm_by_number(number: int, tolerance: float, max_iterations: int) -> float:
    """Return the norm of an operator where `torch.compile` looks on: it is a constant to it."""
    return _operators[number]._known_norm(tolerance, max_iterations)


# What `torch.compiler.assume_constant_result` does, which takes a second to import the compiler.
norm_by_number._dynamo_marked_constant = True  # type: ignore[attr-defined]
