"""The identity, with which iterative methods denoise images."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from tomolearn._core.checks import check_int
from tomolearn._core.errors import TomolearnError, TomolearnTypeError
from tomolearn.operators.base import LinearOperator


class Identity(LinearOperator):
    """The map of every image to itself.

    ``total_variation(image, Identity(image.shape[-2:]), weight=w)`` is the denoising model of
    Rudin, Osher and Fatemi.

    Parameters
    ----------
    shape : sequence of int
        Shape of one image, of one or more axes.

    Raises
    ------
    TypeError, ValueError
        If `shape` is no sequence of positive integers.
    """

    def __init__(self, shape: Sequence[int]) -> None:
        if isinstance(shape, str) or not isinstance(shape, Sequence):
            raise TomolearnTypeError(f"shape: expected a sequence of integers, got {shape!r}")
        if not shape:
            raise TomolearnError("shape: expected at least one axis, got ()")
        counts = tuple(check_int(f"shape[{k}]", n, minimum=1) for k, n in enumerate(shape))
        super().__init__(counts, counts)

    def _evaluate(self, x: torch.Tensor) -> torch.Tensor:
        return x.clone()

    def _evaluate_adjoint(self, y: torch.Tensor) -> torch.Tensor:
        return y.clone()

    def norm(self, *, tolerance: float = 1e-6, max_iterations: int = 1000) -> float:
        """Return one; the parameters are those of every operator and change nothing here."""
        return 1.0

    def extra_repr(self) -> str:
        """Return the shape, for ``repr``."""
        return f"{self.domain_shape}"
