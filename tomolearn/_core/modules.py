"""Torch modules: rebuilt from their constructor's arguments, compiled block by block."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any, TypeVar

import torch

from tomolearn._core.checks import check_known
from tomolearn._core.errors import TomolearnTypeError

C = TypeVar("C")
Convolution = TypeVar("Convolution", torch.nn.Conv2d, torch.nn.Conv3d)

CHANNELS_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}
"""Formats by the number of axes of a tensor, with batch and channels."""


class Compilable(torch.nn.Module):
    """A part of a network that is worth being compiled as a whole: it calls no operator."""

    dynamic: bool | None = False
    """Whether it is compiled for all shapes at once, or, if None, from the second shape on."""


class Configured(torch.nn.Module):
    """A module that ``type(module)(**module.arguments)`` makes again, with fresh weights."""

    card: Mapping[str, Any] | None = None
    """What is known about weights that were loaded from a file."""

    def __init__(self, arguments: Mapping[str, Any]) -> None:
        super().__init__()
        self._arguments = dict(arguments)

    @property
    def arguments(self) -> Mapping[str, Any]:
        """The constructor's arguments by name."""
        # a read-only view cannot be copied with the network, so it is made here
        return MappingProxyType(self._arguments)

    @property
    def n_parameters(self) -> int:
        """Number of learned parameters."""
        return sum(weights.numel() for weights in self.parameters())

    def compile_blocks(self) -> None:
        """Compile the convolutional blocks with `torch.compile`, the rest stays as it is.

        The first steps take longer then. It needs a C++ compiler, or a GPU.
        """
        for module in self.modules():
            if isinstance(module, Compilable):
                module.compile(dynamic=module.dynamic)


@contextmanager
def judged(module: torch.nn.Module) -> Iterator[None]:
    """Put a module into evaluation mode for a while, and leave it as it was.

    Every submodule gets its own mode back, and buffers such as running means their values.
    """
    modules = list(module.modules())
    modes = [one.training for one in modules]
    buffers = [
        (one, name, buffer, buffer.detach().clone())
        for one in modules
        for name, buffer in one.named_buffers(recurse=False)
    ]
    module.eval()
    try:
        yield
    finally:
        for one, mode in zip(modules, modes, strict=True):
            one.training = mode
        for one, name, buffer, before in buffers:
            setattr(one, name, buffer)
            if not torch.equal(buffer, before):
                buffer.data.copy_(before)


def built(name: str, kind: type[C], arguments: Mapping[str, Any], *, what: str = "arguments") -> C:
    """Make an object of a class that is called `name` from its constructor's arguments."""
    if not isinstance(arguments, Mapping):
        raise TomolearnTypeError(f"{what}: expected a mapping, got {type(arguments).__name__}")
    known = tuple(inspect.signature(kind).parameters)
    for argument in arguments:
        check_known(f"{what} of {name}", argument, known)
    return kind(**arguments)


def glorot(convolution: Convolution) -> Convolution:
    """Draw uniform weights after Glorot and Bengio, and set the biases to zero."""
    torch.nn.init.xavier_uniform_(convolution.weight)
    if convolution.bias is not None:
        torch.nn.init.zeros_(convolution.bias)
    return convolution


def to_channels_last(module: torch.nn.Module) -> None:
    """Store the weights of convolutions in the format "channels last", in place."""
    for weights in module.parameters():
        if weights.ndim in CHANNELS_LAST:
            weights.data = weights.data.contiguous(memory_format=CHANNELS_LAST[weights.ndim])
