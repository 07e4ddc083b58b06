"""Checks of the tensors that a variational method gets beside its data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from tomolearn._core.errors import TomolearnTypeError
from tomolearn._core.tensors import check_real_tensor
from tomolearn.methods.checks import (
    check_linear_operator,
    check_not_negative,
    check_shape,
    check_sinogram,
)
from tomolearn.operators import LinearOperator


@dataclass(frozen=True, kw_only=True)
class PerImage:
    """What a call says of its images that no setting can.

    Parameters
    ----------
    weight : torch.Tensor of float64, shape (batch,), or None
        Weight of the prior of each image.
    support : torch.Tensor of bool, shape (*domain_shape) or (batch, *domain_shape), or None
        Where images may be other than zero.
    """

    weight: torch.Tensor | None = None
    support: torch.Tensor | None = None


def checked_inputs(sinogram: Any, operator: LinearOperator, weight: Any, support: Any) -> PerImage:
    """Return them for the batch flattened, on the sinogram's device.

    Raises
    ------
    TypeError, ValueError
        If one is no tensor of its kind, has another shape, or values that will not do.
    """
    y = check_sinogram(sinogram, check_linear_operator("operator", operator))
    domain = operator.domain_shape
    leading = tuple(y.shape[: y.ndim - len(operator.range_shape)])
    if weight is not None:
        check_shape("weight", check_real_tensor("weight", weight), [(), leading])
        weight = weight.detach().to(y.device, torch.float64).expand(leading).reshape(-1)
        check_not_negative("weight", weight)
    if support is not None:
        if not isinstance(support, torch.Tensor) or support.dtype != torch.bool:
            kind = support.dtype if isinstance(support, torch.Tensor) else type(support).__name__
            raise TomolearnTypeError(f"support: expected a torch.Tensor of bool, got {kind}")
        check_shape("support", support, [domain, (*leading, *domain)])
        support = support.to(y.device)
        support = support if support.shape == domain else support.reshape(-1, *domain)
    return PerImage(weight=weight, support=support)
