"""Low-dose scan of one CT slice, reconstructed by FBP and TV: what the demo shows."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from tomolearn.dicom import CTSlice, attenuation_to_hounsfield, hounsfield_to_attenuation
from tomolearn.geometry import Grid
from tomolearn.methods import FBP, TotalVariation, photon_tv_weight
from tomolearn.methods.checks import check_ray_transform
from tomolearn.metrics import MetricConvention, evaluate
from tomolearn.operators import RayTransform
from tomolearn.simulation import Acquisition, CoveringScan, PhotonNoise, Refinement

CONVENTION = MetricConvention("2000 HU", psnr_range=2000, ssim_range=2000)
"""A fixed range: -1000 to 1000 HU, air to dense bone. Scores of different slices are comparable."""

_BORDER = 4

Image = TypeVar("Image", torch.Tensor, NDArray[np.floating])


def within_border(image: Image) -> Image:
    """Return an image without its four outermost pixels on each side.

    A slice cuts off what it has no room for, a cliff that no patient has: filtered back-projection
    blurs it, total variation knows where the grid ends. Errors are therefore measured, and shown,
    inside of it.
    """
    return image[_BORDER:-_BORDER, _BORDER:-_BORDER]


@dataclass(frozen=True)
class Settings:
    """What the scan and the methods are told.

    `photons` is their mean number per detector element without an object, `electronic_std` is in
    photons, `frequency_scaling` is the cut-off of the filtered back-projection's Hann filter as a
    part of Nyquist's frequency. `iterations` and `weight`, in mm, are those of total variation;
    without a weight it is `tomolearn.methods.photon_tv_weight`.
    """

    views: int
    photons: float
    electronic_std: float
    seed: int
    frequency_scaling: float
    iterations: int
    weight: float | None = None

    @property
    def acquisition(self) -> Acquisition:
        """The scan, simulated on twice as many pixels along each axis as are reconstructed."""
        return Acquisition(
            CoveringScan("fan", self.views),
            PhotonNoise(self.photons, electronic_std=self.electronic_std),
            Refinement("linear", 2),
        )


@dataclass(frozen=True, eq=False)
class Measurement:
    """A simulated scan: true mean attenuation in 1/mm by pixel, scanner, noisy line integrals."""

    truth: torch.Tensor
    operator: RayTransform
    sinogram: torch.Tensor


@dataclass(frozen=True, eq=False)
class Result:
    """An image in 1/mm; its errors in Hounsfield units under `CONVENTION`, within the border."""

    image: torch.Tensor
    psnr: float
    ssim: float
    rmse: float
    seconds: float


def simulate(ct_slice: CTSlice, settings: Settings) -> Measurement:
    """Scan a slice with few views and few photons.

    The scanned object is the slice interpolated bilinearly to twice as many pixels along each axis,
    so that the data are not made with the operator that reconstructs them; the truth is the mean of
    the object over each pixel. Values below -1000 HU count as air.
    """
    acquisition = settings.acquisition
    grid = Grid(ct_slice.hounsfield.shape, ct_slice.spacing)
    image = torch.from_numpy(hounsfield_to_attenuation(ct_slice.hounsfield))
    fine = acquisition.refine(image, grid)
    sinogram = acquisition.measure(fine, grid, np.random.default_rng(settings.seed))
    return Measurement(
        acquisition.average(fine, grid), check_ray_transform(acquisition.operator(grid)), sinogram
    )


@dataclass(frozen=True, eq=False)
class Experiment:
    """All that is to be shown: settings with the weight that was used, scan, results by method."""

    settings: Settings
    measurement: Measurement
    results: dict[str, Result]


def run(ct_slice: CTSlice, settings: Settings, *, progress: bool = False) -> Experiment:
    """Simulate the scan, reconstruct by filtered back-projection and total variation, measure."""
    measurement = simulate(ct_slice, settings)
    y, operator, truth = measurement.sinogram, measurement.operator, measurement.truth
    weight = settings.weight
    if weight is None:
        weight = float(
            photon_tv_weight(
                y, operator, photons=settings.photons, electronic_std=settings.electronic_std
            )
        )

    filtered = FBP(filter="hann", frequency_scaling=settings.frequency_scaling)
    tv = TotalVariation(weight=weight, iterations=settings.iterations, nonnegative=True)
    # compiles what is not yet compiled
    filtered(y, operator)
    replace(tv, iterations=1)(y, operator)
    results = {
        "FBP": _measured(lambda: filtered(y, operator), truth),
        "TV": _measured(lambda: tv(y, operator, progress=progress), truth),
    }
    return Experiment(replace(settings, weight=weight), measurement, results)


def _measured(method: Callable[[], torch.Tensor], truth: torch.Tensor) -> Result:
    start = time.perf_counter()
    image = method()
    seconds = time.perf_counter() - start
    found, wanted = (
        attenuation_to_hounsfield(within_border(values.double())) for values in (image, truth)
    )
    scores = evaluate(found, wanted, CONVENTION)
    rmse = math.sqrt(float((found - wanted).square().mean()))
    return Result(image, scores.psnr.mean, scores.ssim.mean, rmse, seconds)
