"""The identity, with which iterative methods denoise images."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from tomolearn.operators.base import LinearOperator
from tomolearn.operators.differences import check_image_shape


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
        counts = check_image_shape(shape)
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
