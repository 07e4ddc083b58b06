"""What a task consists of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from types import MappingProxyType
from typing import Any

from tomolearn._core.checks import check_choice, check_int
from tomolearn.data.noise import Noise
from tomolearn.data.phantoms import PhantomSource
from tomolearn.data.simulated import SimulatedPairs
from tomolearn.geometry import Grid, ParallelBeam
from tomolearn.geometry.scan import Scan
from tomolearn.metrics import MetricConvention
from tomolearn.operators import RayTransform

__all__ = ["Split", "Task"]


@dataclass(frozen=True)
class Split:
    """One part of a task's data.

    Parameters
    ----------
    source : PhantomSource
        What draws the images.
    seed : int
        Seed of the pairs; different for each split of a task, unless they shall show the same
        phantoms in another way.
    size : int, optional
        Number of pairs. Default: no end, each step of a training sees new ones.
    """

    source: PhantomSource
    seed: int
    size: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the fields, ready for JSON."""
        return {"source": self.source.to_dict(), "seed": self.seed, "size": self.size}


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
    scan : ParallelBeam, FanBeam
        The scanner.
    convention : MetricConvention
        How the publication computes its metrics.
    splits : mapping of str to Split
        "train", "validation" and "test"; some tasks have more, to test under other conditions.
    noise : Noise, optional
        Default: none.
    simulation_grid : Grid, optional
        Grid that sinograms are simulated on. Default: the images'.
    refinement : {"average", "bilinear"}
        How images and simulated images belong together, see `data.SimulatedPairs`.
    baselines : mapping of str to mapping
        Arguments of the classical methods by name, "fbp" and "tv".
    """

    name: str
    description: str
    reference: str
    grid: Grid
    scan: Scan
    convention: MetricConvention
    splits: Mapping[str, Split]
    noise: Noise | None = None
    simulation_grid: Grid | None = None
    refinement: str = "average"
    baselines: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("splits", "baselines"):
            object.__setattr__(self, name, MappingProxyType(dict(getattr(self, name))))

    def operator(self) -> RayTransform:
        """Return the ray transform from the images' grid; the same object at each call."""
        return _operator(self.grid, self.scan)

    def simulator(self) -> RayTransform:
        """Return the ray transform that sinograms are simulated with."""
        return _operator(self.simulation_grid or self.grid, self.scan)

    def pairs(
        self, split: str, *, size: int | None = None, seed: int | None = None
    ) -> SimulatedPairs:
        """Return the pairs (sinogram, image) of a split.

        Parameters
        ----------
        split : str
            Which: "train", "validation", "test" or another one of `splits`.
        size : int, optional
            Take the first `size` pairs only. Default: all of the split.
        seed : int, optional
            Draw other pairs than those of the split's own seed.

        Raises
        ------
        TypeError, ValueError
            If the split is unknown, or `size` not from 1 to the split's.
        """
        part = self.splits[check_choice("split", split, tuple(self.splits))]
        if size is not None:
            check_int("size", size, minimum=1)
            if part.size is not None and size > part.size:
                raise ValueError(
                    f"size: expected at most the {part.size} pairs of {self.name}'s {split} "
                    f"split, got {size}"
                )
        return SimulatedPairs(
            part.source,
            self.simulator(),
            noise=self.noise,
            seed=part.seed if seed is None else seed,
            size=part.size if size is None else size,
            grid=self.grid,
            refinement=self.refinement,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return all of it, ready for JSON."""
        return {
            "name": self.name,
            "description": self.description,
            "reference": self.reference,
            "grid": self.grid.to_dict(),
            "simulation_grid": None
            if self.simulation_grid is None
            else self.simulation_grid.to_dict(),
            "refinement": self.refinement,
            "scan": self.scan.to_dict(),
            "noise": None if self.noise is None else self.noise.to_dict(),
            "splits": {name: split.to_dict() for name, split in self.splits.items()},
            "convention": self.convention.name,
            "baselines": {name: dict(values) for name, values in self.baselines.items()},
        }


@lru_cache(maxsize=16)
def _operator(grid: Grid, scan: ParallelBeam) -> RayTransform:
    return RayTransform(grid, scan)
