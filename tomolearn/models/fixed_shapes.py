"""Networks whose weights are for sinograms and images of one shape."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tomolearn._core.checks import check_int
from tomolearn._core.errors import TomolearnError, TomolearnTypeError
from tomolearn.operators import LinearOperator


@dataclass(frozen=True)
class FixedShapes:
    """The shapes that fully connected layers are made for.

    Parameters
    ----------
    image, sinogram : sequence of two int
        Rows and columns; views and bins.
    """

    image: Sequence[int]
    sinogram: Sequence[int]

    def __post_init__(self) -> None:
        for name in ("image", "sinogram"):
            object.__setattr__(self, name, _shape(f"{name}_shape", getattr(self, name)))

    @property
    def arguments(self) -> Mapping[str, Any]:
        """The arguments by which a network is told the shapes."""
        return {"image_shape": list(self.image), "sinogram_shape": list(self.sinogram)}

    def check(self, network: str, operator: LinearOperator) -> None:
        """Check that an operator maps the one to the other."""
        found = operator.domain_shape, operator.range_shape
        if found != (self.image, self.sinogram):
            raise TomolearnError(
                f"operator: expected one from images {self.image} to sinograms {self.sinogram}, "
                f"which this {network} is made for, got {found[0]} -> {found[1]}; its weights "
                "serve no other scan"
            )


def _shape(name: str, values: Any) -> tuple[int, int]:
    if not isinstance(values, Sequence) or isinstance(values, (str, bytes)) or len(values) != 2:
        raise TomolearnTypeError(f"{name}: expected two integers, got {values!r}")
    first, second = (check_int(name, value, minimum=1) for value in values)
    return first, second
