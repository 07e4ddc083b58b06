"""Noise2Inverse: learning from noisy sinograms alone, by views that are left out."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch

from tomolearn._core.checks import check_int
from tomolearn._core.errors import TomolearnError
from tomolearn.methods.analytic.filtered_backprojection import filtered_backprojection
from tomolearn.methods.checks import check_ray_transform
from tomolearn.operators import LinearOperator, RayTransform
from tomolearn.training.objectives.objective import Batch, Network
from tomolearn.training.objectives.supervised import Supervised


@dataclass(frozen=True)
class Noise2Inverse(Supervised):
    """Mean squared error between an image of some views and the filtered back-projection of others.

    The views are dealt out to `parts` parts in turn. The network reconstructs from all parts but
    one, which is drawn anew at each step, and is compared with the filtered back-projection of that
    one [1]_, the strategy X:1. The noise of one part tells nothing of another's, so that the
    network learns their mean: no true image is used, and measured sinograms will do. A part has to
    have views enough for a filtered back-projection of its own, since its streaks are learned.

    Parameters
    ----------
    parts : int
        Number of parts, two or more.

    Raises
    ------
    TypeError, ValueError
        If `parts` is less than two; later, if the scan has fewer views or no filtered
        back-projection.

    References
    ----------
    .. [1] A. A. Hendriksen, D. M. Pelt, K. J. Batenburg, "Noise2Inverse: self-supervised deep
       convolutional denoising for tomography", IEEE Trans. Comput. Imaging 6 (2020),
       arXiv:2001.11801, doi 10.1109/TCI.2020.3019647
    """

    parts: int = 4

    def __post_init__(self) -> None:
        check_int("parts", self.parts, minimum=2)

    def loss(
        self, network: Network, batch: Batch, operator: LinearOperator, rng: np.random.Generator
    ) -> torch.Tensor:
        """Return the error of one part; the images of the batch are not looked at."""
        rays, left = check_ray_transform(operator), int(rng.integers(self.parts))
        kept, out = split_views(rays, self.parts, left)
        views = torch.arange(rays.scan.n_angles, device=batch[0].device) % self.parts == left
        with torch.no_grad():
            target = filtered_backprojection(batch[0][..., views, :], out, "ram-lak", 1.0, 1)
        found: torch.Tensor = network(batch[0][..., ~views, :], kept)
        return (found - target).square().mean()


@lru_cache(maxsize=64)
def split_views(operator: RayTransform, parts: int, left: int) -> tuple[RayTransform, RayTransform]:
    """Return the ray transforms of all views but every `parts`-th, and of those, from `left` on.

    Raises
    ------
    ValueError
        If the scan is none of the plane, or has fewer views than parts.
    """
    scan = operator.scan
    if scan.ndim != 2 or scan.n_angles < parts:
        raise TomolearnError(
            f"operator: expected a scan of the plane with {parts} views or more, one for each "
            f"part, got {scan}"
        )
    views = np.arange(scan.n_angles) % parts == left
    kept, out = (
        RayTransform.derived(
            operator.grid, scan.subset(which), operator.backend, operator.rays_per_bin
        )
        for which in (~views, views)
    )
    return kept, out
