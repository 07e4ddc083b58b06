"""Which slices of LIDC-IDRI a set like LoDoPaB-CT is made of."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tomolearn._core.checks import check_int
from tomolearn._core.errors import TomolearnError
from tomolearn._core.files import resolved
from tomolearn._core.reading import read_json, read_text
from tomolearn.data.lidc.folders import PatientFolder, check_folders, find_patients
from tomolearn.data.lidc.splits import SPLITS, PatientSplits
from tomolearn.data.lodopab.recipe import Recipe

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Sample:
    """One slice.

    Parameters
    ----------
    path, frame : str, int or None
        Its file, from the root, with slashes; and which image of a file with several.
    patient, sop_instance_uid : str
        Whose it is, and its own identifier.
    """

    path: str
    frame: int | None
    patient: str
    sop_instance_uid: str


@dataclass(frozen=True)
class SampleList:
    """The slices of a set, in the order of its samples.

    Parameters
    ----------
    settings, samples : mapping, mapping of str to tuple of Sample
        What they were chosen with, and which they are by split.
    left_out : mapping of str to int
        Numbers of slices that cannot be used, by reason.
    """

    settings: Mapping[str, Any]
    samples: Mapping[str, tuple[Sample, ...]]
    left_out: Mapping[str, int]

    def __len__(self) -> int:
        return sum(map(len, self.samples.values()))

    def patients(self, split: str) -> tuple[str, ...]:
        """Return the patients of a split, each once, by ID."""
        return tuple(sorted({sample.patient for sample in self.samples[split]}))

    def to_dict(self) -> dict[str, Any]:
        """Return all of it, ready for JSON."""
        samples = {split: [asdict(one) for one in found] for split, found in self.samples.items()}
        left_out = dict(self.left_out)
        return {"settings": dict(self.settings), "left_out": left_out, "samples": samples}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> SampleList:
        """Return the list that `to_dict` was called on."""
        found = values["samples"].items()
        samples = {split: tuple(Sample(**one) for one in ones) for split, ones in found}
        return cls(values["settings"], samples, values["left_out"])


def select_samples(
    root: str | os.PathLike[str],
    *,
    splits: PatientSplits | None = None,
    every: int = 3,
    per_patient: int | None = None,
    series: Collection[str] | None = None,
    seed: int = 0,
    recipe: Recipe | None = None,
    progress: Progress | None = None,
) -> SampleList:
    """Choose the slices of a set, and read each once to see that it can be read.

    Slices of another size than the recipe's cannot be used, nor those that cannot be read or
    whose middle reaches beyond the scanner's circle; they are counted. The samples of a split are
    in a random order, so that a file has many patients.

    Parameters
    ----------
    root : path-like
        Folder of patients' folders, in either published layout.
    splits : PatientSplits, optional
        Default: 80, 10 and 10 % at random with the same seed.
    every, per_patient : int
        Every so many-th slice of each series, from the first on (the publication has another
        number for each, mostly 3 or 6); at most so many of a patient, evenly spread.
    series : collection of str, optional
        SeriesInstanceUIDs to choose from, see `read_series_list`. Default: all.
    seed, recipe : int, Recipe, optional
        Of the order. Default of the recipe: the publication's.
    progress : callable, optional
        Told how many patients' folders are done, and of how many.

    Raises
    ------
    OSError, TypeError, ValueError
        If the folder is missing, a number is not positive, no slice can be used, or the lists of
        `splits` name patients that are not there, or splits other than "train", "validation" and
        "test".
    """
    root = Path(root)
    recipe, splits = recipe or Recipe(), splits or PatientSplits(seed=seed)
    settings = selection_settings(root, splits, every, per_patient, series, seed, recipe)
    return selected(root, splits, recipe, settings, progress)


def selected(
    root: Path,
    splits: PatientSplits,
    recipe: Recipe,
    settings: dict[str, Any],
    progress: Progress | None,
) -> SampleList:
    """Choose slices as `select_samples` with the settings of `selection_settings`."""
    every, per_patient, seed = (settings[name] for name in ("every", "per_patient", "seed"))
    found: dict[str, list[Sample]] = {split: [] for split in SPLITS}
    left_out: Counter[str] = Counter()
    patients: set[str] = set()
    folders = find_patients(root)
    check_folders(folders, splits)
    chosen = None if settings["series"] is None else frozenset(settings["series"])
    for done, folder in enumerate(folders, 1):
        for patient, slices in _slices(folder, every, per_patient, chosen).items():
            patients.add(patient)
            split = splits.split_of(patient)
            if split is not None:
                found[split] += _usable(slices, folder.root, recipe, left_out)
        if progress is not None:
            progress(done, len(folders))
    splits.check_known(patients)
    if not any(found.values()):
        none = "no CT series" if chosen is None else "no CT series of those to choose from"
        reasons = ", ".join(f"{n} {reason}" for reason, n in left_out.items()) or none
        raise TomolearnError(f"{root}: expected slices that can be used, got none ({reasons})")
    samples = {}
    for number, split in enumerate(SPLITS):
        order = np.random.default_rng((seed, number)).permutation(len(found[split]))
        samples[split] = tuple(found[split][k] for k in order)
    return SampleList(settings, samples, dict(sorted(left_out.items())))


def read_series_list(path: Path) -> frozenset[str]:
    """Read SeriesInstanceUIDs from a file.

    Parameters
    ----------
    path : Path
        ``.json``, a list, or the publication's ``series_list.json``, whose "series_included"
        counts; or text with one on each line.

    Raises
    ------
    OSError, ValueError
        If the file cannot be read or has no such identifiers.
    """
    is_json = path.suffix.lower() == ".json"
    entries: Any = read_json(path, "JSON") if is_json else read_text(path).split()
    if isinstance(entries, dict):
        entries = entries.get("series_included")
    wrong = [entries]
    if isinstance(entries, list) and entries:
        wrong = [uid for uid in entries if not re.fullmatch(r"[\d.]+", str(uid))]
    if wrong:
        raise TomolearnError(f"{path}: expected SeriesInstanceUIDs, got {wrong[0]!r:.60}")
    return frozenset(map(str, entries))


def selection_settings(
    root: Path,
    splits: PatientSplits,
    every: int,
    per_patient: int | None,
    series: Collection[str] | None,
    seed: int,
    recipe: Recipe,
) -> dict[str, Any]:
    """Return what a set depends on besides the slices, ready for JSON."""
    if not root.is_dir():
        raise NotADirectoryError(f"{root}: expected a folder of LIDC-IDRI")
    check_int("every", every, minimum=1)
    check_int("seed", seed, minimum=0)
    if per_patient is not None:
        check_int("per_patient", per_patient, minimum=1)
    if unknown := set(splits.names) - set(SPLITS):
        raise TomolearnError(f"splits: expected {', '.join(SPLITS)}, got {sorted(unknown)}")
    return {
        "root": str(resolved(root)),
        "series": None if series is None else sorted(series),
        "recipe": recipe.to_dict(),
        "split": splits.to_dict(),
        "every": every,
        "per_patient": per_patient,
        "seed": seed,
    }


def _slices(
    folder: PatientFolder, every: int, per_patient: int | None, chosen: frozenset[str] | None
) -> dict[str, list[tuple[Any, str]]]:
    """Return the chosen slices of a folder, as the dicom layer has them, by patient."""
    found: dict[str, list[tuple[Any, str]]] = {}
    for series in folder.catalogue().series:
        slices = found.setdefault(series.patient_id, [])
        if chosen is None or series.uid in chosen:
            slices += [(one, series.patient_id) for one in series.slices[::every]]
    if per_patient is not None:
        for patient, slices in found.items():
            if len(slices) > per_patient:
                places = np.linspace(0, len(slices) - 1, per_patient + 2)[1:-1]
                found[patient] = [slices[k] for k in np.rint(places).astype(int)]
    return found


def _usable(
    slices: Sequence[tuple[Any, str]], root: Path, recipe: Recipe, left_out: Counter[str]
) -> Iterator[Sample]:
    from tomolearn.dicom import read_slice

    for one, patient in slices:
        if one.shape != (recipe.slice_size, recipe.slice_size):
            left_out["of another size, {} x {}".format(*one.shape)] += 1
            continue
        try:
            read = read_slice(one.path, frame=one.frame)
        except (OSError, ValueError):
            left_out["unreadable"] += 1
            continue
        if recipe.reaches_beyond(read.hounsfield, read.padding):
            left_out["reaching beyond the scanner's circle"] += 1
            continue
        path = one.path.relative_to(root).as_posix()
        yield Sample(path, one.frame, patient, one.sop_instance_uid)
