"""Learning to tell images from naive reconstructions."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from tomolearn._core.checks import check_float, check_floats, check_int
from tomolearn._core.errors import TomolearnError
from tomolearn.methods import fbp
from tomolearn.operators import LinearOperator, RayTransform
from tomolearn.priors import Regulariser
from tomolearn.training.objectives.objective import Batch, Network, Objective
from tomolearn.training.objectives.score import regulariser


@dataclass(frozen=True)
class Adversarial(Objective):
    """Values of true images minus those of naive reconstructions, with gradients of at most one.

    The regulariser R becomes a critic, whose difference between the two distributions of images
    approximates their Wasserstein distance [1]_: it minimises the mean of ``R(truth) - R(naive)``
    plus ``penalty`` times the mean of ``max(0, |grad R| - 1)^2`` at a random image on the line
    between the two. The norm is the root mean square over the pixels, and the difference is taken
    per pixel and divided by this norm of the error of the naive ones, so that neither term depends
    on the size of the images or on their unit; -1 is the best possible difference. Different from
    [1]_, a truth is compared with its own reconstruction: the lines between them are where the
    regulariser will be used.

    Naive are filtered back-projections of the batch's sinograms with a Hann window; without a scan,
    the noisy images.

    Parameters
    ----------
    penalty : float
        Weight of the gradients' term.
    frequency_scaling : (float, float)
        Smallest and largest cut-off of the filters; each batch's is drawn uniformly in between, as
        the regulariser will meet images with more and with less noise.
    window : int, optional
        Side in pixels of the random windows that the regulariser is shown. Default: whole images.
    windows : int
        Number of windows of each image.

    Raises
    ------
    TypeError, ValueError
        If a number is not positive, or the cut-offs are not two numbers in (0, 1] in this order.

    References
    ----------
    .. [1] S. Lunz, O. Öktem, C.-B. Schönlieb, "Adversarial regularizers in inverse problems",
       NeurIPS 2018, arXiv:1805.11572
    """

    makes_images: ClassVar[bool] = False
    uses_all_weights: ClassVar[bool] = False  # biases of the last layer cancel

    penalty: float = 20.0
    frequency_scaling: tuple[float, float] = (1.0, 1.0)
    window: int | None = None
    windows: int = 1

    def __post_init__(self) -> None:
        check_float("penalty", self.penalty, positive=True)
        low, high = check_floats("frequency_scaling", self.frequency_scaling, length=2)
        if not 0 < low <= high <= 1:
            raise TomolearnError(
                f"frequency_scaling: expected two numbers in (0, 1], the smaller one first, got "
                f"{low} and {high}"
            )
        object.__setattr__(self, "frequency_scaling", (low, high))
        if self.window is not None:
            check_int("window", self.window, minimum=1)
        check_int("windows", self.windows, minimum=1)

    def check(self, network: Network) -> None:
        """Check that it is a regulariser."""
        regulariser(network)

    def loss(
        self, network: Network, batch: Batch, operator: LinearOperator, rng: np.random.Generator
    ) -> torch.Tensor:
        """Return the critic's loss; arguments as for `Objective.estimate`."""
        naive, truth = self._windows(self._naive(batch[0], operator, rng), batch[1], rng)
        share = torch.from_numpy(rng.uniform(size=(len(truth), 1, 1, 1))).to(truth)
        between = torch.lerp(truth, naive, share)
        critic = regulariser(network)
        slope = critic.gradient(between).flatten(1)
        excess = (slope.square().mean(1) + _TINY).sqrt() - 1
        return _distance(critic, naive, truth) + self.penalty * excess.clamp_min(0).square().mean()

    def _naive(
        self, sinogram: torch.Tensor, operator: LinearOperator, rng: np.random.Generator
    ) -> torch.Tensor:
        cutoff = float(rng.uniform(*self.frequency_scaling))
        if not isinstance(operator, RayTransform):
            return sinogram
        return fbp(sinogram, operator, filter="hann", frequency_scaling=cutoff)

    def _windows(
        self, naive: torch.Tensor, truth: torch.Tensor, rng: np.random.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Cut the same random windows out of both."""
        if self.window is None:
            return naive, truth
        rows, columns = (min(self.window, n) for n in truth.shape[-2:])
        cut: list[list[torch.Tensor]] = [[], []]
        for k in range(len(truth)):
            for _ in range(self.windows):
                i = int(rng.integers(truth.shape[-2] - rows + 1))
                j = int(rng.integers(truth.shape[-1] - columns + 1))
                for part, images in zip(cut, (naive, truth), strict=True):
                    part.append(images[k, :, i : i + rows, j : j + columns])
        return torch.stack(cut[0]), torch.stack(cut[1])


def _distance(critic: Regulariser, naive: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Return the difference of the mean values per pixel, in units of the error."""
    low, high = critic.value(torch.cat((truth, naive))).flatten().chunk(2)
    error = (naive - truth).square().mean().sqrt()
    return (low - high).mean() / (error * math.prod(truth.shape[-2:]))


# Keeps the norm differentiable where the gradient is zero.
_TINY = 1e-12
