"""The base of all objectives."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any, ClassVar

import numpy as np
import torch

from tomolearn.models import ReconstructionModel
from tomolearn.operators import LinearOperator
from tomolearn.priors import Denoiser, Regulariser

Batch = tuple[torch.Tensor, ...]
"""Sinograms (batch, 1, *scan.shape) and images (batch, 1, *grid.shape); for an objective that needs
them, also labels (batch, 1, *grid.shape), 0 or 1."""

Network = ReconstructionModel | Denoiser | Regulariser


class Objective:
    """What a training makes small, and what its validation looks at.

    A subclass is a frozen dataclass, whose fields are the objective's settings. It has to say what
    images a network makes of a batch; unless it defines a `loss` of its own, that is their mean
    squared error. One that makes no images defines a `loss` only.
    """

    makes_images: ClassVar[bool] = True
    """Whether `estimate` returns images; validations are judged by the loss where it does not."""

    needs_labels: ClassVar[bool] = False
    """Whether batches have labels of the images' pixels; the task has to know them."""

    uses_all_weights: ClassVar[bool] = True
    """Whether each weight gets a gradient; several processes would wait for the others."""

    has_stages: ClassVar[bool] = False
    """Whether parts of the network are trained one after the other, so that only the weights at the
    end of a run are of use."""

    def progress_in_stage(self, network: Network, progress: float) -> float:
        """Return which part of the present stage is over, when a part of the run is."""
        return progress

    def stage(self, network: Network, progress: float) -> AbstractContextManager[None]:
        """Return a context in which the network is as it is trained at this part of the run."""
        return nullcontext()

    def check(self, network: Network) -> None:
        """Raise a ValueError if a network cannot be trained for this."""

    def trained_on(self) -> dict[str, Any]:
        """Return what the card says of scans and noise, where they are others than the task's.

        "views", the fewest and the most of them, and "noise", a number of which may be a range.
        """
        return {}

    def estimate(
        self, network: Network, batch: Batch, operator: LinearOperator, rng: np.random.Generator
    ) -> torch.Tensor:
        """Return images (batch, 1, *grid.shape) that should be those of the batch.

        Parameters
        ----------
        network : ReconstructionModel, Denoiser or Regulariser
            What is trained.
        batch : (torch.Tensor, torch.Tensor)
            Sinograms and images, on the network's device.
        operator : LinearOperator
            The task's.
        rng : numpy.random.Generator
            For what is random; the same for this batch in a run that was interrupted.
        """
        raise NotImplementedError(f"{type(self).__name__} makes no images")

    def loss(
        self, network: Network, batch: Batch, operator: LinearOperator, rng: np.random.Generator
    ) -> torch.Tensor:
        """Return the number that a step makes smaller; arguments as for `estimate`."""
        return (self.estimate(network, batch, operator, rng) - batch[1]).square().mean()
