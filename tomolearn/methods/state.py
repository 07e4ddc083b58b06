"""What an iterative method tells while it runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

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
        ``||A x - y||`` of each image, the squares times their weights if there are some.
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


class Merit(NamedTuple):
    """What does not rise if an iteration is sound: by it divergence is told.

    `now` returns it and `start` is what it was, each (batch,), in float64; `size` returns that of
    the numbers that it is a difference of and rounds with. What `falls`, a misfit or the root of
    an objective, is nowhere to be larger than it has been; of others, such as the change from one
    iterate to the next, only the start counts.
    """

    name: str
    now: Callable[[], torch.Tensor]
    start: torch.Tensor
    size: Callable[[], torch.Tensor]
    falls: bool = True
