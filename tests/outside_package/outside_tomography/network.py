"""Back-projection with a learned factor."""

from __future__ import annotations

import torch

from tomolearn.models import ReconstructionModel


class LearnedBackprojection(ReconstructionModel):
    """Back-projection, times a learned number.

    Parameters
    ----------
    start : float
        The number before training.
    """

    def __init__(self, *, start: float = 1.0) -> None:
        super().__init__({"start": start})
        self.factor = torch.nn.Parameter(torch.tensor(float(start)))

    def reconstruct(self, sinogram, operator):
        """Return the images."""
        return self.factor * operator.adjoint(sinogram) / operator.norm() ** 2
