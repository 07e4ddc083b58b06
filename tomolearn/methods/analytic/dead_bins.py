"""Interpolation of values that a detector did not measure."""

from __future__ import annotations

from typing import Any

import torch

from tomolearn._core.errors import TomolearnError, TomolearnTypeError
from tomolearn._core.telling import warn_user
from tomolearn._core.tensors import check_has_values, check_real_tensor, check_trailing_shape
from tomolearn.geometry import CoverageWarning
from tomolearn.methods.checks import check_shape
from tomolearn.operators import LinearOperator

# So many bins side by side are bridged without a word.
_NARROW = 4


def interpolate_dead_bins(
    sinogram: Any, mask: Any, operator: LinearOperator, *, warns: bool = True
) -> torch.Tensor:
    """Return a sinogram whose values are interpolated along its last axis where none was measured.

    At the detector's ends the nearest value is continued. It is differentiable in the sinogram.

    Parameters
    ----------
    sinogram : torch.Tensor, shape (..., *operator.range_shape)
        Anything may stand in bins that were not measured.
    mask : torch.Tensor of bool, shape (*operator.range_shape) or that of the sinogram
        Which bins were measured.
    operator : LinearOperator
        The scanner.
    warns : bool
        Whether to warn (`CoverageWarning`) if more than four neighbours are interpolated.

    Raises
    ------
    TypeError, ValueError
        If the mask is not of this kind or shape, or a row has no measured bin.
    """
    check_has_values("sinogram", check_real_tensor("sinogram", sinogram))
    check_trailing_shape("sinogram", sinogram, operator.range_shape)
    if not isinstance(mask, torch.Tensor) or mask.dtype != torch.bool:
        kind = mask.dtype if isinstance(mask, torch.Tensor) else type(mask).__name__
        raise TomolearnTypeError(
            f"mask: expected a torch.Tensor of bool, True where a value was measured, got {kind}"
        )
    check_shape("mask", mask, [operator.range_shape, tuple(sinogram.shape)])
    mask = mask.to(sinogram.device)
    # a branch on values cannot be compiled
    if not torch.compiler.is_compiling():
        _check_rows(mask)
    position = torch.arange(mask.shape[-1], device=mask.device).expand(mask.shape)
    before = position.where(mask, -1).cummax(-1).values
    behind = position.where(mask, mask.shape[-1]).flip(-1).cummin(-1).values.flip(-1)
    if warns and not torch.compiler.is_compiling():
        _warn_of_wide_gaps(mask, int((behind - before).max()) - 1)
    left, right = before.clamp(min=0), behind.clamp(max=mask.shape[-1] - 1)
    left, right = left.where(before >= 0, right), right.where(behind < mask.shape[-1], left)
    share = ((position - left) / (right - left).clamp(min=1)).to(sinogram)
    known = torch.where(mask, sinogram, 0)
    left, right = left.expand(known.shape), right.expand(known.shape)
    return torch.lerp(known.gather(-1, left), known.gather(-1, right), share)


def _check_rows(mask: torch.Tensor) -> None:
    """Check that each row has a measured bin."""
    empty = ~mask.any(-1)
    if bool(empty.any()):
        where = ", ".join(map(str, empty.nonzero()[0].tolist()))
        raise TomolearnError(
            f"mask: expected a measured bin in each row, got none in that of index ({where}); "
            "scan.subset leaves views out, weights= of iterative methods anything"
        )


def _warn_of_wide_gaps(mask: torch.Tensor, widest: int) -> None:
    if widest > _NARROW:
        warn_user(
            f"mask: {int((~mask).sum())} of {mask.numel()} values are interpolated between their "
            f"neighbours, up to {widest} side by side; iterative methods leave them out by "
            "weights=",
            CoverageWarning,
        )
