"""Convolutional blocks that several networks are made of."""

from __future__ import annotations

import torch
from torch import nn

from tomolearn._core.modules import Compilable


def glorot(convolution: nn.Conv2d) -> nn.Conv2d:
    """Draw uniform weights after Glorot and Bengio, and set the biases to zero."""
    nn.init.xavier_uniform_(convolution.weight)
    if convolution.bias is not None:
        nn.init.zeros_(convolution.bias)
    return convolution


def to_channels_last(module: nn.Module) -> None:
    """Store the weights of convolutions in the format "channels last", in place."""
    for weights in module.parameters():
        if weights.ndim == 4:
            weights.data = weights.data.contiguous(memory_format=torch.channels_last)


class Update(Compilable):
    """Three 3x3 convolutions that map the channels of all inputs to a change of the state.

    Parameters
    ----------
    n_in, n_out : int
        Channels of all inputs together, and of the output.
    channels : int
        Channels in between.
    activation : {"prelu", "relu"}
        Between the convolutions; "prelu" has a learned slope per channel that starts at zero.

    Notes
    -----
    The inputs are concatenated and go through the convolutions in the format "channels last",
    which is faster on CPUs and with mixed precision.
    """

    def __init__(self, n_in: int, n_out: int, channels: int, activation: str = "prelu") -> None:
        super().__init__()

        def activate() -> nn.Module:
            return nn.PReLU(channels, init=0.0) if activation == "prelu" else nn.ReLU()

        self.layers = nn.Sequential(
            glorot(nn.Conv2d(n_in, channels, 3, padding=1)),
            activate(),
            glorot(nn.Conv2d(channels, channels, 3, padding=1)),
            activate(),
            glorot(nn.Conv2d(channels, n_out, 3, padding=1)),
        )
        to_channels_last(self.layers)

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        """Return the change, (batch, n_out, rows, columns), in the precision of the first input."""
        joined = torch.cat(inputs, 1).contiguous(memory_format=torch.channels_last)
        return self.layers(joined).to(inputs[0].dtype)
