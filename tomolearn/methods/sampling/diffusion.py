"""Posterior sampling with a diffusion prior: settings, and the loop over falling noise levels."""

from __future__ import annotations

import dataclasses
from dataclasses import KW_ONLY, dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Self

from tomolearn._core.errors import TomolearnTypeError
from tomolearn.methods.method import check_written_prior, setting
from tomolearn.methods.sampling.posterior import Posterior, SamplingMethod
from tomolearn.methods.sampling.schedules import SCHEDULES

if TYPE_CHECKING:
    import torch

    from tomolearn.methods.sampling.diffusion_steps import Measured
    from tomolearn.operators import LinearOperator
    from tomolearn.priors import Denoiser


class Estimate(NamedTuple):
    """What a step makes of a noisy image.

    `image` is the clean one in the light of the data; what is taken for noise is the difference
    ``noisy - origin``.
    """

    image: torch.Tensor
    noisy: torch.Tensor
    origin: torch.Tensor


@dataclass(frozen=True)
class DiffusionSampling(SamplingMethod):
    """Base of methods that sample a posterior with a denoiser of many noise levels as prior.

    From an image with much noise on, each step denoises, moves the estimate towards the data
    (`estimate`, the mathematics of a subclass), and adds noise of the next, lower level: the part
    `renewed` of its variance is fresh, the rest what the step took for noise.

    The prior is a denoiser, or name or path of the weights of one. A method with the denoiser
    itself cannot be written down. Noise is drawn for each image and sample by a generator of its
    own, so that samples depend on the seed and on the image's place in the batch alone.
    """

    remedy: ClassVar[str] = "check the prior's weights, noise_level and image_scale"

    prior: str | Denoiser = setting(  # noqa: RUF009 - it returns a field
        help="name or path of the weights of a denoiser"
    )
    _: KW_ONLY
    samples: int = setting(16, help="number of samples for each sinogram", minimum=2)
    steps: int = setting(30, help="number of noise levels", minimum=1)
    seed: int = setting(0, help="what noise is drawn with", minimum=0)
    noise_level: float | None = setting(
        None, help="standard deviation of the noise in a bin; default: an acquisition's", above=0
    )
    image_scale: float = setting(
        1.0, help="what image values are multiplied by to be those of the training", above=0
    )
    schedule: str = setting("karras", help="how noise levels fall", choices=SCHEDULES)
    sigma_start: float | None = setting(
        None,
        help="first noise level, in the image's unit; default: the largest value of a first image",
        above=0,
    )
    sigma_end: float | None = setting(
        None, help="last noise level; default: 0.005 of the largest value", above=0
    )
    noise: Any = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.prior, str):
            from tomolearn.priors import Denoiser

            if not isinstance(self.prior, Denoiser):
                raise TomolearnTypeError(
                    "prior: expected a Denoiser, or the name or path of the weights of one, got "
                    f"{type(self.prior).__name__}"
                )

    @property
    def sha256(self) -> str | None:
        """Digest of the prior's weights, where they are named."""
        if not isinstance(self.prior, str):
            return None
        from tomolearn._core.checkpoints.files import find_files, read_card_file

        return str(read_card_file(find_files(self.prior))["sha256"])

    def to_dict(self) -> dict[str, Any]:
        """Return name and settings, ready for JSON."""
        check_written_prior(self.prior)
        return dataclasses.replace(self, noise=None)._plain_dict()

    def _plain_dict(self) -> dict[str, Any]:
        return super().to_dict()

    def informed(self, noise: Any) -> Self:
        """Return the method with the noise of an acquisition, unless it has a level."""
        return self if noise is None else dataclasses.replace(self, noise=noise)

    def weighting(self, weights: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return the keyword of the call; see `Method.weighting`."""
        return {"weights": weights}

    def prepare(self) -> None:
        """Load the denoiser."""
        self.denoiser_of_prior()

    def denoiser_of_prior(self) -> Denoiser:
        """Return the prior."""
        if not isinstance(self.prior, str):
            return self.prior
        from tomolearn.methods.variational.plug_and_play_steps import load_denoiser

        return load_denoiser(self.prior)

    def estimate(self, noisy: torch.Tensor, sigma: float, data: Measured) -> Estimate:
        """Return what a step makes of noisy images (samples, *image shape)."""
        raise NotImplementedError(f"{type(self).__name__} does not estimate")

    def renewed(self, sigma: float, following: float) -> float:
        """Return the part of the next noise's variance that is fresh."""
        raise NotImplementedError(f"{type(self).__name__} does not renew noise")

    def sample(
        self,
        sinogram: torch.Tensor,
        operator: LinearOperator,
        weights: torch.Tensor | None = None,
        **keywords: Any,
    ) -> Posterior:
        """Draw samples.

        Parameters
        ----------
        sinogram : torch.Tensor, shape (..., *operator.range_shape)
            The data.
        operator : LinearOperator
            The scanner.
        weights : torch.Tensor, shape (*operator.range_shape) or of the sinogram, optional
            What each measured value counts, 0 for a dead bin: its variance is the noise's divided
            by this.
        **keywords
            None is known.

        Raises
        ------
        TypeError, ValueError
            If data, weights or operator will not do, the noise is unknown, or a noise level is none
            that the prior was trained for.
        DivergenceError
            If values become infinite or NaN.

        Warns
        -----
        TrainedElsewhereWarning
            If image values are of another size than those of the prior's training.
        """
        from tomolearn.methods.sampling.diffusion_steps import draw_samples

        if keywords:
            raise TomolearnTypeError(f"{self.name}: expected no {', '.join(keywords)}")
        return draw_samples(self, sinogram, operator, weights)
