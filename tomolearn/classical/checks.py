"""Checks of what every reconstruction gets."""

from __future__ import annotations

from typing import Any

import torch

from tomolearn._core.checks import check_real_tensor, check_trailing_shape
from tomolearn.operators import LinearOperator, RayTransform

__all__ = ["check_linear_operator", "check_ray_transform", "check_sinogram"]


def check_ray_transform(operator: Any) -> RayTransform:
    """Return `operator` if it is a ray transform.

    Raises
    ------
    TypeError
        If it is not.
    """
    if not isinstance(operator, RayTransform):
        raise TypeError(f"operator: expected a RayTransform, got {type(operator).__name__}")
    return operator


def check_linear_operator(name: str, operator: Any) -> LinearOperator:
    """Return `operator` if it is a linear operator.

    Raises
    ------
    TypeError
        If it is not.
    """
    if not isinstance(operator, LinearOperator):
        raise TypeError(f"{name}: expected a LinearOperator, got {type(operator).__name__}")
    return operator


def check_sinogram(sinogram: Any, operator: LinearOperator) -> torch.Tensor:
    """Return `sinogram`, half precision as float32, if the operator could have made it.

    Raises
    ------
    TypeError
        If it is not a real floating-point tensor.
    ValueError
        If its last dimensions are not `operator.range_shape`, or values are not finite; the
        message counts them and names the first.
    """
    check_real_tensor("sinogram", sinogram)
    check_trailing_shape("sinogram", sinogram, operator.range_shape)
    # a branch on values cannot be compiled
    if not torch.compiler.is_compiling():
        check_finite("sinogram", sinogram)
    return sinogram.float() if sinogram.dtype in (torch.float16, torch.bfloat16) else sinogram


def check_finite(name: str, tensor: torch.Tensor) -> None:
    """Check that all values are finite.

    Raises
    ------
    ValueError
        If some are not; the message counts them and names the first.
    """
    finite = torch.isfinite(tensor)
    if bool(finite.all()):
        return
    bad = torch.nonzero(~finite)
    first = tuple(bad[0].tolist())
    raise ValueError(
        f"{name}: expected finite values, got {len(bad)} that are not, the first of them "
        f"{tensor[first].item()} at index {first}"
    )
