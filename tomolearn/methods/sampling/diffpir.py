"""DiffPIR: denoising and proximal maps of the misfit along falling noise levels."""

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
class DiffPIR(DiffusionSampling):
    """DiffPIR, posterior samples by denoising and proximal maps; see `diffpir`.

    Examples
    --------
    >>> posterior = DiffPIR("diffusion-ellipses", noise_level=0.5, samples=2, steps=3).sample(y, A)
    >>> posterior.mean, posterior.standard_deviation, posterior.residuals
    """

    name: ClassVar[str] = "diffpir"

    trust: float = setting(8.0, help="weight of the prior beside the noise's level", above=0)
    zeta: float = setting(0.5, help="fresh part of the noise's variance", minimum=0, maximum=1)
    products: int = setting(
        20, help="largest number of conjugate gradients of a proximal map", minimum=1
    )

    def estimate(self, noisy: torch.Tensor, sigma: float, data: Measured) -> Estimate:
        """Denoise, and take the proximal map of the misfit."""
        clean = data.clean(noisy, sigma)
        variance = clean.new_full((len(clean),), sigma**2 / self.trust)
        found = data.nearest(clean, variance, self.products, _TOLERANCE)
        return Estimate(found, noisy, found)

    def renewed(self, sigma: float, following: float) -> float:
        """Return zeta."""
        return self.zeta


def diffpir(
    sinogram: torch.Tensor,
    operator: LinearOperator,
    *,
    prior: str | Denoiser,
    samples: int = DiffPIR.samples,
    steps: int = DiffPIR.steps,
    seed: int = DiffPIR.seed,
    noise_level: float | None = DiffPIR.noise_level,
    image_scale: float = DiffPIR.image_scale,
    schedule: str = DiffPIR.schedule,
    sigma_start: float | None = DiffPIR.sigma_start,
    sigma_end: float | None = DiffPIR.sigma_end,
    trust: float = DiffPIR.trust,
    zeta: float = DiffPIR.zeta,
    products: int = DiffPIR.products,
    weights: torch.Tensor | None = None,
) -> torch.Tensor:
    """Reconstruct by the mean of DiffPIR's samples.

    At each noise level s an image x is denoised, ``z = D(x, s)``, made to fit the data by ``v =
    argmin ||A v - y||^2 / noise_level^2 + trust ||v - z||^2 / s^2``, and gets noise of the next
    level s', ``v + s' (sqrt(1 - zeta) (x - v) / s + sqrt(zeta) n)`` [1]_. It is written with
    exploding variance; in the preserving form of [1]_ the same images are divided by
    ``sqrt(1 + s^2)``.

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
    trust : float
        Weight of the denoised image; [1]_ has 1 to 25.
    zeta : float
        Part of the noise's variance that is drawn afresh at each step.
    products : int
        Largest number of conjugate gradients of a proximal map.
    weights : torch.Tensor, shape (*operator.range_shape) or of the sinogram, optional
        What each measured value counts, 0 for a dead bin: its variance is the noise's divided by
        this.

    Returns
    -------
    torch.Tensor, shape (..., *operator.domain_shape)

    References
    ----------
    .. [1] Y. Zhu, K. Zhang, J. Liang, J. Cao, B. Wen, R. Timofte, L. Van Gool, "Denoising diffusion
       models for plug-and-play image restoration", CVPR Workshops 2023, arXiv:2305.08995
    """
    method = DiffPIR(
        prior,
        samples=samples,
        steps=steps,
        seed=seed,
        noise_level=noise_level,
        image_scale=image_scale,
        schedule=schedule,
        sigma_start=sigma_start,
        sigma_end=sigma_end,
        trust=trust,
        zeta=zeta,
        products=products,
    )
    return method(sinogram, operator, weights=weights)
