"""The loop of diffusion samplers over noise levels, with noise by seed, and its data."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from tomolearn._core.checks import check_int
from tomolearn._core.errors import DivergenceError, TomolearnError, TrainedElsewhereWarning
from tomolearn._core.telling import warn_user
from tomolearn.methods.checks import levels_alike, prepare
from tomolearn.methods.sampling.posterior import Posterior
from tomolearn.methods.sampling.schedules import noise_schedule
from tomolearn.methods.variational.noise_levels import column_norm
from tomolearn.methods.variational.plug_and_play_steps import ScaledDenoiser, load_denoiser
from tomolearn.numerics.conjugate_gradients import conjugate_gradients
from tomolearn.operators import Diagonal, LinearOperator
from tomolearn.priors import Denoiser

if TYPE_CHECKING:
    from tomolearn.methods.sampling.diffusion import DiffusionSampling

# The last noise level, as a part of the largest image value.
_LAST = 0.005
# Conjugate gradients of the first image, whose errors are small beside the first noise.
_FIRST_PRODUCTS = 12


class Normals:
    """White noise for each sample from a generator of its own, by seed, image and sample."""

    def __init__(self, seed: int, image: int, samples: int) -> None:
        self._generators = [
            torch.Generator().manual_seed(int(of_sample.generate_state(1, np.uint64)[0]))
            for of_sample in np.random.SeedSequence((seed, image)).spawn(samples)
        ]

    def draw(self, like: torch.Tensor) -> torch.Tensor:
        """Return noise for images (samples, *image shape)."""
        drawn = [torch.randn(like.shape[1:], generator=one) for one in self._generators]
        return torch.stack(drawn).to(like)


@dataclass(frozen=True, eq=False)
class Measured:
    """One sinogram, its noise, and the denoiser.

    Parameters
    ----------
    sinogram : torch.Tensor, shape (*range_shape)
        Zero in dead bins.
    operator : LinearOperator
        The scanner.
    denoise : callable
        Maps noisy images (samples, *image shape) and a noise level to clean ones.
    noise : float
        Standard deviation in a bin whose weight is one.
    weights : torch.Tensor, shape (*range_shape), or None
        The noise's variance divided by that of each bin.
    column_norm : float
        Root mean square of the weighted norms of the operator's columns.
    """

    sinogram: torch.Tensor
    operator: LinearOperator
    denoise: ScaledDenoiser
    noise: float
    weights: torch.Tensor | None
    column_norm: float

    def clean(self, noisy: torch.Tensor, sigma: float) -> torch.Tensor:
        """Return noisy images denoised, if they are finite."""
        found = self.denoise(noisy, sigma)
        _check_finite(found, sigma, "check the prior's weights, noise_level and image_scale")
        return found

    def misfit(self, images: torch.Tensor) -> torch.Tensor:
        """Return ``||y - A x||_W^2`` of each image, (samples,)."""
        residual = self.sinogram - self.operator(images)
        return self.weighted(residual.square()).flatten(1).sum(1)

    def weighted(self, values: torch.Tensor) -> torch.Tensor:
        """Return values of the bins times their weights."""
        return values if self.weights is None else values * self.weights

    @property
    def n_bins(self) -> int:
        """Number of bins that count."""
        if self.weights is None:
            return self.sinogram.numel()
        return int((self.weights > 0).sum())

    def excess(self, images: torch.Tensor) -> torch.Tensor:
        """Return the variance of an image's errors, in a pixel, that its misfit tells of.

        Data of an image with white errors of variance e have a misfit of
        ``n noise^2 + e ||A||_F^2`` on average.
        """
        pixels = math.prod(self.operator.domain_shape)
        above = self.misfit(images) - self.n_bins * self.noise**2
        return above.clamp(min=0) / (pixels * self.column_norm**2)

    def nearest(
        self, image: torch.Tensor, variance: torch.Tensor, products: int, tolerance: float
    ) -> torch.Tensor:
        """Return the minimisers of ``||A x - y||_W^2 / noise^2 + ||x - image||^2 / variance``.

        By conjugate gradients from the image on, (samples, *image shape); `variance` is (samples,).
        """
        factor = (variance / self.noise**2).to(image.dtype)
        factor = factor.reshape(-1, *(1,) * (image.ndim - 1))

        def normal(x: torch.Tensor) -> torch.Tensor:
            return factor * self.operator.adjoint(self.weighted(self.operator(x))) + x

        residual = self.weighted(self.sinogram - self.operator(image))
        right = factor * self.operator.adjoint(residual)
        found = conjugate_gradients(
            normal, right, tolerance=tolerance, max_iterations=products
        ).state
        return image + found


def draw_samples(
    method: DiffusionSampling,
    sinogram: torch.Tensor,
    operator: LinearOperator,
    weights: torch.Tensor | None,
) -> Posterior:
    """Return samples of each sinogram; see `DiffusionSampling.sample`."""
    flat, _, leading, counted = prepare(sinogram, operator, None, weights)
    prior = _checked_prior(method.denoiser_of_prior(), operator)
    denoise = ScaledDenoiser(prior, method.image_scale, flat)
    norm = column_norm(operator)
    each = [None] * len(flat) if counted is None else counted.expand_as(flat)
    found = []
    for k, (y, of_bins) in enumerate(zip(flat, each, strict=True)):
        if of_bins is not None:
            norm = column_norm(Diagonal(of_bins.sqrt()) @ operator)
        noise = _noise_level(method, y)
        data = Measured(y, operator, denoise, noise, of_bins, norm)
        found.append(_falling_noise(method, data, Normals(method.seed, k, method.samples)))
    shape = (method.samples, *leading, *operator.domain_shape)
    stacked = torch.stack(found, 1) if found else flat.new_zeros(shape)
    data_of_all = flat.reshape(*leading, *operator.range_shape)
    return Posterior.of(stacked.reshape(shape), data_of_all, operator, method.seed)


def sample_prior(
    prior: str | Denoiser,
    shape: Sequence[int],
    *,
    samples: int = 16,
    steps: int = 60,
    seed: int = 0,
    schedule: str = "karras",
) -> torch.Tensor:
    """Draw images from a diffusion prior, without data.

    From white noise of its largest level on, by Heun's method for the probability flow [1]_:
    nothing but the first noise is random.

    Parameters
    ----------
    prior : str or Denoiser
        Name or path of the weights of a denoiser, or the denoiser itself, one of noise levels at
        the largest of which images are lost in the noise.
    shape : sequence of int
        Of the images.
    samples : int
        Their number.
    steps : int
        Number of noise levels.
    seed : int
        What the first noise is drawn with.
    schedule : {"karras", "exploding", "preserving"}
        How noise levels fall.

    Returns
    -------
    torch.Tensor, shape (samples, *shape)

    Raises
    ------
    TypeError, ValueError
        If the prior has no smallest noise level above zero.
    DivergenceError
        If values become infinite or NaN.

    References
    ----------
    .. [1] T. Karras, M. Aittala, T. Aila, S. Laine, "Elucidating the design space of
       diffusion-based generative models", NeurIPS 2022, arXiv:2206.00364
    """
    found = load_denoiser(prior) if isinstance(prior, str) else prior
    low, high = (found.noise_levels or (0.0, 0.0)) if isinstance(found, Denoiser) else (0.0, 0.0)
    if low <= 0:
        raise TomolearnError(
            "prior: expected a diffusion prior, whose smallest noise level is positive, got "
            f"{found if isinstance(found, str) else type(found).__name__}"
        )
    sizes = [check_int("shape", n, minimum=1) for n in shape]
    like = torch.zeros(check_int("samples", samples, minimum=1), *sizes)
    like = like.to(next(found.parameters(), like))
    denoise = ScaledDenoiser(found, 1.0, like)
    levels = noise_schedule(schedule, high, low, check_int("steps", steps, minimum=2))
    x = high * Normals(check_int("seed", seed, minimum=0), 0, samples).draw(like)
    with torch.no_grad():
        for sigma, following in pairwise(levels):
            slope = (x - denoise(x, sigma)) / sigma
            guess = x + (following - sigma) * slope
            corrected = (guess - denoise(guess, following)) / following
            x = x + (following - sigma) * (slope + corrected) / 2
            _check_finite(x, sigma, "check the prior's weights")
        return denoise(x, low)


def _falling_noise(method: DiffusionSampling, data: Measured, normals: Normals) -> torch.Tensor:
    """Return samples (samples, *image shape) of one sinogram."""
    first = _first_image(data)
    level = float(first.abs().amax())
    _compare_level(method, data.denoise.denoiser, level)
    levels = _levels(method, data.denoise.denoiser, level)
    with torch.no_grad():
        x = first + levels[0] * normals.draw(first.expand(method.samples, *first.shape))
        for sigma, following in zip(levels, [*levels[1:], 0.0], strict=True):
            found = method.estimate(x, sigma, data)
            x = found.image
            _check_finite(x, sigma, method.remedy)
            if following > 0:
                fresh = method.renewed(sigma, following)
                noise = math.sqrt(1 - fresh) / sigma * (found.noisy - found.origin)
                if fresh > 0:
                    noise = noise + math.sqrt(fresh) * normals.draw(x)
                x = x + following * noise
    return x


def _first_image(data: Measured) -> torch.Tensor:
    """Return a least-squares image after few conjugate gradients, whose errors noise will cover."""
    right = data.operator.adjoint(data.weighted(data.sinogram))[None]

    def normal(x: torch.Tensor) -> torch.Tensor:
        return data.operator.adjoint(data.weighted(data.operator(x)))

    found = conjugate_gradients(normal, right, tolerance=1e-3, max_iterations=_FIRST_PRODUCTS)
    return found.state[0]


def _levels(method: DiffusionSampling, prior: Denoiser, level: float) -> list[float]:
    """Return the noise levels in the image's unit, within those of the prior."""
    low, high = prior.noise_levels or (0.0, math.inf)
    low, high = low / method.image_scale, high / method.image_scale
    start, end = method.sigma_start, method.sigma_end
    for name, given in (("sigma_start", start), ("sigma_end", end)):
        if given is not None:
            prior.check_noise_level(name, given * method.image_scale)
    start = min(max(level, low), high) if start is None else start
    if start == 0:
        raise TomolearnError(
            "sigma_start: expected a noise level where the data are zero, got none"
        )
    end = min(max(_LAST * level, low), start) if end is None else end
    return noise_schedule(method.schedule, start, end, method.steps)


def _noise_level(method: DiffusionSampling, sinogram: torch.Tensor) -> float:
    """Return the standard deviation of the noise in a bin of one sinogram."""
    if method.noise_level is not None:
        return method.noise_level
    level = None if method.noise is None else float(method.noise.level(sinogram.cpu().numpy()))
    if not level:
        raise TomolearnError(
            f"noise_level: expected the standard deviation of the noise in a bin with "
            f"{method.name}, got none; it says how far an image may be from its data"
        )
    return level


def _checked_prior(prior: Denoiser, operator: LinearOperator) -> Denoiser:
    if prior.ndim > len(operator.domain_shape):
        raise TomolearnError(
            f"prior: expected one of at most {len(operator.domain_shape)} spatial axes, those of "
            f"the operator's images, got one of {prior.ndim}"
        )
    if prior.blind:
        raise TomolearnError(
            "prior: expected a denoiser that is told the noise level, got the blind "
            f"{type(prior).__name__}"
        )
    return prior


def _compare_level(method: DiffusionSampling, prior: Denoiser, level: float) -> None:
    """Warn if image values are of another size than those that the prior was trained on."""
    known: Any = ((prior.card or {}).get("training") or {}).get("image_range")
    if known is None:
        return
    trained, here = max(abs(float(value)) for value in known), level * method.image_scale
    if not levels_alike(trained, here):
        warn_user(
            f"image_scale: the prior was trained on images with values up to {trained:.2g}, these "
            f"have about {here:.2g}, of which it knows nothing; "
            f"image_scale={method.image_scale * trained / max(here, 1e-30):.2g} has them alike",
            TrainedElsewhereWarning,
        )


def _check_finite(images: torch.Tensor, sigma: float, remedy: str) -> None:
    bad = [k for k, one in enumerate(images) if not bool(one.isfinite().all())]
    if bad:
        raise DivergenceError(
            f"samples: expected finite values, got others in {len(bad)} of {len(images)} at the "
            f"noise level {sigma:.3g}; {remedy}"
        )
