"""Where the pairs of a task come from if they are not drawn."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from torch.utils.data import Dataset

from tomolearn._core.errors import TomolearnError
from tomolearn.data.lidc.slices import LIDCSlices
from tomolearn.data.lodopab import LoDoPaBPairs
from tomolearn.data.simulated import Pair, SimulatedPairs
from tomolearn.data.stored import StoredPairs

if TYPE_CHECKING:
    from tomolearn.tasks.task import Task

__all__ = ["DataFiles", "LoDoPaBFiles", "SliceCache", "data_of_others", "read_pairs"]


class DataFiles(Protocol):
    """A kind of files that a task's pairs, or their images, can be read from."""

    @property
    def hint(self) -> str:
        """What the path has to be, and how to get it."""

    def pairs(self, task: Task, split: str, path: Path, seed: int | None) -> Dataset[Pair]:
        """Return the pairs of a split."""

    def to_dict(self) -> dict[str, Any]:
        """Return kind and parameters, ready for JSON."""


@dataclass(frozen=True)
class LoDoPaBFiles:
    """The files of LoDoPaB-CT.

    Parameters
    ----------
    n_angles : int, optional
        So many of their angles. Default: all.
    """

    n_angles: int | None = None

    @property
    def hint(self) -> str:
        """What the path has to be, and how to get it."""
        return (
            "the folder of LoDoPaB-CT: the published files (doi:10.5281/zenodo.3384092) or what "
            "`tomolearn lidc lodopab` makes of LIDC-IDRI"
        )

    def pairs(self, task: Task, split: str, path: Path, seed: int | None) -> Dataset[Pair]:
        """Return the stored pairs of a split."""
        if seed is not None:
            raise TomolearnError(
                f"seed: expected none, since {task.name} has stored noise, got {seed}"
            )
        pairs = LoDoPaBPairs(path, split, n_angles=self.n_angles)
        _check_shapes(task, path, pairs.sinogram_shape, pairs.image_shape)
        return pairs

    def to_dict(self) -> dict[str, Any]:
        """Return kind and parameters, ready for JSON."""
        return {"type": type(self).__name__, **asdict(self)}


@dataclass(frozen=True)
class SliceCache:
    """A cache of slices, of which sinograms are simulated.

    Parameters
    ----------
    resize : bool
        Whether slices of another shape are interpolated to the task's.
    """

    resize: bool = False

    @property
    def hint(self) -> str:
        """What the path has to be, and how to get it."""
        return "the HDF5 file that `tomolearn lidc slices` makes of LIDC-IDRI"

    def pairs(self, task: Task, split: str, path: Path, seed: int | None) -> Dataset[Pair]:
        """Return simulated pairs of the slices; "test-rotated" shows those of "test", turned."""
        part, _, turned = split.partition("-")
        source = LIDCSlices(
            path, part, resize=self.resize, orientation="any" if turned else "upright"
        )
        if not self.resize and source.slice_shape != task.grid.shape:
            raise TomolearnError(
                f"{path}: expected slices of shape {task.grid.shape} for {task.name}, "
                f"got {source.slice_shape}; `tomolearn lidc slices ... --shape "
                f"{task.grid.shape[0]}` makes such"
            )
        return SimulatedPairs(
            source,
            task.grid,
            task.acquisition,
            seed=task.splits[split].seed if seed is None else seed,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return kind and parameters, ready for JSON."""
        return {"type": type(self).__name__, **asdict(self)}


def read_pairs(task: Task, split: str, data: Path, seed: int | None) -> Dataset[Pair]:
    """Return the pairs of a split from a path.

    Parameters
    ----------
    task : Task
        The task.
    split : str
        One of its splits.
    data : Path
        What the task's `files` read, or a file that `data.store_pairs` wrote.
    seed : int, optional
        Of the noise, where it is not stored.

    Raises
    ------
    OSError
        If there is no such path, or it cannot be read.
    ValueError
        If it holds something else, or pairs of another task, split or shape.
    """
    if not data.exists():
        raise FileNotFoundError(
            f"{data}: there is no such file"
            + ("" if task.files is None else f" or folder; {task.name} needs {task.files.hint}")
        )
    if task.files is not None and not _is_pairs_file(data):
        return task.files.pairs(task, split, data, seed)
    if seed is not None:
        raise TomolearnError(
            f"seed: expected none, since the pairs of {data} are stored, got {seed}"
        )
    pairs = StoredPairs(data)
    _check_shapes(task, data, pairs.sinogram_shape, pairs.image_shape)
    # what `tomolearn simulate` writes; files from elsewhere have no such attributes
    made_for = json.loads(pairs.attributes["task"])["name"] if "task" in pairs.attributes else None
    if made_for not in (None, task.name):
        raise TomolearnError(f"{data}: expected pairs of {task.name}, got those of {made_for}")
    found = pairs.attributes.get("split", split)
    if found != split:
        raise TomolearnError(f"{data}: expected pairs of the {split} split, got those of {found}")
    return pairs


def data_of_others(data: Path | None) -> Path | None:
    """Return where the other splits are if one is read from `data`.

    A file of stored pairs has one split; the others are drawn. Everything else has all.
    """
    return None if data is not None and _is_pairs_file(data) else data


def _is_pairs_file(path: Path) -> bool:
    import h5py

    if not path.is_file() or not h5py.is_hdf5(path):
        return False
    with h5py.File(path, "r") as file:
        return "sinogram" in file and "image" in file


def _check_shapes(
    task: Task, data: Path, sinogram: tuple[int, ...], image: tuple[int, ...]
) -> None:
    expected = {"sinogram": task.scan.shape, "image": task.grid.shape}
    found = {"sinogram": tuple(sinogram), "image": tuple(image)}
    if found != expected:
        raise TomolearnError(f"{data}: expected pairs of {task.name}, {expected}, got {found}")
