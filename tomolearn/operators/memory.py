"""Memory that is asked for before it is allocated, and what to bin where there is too little."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch

from tomolearn._core.errors import TomolearnError
from tomolearn._core.memory import Arrays, gib, lacking
from tomolearn.operators.base import LinearOperator

_COARSEST = 16  # what is binned further is another scan


class Need(NamedTuple):
    """What a computation needs besides its data, in bytes."""

    images: int
    sinograms: int
    working: int
    """What the operator needs beside its input and output."""

    @property
    def total(self) -> int:
        """The sum."""
        return self.images + self.sinograms + self.working

    def binned(self, factor: int, ndim: int) -> int:
        """Return the sum if detector and pixels were binned by a factor along each axis."""
        image = (self.images + self.working) / factor**ndim
        return math.ceil(image + self.sinograms / factor ** (ndim - 1))


def memory_needed(
    operator: LinearOperator, arrays: Arrays, batch: int = 1, dtype: torch.dtype = torch.float32
) -> Need:
    """Return what a computation on the CPU needs that holds so many arrays besides its data."""
    image, sinogram = math.prod(operator.domain_shape), math.prod(operator.range_shape)
    return Need(
        math.ceil(arrays.images * batch * image * dtype.itemsize),
        math.ceil(arrays.sinograms * batch * sinogram * dtype.itemsize),
        operator.working_bytes(dtype.itemsize, batch),
    )


def check_memory(
    name: str, operator: LinearOperator, arrays: Arrays, batch: int, like: torch.Tensor
) -> None:
    """Check that a computation can allocate what it needs, before it begins.

    A GPU tells by itself, and is not asked.

    Raises
    ------
    ValueError
        If there is less available; the message says what to bin.
    """
    if like.device.type != "cpu":
        return
    need = memory_needed(operator, arrays, batch, like.dtype)
    available = lacking(need.total)
    if available is None:
        return
    kinds = zip(("images", "sinograms", "working memory"), need, strict=True)
    parts = ", ".join(f"{gib(size)} of {kind}" for kind, size in kinds if size)
    raise TomolearnError(
        f"{name}: expected to need no more memory than is available, {gib(available)}, got "
        f"{gib(need.total)} besides the data ({parts}); "
        + _remedy(operator, arrays, batch, need, like.dtype, available)
    )


def _remedy(
    operator: LinearOperator,
    arrays: Arrays,
    batch: int,
    need: Need,
    dtype: torch.dtype,
    available: int,
) -> str:
    if batch > 1 and memory_needed(operator, arrays, 1, dtype).total <= available:
        return f"compute fewer than {batch} images at once"
    ndim = len(operator.domain_shape)
    for factor in range(2, _COARSEST + 1):
        if need.binned(factor, ndim) <= available:
            bins, pixels = (
                " x ".join(str(math.ceil(n / factor)) for n in shape)
                for shape in (operator.range_shape[1:], operator.domain_shape)
            )
            return (
                f"bin the detector by {factor}, to {bins} bins, and choose a grid {factor} times "
                f"as coarse, {pixels}"
            )
    return "choose a smaller grid and fewer views, or a machine with more memory"
