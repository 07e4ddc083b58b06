"""Supervised learning."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from tomolearn._core.errors import TomolearnError
from tomolearn.models import ReconstructionModel
from tomolearn.operators import LinearOperator
from tomolearn.training.objectives.objective import Batch, Network, Objective


@dataclass(frozen=True)
class Supervised(Objective):
    """Mean squared error of reconstructions."""

    def check(self, network: Network) -> None:
        """Check that the network reconstructs."""
        if not isinstance(network, ReconstructionModel):
            raise TomolearnError(
                f"model: expected a network that reconstructs, got {type(network).__name__}; "
                "objective denoising trains denoisers, score and bilevel train regularisers"
            )
        if network.heteroscedastic:
            raise TomolearnError(
                "model: expected a network without a head for standard deviations, which this "
                f"objective leaves as they are, got {type(network).__name__} with one; objective "
                "likelihood trains both"
            )

    def estimate(
        self, network: Network, batch: Batch, operator: LinearOperator, rng: np.random.Generator
    ) -> torch.Tensor:
        """Return the network's reconstructions."""
        found: torch.Tensor = network(batch[0], operator)
        return found
