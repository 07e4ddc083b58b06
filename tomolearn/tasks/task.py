"""What a task consists of."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from torch.utils.data import Dataset, Subset

from tomolearn._core.checks import check_choice, check_int
from tomolearn._core.errors import TomolearnError
from tomolearn._core.reading import parse_json
from tomolearn.data.files import DataFiles
from tomolearn.data.phantoms import ImageDataset, PhantomSource
from tomolearn.data.simulated import Pair, SimulatedPairs, n_pairs
from tomolearn.data.stored import StoredPairs, is_pairs_file
from tomolearn.geometry import Grid, Scan
from tomolearn.methods import Method
from tomolearn.metrics import MetricConvention, without_metrics
from tomolearn.operators import LinearOperator
from tomolearn.simulation import Acquisition

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Split:
    """One part of a task's data.

    Parameters
    ----------
    source : PhantomSource, ImageDataset or None
        What draws the images, or has them; None if they can only be read, see `Task.files`.
    seed : int
        Of the pairs; another for each split of a task, unless they shall show the same phantoms.
    size : int, optional
        Number of pairs; of those that are read, the published number. Default: that of a source
        which has its images, and otherwise no end, so that each step of a training sees new ones.
    """

    source: PhantomSource | ImageDataset | None
    seed: int
    size: int | None = None

    def __post_init__(self) -> None:
        if self.size is None and isinstance(self.source, ImageDataset):
            object.__setattr__(self, "size", len(self.source))

    def to_dict(self) -> dict[str, Any]:
        """Return the fields, ready for JSON."""
        source = None if self.source is None else self.source.to_dict()
        return {"source": source, "seed": self.seed, "size": self.size}


@dataclass(frozen=True, kw_only=True)
class Task:
    """A reconstruction problem with its data and the way in which results are judged.

    Parameters
    ----------
    name : str
        What it is called on the command line and in model cards.
    grid, acquisition : Grid, Acquisition
        The images' grid, in the plane or in space, and how sinograms are measured.
    splits : mapping of str to Split
        "train", "validation" and "test"; some tasks have more, to test under other conditions.
    convention, baselines : MetricConvention, mapping of str to Method
        How metrics are computed, and what results are compared with, by name.
    files : DataFiles, optional
        What a data path of the task has to be. Default: a file of stored pairs.
    hounsfield : float, optional
        How many Hounsfield units an image value of one is more than zero, of images of CT.
    description, reference : str
        One line; and the publication that it follows, with DOI or arXiv number.

    Examples
    --------
    >>> grid = Grid((128, 128), 2.0)
    >>> patients = RandomThorax()
    >>> task = Task(
    ...     name="few-views",
    ...     grid=grid,
    ...     acquisition=Acquisition(CoveringScan("fan", 60), GaussianNoise(0.02)),
    ...     splits={
    ...         "train": Split(patients, seed=1),
    ...         "validation": Split(patients, seed=2, size=20),
    ...         "test": Split(patients, seed=3, size=50),
    ...     },
    ...     convention=MetricConvention("own", psnr_range=1.0, ssim_range=1.0),
    ... )
    >>> sinogram, image = task.pairs("test")[0]
    """

    name: str
    grid: Grid
    acquisition: Acquisition
    splits: Mapping[str, Split]
    convention: MetricConvention
    baselines: Mapping[str, Method] = field(default_factory=dict)
    files: DataFiles | None = None
    hounsfield: float | None = None
    description: str = ""
    reference: str = ""

    def __post_init__(self) -> None:
        for name in ("splits", "baselines"):
            object.__setattr__(self, name, MappingProxyType(dict(getattr(self, name))))

    @property
    def scan(self) -> Scan | None:
        """The scan of the acquisition, None without one."""
        return self.acquisition.scan_of(self.grid)

    def operator(self) -> LinearOperator:
        """Return the ray transform from the images' grid; without a scan, the identity."""
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
        labels: bool = False,
    ) -> Dataset[Pair]:
        """Return the pairs (sinogram, image) of a split; `data.n_pairs` tells how many there are.

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
        labels : bool
            Return (sinogram, image, labels): labels of the image's pixels, such as 1 in nodules.

        Raises
        ------
        OSError, TypeError, ValueError
            If the split is unknown, `size` not from 1 to the number that there are, data needed
            and not given, not there, not what is needed, or given with a seed although stored; or
            if the images have no labels and they are asked for.
        """
        part = self.splits[check_choice("split", split, tuple(self.splits))]
        if size is not None:
            check_int("size", size, minimum=1)
        seed_of_all = part.seed if seed is None else seed
        if data is not None:
            opened = self._opened(Path(data), split, labels)
            if isinstance(opened, ImageDataset):
                read: Dataset[Pair] = SimulatedPairs(
                    opened, self.grid, self.acquisition, seed=seed_of_all, labels=labels
                )
                return _first(read, size, str(data))
            if seed is not None:
                raise TomolearnError(
                    f"seed: expected none, since the pairs of {data} are stored, got {seed}"
                )
            return _first(self._of_our_shapes(opened, data), size, str(data))
        if part.source is None:
            hint = "files of its pairs" if self.files is None else self.files.hint
            raise TomolearnError(f"data: {self.name} needs the path of its data, {hint}; got none")
        if size is not None and part.size is not None and size > part.size:
            most = f"the {part.size} pairs of {self.name}'s {split} split"
            raise TomolearnError(f"size: expected at most {most}, got {size}")
        size = part.size if size is None else size
        return SimulatedPairs(
            part.source, self.grid, self.acquisition, seed=seed_of_all, size=size, labels=labels
        )

    def _opened(self, data: Path, split: str, labels: bool) -> ImageDataset | Dataset[Pair]:
        if not data.exists():
            hint = "" if self.files is None else f" or folder; {self.name} needs {self.files.hint}"
            raise FileNotFoundError(f"{data}: there is no such file{hint}")
        if self.files is not None and not is_pairs_file(data):
            found_files = self.files.open(data, split, self.grid.shape)
            if labels and not isinstance(found_files, ImageDataset):
                raise TomolearnError(
                    f"labels: expected images that have labels, and those of {data} have none"
                )
            return found_files
        pairs = StoredPairs(data, labels=labels)
        # what `tomolearn simulate` writes; files from elsewhere have no such attributes
        known = pairs.attributes
        made_for = _task_of(data, known["task"]) if "task" in known else self.name
        if made_for != self.name:
            raise TomolearnError(f"{data}: expected pairs of {self.name}, got those of {made_for}")
        found = known.get("split", split)
        if found != split:
            raise TomolearnError(
                f"{data}: expected pairs of the {split} split, got those of {found}"
            )
        return pairs

    def _of_our_shapes(self, pairs: Any, data: str | os.PathLike[str]) -> Dataset[Pair]:
        expected = {"sinogram": self.operator().range_shape, "image": self.grid.shape}
        found = {"sinogram": tuple(pairs.sinogram_shape), "image": tuple(pairs.image_shape)}
        if found != expected:
            raise TomolearnError(f"{data}: expected pairs of {self.name}, {expected}, got {found}")
        checked: Dataset[Pair] = pairs
        return checked

    def unusable(self, sinogram: torch.Tensor, image: torch.Tensor) -> str | None:
        """Return why nothing can be judged by a pair under the task's convention, None if it can.

        Its image has no metrics, see `metrics.without_metrics` (a volume: none of its slices has),
        or the sinogram has values that are not finite.
        """
        if not bool(sinogram.isfinite().all()):
            return "sinogram with values that are not finite"
        reasons = without_metrics(image, self.convention)
        return f"image {reasons[0]}" if all(reasons) else None

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
            "baselines": {name: method.to_dict() for name, method in self.baselines.items()},
            "files": None if self.files is None else self.files.to_dict(),
            "hounsfield": self.hounsfield,
        }


def data_of_others(data: Path | None) -> Path | None:
    """Return where the other splits are if one is read from `data`.

    A file of stored pairs has one split; the others are drawn. Everything else has all.
    """
    return None if data is not None and is_pairs_file(data) else data


def _first(pairs: Dataset[Pair], size: int | None, where: str) -> Dataset[Pair]:
    found = n_pairs(pairs)
    if size is None or size == found:
        return pairs
    if found is not None and size > found:
        raise TomolearnError(f"size: expected at most the {found} pairs of {where}, got {size}")
    return Subset(pairs, range(size))


def _task_of(data: Path, text: str) -> str:
    """Return the name of the task that pairs were made for."""
    found = parse_json(f"{data}: task", text)
    if not isinstance(found, dict) or not isinstance(found.get("name"), str):
        raise TomolearnError(f"{data}: task: expected an object with a name, got {found!r:.60}")
    name: str = found["name"]
    return name
