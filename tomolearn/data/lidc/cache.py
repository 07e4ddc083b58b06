"""Caches of slices: one HDF5 file with all of them alike."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tomolearn._core.checks import check_choice, check_int
from tomolearn._core.errors import TomolearnError
from tomolearn._core.files import complete_file, locked, resolved
from tomolearn.data.hdf5 import HDF5Maker, new_hdf5
from tomolearn.data.lidc import cache_file
from tomolearn.data.lidc.folders import (
    AnnotationFiles,
    PatientFolder,
    check_folders,
    find_patients,
    state,
)
from tomolearn.data.lidc.masks import (
    Consensus,
    SlicePositions,
    check_consensus_level,
    cluster_nodules,
    consensus,
    slice_mask,
)
from tomolearn.data.lidc.preparation import Preparation
from tomolearn.data.lidc.publication_filters import PUBLICATION_FILTERS
from tomolearn.data.lidc.slices import FORMAT
from tomolearn.data.lidc.splits import PatientSplits

if TYPE_CHECKING:
    from tomolearn.dicom import Series, SeriesIndex

_SHOWN = 3


@dataclass(frozen=True)
class SliceSelection:
    """Which slices of a patient are taken.

    Parameters
    ----------
    every, per_patient : int
        Every so many-th of each series, from the first on; of these at most so many of a patient,
        evenly spread.
    nodules, nodules_only : bool
        Whether to store nodule masks; whether slices without a nodule are left out.
    consensus_level : float
        Share of a nodule's readers who must agree on a voxel, see `consensus`.
    min_readers : int
        Readers, of four, who must have marked a nodule.
    like : {"celledoni"}, optional
        Leave out what a publication left out, of the slices that are chosen otherwise, see
        `publication_filters`.

    Raises
    ------
    TypeError, ValueError
        If a number is not positive, or `consensus_level` above 1.
    """

    every: int = 1
    per_patient: int | None = None
    nodules: bool = False
    nodules_only: bool = False
    consensus_level: float = 0.5
    min_readers: int = 1
    like: str | None = None

    def __post_init__(self) -> None:
        check_int("every", self.every, minimum=1)
        check_int("min_readers", self.min_readers, minimum=1)
        if self.per_patient is not None:
            check_int("per_patient", self.per_patient, minimum=1)
        if self.like is not None:
            check_choice("like", self.like, tuple(PUBLICATION_FILTERS))
        check_consensus_level(self.consensus_level)

    @property
    def needs_annotations(self) -> bool:
        """Whether nodules have to be known."""
        return self.nodules or self.nodules_only


@dataclass(frozen=True)
class CacheReport:
    """What became of a tree's patients.

    Parameters
    ----------
    path : Path
        The cache.
    n_slices, n_patients, n_without_split : mapping of str to int, int
        In the cache, by split; patients in no split.
    left_out : tuple of str
        Series that could not be used, and annotations that could not be read, with the reason.
    """

    path: Path
    n_slices: dict[str, int]
    n_patients: dict[str, int]
    n_without_split: int
    left_out: tuple[str, ...]


@dataclass
class _Notes:
    """What is told about one patient's folder."""

    patients: list[str] = field(default_factory=list)
    n_slices: int = 0
    without_split: int = 0
    left_out: list[str] = field(default_factory=list)


def write_slices(
    root: str | os.PathLike[str],
    path: str | os.PathLike[str],
    *,
    preparation: Preparation | None = None,
    selection: SliceSelection | None = None,
    splits: PatientSplits | None = None,
    xml: str | os.PathLike[str] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> CacheReport:
    """Write slices of a LIDC-IDRI folder to one HDF5 file, for `LIDCSlices`.

    The file has "hounsfield" (n, size, size) in int16, "nodules" (n, size, size) in uint8 if
    asked for, and of each slice "part", which is its split, "patient", "series",
    "sop_instance_uid", "z" in mm and "spacing" (rows, columns) in mm. Patients are in the order of
    their folders, slices from low to high.

    Each patient is first written to a file in the folder ``.NAME.parts`` next to the result, so
    that a run that was stopped continues where it was; at the end they are joined. A series that
    cannot be read is left out as a whole, with a reason in the report.

    Parameters
    ----------
    root, path : path-like
        Folder of patients' folders, in either published layout; and the file, which gets its name
        when it is complete and replaces one of that name.
    preparation, selection : Preparation, SliceSelection, optional
        What is done with each slice, and which. Default: 512 x 512 pixels as they are, of all,
        without nodule masks.
    splits : PatientSplits, optional
        Default: 80, 10 and 10 % at random with seed 0. Patients in no split are left out.
    xml, progress : path-like, callable, optional
        Tree of annotations, after those next to the series; told how many patients' folders are
        done, and of how many.

    Raises
    ------
    OSError, ValueError
        If a folder is missing, there is no slice to write or it cannot be written, or the lists of
        `splits` name patients that are not there.
    """
    root, path = Path(root), Path(path)
    preparation = preparation or Preparation()
    selection = selection or SliceSelection()
    splits = splits or PatientSplits()
    settings = {
        "format": FORMAT,
        "preparation": preparation.to_dict(),
        "selection": asdict(selection),
        "split": splits.to_dict(),
    }
    folders = find_patients(root)
    check_folders(folders, splits)
    annotations = AnnotationFiles(None if xml is None else Path(xml))
    problems = list(annotations.problems.values())
    # a patient's file of another tree would do as little as one of other settings
    sources = {"root": str(resolved(root)), "xml": xml and [str(resolved(xml)), state(xml)]}
    writer = _Writer(preparation, selection, splits, annotations)
    parts = path.with_name(f".{path.name}.parts")
    parts.mkdir(exist_ok=True)
    with locked(parts / "lock", parts):
        for leftover in (*parts.glob(".*.partial"), *path.parent.glob(f".{path.name}.*.partial")):
            # of a run that was killed
            leftover.unlink(missing_ok=True)
        files: list[Path] = []
        notes: list[_Notes] = []
        for done, folder in enumerate(folders, 1):
            file = parts / f"{hashlib.sha256(folder.name.encode()).hexdigest()[:32]}.h5"
            made_of = settings | sources | {"content": state(folder.path)}
            if cache_file.attribute(file, "settings") != made_of:
                writer.write(folder, file, made_of)
            files.append(file)
            notes.append(_Notes(**cache_file.attribute(file, "notes")))
            if progress is not None:
                progress(done, len(folders))
        splits.check_known(patient for note in notes for patient in note.patients)
        lines = (*problems, *(line for note in notes for line in note.left_out))
        left_out = tuple(dict.fromkeys(lines))
        if not any(note.n_slices for note in notes):
            shutil.rmtree(parts)
            found = f"none that are wanted, of {len(folders)} folders"
            reasons = "".join(f"; {line}" for line in left_out[:_SHOWN])
            raise TomolearnError(f"{path}: expected slices to write, got {found}{reasons}")
        counts = cache_file.join(files, path, settings, preparation.size, nodules=selection.nodules)
        shutil.rmtree(parts)
    return CacheReport(path, *counts, sum(note.without_split for note in notes), left_out)


@dataclass(frozen=True)
class _Writer:
    preparation: Preparation
    selection: SliceSelection
    splits: PatientSplits
    annotations: AnnotationFiles

    def write(self, folder: PatientFolder, path: Path, made_of: dict[str, Any]) -> None:
        """Write the slices of one folder to a file of its own, which says what it is made of."""
        catalogue = folder.catalogue()
        notes = _Notes(sorted({series.patient_id for series in catalogue.series}))
        known = set(self.annotations.problems)
        with complete_file(path) as stream, new_hdf5(stream) as made:
            with made.step() as file:
                cache_file.create(file, 0, self.preparation.size, nodules=self.selection.nodules)
            for patient in notes.patients:
                split = self.splits.split_of(patient)
                if split is None:
                    notes.without_split += 1
                    continue
                series = [one for one in catalogue.series if one.patient_id == patient]
                self._write_patient(made, split, series, catalogue, notes)
            problems = self.annotations.problems
            notes.left_out += [text for at, text in problems.items() if at not in known]
            with made.step() as file:
                notes.n_slices = len(file["z"])
                file.attrs["settings"] = json.dumps(made_of)
                file.attrs["notes"] = json.dumps(asdict(notes))

    def _write_patient(
        self,
        made: HDF5Maker,
        split: str,
        series: list[Series],
        catalogue: SeriesIndex,
        notes: _Notes,
    ) -> None:
        chosen: list[tuple[Series, list[Consensus], int]] = []
        for one in series:
            try:
                nodules = self._nodules(one, catalogue)
                wanted = list(range(0, len(one), self.selection.every))
                if self.selection.nodules_only:
                    wanted = [k for k in wanted if self._mask(one, nodules, k).any()]
            except ValueError as error:
                notes.left_out.append(f"series {one.uid}: {error}")
                continue
            chosen += [(one, nodules, k) for k in wanted]
        limit = self.selection.per_patient
        if limit is not None and len(chosen) > limit:
            places = np.linspace(0, len(chosen) - 1, limit) if limit > 1 else [len(chosen) // 2]
            chosen = [chosen[k] for k in np.rint(places).astype(int)]
        for one in series:
            with made.step() as file:
                begin = len(file["z"])
            for owner, nodules, k in chosen:
                if owner is not one:
                    continue
                try:
                    values = self._values(split, one, nodules, k)
                except (OSError, ValueError) as error:
                    # all of it: a volume with a hole would be no random sample of the patient
                    with made.step() as file:
                        cache_file.resize(file, begin)
                    notes.left_out.append(f"series {one.uid}: {error}")
                    break
                if values is not None:
                    with made.step() as file:
                        cache_file.append(file, values)

    def _nodules(self, series: Series, catalogue: SeriesIndex) -> list[Consensus]:
        if not self.selection.needs_annotations:
            return []
        annotations = self.annotations.read(series, catalogue)
        if annotations is None:
            raise TomolearnError("expected annotations that can be read, got none")
        positions = SlicePositions.of(series)
        if sizes := {one.shape for one in series.slices} - {positions.shape}:
            usual, *others = ("{} x {}".format(*size) for size in (positions.shape, *sorted(sizes)))
            raise TomolearnError(
                f"expected slices of one size for masks, got {usual} and also {', '.join(others)}"
            )
        return [
            consensus(marks, positions, consensus_level=self.selection.consensus_level)
            for marks in cluster_nodules(annotations.nodules, positions)
        ]

    def _mask(self, series: Series, nodules: list[Consensus], index: int) -> Any:
        shape = series.slices[index].shape
        return slice_mask(nodules, index, shape, min_readers=self.selection.min_readers)

    def _values(
        self, split: str, series: Series, nodules: list[Consensus], index: int
    ) -> dict[str, Any] | None:
        """Return what is stored of a slice; None if it is none of those wanted."""
        read = series.read(index)
        like = self.selection.like
        if like is not None and not PUBLICATION_FILTERS[like](read.hounsfield, read.padding):
            return None
        values: dict[str, Any] = {
            "hounsfield": self.preparation.image(read.hounsfield, read.padding, read.spacing),
            "part": split,
            "patient": series.patient_id,
            "series": series.uid,
            "sop_instance_uid": read.sop_instance_uid,
            "z": series.slices[index].position[2],
            "spacing": self.preparation.spacing_of(read.spacing),
        }
        if self.selection.nodules:
            mask = self._mask(series, nodules, index)
            values["nodules"] = self.preparation.mask(mask, read.spacing)
        return values
