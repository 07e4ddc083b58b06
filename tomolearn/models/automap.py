"""Domain transform by fully connected layers: AUTOMAP."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from tomolearn._core.checks import check_int
from tomolearn._core.modules import glorot
from tomolearn.models.base import ReconstructionModel, Scaled
from tomolearn.models.fixed_shapes import FixedShapes
from tomolearn.operators import LinearOperator


class AUTOMAP(ReconstructionModel):
    """AUTOMAP of Zhu et al. [1]_, for sinograms and images of one shape.

    Two fully connected layers with a hyperbolic tangent map all values of the sinogram to all
    pixels; two convolutions, 5 pixels wide, with rectifiers and a last one, 7 pixels wide, follow.
    Nothing of the operator is known but its norm, by which the sinogram is divided. The number of
    parameters grows with the fourth power of the image's size: with the default arguments it has
    28,320,513.

    Parameters
    ----------
    image_shape, sinogram_shape : (int, int)
        Rows and columns, views and bins.
    channels : int
        Channels of the convolutions.

    References
    ----------
    .. [1] B. Zhu, J. Z. Liu, S. F. Cauley, B. R. Rosen, M. S. Rosen, "Image reconstruction by
       domain-transform manifold learning", Nature 555 (2018), arXiv:1704.08841,
       doi:10.1038/nature25988
    """

    def __init__(
        self,
        *,
        image_shape: Sequence[int] = (64, 64),
        sinogram_shape: Sequence[int] = (30, 93),
        channels: int = 64,
    ) -> None:
        shapes = FixedShapes(image_shape, sinogram_shape)
        channels = check_int("channels", channels, minimum=1)
        super().__init__({**shapes.arguments, "channels": channels})
        self.fixed_shapes = shapes
        pixels = shapes.image[0] * shapes.image[1]
        self.dense = nn.Sequential(
            nn.Linear(shapes.sinogram[0] * shapes.sinogram[1], pixels),
            nn.Tanh(),
            nn.Linear(pixels, pixels),
            nn.Tanh(),
        )
        self.convolutions = nn.Sequential(
            glorot(nn.Conv2d(1, channels, 5, padding=2)),
            nn.ReLU(),
            glorot(nn.Conv2d(channels, channels, 5, padding=2)),
            nn.ReLU(),
            glorot(nn.Conv2d(channels, 1, 7, padding=3)),
        )

    def reconstruct(self, sinogram: torch.Tensor, operator: LinearOperator) -> torch.Tensor:
        """Map all values to all pixels, then convolve."""
        y = sinogram / Scaled(operator).norm
        image = self.dense(y.flatten(1)).reshape(-1, 1, *operator.domain_shape)
        found: torch.Tensor = self.convolutions(image)
        return found.to(y.dtype)
