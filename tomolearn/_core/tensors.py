"""Checks of tensors and devices, their clock and their sums, which need torch unlike the others."""

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
    if tensor.layout != torch.strided:
        raise TomolearnTypeError(
            f"{name}: expected a dense tensor, got {tensor.layout}; to_dense() makes it one"
        )
    return tensor


def check_has_values(name: str, tensor: torch.Tensor) -> None:
    """Check that `tensor` is not one of shape alone."""
    if tensor.is_meta:
        raise TomolearnTypeError(f"{name}: expected a tensor with values, got one on device meta")


def check_trailing_shape(name: str, tensor: torch.Tensor, shape: tuple[int, ...]) -> None:
    """Check that the last dimensions of `tensor` are `shape`."""
    if tuple(tensor.shape[max(0, tensor.ndim - len(shape)) :]) != tuple(shape):
        wanted = ", ".join(str(n) for n in shape)
        raise TomolearnError(f"{name}: expected shape (..., {wanted}), got {tuple(tensor.shape)}")


def plain(x: torch.Tensor) -> torch.Tensor:
    """Return the values of `x` without the wrappers that the transforms of `torch.func` put round.

    Of a vectorised tensor, that is all of its entries.
    """
    while torch._C._functorch.is_functorch_wrapped_tensor(x):
        x = torch._C._functorch.get_unwrapped(x)
    return x.detach()


def is_vectorised(x: torch.Tensor) -> bool:
    """Return whether `torch.vmap` is at work on `x`: no branch on its values is possible."""
    while torch._C._functorch.is_functorch_wrapped_tensor(x):
        if torch._C._functorch.is_batchedtensor(x):
            return True
        x = torch._C._functorch.get_unwrapped(x)
    return False


def channels_last(x: torch.Tensor) -> torch.Tensor:
    """Return `x` (batch, channels, rows, columns) in the layout that convolutions are fastest in.

    It is the fastest only: where `torch.func` vectorises, tensors have no layout.
    """
    if torch._C._are_functorch_transforms_active():
        return x
    return x.contiguous(memory_format=torch.channels_last)


def is_followed(x: torch.Tensor) -> bool:
    """Return whether torch differentiates or vectorises what is computed from `x`."""
    return (torch.is_grad_enabled() and x.requires_grad) or is_transformed(x)


def is_transformed(x: torch.Tensor) -> bool:
    """Return whether `x` is followed otherwise than backwards: forwards, or by `torch.func`."""
    return bool(
        torch._C._are_functorch_transforms_active() or forward_ad.unpack_dual(x).tangent is not None
    )


# Float32 numbers that are added up in float32: beyond, what is added is small beside the sum.
_ROW = 2**12


def inner(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Return the inner product of each entry of a batch, in float64.

    Rows are multiplied in the tensors' precision and added in float64: the sum over a volume of
    1.5e8 voxels, added up in float32, would lose some per cent, and a copy in float64 takes time.

    Parameters
    ----------
    a, b : torch.Tensor, shape (batch, ...)

    Returns
    -------
    torch.Tensor of float64, shape (batch,)
    """
    if a.shape[-1] > _ROW:
        (a, a_rest), (b, b_rest) = _cut(a), _cut(b)
        return inner(a, b) + inner(a_rest, b_rest)
    rows = torch.linalg.vecdot(a, b, dim=-1).unsqueeze(-1)
    return rows.flatten(1).sum(1, dtype=torch.float64)


def norm(x: torch.Tensor) -> torch.Tensor:
    """Return the Euclidean norm of each entry of a batch, in float64; see `inner`.

    Parameters
    ----------
    x : torch.Tensor, shape (batch, ...)

    Returns
    -------
    torch.Tensor of float64, shape (batch,)
    """
    if x.shape[-1] > _ROW:
        x, rest = _cut(x)
        return torch.hypot(norm(x), norm(rest))
    if x.dtype in (torch.float16, torch.bfloat16):
        x = x.float()
    rows = torch.linalg.vector_norm(x, dim=-1).double().unsqueeze(-1)
    return torch.linalg.vector_norm(rows.flatten(1), dim=1)


def _cut(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the last axis cut into rows, and what remains of it."""
    whole = x.shape[-1] // _ROW * _ROW
    return x[..., :whole].unflatten(-1, (-1, _ROW)), x[..., whole:]


def now(device: torch.device) -> float:
    """Return the time in seconds, when all is computed that was begun on the device."""
    if device.type == "cuda":  # kernels run after their call has returned
        torch.cuda.synchronize(device)
    return time.perf_counter()
