"""Checks of the tensors that a variational method gets beside its data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from tomolearn._core.errors import TomolearnError, TomolearnTypeError
from tomolearn._core.tensors import check_real_tensor
from tomolearn.methods.checks import check_linear_operator, check_sinogram
from tomolearn.operators import LinearOperator


@dataclass(frozen=True, kw_only=True)
class PerImage:
    """What a call says of its images that no setting can.

    Parameters
    ----------
    weight : torch.Tensor of float64, shape (batch,), or None
        Weight of the prior of each image.
    weights : torch.Tensor, shape (batch or 1, *range_shape), or None
        Weight of each measured value.
    support : torch.Tensor of bool, shape (*domain_shape) or (batch, *domain_shape), or None
        Where images may be other than zero.
    """

    weight: torch.Tensor | None = None
    weights: torch.Tensor | None = None
    support: torch.Tensor | None = None


def checked_inputs(
    sinogram: Any, operator: LinearOperator, weight: Any, weights: Any, support: Any
) -> PerImage:
    """Return them for the batch flattened, on the sinogram's device.

    Raises
    ------
    TypeError, ValueError
        If one is no tensor of its kind, has another shape, or values that will not do.
    """
    y = check_sinogram(sinogram, check_linear_operator("operator", operator))
    data, domain = operator.range_shape, operator.domain_shape
    leading = tuple(y.shape[: y.ndim - len(data)])
    if weight is not None:
        _check_shape("weight", check_real_tensor("weight", weight), [(), leading])
        weight = weight.detach().to(y.device, torch.float64).expand(leading).reshape(-1)
        _check_not_negative("weight", weight)
    if weights is not None:
        _check_shape("weights", check_real_tensor("weights", weights), [data, (*leading, *data)])
        weights = weights.detach().to(y)
        _check_not_negative("weights", weights)
        weights = weights.reshape(-1, *data)
    if support is not None:
        if not isinstance(support, torch.Tensor) or support.dtype != torch.bool:
            kind = support.dtype if isinstance(support, torch.Tensor) else type(support).__name__
            raise TomolearnTypeError(f"support: expected a torch.Tensor of bool, got {kind}")
        _check_shape("support", support, [domain, (*leading, *domain)])
        support = support.to(y.device)
        support = support if support.shape == domain else support.reshape(-1, *domain)
    return PerImage(weight=weight, weights=weights, support=support)


def _check_shape(name: str, tensor: torch.Tensor, shapes: list[tuple[int, ...]]) -> None:
    if tuple(tensor.shape) not in shapes:
        expected = " or ".join(map(str, dict.fromkeys(shapes)))
        raise TomolearnError(f"{name}: expected shape {expected}, got {tuple(tensor.shape)}")


def _check_not_negative(name: str, tensor: torch.Tensor) -> None:
    if not bool((tensor.isfinite() & (tensor >= 0)).all()):
        worst = tensor[~(tensor.isfinite() & (tensor >= 0))].flatten()[0]
        raise TomolearnError(f"{name}: expected finite numbers, not negative, got {worst:.3g}")
