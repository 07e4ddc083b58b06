"""Trained networks as a method."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, cast

from tomolearn._core.errors import (
    DivergenceError,
    TrainedElsewhereWarning as TrainedElsewhereWarning,
)
from tomolearn.catalogue.from_weights import FromWeights
from tomolearn.methods import Moments, UncertainMethod

if TYPE_CHECKING:
    import torch

    from tomolearn.models import ReconstructionModel
    from tomolearn.operators import LinearOperator


@dataclass(frozen=True, kw_only=True)
class Trained(FromWeights):
    """A network with trained weights; see `FromWeights`.

    Raises
    ------
    DivergenceError
        When it is called, if the image contradicts its data: the network is far from what it was
        trained for.
    """

    kinds: ClassVar[tuple[str, ...]] = ("model",)

    def network(self, device: torch.device | str = "cpu") -> ReconstructionModel:
        """Return the network, in evaluation mode; the same at every call."""
        return cast("ReconstructionModel", self._module(device))

    def denoiser(self, unit: float = 1.0) -> Callable[[torch.Tensor], torch.Tensor]:
        """Return the network's part that works on images; `unit` does not matter."""
        import torch

        network = self.network()
        denoiser = network.denoiser()
        scale = self.image_scale * network.image_scale
        if self.use is not None:
            provenance = self._watch().provenance
            provenance.warn(provenance.differences(level=self.use.level, scale=scale), stacklevel=2)

        def denoise(images: torch.Tensor) -> torch.Tensor:
            with torch.no_grad():
                cleaned: torch.Tensor = denoiser(images * scale) / scale
            return cleaned

        return denoise

    def __call__(self, sinogram: torch.Tensor, operator: LinearOperator) -> torch.Tensor:
        """Reconstruct; it runs without gradients."""
        return self._reconstructed(
            sinogram, operator, lambda *given: (given[0].apply_to(*given[1:]),)
        )[0]

    def _reconstructed(
        self,
        sinogram: torch.Tensor,
        operator: LinearOperator,
        reconstruct: Callable[..., tuple[torch.Tensor, ...]],
    ) -> tuple[torch.Tensor, ...]:
        """Return what the network makes of a sinogram, the image first, each divided by the scale.

        What it is called with, and the image, are compared with what the card says.
        """
        import torch

        with torch.no_grad():
            network = self.network(sinogram.device)
            watch = self._watch()
            scaled = sinogram * self.image_scale
            scale = self.image_scale * network.image_scale
            if sinogram.numel():
                watch.compare(sinogram, operator, scale, stacklevel=3)
            found = reconstruct(network, scaled, operator)
            wrong = watch.contradiction(found[0], scaled, operator) if sinogram.numel() else None
            if wrong is not None:
                raise DivergenceError(wrong)
            return tuple(one / self.image_scale for one in found)


@dataclass(frozen=True, kw_only=True)
class TrainedHeteroscedastic(Trained, UncertainMethod):
    """A network with trained weights, of which a second head tells standard deviations.

    Cards tell it by the network's argument `heteroscedastic`; see `FromWeights`.
    """

    def moments(self, sinogram: torch.Tensor, operator: LinearOperator) -> Moments:
        """Return the image with the standard deviations of the second head; without gradients."""
        image, deviation = self._reconstructed(
            sinogram, operator, lambda *given: given[0].moments(*given[1:])
        )
        return Moments(image, deviation, len(operator.domain_shape))
