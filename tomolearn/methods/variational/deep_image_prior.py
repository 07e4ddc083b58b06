"""Deep image prior, with total variation on request."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Unpack

from tomolearn._core.errors import TomolearnError
from tomolearn.methods.method import setting
from tomolearn.methods.stopping import Control, Iterate, IterativeMethod, controlled

if TYPE_CHECKING:
    import torch

    from tomolearn.operators import LinearOperator


@dataclass(frozen=True, kw_only=True)
class DeepImagePrior(IterativeMethod):
    """Deep image prior: an untrained U-Net fitted to the data, with TV; see `dip`."""

    name: ClassVar[str] = "dip"
    remedy: ClassVar[str] = "choose a smaller learning_rate, or check the operator's adjoint"

    iterations: int = setting(3000, help="largest number of iterations", minimum=1)
    weight: float = setting(0.0, help="weight of the total variation, in mm", minimum=0)
    learning_rate: float = setting(0.003, help="rate of Adam", above=0)
    channels: int = setting(16, help="channels of the U-Net at each scale", minimum=1)
    scales: int = setting(5, help="largest number of scales of the U-Net", minimum=1)
    averaging: float = setting(
        0.95, help="part of the mean of earlier images that an image keeps", minimum=0, below=1
    )
    seed: int = setting(0, help="seed of the U-Net's input and weights", minimum=0)

    def iterate(
        self,
        sinogram: torch.Tensor,
        operator: LinearOperator,
        image: torch.Tensor,
        weights: torch.Tensor | None = None,
    ) -> Iterator[Iterate]:
        """Yield the iterates."""
        import torch

        if len(operator.domain_shape) != 2:
            raise TomolearnError(
                "operator: expected one of images in the plane for dip, got images of shape "
                f"{operator.domain_shape}; total_variation takes volumes"
            )
        # each image has a network of its own
        fits = [
            self._fit(y, operator, start, None if weights is None else weights[k % len(weights)])
            for k, (y, start) in enumerate(zip(sinogram, image, strict=True))
        ]
        mean = image
        n = 0
        while True:
            # the first images are far from good: they are forgotten sooner
            kept = min(self.averaging, n / (10 + n))
            mean = torch.stack([next(one) for one in fits]).lerp(mean, kept)
            n += 1
            yield Iterate(mean, lambda x=mean: operator(x) - sinogram)  # type: ignore[misc]

    def _fit(
        self,
        sinogram: torch.Tensor,
        operator: LinearOperator,
        start: torch.Tensor,
        weights: torch.Tensor | None,
    ) -> Iterator[torch.Tensor]:
        """Yield the image after each step of the fit of one network to one sinogram."""
        import torch

        from tomolearn.operators.base import spatial_part
        from tomolearn.priors import TotalVariation
        from tomolearn.priors.unet import UNet

        w = torch.ones_like(sinogram) if weights is None else weights
        generator = torch.Generator().manual_seed(self.seed)
        noise = 0.1 * torch.rand((1, 1, *start.shape), generator=generator)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            network = UNet(
                [self.channels] * min(self.scales, _most_scales(start.shape)),
                skip_channels=min(4, self.channels),
                first_convolutions=1,
                normalisation="group",
                negative_slope=0.2,
                down="strided",
                up="bilinear",
                residual=False,
            )
        # the fit begins at the start, not at what chance makes of the noise
        torch.nn.init.zeros_(network.last.weight)
        network, noise = network.to(start), noise.to(start)
        grid = getattr(spatial_part(operator), "grid", None)
        variation = TotalVariation(spacing=None if grid is None else grid.spacing)
        optimiser = torch.optim.Adam(network.parameters(), lr=self.learning_rate)
        level = _level(sinogram, operator, w)
        size = (w * sinogram).mul(sinogram).sum().clamp(min=torch.finfo(start.dtype).tiny)
        while True:
            with torch.enable_grad():
                optimiser.zero_grad()
                image = start + level * network(noise)[0, 0]
                objective = 0.5 * (w * (operator(image) - sinogram).square()).sum()
                if self.weight:
                    objective = objective + self.weight * variation.value(image)
                # Adam does not see the scale, but for what it adds to the denominator
                (objective / size).backward()
            optimiser.step()
            with torch.no_grad():
                yield start + level * network(noise)[0, 0]


def _most_scales(shape: Sequence[int]) -> int:
    """Return the number of scales of which the coarsest has four pixels or more along each axis."""
    return max(1, int(math.log2(min(shape))) - 1)


def _level(sinogram: torch.Tensor, operator: LinearOperator, w: torch.Tensor) -> torch.Tensor:
    """Return the largest absolute value of the multiple of a back-projection that fits best."""
    found = operator.adjoint(w * sinogram)
    projected = operator(found)
    norm = (w * projected.square()).sum()
    factor = (w * projected * sinogram).sum() / norm if bool(norm > 0) else norm
    return (factor * found).abs().amax()


@controlled
def dip(
    sinogram: torch.Tensor,
    operator: LinearOperator,
    *,
    iterations: int = DeepImagePrior.iterations,
    weight: float = DeepImagePrior.weight,
    learning_rate: float = DeepImagePrior.learning_rate,
    channels: int = DeepImagePrior.channels,
    scales: int = DeepImagePrior.scales,
    averaging: float = DeepImagePrior.averaging,
    seed: int = DeepImagePrior.seed,
    **control: Unpack[Control],
) -> torch.Tensor:
    """Reconstruct by a deep image prior: an untrained U-Net is fitted to this sinogram alone.

    The weights theta of a U-Net f, which maps an image z of noise to the image, are changed by Adam
    to make ::

        1/2 ||A f(z; theta) - y||_W^2 + weight TV(f(z; theta))

    small [1]_, with the total variation of `total_variation` [2]_. The network fits structures
    sooner than noise, and without a weight everything in the end: then it has to be stopped early,
    by few `iterations` or, where the noise is known, by `noise_level`. An image takes as many
    projections, and passes through the network and back, as iterations. The operator has to be one
    of images in the plane.

    Parameters
    ----------
    sinogram : torch.Tensor, shape (..., *operator.range_shape)
        Line integrals, dimensionless. Each image of a batch has a network of its own.
    operator : LinearOperator
        The ray transform, or any other linear operator.
    iterations : int
        Largest number of iterations.
    weight : float
        Weight of the total variation, in mm as that of `total_variation`.
    learning_rate : float
        Rate of Adam.
    channels : int
        Channels of the U-Net at each scale; four of them cross over to the other side.
    scales : int
        Largest number of scales of the U-Net: the coarsest has four pixels or more along each axis.
    averaging : float
        In [0, 1): the image is the mean of the network's images, in which each earlier one counts
        this part of the next.
    seed : int
        Of the network's input and first weights. Another one gives another image.

    References
    ----------
    .. [1] D. Ulyanov, A. Vedaldi, V. Lempitsky, "Deep image prior", Int. J. Comput. Vis. 128
       (2020), arXiv:1711.10925
    .. [2] D. Otero Baguer, J. Leuschner, M. Schmidt, "Computed tomography reconstruction using deep
       image prior and learned reconstruction methods", Inverse Problems 36 (2020),
       arXiv:2003.04989
    """
    method = DeepImagePrior(
        iterations=iterations,
        weight=weight,
        learning_rate=learning_rate,
        channels=channels,
        scales=scales,
        averaging=averaging,
        seed=seed,
    )
    return method(sinogram, operator, **control)
