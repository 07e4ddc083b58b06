"""Measurement noise as values that a task can hold."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tomolearn._core.checks import check_float
from tomolearn._core.errors import TomolearnError

__all__ = ["GaussianNoise", "Noise", "PhotonNoise"]


class Noise(Protocol):
    """What turns a clean sinogram into a measured one."""

    def __call__(self, sinogram: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
        """Return a noisy copy of the sinogram (angles, detectors)."""

    def to_dict(self) -> dict[str, Any]:
        """Return kind and parameters, ready for JSON."""


@dataclass(frozen=True)
class GaussianNoise:
    """White Gaussian noise.

    Parameters
    ----------
    relative : float
        Standard deviation as a multiple of the mean absolute value of each sinogram.

    Raises
    ------
    TypeError, ValueError
        If `relative` is no number or negative.
    """

    relative: float

    def __post_init__(self) -> None:
        check_float("relative", self.relative, nonnegative=True)

    def __call__(self, sinogram: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
        """Return a noisy copy of the sinogram (angles, detectors)."""
        from data_sim import gaussian_noise

        return gaussian_noise(sinogram, rng, relative=self.relative)

    def to_dict(self) -> dict[str, Any]:
        """Return kind and parameters, ready for JSON."""
        return {"type": type(self).__name__, **asdict(self)}

    def __str__(self) -> str:
        return f"Gaussian, {100 * self.relative:g} % of the mean of each sinogram"


@dataclass(frozen=True)
class PhotonNoise:
    """Photons that are counted behind the object, turned back into line integrals.

    N ~ Poisson(photons exp(-attenuation sinogram)), of which
    -log(max(N / photons, floor)) / attenuation is returned.

    Parameters
    ----------
    photons : float
        Mean number that each detector element receives without an object.
    attenuation : float
        What one unit of the image stands for, in 1/mm.
    floor : float
        Smallest fraction of photons that the logarithm sees, below 1.

    Raises
    ------
    TypeError, ValueError
        If one is not a positive number, or `floor` not below 1.
    """

    photons: float
    attenuation: float
    floor: float = 1e-8

    def __post_init__(self) -> None:
        for name in ("photons", "attenuation", "floor"):
            check_float(name, getattr(self, name), positive=True)
        if self.floor >= 1:
            raise TomolearnError(f"floor: expected a fraction below 1, got {self.floor:g}")

    def __call__(self, sinogram: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
        """Return a noisy copy of the sinogram (angles, detectors)."""
        from data_sim import low_dose

        measured = low_dose(
            sinogram * self.attenuation,
            rng,
            photons=self.photons,
            floor=self.floor * self.photons,
        )
        return measured / self.attenuation

    def to_dict(self) -> dict[str, Any]:
        """Return kind and parameters, ready for JSON."""
        return {"type": type(self).__name__, **asdict(self)}

    def __str__(self) -> str:
        return f"{self.photons:,g} photons, {1000 * self.attenuation:g} / m per unit"
