"""The mean absolute error."""

from __future__ import annotations

from dataclasses import dataclass

from tomolearn.training.objectives import Objective


@dataclass(frozen=True)
class AbsoluteError(Objective):
    """Mean absolute error of reconstructions."""

    def estimate(self, network, batch, operator, rng):
        """Return the network's reconstructions."""
        return network(batch[0], operator)

    def loss(self, network, batch, operator, rng):
        """Return the mean absolute error."""
        return (self.estimate(network, batch, operator, rng) - batch[1]).abs().mean()
