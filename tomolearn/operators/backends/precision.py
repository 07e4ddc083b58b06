"""Refusal of the precisions that a backend would have to convert."""

from __future__ import annotations

import torch

from tomolearn._core.errors import TomolearnTypeError


def check_float32(name: str, tensor: torch.Tensor) -> None:
    """Check that `tensor` has the precision that ASTRA computes in."""
    if tensor.dtype != torch.float32:
        raise TomolearnTypeError(
            f"{name}: expected float32, as ASTRA computes in it, got {tensor.dtype}; convert it, "
            "or on a CPU use backend='joseph', which computes in float64 as well"
        )
