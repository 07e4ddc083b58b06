"""Supervised learning on arcs of several lengths."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch

from tomolearn._core.checks import check_floats
from tomolearn._core.errors import TomolearnError
from tomolearn.geometry.rotation import LineDetector
from tomolearn.methods.checks import check_ray_transform
from tomolearn.operators import LinearOperator, RayTransform
from tomolearn.training.objectives.objective import Batch, Network
from tomolearn.training.objectives.supervised import Supervised


@dataclass(frozen=True)
class RandomArc(Supervised):
    """Mean squared error of reconstructions from part of the views, another part at each step.

    Of each batch the views of an arc about the middle of the task's are taken, so that one network
    learns arcs of all these lengths.

    Parameters
    ----------
    arcs : sequence of float
        Lengths in degrees, one of which is drawn at each step; what is listed twice is drawn twice
        as often. Arcs that are longer than the task's are all of it.

    Raises
    ------
    TypeError, ValueError
        If they are not positive numbers.
    """

    arcs: tuple[float, ...] = (30.0, 60.0, 90.0)

    def __post_init__(self) -> None:
        arcs = check_floats("arcs", self.arcs)
        if min(arcs) <= 0:
            raise TomolearnError(f"arcs: expected positive numbers in degrees, got {min(arcs)}")
        object.__setattr__(self, "arcs", arcs)

    def estimate(
        self, network: Network, batch: Batch, operator: LinearOperator, rng: np.random.Generator
    ) -> torch.Tensor:
        """Return the network's reconstructions from part of the views."""
        part, views = arc_of(check_ray_transform(operator), self.arcs[rng.integers(len(self.arcs))])
        found: torch.Tensor = network(batch[0][..., views, :], part)
        return found


@lru_cache(maxsize=16)
def arc_of(operator: RayTransform, degrees: float) -> tuple[RayTransform, slice]:
    """Return the ray transform of the views about the middle of a scan, and which they are.

    Raises
    ------
    ValueError
        If the scan is not a parallel or fan beam, or too few views are left.
    """
    scan = operator.scan
    if not isinstance(scan, LineDetector):
        raise TomolearnError(
            f"operator: expected one of a ParallelBeam or FanBeam, got {type(scan).__name__}"
        )
    angles = scan.view_angles
    from_middle = np.abs(angles - (angles.min() + angles.max()) / 2)
    inside = np.flatnonzero(from_middle <= math.radians(degrees) / 2 + 1e-9)
    if not len(inside):
        raise TomolearnError(f"arcs: expected some views in {degrees:g} degrees, got none")
    views = slice(int(inside[0]), int(inside[-1]) + 1)
    part = RayTransform.derived(operator.grid, scan.subset(views), operator.backend)
    return part, views
