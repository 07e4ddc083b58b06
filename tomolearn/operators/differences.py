"""Finite differences of images, the gradient of total variation and of Tikhonov's penalty."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from tomolearn._core.checks import check_int
from tomolearn._core.errors import TomolearnError, TomolearnTypeError
from tomolearn.geometry.grid import check_spacing
from tomolearn.operators.base import LinearOperator


def check_image_shape(shape: Any) -> tuple[int, ...]:
    """Return a sequence of one or more positive integers as a tuple."""
    if isinstance(shape, str) or not isinstance(shape, Sequence):
        raise TomolearnTypeError(f"shape: expected a sequence of integers, got {shape!r}")
    if not shape:
        raise TomolearnError("shape: expected at least one axis, got ()")
    return tuple(check_int(f"shape[{k}]", n, minimum=1) for k, n in enumerate(shape))


class FiniteDifferences(LinearOperator):
    """Forward differences of an image along each of its axes.

    ``D(x)[k] = (x shifted by one along axis k - x) / spacing[k]``; the last difference along
    each axis is zero, which is Neumann's boundary condition. Maps images ``(..., *shape)`` to
    ``(..., ndim, *shape)``, in the image's unit per mm. It runs in torch on any device, and its
    adjoint, minus the divergence, is exact.

    Parameters
    ----------
    shape : sequence of int
        Shape of one image, of one or more axes.
    spacing : float or sequence of float, optional
        Distance in mm of neighbouring pixels, one number or one per axis. Default: 1.

    Examples
    --------
    >>> D = FiniteDifferences((2, 3))
    >>> D(torch.tensor([[0.0, 1.0, 3.0], [5.0, 5.0, 5.0]]))
    tensor([[[5., 4., 2.],
             [0., 0., 0.]],
    <BLANKLINE>
            [[1., 2., 0.],
             [0., 0., 0.]]])
    """

    def __init__(self, shape: Sequence[int], spacing: float | Sequence[float] = 1.0) -> None:
        counts = check_image_shape(shape)
        super().__init__(counts, (len(counts), *counts))
        self.spacing = check_spacing("spacing", spacing, len(counts))

    def _evaluate(self, x: torch.Tensor) -> torch.Tensor:
        out = x.new_zeros((x.shape[0], *self.range_shape))
        differences(x, out.movedim(1, 0))
        for k, step in enumerate(self.spacing):
            if step != 1.0:
                out[:, k].mul_(1.0 / step)
        return out

    def _evaluate_adjoint(self, y: torch.Tensor) -> torch.Tensor:
        out = y.new_zeros((y.shape[0], *self.domain_shape))
        return add_adjoint_differences(y.movedim(1, 0), out, self.spacing)

    def norm(self, *, tolerance: float = 1e-6, max_iterations: int = 1000) -> float:
        """Return the largest singular value, in closed form.

        Along one axis of ``n`` pixels the largest eigenvalue of the Neumann Laplacian is
        ``(2 - 2 cos(pi (n - 1) / n)) / spacing**2``; over the axes they add. The parameters are
        those of every operator and change nothing here.
        """
        squares = (
            (2.0 - 2.0 * math.cos(math.pi * (n - 1) / n)) / step**2
            for n, step in zip(self.domain_shape, self.spacing, strict=True)
        )
        return math.sqrt(sum(squares))

    def extra_repr(self) -> str:
        """Return shape and spacing, for ``repr``."""
        return f"{self.domain_shape}, spacing={self.spacing}"


def relative_scales(spacing: Sequence[float]) -> tuple[float, ...]:
    """Return what differences along each axis count, so that pixels' aspect has no influence.

    They are divided by the distance of the pixels in units of its geometric mean over the axes:
    by one where pixels are square.
    """
    if len(set(spacing)) == 1:
        return (1.0,) * len(spacing)
    mean = math.prod(spacing) ** (1 / len(spacing))
    return tuple(mean / step for step in spacing)


def differences(x: torch.Tensor, out: torch.Tensor) -> None:
    """Write the differences of neighbouring pixels to `out` (axes, batch, ...).

    The last difference along each axis is not written, it is to be zero from the start.
    """
    for axis, part in enumerate(out, start=1):
        count = x.shape[axis]
        upper, lower = x.narrow(axis, 1, count - 1), x.narrow(axis, 0, count - 1)
        torch.sub(upper, lower, out=part.narrow(axis, 0, count - 1))


def add_adjoint_differences(
    q: torch.Tensor, out: torch.Tensor, spacing: Sequence[float] | None = None
) -> torch.Tensor:
    """Add the transpose of `differences`, over the spacing, to `out` (batch, ...); return it."""
    for axis, part in enumerate(q, start=1):
        count, factor = out.shape[axis], 1.0 / spacing[axis - 1] if spacing else 1.0
        inner = part.narrow(axis, 0, count - 1)
        out.narrow(axis, 1, count - 1).add_(inner, alpha=factor)
        out.narrow(axis, 0, count - 1).sub_(inner, alpha=factor)
    return out
