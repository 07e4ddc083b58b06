"""Sources of phantoms as values that a task can hold."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from tomolearn._core.checks import check_choice, check_float
from tomolearn._core.values import KindAndFields

_EXTENTS = ("edges", "centres")


class PhantomSource(Protocol):
    """What draws one image at a time."""

    def __call__(self, shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.float32]:
        """Return an image of this shape."""

    def to_dict(self) -> dict[str, Any]:
        """Return kind and parameters, ready for JSON."""


@runtime_checkable
class ImageDataset(Protocol):
    """Finitely many images, asked for by their numbers."""

    def __len__(self) -> int:
        """Return the number of images."""

    def image(
        self, index: int, shape: tuple[int, ...], rng: np.random.Generator
    ) -> NDArray[np.float32]:
        """Return one image in this shape; what is random about it comes from `rng`."""

    def to_dict(self) -> dict[str, Any]:
        """Return kind and parameters, ready for JSON."""


@dataclass(frozen=True)
class RandomEllipses(KindAndFields):
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

    def __str__(self) -> str:
        return f"random ellipses ({self.convention})"


@dataclass(frozen=True)
class RandomThorax(KindAndFields):
    """Axial slices of random chests at random heights, see `data_sim.random_thorax_slice`.

    Values are (HU + 1024) / 4096, clipped to [0, 1]: the scaling of [1]_, whose images are slices
    of LIDC-IDRI. Water is 0.25 and air 24 / 4096.

    Parameters
    ----------
    orientation : {"upright", "any"}
        Whether patients lie on their backs, but for a few degrees, or are turned about the middle
        of the image by a uniform angle. The same draw gives the same slice, turned or not.
    field : float
        Extent of the image in mm; every patient fits into a circle of 350 mm diameter.

    Raises
    ------
    TypeError, ValueError
        If `orientation` is none of these or `field` not a positive number.

    References
    ----------
    .. [1] E. Celledoni et al., "Equivariant neural networks for inverse problems", Inverse
       Problems 37 (2021), doi:10.1088/1361-6420/ac104f, arXiv:2102.11504
    """

    orientation: str = "upright"
    field: float = 360.0

    def __post_init__(self) -> None:
        check_choice("orientation", self.orientation, ("upright", "any"))
        check_float("field", self.field, positive=True)

    def __call__(self, shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.float32]:
        """Return an image of this shape."""
        from data_sim import random_thorax_slice

        angle = rng.uniform(0, 2 * math.pi)
        rotation = angle if self.orientation == "any" else 0.0
        hounsfield = random_thorax_slice(shape, rng, field=self.field, rotation=rotation)
        return np.clip((hounsfield + 1024) / 4096, 0, 1)

    def __str__(self) -> str:
        return f"random chest slices ({self.orientation})"


@dataclass(frozen=True)
class SheppLogan(KindAndFields):
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

    def __str__(self) -> str:
        return "Shepp-Logan phantom"
