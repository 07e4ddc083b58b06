"""Checks of what every reconstruction gets."""

from __future__ import annotations

from typing import Any

import torch

from tomolearn._core.errors import TomolearnError, TomolearnTypeError
from tomolearn._core.tensors import check_real_tensor, check_trailing_shape, plain
from tomolearn.operators import LinearOperator, RayTransform


def check_ray_transform(operator: Any) -> RayTransform:
    """Return `operator` if it is a ray transform."""
    if not isinstance(operator, RayTransform):
        raise TomolearnTypeError(
            f"operator: expected a RayTransform, got {type(operator).__name__}"
        )
    return operator


def check_linear_operator(name: str, operator: Any) -> LinearOperator:
    """Return `operator` if it is a linear operator."""
    if not isinstance(operator, LinearOperator):
        raise TomolearnTypeError(
            f"{name}: expected a LinearOperator, got {type(operator).__name__}"
        )
    return operator


def check_sinogram(sinogram: Any, operator: LinearOperator) -> torch.Tensor:
    """Return `sinogram`, half precision as float32, if the operator could have made it."""
    check_real_tensor("sinogram", sinogram)
    check_trailing_shape("sinogram", sinogram, operator.range_shape)
    # a branch on values cannot be compiled
    if not torch.compiler.is_compiling():
        check_finite("sinogram", sinogram)
    return sinogram.float() if sinogram.dtype in (torch.float16, torch.bfloat16) else sinogram


def check_finite(name: str, tensor: torch.Tensor) -> None:
    """Check that all values are finite."""
    tensor = plain(tensor)
    finite = torch.isfinite(tensor)
    if bool(finite.all()):
        return
    bad = torch.nonzero(~finite)
    first = tuple(bad[0].tolist())
    raise TomolearnError(
        f"{name}: expected finite values, got {len(bad)} that are not, the first of them "
        f"{tensor[first].item()} at index {first}"
    )


def positive_norm(operator: LinearOperator) -> float:
    """Return the operator's norm, which step sizes divide by."""
    norm = operator.norm()
    if not norm > 0:
        raise TomolearnError(f"operator: expected one that is not zero, got norm {norm}")
    return norm


def prepare(
    sinogram: Any, operator: Any, x0: Any
) -> tuple[torch.Tensor, torch.Tensor, tuple[int, ...]]:
    """Return what an iterative method starts from.

    It is the sinogram (batch, *operator.range_shape), detached; a fresh image (batch,
    *operator.domain_shape), zero or `x0`; and the batch dimensions as they were.
    """
    check_linear_operator("operator", operator)
    sinogram = check_sinogram(sinogram, operator).detach()
    domain = operator.domain_shape
    leading = tuple(sinogram.shape[: sinogram.ndim - len(operator.range_shape)])
    image = sinogram.new_zeros((*leading, *domain))
    if x0 is not None:
        check_real_tensor("x0", x0)
        if tuple(x0.shape) not in (domain, (*leading, *domain)):
            expected = " or ".join(map(str, dict.fromkeys((domain, (*leading, *domain)))))
            raise TomolearnError(f"x0: expected shape {expected}, got {tuple(x0.shape)}")
        if x0.device != sinogram.device:
            raise TomolearnError(f"x0: expected it on {sinogram.device}, got {x0.device}")
        check_finite("x0", x0)
        image.copy_(x0.detach())
    flat = sinogram.reshape(-1, *operator.range_shape).contiguous()
    return flat, image.reshape(-1, *domain), leading
