"""Variational reconstructions that depend differentiably on data, weight and prior."""

from __future__ import annotations

import dataclasses
import warnings
from typing import TYPE_CHECKING

import torch

from tomolearn._core.errors import ConvergenceWarning, TomolearnError
from tomolearn.methods.variational.problem import Problem
from tomolearn.numerics.minimiser import implicit_minimiser
from tomolearn.operators import LinearOperator

if TYPE_CHECKING:
    from tomolearn.methods.variational.variational import Variational


def connected(
    method: Variational,
    image: torch.Tensor,
    sinogram: torch.Tensor,
    operator: LinearOperator,
    weight: torch.Tensor | None,
    weights: torch.Tensor | None,
) -> torch.Tensor:
    """Return the image that a method found, connected to what it depends on.

    Raises
    ------
    ValueError
        If the prior has no gradient, or is on another device or in another precision.

    Warns
    -----
    ConvergenceWarning
        If nothing certifies that the problem is strongly convex.
    """
    y = sinogram.reshape(-1, *operator.range_shape)
    leading = sinogram.shape[: sinogram.ndim - len(operator.range_shape)]
    problem = method.problem(y, operator, weights=weights, frozen=False)
    _check(problem, y)
    if weight is not None:
        # the checked one is detached
        each = weight.to(y.device, torch.float64).expand(leading).reshape(-1)
        problem = dataclasses.replace(problem, weight=each)
    x = image.reshape(-1, *operator.domain_shape)

    def gradient(x: torch.Tensor) -> torch.Tensor:
        return problem.data_gradient(problem.forward(x)) + problem.prior_gradient(x)

    free = problem.constraint.free(x) if problem.constraint else None
    found = implicit_minimiser(gradient, x, free=free, tolerance=_tolerance(x))
    return found.reshape(image.shape)


def _tolerance(x: torch.Tensor) -> float:
    """Return a residual well within what the precision allows."""
    return 100 * torch.finfo(x.dtype).eps


def _check(problem: Problem, y: torch.Tensor) -> None:
    prior = problem.prior
    if prior is None:
        return
    if not prior.has_gradient:
        raise TomolearnError(
            "differentiable: expected a prior with a gradient, got "
            f"{type(prior).__name__}; a smooth one such as Huber's would do"
        )
    for number in (*prior.parameters(), *prior.buffers()):
        if number.is_floating_point() and (number.dtype, number.device) != (y.dtype, y.device):
            raise TomolearnError(
                f"prior: expected its weights in {y.dtype} on {y.device}, as the sinogram, got "
                f"{number.dtype} on {number.device}; prior.to(sinogram) puts them there"
            )
    convexity = prior.convexity
    if convexity is None or convexity <= 0:
        warnings.warn(
            f"variational: {type(prior).__name__} is certified to be "
            f"{'convex' if convexity == 0 else 'nothing'} only, so that derivatives of the "
            "minimiser exist where the data term makes it unique; a prior with a term such as a "
            "small multiple of ||x||^2 is strongly convex",
            ConvergenceWarning,
            stacklevel=3,
        )
