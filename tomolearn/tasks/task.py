"""What a task consists of."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from torch.utils.data import Dataset, Subset

from tomolearn._core.checks import check_choice, check_int
from tomolearn._core.errors import TomolearnError
from tomolearn.data.phantoms import PhantomSource
from tomolearn.data.simulated import Pair, SimulatedPairs, n_pairs
from tomolearn.geometry import Grid
from tomolearn.geometry.scan import Scan
from tomolearn.metrics import MetricConvention
from tomolearn.operators import RayTransform
from tomolearn.simulation import Acquisition
from tomolearn.tasks.files import DataFiles, read_pairs

__all__ = ["Split", "Task"]


@dataclass(frozen=True)
class Split:
    """One part of a task's data.

    Parameters
    ----------
    source : PhantomSource or None
        What draws the images; None if they can only be read, see `Task.files`.
    seed : int
        Seed of the pairs; different for each split of a task, unless they shall show the same
        phantoms in another way.
    size : int, optional
        Number of pairs; of those that are read, the published number. Default: no end, each step
        of a training sees new ones.
    """

    source: PhantomSource | None
    seed: int
    size: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the fields, ready for JSON."""
        source = None if self.source is None else self.source.to_dict()
        return {"source": source, "seed": self.seed, "size": self.size}


@dataclass(frozen=True)
class Task:
    """A reconstruction problem with its data and the way in which results are judged.

    Parameters
    ----------
    name : str
        What it is called on the command line and in model cards.
    description : str
        One line.
    reference : str
        The publication that it follows, with DOI or arXiv number.
    grid : Grid
        The images' grid.
    acquisition : Acquisition
        How sinograms are measured.
    convention : MetricConvention
        How the publication computes its metrics.
    splits : mapping of str to Split
        "train", "validation" and "test"; some tasks have more, to test under other conditions.
    baselines : mapping of str to mapping
        Arguments of the classical methods by name, "fbp" and "tv".
    files : DataFiles, optional
        What a data path of the task has to be. Default: a file of stored pairs.
    """

    name: str
    description: str
    reference: str
    grid: Grid
    acquisition: Acquisition
    convention: MetricConvention
    splits: Mapping[str, Split]
    baselines: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    files: DataFiles | None = None

    def __post_init__(self) -> None:
        for name in ("splits", "baselines"):
            object.__setattr__(self, name, MappingProxyType(dict(getattr(self, name))))

    @property
    def scan(self) -> Scan:
        """The scan of the acquisition."""
        return self.acquisition.scan_of(self.grid)

    def operator(self) -> RayTransform:
        """Return the ray transform from the images' grid."""
        return self.acquisition.operator(self.grid)

    @property
    def needs_data(self) -> bool:
        """Whether its pairs can only be had with a data path."""
        return any(split.source is None for split in self.splits.values())

    def pairs(
        self,
        split: str,
        *,
        data: str | os.PathLike[str] | None = None,
        size: int | None = None,
        seed: int | None = None,
    ) -> Dataset[Pair]:
        """Return the pairs (sinogram, image) of a split.

        Parameters
        ----------
        split : str
            Which: "train", "validation", "test" or another one of `splits`.
        data : path-like, optional
            Where the task's images or pairs are read from: what `files` says, or a file of pairs
            of this split that `data.store_pairs` wrote. Default: they are drawn.
        size : int, optional
            Take the first `size` pairs only. Default: all of the split, or of the data.
        seed : int, optional
            Draw other pairs, or other noise, than those of the split's own seed.

        Returns
        -------
        Dataset of (sinogram, image)
            With ``__getitems__``; `data.n_pairs` tells how many there are.

        Raises
        ------
        TypeError, ValueError
            If the split is unknown, `size` not from 1 to the number that there are, data needed
            and not given, not what is needed, or given with a seed although all is stored.
        OSError
            If there is no such path, or it cannot be read.
        """
        part = self.splits[check_choice("split", split, tuple(self.splits))]
        if size is not None:
            check_int("size", size, minimum=1)
        if data is not None:
            return _first(read_pairs(self, split, Path(data), seed), size, str(data))
        if part.source is None:
            hint = "files of its pairs" if self.files is None else self.files.hint
            raise TomolearnError(f"data: {self.name} needs the path of its data, {hint}; got none")
        if size is not None and part.size is not None and size > part.size:
            raise TomolearnError(
                f"size: expected at most the {part.size} pairs of {self.name}'s {split} "
                f"split, got {size}"
            )
        return SimulatedPairs(
            part.source,
            self.grid,
            self.acquisition,
            seed=part.seed if seed is None else seed,
            size=part.size if size is None else size,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return all of it, ready for JSON."""
        return {
            "name": self.name,
            "description": self.description,
            "reference": self.reference,
            "grid": self.grid.to_dict(),
            "acquisition": self.acquisition.to_dict(),
            "splits": {name: split.to_dict() for name, split in self.splits.items()},
            "convention": self.convention.name,
            "baselines": {name: dict(values) for name, values in self.baselines.items()},
            "files": None if self.files is None else self.files.to_dict(),
        }


def _first(pairs: Dataset[Pair], size: int | None, where: str) -> Dataset[Pair]:
    found = n_pairs(pairs)
    if size is None or size == found:
        return pairs
    if found is not None and size > found:
        raise TomolearnError(f"size: expected at most the {found} pairs of {where}, got {size}")
    return Subset(pairs, range(size))
