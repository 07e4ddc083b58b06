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
from tomolearn.models import ReconstructionModel
from tomolearn.operators import LinearOperator, RayTransform
from tomolearn.simulation import Acquisition, GaussianNoise, Noise, PhotonNoise
from tomolearn.training.objectives.likelihood import Likelihood
from tomolearn.training.objectives.objective import Batch, Network
from tomolearn.training.objectives.supervised import Supervised

_DEFAULT_NOISE = (0.025, 0.1)


@dataclass(frozen=True)
class RandomAcquisition(Supervised):
    """Error of reconstructions from measurements that are drawn anew, by another scan each time.

    Each batch's images are projected with a random number of views, all else being as in the
    task's scan, and get noise of a random level, white and Gaussian or that of counted photons; the
    task's own sinograms are not used. The loss is the logarithm of the mean squared error, which is
    minus the PSNR up to constants: otherwise scans with few views, whose errors are largest, would
    outweigh all others. Of a heteroscedastic network it is that of `Likelihood` with ``beta=1``,
    from which the image learns as from squared errors, divided by the size of the errors.

    Parameters
    ----------
    views : sequence of int
        Numbers of views, all equally likely; one that is listed twice is drawn twice as often.
    noise : (float, float), optional
        Smallest and largest standard deviation of Gaussian noise, in multiples of a sinogram's mean
        absolute value; each batch's is drawn uniformly from their logarithms. Default: 0.025 and
        0.1, without `photons`.
    photons : (float, float), optional
        Smallest and largest number of photons that a detector element receives without an object,
        drawn likewise, instead of Gaussian noise; see `PhotonNoise`.
    attenuation : float
        With photons: what one unit of the images stands for, in 1/mm.

    Raises
    ------
    TypeError, ValueError
        If there is no number of views, one is not positive, noise levels or numbers of photons are
        not two positive numbers in this order, both are given, or an attenuation without photons.
    """

    views: Sequence[int] = (10, 12, 15, 20, 24, 30, 36, 45, 60, 75, 90, 120, 150, 180)
    noise: tuple[float, float] | None = None
    photons: tuple[float, float] | None = None
    attenuation: float = 1.0

    def __post_init__(self) -> None:
        if isinstance(self.views, (str, bytes)) or not isinstance(self.views, Sequence):
            raise TomolearnTypeError(f"views: expected integers, got {self.views!r}")
        views = tuple(check_int("views", one, minimum=1) for one in self.views)
        if not views:
            raise TomolearnError("views: expected at least one number of views, got none")
        object.__setattr__(self, "views", views)
        if self.photons is None:
            noise = _DEFAULT_NOISE if self.noise is None else self.noise
            object.__setattr__(self, "noise", _levels("noise", noise))
            if self.attenuation != 1:
                raise TomolearnError(
                    f"attenuation: expected with photons only, got {self.attenuation}"
                )
            return
        if self.noise is not None:
            raise TomolearnError(
                f"noise, photons: expected one of them, got {self.noise} and {self.photons}"
            )
        object.__setattr__(self, "photons", _levels("photons", self.photons))
        for photons in self.photons:
            PhotonNoise(photons, attenuation=self.attenuation)

    def check(self, network: Network) -> None:
        """Check that the network reconstructs, with a head for standard deviations or without."""
        if not isinstance(network, ReconstructionModel):
            super().check(network)

    def trained_on(self) -> dict[str, Any]:
        """Return the fewest and the most views, and the noise levels, for the card."""
        if self.photons is None:
            noise: dict[str, Any] = {"type": GaussianNoise.__name__, "relative": self.noise}
        else:
            noise = self._noise(self.photons[0]).to_dict() | {"photons": self.photons}
        listed = {name: list(x) if isinstance(x, tuple) else x for name, x in noise.items()}
        return {"views": [min(self.views), max(self.views)], "noise": listed}

    def _noise(self, level: float) -> Noise:
        if self.photons is None:
            return GaussianNoise(relative=level)
        return PhotonNoise(level, attenuation=self.attenuation)

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
        levels = np.log(self.photons or self.noise or ())
        level = float(np.exp(rng.uniform(*levels)))
        drawn = _operator(operator.grid, with_views(operator.scan, views))
        acquisition = Acquisition(drawn.scan, self._noise(level))
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
        """Return the logarithm of the mean squared error, or the likelihood's."""
        if isinstance(network, ReconstructionModel) and network.heteroscedastic:
            sinogram, drawn = self.measure(batch[1], operator, rng)
            return _normalised_likelihood(*network.moments(sinogram, drawn), batch[1])
        return super().loss(network, batch, operator, rng).log()


def _normalised_likelihood(
    image: torch.Tensor, deviation: torch.Tensor, truth: torch.Tensor
) -> torch.Tensor:
    # bounded gradients, whether errors are much larger than expected or much smaller
    size = (deviation.square() + (image - truth).square()).mean().detach()
    return Likelihood(beta=1.0).mean_terms(image, deviation, truth) / size


def _levels(name: str, values: Any) -> tuple[float, float]:
    low, high = check_floats(name, values, length=2)
    if not 0 < low <= high:
        raise TomolearnError(
            f"{name}: expected the smallest and the largest level, both positive, got "
            f"{low} and {high}"
        )
    return low, high


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
