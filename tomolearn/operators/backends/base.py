"""What a backend is: the computation of one ray transform, its adjoint and its back-projection."""

from __future__ import annotations

import abc
from typing import ClassVar, NamedTuple

import torch

from tomolearn._core.errors import TomolearnTypeError
from tomolearn.geometry import Grid, Scan


class Capabilities(NamedTuple):
    """What a backend can do, in words for users."""

    scans: str
    devices: str
    precision: str
    adjoint: str


class Backend(abc.ABC):
    """Rays of one grid and one scan.

    Subclasses compute on contiguous detached tensors ``(batch, *shape)`` of float32 or float64
    and return fresh tensors of the same dtype on the same device. They are safe to call from
    several threads at once.
    """

    name: ClassVar[str]
    capabilities: ClassVar[Capabilities]
    adjoint_is_exact: bool = True

    def __init__(self, grid: Grid, scan: Scan) -> None:
        self.grid, self.scan = grid, scan

    @classmethod
    @abc.abstractmethod
    def unsupported(cls, grid: Grid, scan: Scan, device: torch.device) -> str | None:
        """Return why this backend cannot do it, or None if it can."""

    @abc.abstractmethod
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the sinograms (batch, *scan.shape) of images (batch, *grid.shape)."""

    @abc.abstractmethod
    def adjoint(self, sinograms: torch.Tensor) -> torch.Tensor:
        """Return the images (batch, *grid.shape) of the transposed map."""

    def working_bytes(self, itemsize: int, batch: int = 1) -> int:
        """Return the memory beside input and output, for values of so many bytes, as far as known.

        Only that of volumes is: in the plane it is small, and on a GPU the driver tells.
        """
        return 0

    def backproject(self, sinograms: torch.Tensor) -> torch.Tensor | None:
        """Return the pixel-driven, distance-weighted back-projection, if there is a fast one.

        `RayTransform.backproject` defines it. None: the caller computes it in torch.
        """
        return None


def check_float32(name: str, tensor: torch.Tensor) -> None:
    """Check that `tensor` has the precision that ASTRA computes in."""
    if tensor.dtype != torch.float32:
        raise TomolearnTypeError(
            f"{name}: expected float32, as ASTRA computes in it, got {tensor.dtype}; convert it, "
            "or on a CPU use backend='joseph', which computes in float64 as well"
        )
