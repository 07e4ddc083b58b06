"""Gradients that can be had once: those of these are refused, where they would be wrong."""

from __future__ import annotations

from typing import Any

import torch

from tomolearn._core.errors import TomolearnError
from tomolearn._core.tensors import is_followed


def once(value: torch.Tensor, reason: str) -> torch.Tensor:
    """Return `value`, whose gradients raise an error where they are differentiated again.

    It is for values that were computed with a part of what they depend on taken as constant, so
    that their first derivatives are right, or what was asked for, and automatic second derivatives
    are not. `torch.autograd.function.once_differentiable` does not do: what it returns is constant
    if the incoming gradient is, and its error is lost where a gradient is asked for by its input.

    Parameters
    ----------
    value : torch.Tensor
        Gradients go through it unchanged.
    reason : str
        Message of the error: what is not differentiable twice, and what is.
    """
    if not is_followed(value):
        return value
    passed: torch.Tensor = _Once.apply(value, reason)
    return passed


def refused(gradient: torch.Tensor, value: torch.Tensor, reason: str) -> torch.Tensor:
    """Return a gradient that raises an error where it is differentiated, in a backward pass.

    Parameters
    ----------
    gradient : torch.Tensor
        What the backward pass of a function returns.
    value : torch.Tensor
        The function's result: it leads to all that the gradient depends on.
    reason : str
        Message of the error.
    """
    passed: torch.Tensor = _Refused.apply(gradient, value, reason)
    return passed


class _Once(torch.autograd.Function):
    """The identity, whose gradient has an error for a derivative."""

    generate_vmap_rule = True

    @staticmethod
    def forward(value: torch.Tensor, reason: str) -> torch.Tensor:
        return value.view_as(value)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: torch.Tensor) -> None:
        value, ctx.reason = inputs
        ctx.save_for_backward(value)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[torch.Tensor, None]:
        # the value leads to all that the gradient depends on, so no search for a path misses it
        return _Refused.apply(gradients[0], *ctx.saved_tensors, ctx.reason), None

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> torch.Tensor:
        tangent: torch.Tensor = tangents[0]
        return tangent.view_as(tangent)


class _Refused(torch.autograd.Function):
    """The first argument, with an error for a derivative."""

    generate_vmap_rule = True

    @staticmethod
    def forward(gradient: torch.Tensor, value: torch.Tensor, reason: str) -> torch.Tensor:
        return gradient.view_as(gradient)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: torch.Tensor) -> None:
        ctx.reason = inputs[2]

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        raise TomolearnError(ctx.reason)

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Any:
        raise TomolearnError(ctx.reason)
