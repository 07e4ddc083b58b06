"""Back-projection."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from tomolearn.methods import Method, setting


@dataclass(frozen=True, kw_only=True)
class Backprojection(Method):
    """Back-projection, times a number."""

    name: ClassVar[str] = "backprojection"
    factor: float = setting(1.0, help="what the image is multiplied by", above=0)

    def __call__(self, sinogram, operator):
        """Reconstruct."""
        return self.factor * operator.adjoint(sinogram) / operator.norm() ** 2
