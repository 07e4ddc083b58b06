"""Joint training of reconstruction and segmentation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from tomolearn._core.checks import check_flag, check_float
from tomolearn._core.errors import TomolearnError
from tomolearn.models import TaskAdapted
from tomolearn.operators import LinearOperator
from tomolearn.training.objectives.objective import Batch, Network
from tomolearn.training.objectives.supervised import Supervised


@dataclass(frozen=True)
class JointSegmentation(Supervised):
    """Errors of reconstruction and of segmentation, weighted: (1 - C) l_image + C l_labels.

    l_image is the mean squared error of a batch's reconstructions divided by the mean square of its
    images, l_labels the mean cross-entropy of its pixels. See Adler et al., arXiv:1809.00948.

    Parameters
    ----------
    task_weight : float
        C, from 0 (reconstruction alone) to 1 (segmentation alone).
    freeze_reconstruction : bool
        Whether the weights of the network that reconstructs are left alone: the second step of
        training one after the other, which wants `task_weight` = 1.

    Raises
    ------
    TypeError, ValueError
        If `task_weight` is not from 0 to 1, or not 1 although the reconstruction is frozen.
    """

    needs_labels: ClassVar[bool] = True
    uses_all_weights: ClassVar[bool] = False  # not at either end, or where one network is frozen

    task_weight: float = 0.5
    freeze_reconstruction: bool = False

    def __post_init__(self) -> None:
        if check_float("task_weight", self.task_weight, nonnegative=True) > 1:
            raise TomolearnError(
                f"task_weight: expected a number from 0 to 1, got {self.task_weight}"
            )
        if check_flag("freeze_reconstruction", self.freeze_reconstruction) and self.task_weight < 1:
            raise TomolearnError(
                "task_weight: expected 1, since the reconstruction is frozen, got "
                f"{self.task_weight}"
            )

    def check(self, network: Network) -> None:
        """Check that the network segments."""
        _segmenting(network)

    def loss(
        self, network: Network, batch: Batch, operator: LinearOperator, rng: np.random.Generator
    ) -> torch.Tensor:
        """Return the weighted sum; arguments as for `Objective.estimate`."""
        sinogram, image, labels = batch
        model, weight = _segmenting(network), self.task_weight
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.freeze_reconstruction):
            found: torch.Tensor = model(sinogram, operator)
        loss = found.new_zeros(())
        if weight < 1:
            error = (found - image).square().mean() / image.square().mean()
            loss = loss + (1 - weight) * error
        if weight > 0:
            logits = model.logits(found).to(labels.dtype)
            loss = loss + weight * binary_cross_entropy_with_logits(logits, labels)
        return loss


def _segmenting(network: Network) -> TaskAdapted:
    if not isinstance(network, TaskAdapted):
        raise TomolearnError(
            f"model: expected task-adapted, which segments, got {type(network).__name__}"
        )
    return network
