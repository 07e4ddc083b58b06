"""Convolutional blocks that several networks are made of."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from tomolearn._core.checks import check_int
from tomolearn._core.errors import TomolearnError
from tomolearn._core.modules import CHANNELS_LAST, Compilable, glorot, to_channels_last

_CONVOLUTIONS: dict[int, Any] = {2: nn.Conv2d, 3: nn.Conv3d}


def check_ndim(ndim: Any) -> int:
    """Return `ndim` if networks can be made for images of so many axes."""
    if check_int("ndim", ndim, minimum=2) not in _CONVOLUTIONS:
        raise TomolearnError(f"ndim: expected 2 or 3, got {ndim}")
    return int(ndim)


class Update(Compilable):
    """Three convolutions, 3 pixels wide, that map the channels of all inputs to a change.

    Parameters
    ----------
    n_in, n_out : int
        Channels of all inputs together, and of the output.
    channels : int
        Channels in between.
    activation : {"prelu", "relu"}
        Between the convolutions; "prelu" has a learned slope per channel that starts at zero.
    ndim : {2, 3}
        Number of spatial axes.

    Notes
    -----
    The inputs are concatenated and go through the convolutions in the format "channels last",
    which is faster on CPUs and with mixed precision.
    """

    def __init__(
        self, n_in: int, n_out: int, channels: int, *, activation: str = "prelu", ndim: int = 2
    ) -> None:
        super().__init__()
        convolution = _CONVOLUTIONS[ndim]

        def activate() -> nn.Module:
            return nn.PReLU(channels, init=0.0) if activation == "prelu" else nn.ReLU()

        self.layers = nn.Sequential(
            glorot(convolution(n_in, channels, 3, padding=1)),
            activate(),
            glorot(convolution(channels, channels, 3, padding=1)),
            activate(),
            glorot(convolution(channels, n_out, 3, padding=1)),
        )
        to_channels_last(self.layers)

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        """Return the change, (batch, n_out, *spatial), in the precision of the first input."""
        joined = torch.cat(inputs, 1)
        if not torch._C._are_functorch_transforms_active():  # vectorised tensors have no layout
            joined = joined.contiguous(memory_format=CHANNELS_LAST[joined.ndim])
        return self.layers(joined).to(inputs[0].dtype)
