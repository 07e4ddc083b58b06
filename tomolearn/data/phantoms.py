"""Sources of phantoms as values that a task can hold."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tomolearn._core.checks import check_choice

__all__ = ["PhantomSource", "RandomEllipses", "SheppLogan"]

_EXTENTS = ("edges", "centres")


class PhantomSource(Protocol):
    """What draws one image at a time."""

    def __call__(self, shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.float32]:
        """Return an image of this shape."""

    def to_dict(self) -> dict[str, Any]:
        """Return kind and parameters, ready for JSON."""


@dataclass(frozen=True)
class RandomEllipses:
    """Random sums of ellipses, see `data_sim.random_ellipses`.

    Parameters
    ----------
    convention : {"adler", "dival"}
        Law of the ellipses.
    extent : {"edges", "centres"}
        What of the outermost pixels lies at the border of the phantom's square.

    Raises
    ------
    ValueError
        If an argument is none of these.
    """

    convention: str = "adler"
    extent: str = "edges"

    def __post_init__(self) -> None:
        check_choice("convention", self.convention, ("adler", "dival"))
        check_choice("extent", self.extent, _EXTENTS)

    def __call__(self, shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.float32]:
        """Return an image of this shape."""
        from data_sim import random_ellipses

        return random_ellipses(1, shape, rng, self.convention, extent=self.extent)[0]

    def to_dict(self) -> dict[str, Any]:
        """Return kind and parameters, ready for JSON."""
        return {"type": type(self).__name__, **asdict(self)}

    def __str__(self) -> str:
        return f"random ellipses ({self.convention})"


@dataclass(frozen=True)
class SheppLogan:
    """The modified Shepp-Logan phantom, the same image at each draw.

    Parameters
    ----------
    extent : {"edges", "centres"}
        As for `RandomEllipses`.

    Raises
    ------
    ValueError
        If `extent` is none of these.
    """

    extent: str = "edges"

    def __post_init__(self) -> None:
        check_choice("extent", self.extent, _EXTENTS)

    def __call__(self, shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.float32]:
        """Return the image in this shape; `rng` is left alone."""
        from data_sim import shepp_logan

        return shepp_logan(shape, extent=self.extent)

    def to_dict(self) -> dict[str, Any]:
        """Return kind and parameters, ready for JSON."""
        return {"type": type(self).__name__, **asdict(self)}

    def __str__(self) -> str:
        return "Shepp-Logan phantom"
