"""Supervised learning over scans of many numbers of views and noise levels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch

from tomolearn._core.checks import check_floats, check_int
from tomolearn._core.errors import TomolearnError, TomolearnTypeError
from tomolearn.geometry import Grid, Scan
from tomolearn.operators import LinearOperator, RayTransform
from tomolearn.simulation import Acquisition, GaussianNoise
from tomolearn.training.objectives.objective import Batch, Network
from tomolearn.training.objectives.supervised import Supervised


@dataclass(frozen=True)
class RandomAcquisition(Supervised):
    """Error of reconstructions from measurements that are drawn anew, by another scan each time.

    Each batch's images are projected with a random number of views, all else being as in the
    task's scan, and get white Gaussian noise of a random level; the task's own sinograms are not
    used. The loss is the logarithm of the mean squared error, which is minus the PSNR up to
    constants: otherwise scans with few views, whose errors are largest, would outweigh all others.

    Parameters
    ----------
    views : sequence of int
        Numbers of views, all equally likely; one that is listed twice is drawn twice as often.
    noise : (float, float)
        Smallest and largest standard deviation, in multiples of a sinogram's mean absolute value;
        each batch's is drawn uniformly from their logarithms.

    Raises
    ------
    TypeError, ValueError
        If there is no number of views, one is not positive, or the noise levels are not two
        positive numbers in this order.
    """

    views: Sequence[int] = (10, 12, 15, 20, 24, 30, 36, 45, 60, 75, 90, 120, 150, 180)
    noise: tuple[float, float] = (0.025, 0.1)

    def __post_init__(self) -> None:
        if isinstance(self.views, (str, bytes)) or not isinstance(self.views, Sequence):
            raise TomolearnTypeError(f"views: expected integers, got {self.views!r}")
        views = tuple(check_int("views", one, minimum=1) for one in self.views)
        if not views:
            raise TomolearnError("views: expected at least one number of views, got none")
        low, high = check_floats("noise", self.noise, length=2)
        if not 0 < low <= high:
            raise TomolearnError(
                "noise: expected the smallest and the largest level, both positive, got "
                f"{low} and {high}"
            )
        object.__setattr__(self, "views", views)
        object.__setattr__(self, "noise", (low, high))

    def trained_on(self) -> dict[str, Any]:
        """Return the fewest and the most views, and the noise levels, for the card."""
        return {
            "views": [min(self.views), max(self.views)],
            "noise": {"type": GaussianNoise.__name__, "relative": list(self.noise)},
        }

    def measure(
        self, images: torch.Tensor, operator: LinearOperator, rng: np.random.Generator
    ) -> tuple[torch.Tensor, LinearOperator]:
        """Return sinograms of images (batch, 1, *grid.shape), and the operator they are of.

        Raises
        ------
        TypeError, ValueError
            If the operator is no `RayTransform`, or its scan has a list of angles.
        """
        if not isinstance(operator, RayTransform):
            raise TomolearnTypeError(
                f"operator: expected a RayTransform, got {type(operator).__name__}; "
                "random-acquisition needs a task with a scan"
            )
        views = int(rng.choice(self.views))
        level = float(np.exp(rng.uniform(*np.log(self.noise))))
        drawn = _operator(operator.grid, with_views(operator.scan, views))
        acquisition = Acquisition(drawn.scan, GaussianNoise(relative=level))
        return acquisition.measure(images, operator.grid, rng).to(images), drawn

    def estimate(
        self, network: Network, batch: Batch, operator: LinearOperator, rng: np.random.Generator
    ) -> torch.Tensor:
        """Return the network's reconstructions from new measurements of the batch's images."""
        found: torch.Tensor = network(*self.measure(batch[1], operator, rng))
        return found

    def loss(
        self, network: Network, batch: Batch, operator: LinearOperator, rng: np.random.Generator
    ) -> torch.Tensor:
        """Return the logarithm of the mean squared error."""
        return super().loss(network, batch, operator, rng).log()


def with_views(scan: Scan, views: int) -> Scan:
    """Return a scan with another number of views over the same range of angles.

    Raises
    ------
    ValueError
        If its angles are listed, or its views are given one by one.
    """
    values = scan.to_dict()
    if "n_angles" not in values or values.get("angles") is not None:
        raise TomolearnError(
            "scan: expected one of evenly spaced views, n_angles of them, got "
            f"{type(scan).__name__} with its angles one by one"
        )
    return type(scan).from_dict({**values, "n_angles": views})


# as many as `views` may list, so that the norm of each is found once
@lru_cache(maxsize=256)
def _operator(grid: Grid, scan: Scan) -> RayTransform:
    return RayTransform(grid, scan)
