"""DDS: decomposed diffusion sampling, with Krylov steps on the data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from tomolearn.methods.method import setting
from tomolearn.methods.sampling.diffusion import DiffusionSampling, Estimate

if TYPE_CHECKING:
    import torch

    from tomolearn.methods.sampling.diffusion_steps import Measured
    from tomolearn.operators import LinearOperator
    from tomolearn.priors import Denoiser

_TOLERANCE = 1e-3


@dataclass(frozen=True, kw_only=True)
class DDS(DiffusionSampling):
    """Decomposed diffusion sampling, with Krylov steps on the data; see `dds`.

    Examples
    --------
    >>> posterior = DDS("diffusion-ellipses", noise_level=0.5, samples=2, steps=3).sample(y, A)
    >>> posterior.mean, posterior.standard_deviation, posterior.residuals
    """

    name: ClassVar[str] = "dds"

    products: int = setting(5, help="number of conjugate gradients of a step", minimum=1)
    gamma: float | None = setting(
        None,
        help="weight of the data in a step, in the noise's variance; default: from the misfit",
        above=0,
    )
    eta: float = setting(
        1.0, help="fresh noise: 0, none, to 1, as much as a diffusion has", minimum=0, maximum=1
    )

    def estimate(self, noisy: torch.Tensor, sigma: float, data: Measured) -> Estimate:
        """Denoise, and take a few conjugate gradients towards the data."""
        clean = data.clean(noisy, sigma)
        if self.gamma is None:
            variance = data.excess(clean).clamp(max=sigma**2)
        else:
            variance = clean.new_full((len(clean),), self.gamma * data.noise**2)
        found = data.nearest(clean, variance, self.products, _TOLERANCE)
        return Estimate(found, noisy, clean)

    def renewed(self, sigma: float, following: float) -> float:
        """Return the part of an ancestral step, times eta squared."""
        return self.eta**2 * (1 - (following / sigma) ** 2)


def dds(
    sinogram: torch.Tensor,
    operator: LinearOperator,
    *,
    prior: str | Denoiser,
    samples: int = DDS.samples,
    steps: int = DDS.steps,
    seed: int = DDS.seed,
    noise_level: float | None = DDS.noise_level,
    image_scale: float = DDS.image_scale,
    schedule: str = DDS.schedule,
    sigma_start: float | None = DDS.sigma_start,
    sigma_end: float | None = DDS.sigma_end,
    products: int = DDS.products,
    gamma: float | None = DDS.gamma,
    eta: float = DDS.eta,
    weights: torch.Tensor | None = None,
) -> torch.Tensor:
    """Reconstruct by the mean of the samples of decomposed diffusion sampling (DDS).

    At each noise level s an image x is denoised, ``z = D(x, s)``, led towards the data by a few
    conjugate gradients from z on for ``v = argmin gamma ||A v - y||^2 + ||v - z||^2``, and gets
    noise of the next level s', ``v + s' (sqrt(1 - f) (x - z) / s + sqrt(f) n)`` with the fresh part
    ``f = eta^2 (1 - (s' / s)^2)`` [1]_. The network is never differentiated.

    Without a `gamma` it is the variance of z divided by that of the noise, where the variance, at
    most s^2, is the one that explains the misfit of z: ``(||A z - y||^2 - n noise_level^2) /
    ||A||_F^2`` for n bins. It becomes small where z fits the data as well as the noise allows, so
    that the samples' residuals end at its level.

    Parameters
    ----------
    sinogram : torch.Tensor, shape (..., *operator.range_shape)
        Line integrals, dimensionless.
    operator : LinearOperator
        The ray transform, or any other linear operator with an exact adjoint.
    prior : str or Denoiser
        Name or path of a denoiser's weights, or the denoiser itself.
    samples : int
        Number of samples for each sinogram.
    steps : int
        Number of noise levels.
    seed : int
        What noise is drawn with.
    noise_level : float, optional
        Standard deviation of the noise in a bin. Default: that of an acquisition, see `informed`.
    image_scale : float
        What image values are multiplied by to be those that the prior was trained for.
    schedule : {"karras", "exploding", "preserving"}
        How noise levels fall.
    sigma_start : float, optional
        First noise level, in the image's unit. Default: the largest value of a first image.
    sigma_end : float, optional
        Last noise level. Default: 0.005 of that value.
    products : int
        Number of conjugate gradients of a step; [1]_ has 5.
    gamma : float, optional
        Weight of the misfit in a step. Default: found from the misfit.
    eta : float
        How much of an ancestral step's noise is drawn afresh; 0: nothing but the first noise.
    weights : torch.Tensor, shape (*operator.range_shape) or of the sinogram, optional
        What each measured value counts, 0 for a dead bin: its variance is the noise's divided by
        this.

    Returns
    -------
    torch.Tensor, shape (..., *operator.domain_shape)

    References
    ----------
    .. [1] H. Chung, S. Lee, J. C. Ye, "Decomposed diffusion sampler for accelerating large-scale
       inverse problems", ICLR 2024, arXiv:2303.05754
    """
    method = DDS(
        prior,
        samples=samples,
        steps=steps,
        seed=seed,
        noise_level=noise_level,
        image_scale=image_scale,
        schedule=schedule,
        sigma_start=sigma_start,
        sigma_end=sigma_end,
        products=products,
        gamma=gamma,
        eta=eta,
    )
    return method(sinogram, operator, weights=weights)
