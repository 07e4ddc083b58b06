"""Checks of tensors and devices, and their clock. Apart from the others, which do without torch."""

from __future__ import annotations

import time
from typing import Any

import torch
from torch.autograd import forward_ad

from tomolearn._core.errors import TomolearnError, TomolearnTypeError


def check_device(name: str, device: Any) -> torch.device:
    """Return `device` as a torch device of this machine."""
    if not isinstance(device, (str, torch.device)):
        raise TomolearnTypeError(
            f"{name}: expected a str or torch.device, got {type(device).__name__}"
        )
    try:
        place = torch.device(device)
    except RuntimeError as error:
        raise TomolearnError(
            f"{name}: expected cpu, cuda or cuda:<number>, got {device!r}"
        ) from error
    if place.type == "cuda" and (place.index or 0) >= torch.cuda.device_count():
        raise TomolearnError(
            f"{name}: expected one that torch sees, {torch.cuda.device_count()} of CUDA, "
            f"got {str(place)!r}"
        )
    return place


def check_real_tensor(name: str, tensor: Any) -> torch.Tensor:
    """Return `tensor` if it is a real floating-point torch tensor."""
    if not isinstance(tensor, torch.Tensor):
        raise TomolearnTypeError(f"{name}: expected a torch.Tensor, got {type(tensor).__name__}")
    if not tensor.is_floating_point():
        raise TomolearnTypeError(
            f"{name}: expected a real floating-point tensor, got {tensor.dtype}"
        )
    return tensor


def check_trailing_shape(name: str, tensor: torch.Tensor, shape: tuple[int, ...]) -> None:
    """Check that the last dimensions of `tensor` are `shape`."""
    if tuple(tensor.shape[max(0, tensor.ndim - len(shape)) :]) != tuple(shape):
        wanted = ", ".join(str(n) for n in shape)
        raise TomolearnError(f"{name}: expected shape (..., {wanted}), got {tuple(tensor.shape)}")


def is_followed(x: torch.Tensor) -> bool:
    """Return whether torch differentiates or vectorises what is computed from `x`."""
    return (torch.is_grad_enabled() and x.requires_grad) or is_transformed(x)


def is_transformed(x: torch.Tensor) -> bool:
    """Return whether `x` is followed otherwise than backwards: forwards, or by `torch.func`."""
    return bool(
        torch._C._are_functorch_transforms_active() or forward_ad.unpack_dual(x).tangent is not None
    )


def now(device: torch.device) -> float:
    """Return the time in seconds, when all is computed that was begun on the device."""
    if device.type == "cuda":  # kernels run after their call has returned
        torch.cuda.synchronize(device)
    return time.perf_counter()
