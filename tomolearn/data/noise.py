"""Measurement noise as values that a task can hold."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tomolearn._core.checks import check_float

__all__ = ["GaussianNoise", "Noise"]


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
