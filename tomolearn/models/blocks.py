"""Convolutional blocks that several networks are made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from tomolearn._core.checks import check_int
from tomolearn._core.errors import TomolearnError
from tomolearn._core.modules import CHANNELS_LAST, Compilable, glorot, to_channels_last

_CONVOLUTIONS: dict[int, Any] = {2: nn.Conv2d, 3: nn.Conv3d}


def check_ndim(ndim: Any) -> int:
    """Return `ndim` if networks can be made for images of so many axes."""
    if check_int("ndim", ndim, minimum=2) not in _CONVOLUTIONS:
        raise TomolearnError(f"ndim: expected 2 or 3, got {ndim}")
    return int(ndim)


def blockwise(
    function: Callable[..., torch.Tensor],
    inputs: Sequence[torch.Tensor],
    *,
    block_size: int,
    reach: int,
    first_axis: int = 2,
) -> torch.Tensor:
    """Return what a function of images makes of them, computed block by block.

    Each block is a part of the domain together with a margin (halo), of which nothing is kept. For
    convolutions with zeros beyond the image the result is that of the whole. Where gradients are
    wanted, the function is computed again for each block in the backward pass, so that what it
    keeps in between is that of one block at a time.

    Parameters
    ----------
    function : callable
        From images of one shape, (batch, channels, *spatial), to such images.
    inputs : sequence of torch.Tensor
        What it is called with.
    block_size : int
        Largest length of a block along each axis, without its margin.
    reach : int
        How far from a pixel the input lies that its output depends on.
    first_axis : int
        The first axis that is divided.
    """
    if first_axis == inputs[0].ndim:
        if torch.is_grad_enabled():
            result: torch.Tensor = checkpoint(function, *inputs, use_reentrant=False)
            return result
        return function(*inputs)
    parts = []
    length = inputs[0].shape[first_axis]
    n_blocks = -(-length // block_size)
    edges = [round(k * length / n_blocks) for k in range(n_blocks + 1)]
    for start, end in pairwise(edges):
        low, high = max(start - reach, 0), min(end + reach, length)
        part = blockwise(
            function,
            [one.narrow(first_axis, low, high - low) for one in inputs],
            block_size=block_size,
            reach=reach,
            first_axis=first_axis + 1,
        )
        # a copy, without which the margins would be kept as well
        parts.append(part.narrow(first_axis, start - low, end - start).contiguous())
    return torch.cat(parts, first_axis)


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
    `block_size` divides the domain into blocks that are computed one after another, see
    `blockwise`; None, the default, computes it as a whole.

    The inputs are concatenated and go through the convolutions in the format "channels last",
    which is faster on CPUs and with mixed precision.
    """

    reach = 3
    block_size: int | None = None

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
        size = self.block_size
        if size is None or max(inputs[0].shape[2:]) <= size:
            return self._whole(*inputs)
        return blockwise(self._whole, inputs, block_size=size, reach=self.reach)

    def _whole(self, *inputs: torch.Tensor) -> torch.Tensor:
        joined = torch.cat(inputs, 1)
        if not torch._C._are_functorch_transforms_active():  # vectorised tensors have no layout
            joined = joined.contiguous(memory_format=CHANNELS_LAST[joined.ndim])
        return self.layers(joined).to(inputs[0].dtype)
