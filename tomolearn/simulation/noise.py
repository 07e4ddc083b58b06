"""Measurement noise as values."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tomolearn._core.checks import check_float, check_floats
from tomolearn._core.errors import TomolearnError
from tomolearn._core.values import KindAndFields

# Poisson counts are drawn as 64-bit integers, and up to this many exactly as floats.
_MOST_PHOTONS = 1e15
# The count that stands for no photon, unless a fraction is given.
_FLOOR = 0.1


class Noise(Protocol):
    """What turns a clean sinogram into a measured one."""

    def __call__(self, sinogram: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
        """Return a noisy copy of one sinogram, of any dimension."""

    def to_dict(self) -> dict[str, Any]:
        """Return kind and parameters, ready for JSON."""


@dataclass(frozen=True)
class GaussianNoise(KindAndFields):
    """White Gaussian noise.

    Parameters
    ----------
    relative : float, optional
        Standard deviation as a multiple of the mean absolute value of the sinogram.
    std : float, optional
        Standard deviation in the sinogram's unit. Exactly one of the two is given.

    Raises
    ------
    TypeError, ValueError
        If a level is no number or negative, or not exactly one is given.
    """

    relative: float | None = None
    std: float | None = None

    def __post_init__(self) -> None:
        if (self.relative is None) == (self.std is None):
            raise TomolearnError(
                f"relative, std: expected exactly one of them, got {self.relative}, {self.std}"
            )
        for name in ("relative", "std"):
            if getattr(self, name) is not None:
                check_float(name, getattr(self, name), nonnegative=True)

    def __call__(self, sinogram: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
        """Return a noisy copy of one sinogram, of any dimension."""
        from data_sim import gaussian_noise

        return gaussian_noise(sinogram, rng, sigma=self.level(sinogram))

    def level(self, sinogram: NDArray[Any]) -> float:
        """Return the standard deviation in a bin of a clean sinogram."""
        if self.relative is None:
            return float(self.std or 0)
        return self.relative * float(np.mean(np.abs(sinogram), dtype=np.float64))

    def at_dose(self, dose: float) -> GaussianNoise:
        """Return the noise of so many times the dose: its variance is inversely proportional."""
        root = math.sqrt(check_float("dose", dose, positive=True))
        return GaussianNoise(
            None if self.relative is None else self.relative / root,
            None if self.std is None else self.std / root,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return kind and level, ready for JSON."""
        return {name: value for name, value in super().to_dict().items() if value is not None}

    def __str__(self) -> str:
        if self.relative is None:
            return f"Gaussian, standard deviation {self.std:g}"
        return f"Gaussian, {100 * self.relative:g} % of the mean of each sinogram"


@dataclass(frozen=True)
class PhotonNoise(KindAndFields):
    """Photons that are counted behind the object, turned back into line integrals.

    N ~ Poisson(photons exp(-attenuation sinogram)) + Normal(0, electronic_std^2), of which
    -log(max(N / photons, floor)) / attenuation is returned.

    Parameters
    ----------
    photons : float
        Mean number that each detector element receives without an object, at most 1e15.
    attenuation : float
        What one unit of the image stands for, in 1/mm. Default: images are in 1/mm.
    floor, electronic_std : float
        Smallest fraction of photons that the logarithm sees, below 1 (default: that of a tenth of
        a photon); standard deviation of the electronic noise, in photons.
    """

    photons: float
    attenuation: float = 1.0
    floor: float | None = None
    electronic_std: float = 0.0

    def __post_init__(self) -> None:
        # 10_000 and 1e4 are the same setting
        for name in ("photons", "attenuation", "floor", "electronic_std"):
            sign = "nonnegative" if name == "electronic_std" else "positive"
            value = getattr(self, name)
            if name != "floor" or value is not None:
                object.__setattr__(self, name, check_float(name, value, **{sign: True}))
        if self.photons > _MOST_PHOTONS:
            raise TomolearnError(
                f"photons: expected at most {_MOST_PHOTONS:g}, got {self.photons:g}; leave them "
                "out for a scan without noise"
            )
        if self.floor is not None and self.floor >= 1:
            raise TomolearnError(f"floor: expected a fraction below 1, got {self.floor:g}")

    def __call__(self, sinogram: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
        """Return a noisy copy of one sinogram, of any dimension."""
        from data_sim import low_dose

        measured = low_dose(
            sinogram * self.attenuation,
            rng,
            photons=self.photons,
            electronic_std=self.electronic_std,
            floor=_FLOOR if self.floor is None else self.floor * self.photons,
        )
        return measured / self.attenuation

    def level(self, sinogram: NDArray[Any]) -> float:
        """Return the root mean square of the standard deviations in the bins of a sinogram."""
        import torch

        from tomolearn.methods.variational.noise_levels import photon_noise_level

        lines = torch.from_numpy(np.ascontiguousarray(sinogram, np.float64)) * self.attenuation
        found = photon_noise_level(
            lines, photons=self.photons, electronic_std=self.electronic_std, ndim=lines.ndim
        )
        return float(found) / self.attenuation

    def at_dose(self, dose: float) -> PhotonNoise:
        """Return the noise of so many times the photons."""
        return replace(self, photons=self.photons * check_float("dose", dose, positive=True))

    def __str__(self) -> str:
        text = f"{self.photons:,g} photons"
        if self.electronic_std:
            text += f", electronic noise {self.electronic_std:g}"
        if self.attenuation != 1:
            text += f", {1000 * self.attenuation:g} / m per unit"
        return text


@dataclass(frozen=True)
class PolychromaticNoise(KindAndFields):
    """Beam hardening by one material, and white Gaussian noise.

    Half of the photons are attenuated ``1 - h`` times, half ``1 + h`` times as much as the image
    says, so that a line integral ``p`` is measured as ``p - log(cosh(h p))``; the image has the
    attenuation of thin layers. `h` is another number for each sinogram.

    Parameters
    ----------
    hardening : (float, float)
        Between which `h` is drawn uniformly, from 0 to below 1.
    std : float
        Standard deviation of the noise.

    Raises
    ------
    TypeError, ValueError
        If these are not two numbers in order and in that range, or `std` is negative.
    """

    hardening: tuple[float, float]
    std: float = 0.0

    def __post_init__(self) -> None:
        low, high = check_floats("hardening", self.hardening, length=2)
        if not 0 <= low <= high < 1:
            raise TomolearnError(
                f"hardening: expected two numbers in order, from 0 to below 1, got {low}, {high}"
            )
        object.__setattr__(self, "hardening", (low, high))
        object.__setattr__(self, "std", check_float("std", self.std, nonnegative=True))

    def __call__(self, sinogram: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
        """Return a noisy copy of one sinogram, of any dimension."""
        from data_sim import gaussian_noise

        h = np.asarray(rng.uniform(*self.hardening), sinogram.dtype)
        exponent = h * np.abs(sinogram)
        hardened = sinogram - (exponent + np.log1p(np.exp(-2 * exponent)) - math.log(2))
        return gaussian_noise(hardened, rng, sigma=self.std)

    def level(self, sinogram: NDArray[Any]) -> float:
        """Return the standard deviation in a bin."""
        return self.std

    def __str__(self) -> str:
        low, high = self.hardening
        return f"Gaussian, standard deviation {self.std:g}, beam hardening {low:g} to {high:g}"


_KINDS = {kind.__name__: kind for kind in (GaussianNoise, PhotonNoise, PolychromaticNoise)}


def noise_from_dict(values: Mapping[str, Any]) -> Noise:
    """Build noise from what its `to_dict` returned.

    Raises
    ------
    TypeError, ValueError
        If its type or a field is unknown, or a field is missing or wrong.
    """
    fields = dict(values)
    kind = fields.pop("type", None)
    if kind not in _KINDS:
        raise TomolearnError(f"noise: expected one of {', '.join(_KINDS)}, got {kind!r}")
    known = _KINDS[kind].__dataclass_fields__
    if unknown := set(fields) - set(known):
        raise TomolearnError(
            f"{kind}: expected only the fields {', '.join(known)}, got {', '.join(sorted(unknown))}"
        )
    noise: Noise = _KINDS[kind](**fields)
    return noise
