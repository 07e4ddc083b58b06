"""DPS: diffusion posterior sampling, with the misfit of the denoised image as likelihood."""

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


@dataclass(frozen=True, kw_only=True)
class DPS(DiffusionSampling):
    """Diffusion posterior sampling, by gradients through the denoiser; see `dps`.

    Examples
    --------
    >>> posterior = DPS("diffusion-ellipses", noise_level=0.5, samples=2, steps=3).sample(y, A)
    >>> posterior.mean, posterior.standard_deviation, posterior.residuals
    """

    name: ClassVar[str] = "dps"
    remedy: ClassVar[str] = "take a smaller zeta, or check the prior's weights and image_scale"

    steps: int = setting(200, help="number of noise levels", minimum=1)
    zeta: float = setting(
        0.5, help="length of a step down the misfit, in the unit of the training", above=0
    )

    def estimate(self, noisy: torch.Tensor, sigma: float, data: Measured) -> Estimate:
        """Denoise, and step down the misfit of the denoised image by the noisy one."""
        import torch

        from tomolearn.methods.checks import positive_norm

        with torch.enable_grad():
            variable = noisy.detach().requires_grad_()
            clean = data.clean(variable, sigma)
            sizes = data.misfit(clean).sqrt().sum()
            (slope,) = torch.autograd.grad(sizes, variable)
        length = self.zeta / (self.image_scale * positive_norm(data.operator))
        clean = clean.detach()
        return Estimate(clean - length * slope, noisy, clean)

    def renewed(self, sigma: float, following: float) -> float:
        """Return the part of an ancestral step."""
        return 1 - (following / sigma) ** 2


def dps(
    sinogram: torch.Tensor,
    operator: LinearOperator,
    *,
    prior: str | Denoiser,
    samples: int = DPS.samples,
    steps: int = DPS.steps,
    seed: int = DPS.seed,
    noise_level: float | None = DPS.noise_level,
    image_scale: float = DPS.image_scale,
    schedule: str = DPS.schedule,
    sigma_start: float | None = DPS.sigma_start,
    sigma_end: float | None = DPS.sigma_end,
    zeta: float = DPS.zeta,
    weights: torch.Tensor | None = None,
) -> torch.Tensor:
    """Reconstruct by the mean of the samples of diffusion posterior sampling (DPS).

    At each noise level s an image x takes a step of the diffusion without data, which denoises it
    and adds noise of the next level, and one of length ``zeta / ||A||`` down the gradient, by x, of
    the misfit's size ``||A D(x, s) - y||`` [1]_: through network and operator.

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
    zeta : float
        Length of the steps down the misfit, in the unit of the prior's training.
    weights : torch.Tensor, shape (*operator.range_shape) or of the sinogram, optional
        What each measured value counts, 0 for a dead bin: its variance is the noise's divided by
        this.

    Returns
    -------
    torch.Tensor, shape (..., *operator.domain_shape)

    References
    ----------
    .. [1] H. Chung, J. Kim, M. T. McCann, M. L. Klasky, J. C. Ye, "Diffusion posterior sampling for
       general noisy inverse problems", ICLR 2023, arXiv:2209.14687
    """
    method = DPS(
        prior,
        samples=samples,
        steps=steps,
        seed=seed,
        noise_level=noise_level,
        image_scale=image_scale,
        schedule=schedule,
        sigma_start=sigma_start,
        sigma_end=sigma_end,
        zeta=zeta,
    )
    return method(sinogram, operator, weights=weights)
