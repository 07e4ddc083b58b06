"""Reconstruction followed by segmentation: task-adapted reconstruction."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from tomolearn._core.errors import TomolearnError, TomolearnTypeError
from tomolearn.models.base import ReconstructionModel
from tomolearn.models.fbp_unet import check_channels
from tomolearn.operators import LinearOperator
from tomolearn.priors.unet import UNet

_FIRST_ODDS = 0.01


class TaskAdapted(ReconstructionModel):
    """A reconstruction network and a U-Net that segments its images, after Adler et al. [1]_.

    Called, it reconstructs as the first network alone; `segment` returns the probabilities as well.
    The objective "joint-segmentation" trains both networks together, or the second alone.

    Parameters
    ----------
    network : str
        Network that reconstructs: a name in `models.MODELS`.
    network_arguments : mapping, optional
        Its constructor's arguments. Default: none.
    channels : sequence of int
        Channels of the U-Net at each scale; see `FBPUNet`. It has two convolutions at each scale,
        group normalisation and bilinear interpolation.

    Raises
    ------
    TypeError, ValueError
        If an argument is wrong, or the network is not one of the plane.

    References
    ----------
    .. [1] J. Adler, S. Lunz, O. Verdier, C.-B. Schönlieb, O. Öktem, "Task adapted reconstruction
       for inverse problems", Inverse Problems 38 (2022), arXiv:1809.00948,
       doi:10.1088/1361-6420/ac28ec
    """

    def __init__(
        self,
        *,
        network: str = "learned-primal-dual",
        network_arguments: Mapping[str, Any] | None = None,
        channels: Sequence[int] = (16, 32, 64),
    ) -> None:
        from tomolearn.models.table import build_model  # the table has this network, too

        if not isinstance(network, str):
            raise TomolearnTypeError(f"network: expected a name, got {type(network).__name__}")
        given = {} if network_arguments is None else network_arguments
        if not isinstance(given, Mapping):
            found = type(given).__name__
            raise TomolearnTypeError(f"network_arguments: expected a mapping, got {found}")
        widths = check_channels(channels)
        super().__init__({"network": network, "network_arguments": dict(given), "channels": widths})
        self.network = build_model(network, given)
        if self.network.ndim != 2:
            raise TomolearnError(
                f"network: expected one of the plane, got {network} with ndim={self.network.ndim}"
            )
        self.fixed_shapes = self.network.fixed_shapes
        self.segmenter = UNet(
            widths,
            skip_channels=None,
            first_convolutions=2,
            normalisation="group",
            negative_slope=0.0,
            down="max-pool",
            up="bilinear",
            residual=False,
        )
        # what is looked for is rare: with odds of one, the first steps would learn nothing else
        with torch.no_grad():
            for name, weights in self.segmenter.last.named_parameters():
                if name == "bias":
                    weights.fill_(math.log(_FIRST_ODDS))

    def reconstruct(self, sinogram: torch.Tensor, operator: LinearOperator) -> torch.Tensor:
        """Reconstruct by the first network."""
        self.network.checkpoint_activations = self.checkpoint_activations
        return self.network.reconstruct(sinogram, operator)

    def logits(self, image: torch.Tensor) -> torch.Tensor:
        """Return the logarithms of the odds of each pixel of images (batch, 1, rows, columns).

        Of images as the first network reconstructs them, in their unit.
        """
        found: torch.Tensor = self.segmenter(image * self.image_scale)
        return found

    def segment(
        self, sinogram: torch.Tensor, operator: LinearOperator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Reconstruct and segment.

        Parameters
        ----------
        sinogram, operator
            As for a call.

        Returns
        -------
        image, probability : torch.Tensor, shape (..., *operator.domain_shape)
            The reconstruction, and the probability of each pixel.

        Raises
        ------
        TypeError, ValueError
            As for a call.
        """
        image = self(sinogram, operator)
        flat = image.reshape(-1, 1, *operator.domain_shape)
        if flat.shape[0] == 0:
            return image, image
        return image, self.logits(flat).sigmoid().reshape(image.shape)
