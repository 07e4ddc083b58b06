"""Pairs that are simulated when they are asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from tomolearn._core.checks import check_int
from tomolearn._core.errors import TomolearnError, TomolearnTypeError
from tomolearn.data.phantoms import ImageDataset, LabelledSource, PhantomSource
from tomolearn.geometry import Grid
from tomolearn.simulation import Acquisition, independent_streams

Pair = tuple[torch.Tensor, ...]
"""Sinogram and image; where labels were asked for, labels of the image's pixels, too."""


class SimulatedPairs(Dataset[Pair]):
    """Phantoms and their simulated measurements, drawn on the fly.

    Item `i` depends on `seed` and `i` alone: it is the same (to rounding) in every process, order
    and batch, so that a training can be resumed and distributed.

    Parameters
    ----------
    source : PhantomSource or ImageDataset
        Draws the images, or has them: then pair `i` shows its image `i`.
    grid, acquisition : Grid, Acquisition
        Grid of the images, in the plane or in space, and how they are measured. If the refinement
        is "average", phantoms are drawn on the finer grid, and images are means of them.
    seed : int
        Not negative.
    size : int, optional
        Number of pairs. Default: all images of a source that has finitely many, otherwise no end;
        such a data set has no length.
    labels : bool
        Whether items have labels of the image's pixels as well, 0 or 1. Where images are means of
        finer ones, a pixel has the label that half of its parts or more have.

    Raises
    ------
    TypeError, ValueError
        If an argument is not of the kind named above, the grid does not suit the acquisition, or
        the source has no labels.
    """

    def __init__(
        self,
        source: PhantomSource | ImageDataset,
        grid: Grid,
        acquisition: Acquisition,
        *,
        seed: int = 0,
        size: int | None = None,
        labels: bool = False,
    ) -> None:
        if labels and not isinstance(source, LabelledSource):
            raise TomolearnError(
                f"labels: expected a source whose images have labels, such as NoduleCrops, got "
                f"{type(source).__name__}"
            )
        if not isinstance(acquisition, Acquisition):
            found = type(acquisition).__name__
            raise TomolearnTypeError(f"acquisition: expected an Acquisition, got {found}")
        self.source, self.grid, self.acquisition = source, grid, acquisition
        self.labels = labels
        self.seed = check_int("seed", seed, minimum=0)
        self.size = None if size is None else check_int("size", size, minimum=1)
        if isinstance(source, ImageDataset):
            if self.size is not None and self.size > len(source):
                raise TomolearnError(
                    f"size: expected at most the {len(source)} images of the source, got {size}"
                )
            self.size = self.size or len(source)
        self._drawing_grid = acquisition.drawing_grid(grid)

    def __len__(self) -> int:
        if self.size is None:
            raise TomolearnTypeError("this data set has no end, and so no length")
        return self.size

    def __getitem__(self, index: int) -> Pair:
        """Return sinogram (1, *scan.shape), image and labels (1, *grid.shape), in float32."""
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[Pair]:
        """Return several pairs, which are projected together."""
        streams = [independent_streams(self.seed, self._checked(index)) for index in indices]
        drawn_with = zip(indices, streams, strict=True)
        phantoms = np.stack([self._draw(k, one.image) for k, one in drawn_with])
        # (1 or 2, images, 1, ...): images, and their labels
        drawn = found = torch.from_numpy(phantoms).transpose(0, 1)[:, :, None]
        if self._drawing_grid != self.grid:
            found = torch.stack([self.acquisition.average(one, self.grid) for one in drawn])
        noise = [one.noise for one in streams]
        sinograms = self.acquisition.measure(drawn[0].contiguous(), self.grid, noise)
        labels = [(one >= 0.5).float() for one in found[1:]]
        return list(zip(sinograms, found[0], *labels, strict=True))

    def regions(self, index: int) -> torch.Tensor:
        """Return the labels of a pair's image, shape (1, *grid.shape), int64.

        Raises
        ------
        ValueError
            If its source knows no regions; `RandomThorax` does.
        """
        regions = getattr(self.source, "regions", None)
        if regions is None:
            raise TomolearnError(
                "regions: expected images whose regions are known, such as those of RandomThorax, "
                f"got {self.source}"
            )
        stream = independent_streams(self.seed, self._checked(index)).image
        labels = regions(self.grid.shape, stream)
        return torch.from_numpy(labels.astype(np.int64))[None]

    def _draw(self, index: int, rng: np.random.Generator) -> NDArray[np.float32]:
        """Return the image, and labels if they are asked for, as one array."""
        shape = self._drawing_grid.shape
        if self.labels and isinstance(self.source, LabelledSource):
            return np.stack(self.source.labelled(shape, rng))
        return self._image(index, shape, rng)[None]

    def _image(
        self, index: int, shape: tuple[int, ...], rng: np.random.Generator
    ) -> NDArray[np.float32]:
        if isinstance(self.source, ImageDataset):
            return self.source.image(int(index), shape, rng)
        return self.source(shape, rng)

    def _checked(self, index: int) -> int:
        if index < 0 or (self.size is not None and index >= self.size):
            limit = "" if self.size is None else f" and below {self.size}"
            raise IndexError(f"index: expected one from 0 on{limit}, got {index}")
        return int(index)


def n_pairs(pairs: Dataset[Pair]) -> int | None:
    """Return the number of pairs of a data set; None if it has no end."""
    if isinstance(pairs, SimulatedPairs):
        return pairs.size
    sized: Any = pairs
    return len(sized)
