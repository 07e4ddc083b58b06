"""The base of algorithms that solve a variational problem."""

from __future__ import annotations

import abc
from collections.abc import Iterator

import torch

from tomolearn.methods.stopping import Iterate
from tomolearn.methods.variational.problem import Problem


class Algorithm(abc.ABC):
    """An algorithm, which says what it lacks for a problem, and iterates on a batch.

    Each image of a batch has its own step lengths; none depends on another.
    """

    @abc.abstractmethod
    def obstacle(self, problem: Problem) -> str | None:
        """Return why it cannot solve a problem, as the beginning of an error, or None."""

    def is_preferred(self, problem: Problem) -> bool:
        """Return whether ``"auto"`` may choose it, where there is no obstacle."""
        return True

    @abc.abstractmethod
    def iterates(self, problem: Problem, image: torch.Tensor) -> Iterator[Iterate]:
        """Yield the iterates from an image on, without end."""
