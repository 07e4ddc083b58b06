"""Pairs that are simulated when they are asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import avg_pool2d, interpolate
from torch.utils.data import Dataset

from tomolearn._core.checks import check_choice, check_int
from tomolearn._core.errors import TomolearnError, TomolearnTypeError
from tomolearn.data.noise import Noise
from tomolearn.data.phantoms import NumberedSource, PhantomSource
from tomolearn.geometry import Grid
from tomolearn.operators import RayTransform

__all__ = ["Pair", "SimulatedPairs", "n_pairs"]

Pair = tuple[torch.Tensor, torch.Tensor]


class SimulatedPairs(Dataset[Pair]):
    """Phantoms and their noisy sinograms, drawn on the fly.

    Item `i` depends on `seed` and `i` alone: it is the same in every process, in every order and
    in every batch (to rounding), which is what lets a training be resumed and be distributed.

    Parameters
    ----------
    source : PhantomSource or NumberedSource
        Draws the images, or has them: then pair `i` shows its image `i`.
    operator : RayTransform
        The scanner on the grid that is simulated on.
    noise : Noise, optional
        Applied to each sinogram. Default: none.
    seed : int
        Not negative.
    size : int, optional
        Number of pairs. Default: all images of a source that has finitely many, otherwise no end;
        such a data set has no length.
    grid : Grid, optional
        Grid of the images, over the same region as the operator's. Default: the operator's.
    refinement : {"average", "bilinear"}
        How images and simulated images belong together if the grids differ. "average": the phantom
        is drawn on the operator's grid, which has a whole multiple of the pixels, and the image is
        made of means. "bilinear": it is drawn on `grid` and interpolated for the simulation.

    Raises
    ------
    TypeError, ValueError
        If an argument is not of the kind named above.
    """

    def __init__(
        self,
        source: PhantomSource | NumberedSource,
        operator: RayTransform,
        *,
        noise: Noise | None = None,
        seed: int = 0,
        size: int | None = None,
        grid: Grid | None = None,
        refinement: str = "average",
    ) -> None:
        if not isinstance(operator, RayTransform):
            raise TomolearnTypeError(
                f"operator: expected a RayTransform, got {type(operator).__name__}"
            )
        self.source, self.operator, self.noise = source, operator, noise
        self.seed = check_int("seed", seed, minimum=0)
        self.size = None if size is None else check_int("size", size, minimum=1)
        if isinstance(source, NumberedSource):
            if self.size is not None and self.size > len(source):
                raise TomolearnError(
                    f"size: expected at most the {len(source)} images of the source, got {size}"
                )
            self.size = self.size or len(source)
        self.grid = operator.grid if grid is None else grid
        self.refinement = check_choice("refinement", refinement, ("average", "bilinear"))
        fine, coarse = operator.grid, self.grid
        if not np.allclose((fine.lower, fine.upper), (coarse.lower, coarse.upper)):
            raise TomolearnError(
                f"grid: expected the region of the operator's grid, {fine.lower} to {fine.upper}, "
                f"got {coarse.lower} to {coarse.upper}"
            )
        self._factors = tuple(n // m for n, m in zip(fine.shape, coarse.shape, strict=True))
        multiples = tuple(k * m for k, m in zip(self._factors, coarse.shape, strict=True))
        if refinement == "average" and multiples != fine.shape:
            raise TomolearnError(
                "grid: expected a shape that divides the operator's grid, "
                f"{fine.shape}, got {coarse.shape}"
            )

    def __len__(self) -> int:
        if self.size is None:
            raise TomolearnTypeError("this data set has no end, and so no length")
        return self.size

    def __getitem__(self, index: int) -> Pair:
        """Return sinogram (1, angles, detectors) and image (1, rows, columns), in float32."""
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[Pair]:
        """Return several pairs, which are projected together."""
        drawn_on = self.operator.grid if self.refinement == "average" else self.grid
        rngs = self._rngs(indices, 0)
        phantoms = np.stack(
            [self._draw(k, drawn_on.shape, rng) for k, rng in zip(indices, rngs, strict=True)]
        )
        images = fine = torch.from_numpy(phantoms)[:, None]
        if self.grid.shape != self.operator.grid.shape:
            if self.refinement == "average":
                images = avg_pool2d(fine, self._factors)
            else:
                fine = interpolate(images, self.operator.grid.shape, mode="bilinear")
        sinograms = self.operator(fine)
        if self.noise is not None:
            for sinogram, rng in zip(sinograms, self._rngs(indices, 1), strict=True):
                sinogram.copy_(torch.from_numpy(self.noise(sinogram.numpy(), rng)))
        return list(zip(sinograms, images, strict=True))

    def _draw(
        self, index: int, shape: tuple[int, ...], rng: np.random.Generator
    ) -> NDArray[np.float32]:
        if isinstance(self.source, NumberedSource):
            return self.source.image(int(index), shape, rng)
        return self.source(shape, rng)

    def _rngs(self, indices: Sequence[int], purpose: int) -> list[np.random.Generator]:
        for index in indices:
            if index < 0 or (self.size is not None and index >= self.size):
                limit = "" if self.size is None else f" and below {self.size}"
                raise IndexError(f"index: expected one from 0 on{limit}, got {index}")
        return [np.random.default_rng((self.seed, int(index), purpose)) for index in indices]


def n_pairs(pairs: Dataset[Pair]) -> int | None:
    """Return the number of pairs of a data set; None if it has no end."""
    if isinstance(pairs, SimulatedPairs):
        return pairs.size
    sized: Any = pairs
    return len(sized)
