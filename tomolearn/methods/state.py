"""What an iterative method tells while it runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class IterationState:
    """Where an iterative method stands, as its callback gets it.

    Attributes
    ----------
    iteration : int
        Number of iterations done.
    image : torch.Tensor, shape (..., *operator.domain_shape)
        The image after them, a copy.
    residual : torch.Tensor, shape (...)
        ``||A x - y||`` of each image.
    change : torch.Tensor, shape (...), or None
        ``||x - previous x|| / ||x||`` of each image.
    objective, gap : torch.Tensor, shape (...), or None
        What the method minimises, and a bound of how far it is above the minimum, of each image;
        None where a method has none.
    """

    iteration: int
    image: torch.Tensor
    residual: torch.Tensor
    change: torch.Tensor | None = None
    objective: torch.Tensor | None = None
    gap: torch.Tensor | None = None
