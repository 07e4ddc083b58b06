"""Patients' folders, their series, and the XML files that belong to them."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from tomolearn.data.lidc.annotations import Annotations, annotated_series, read_annotations
from tomolearn.data.lidc.splits import PatientSplits

if TYPE_CHECKING:
    from tomolearn.dicom import Series, SeriesIndex

T = TypeVar("T")

_PATIENT = re.compile(r"LIDC-IDRI-\d{4}")
# manifest-<number>/LIDC-IDRI/LIDC-IDRI-0001 in downloads by NBIA's client
_DEPTH = 3


@dataclass(frozen=True)
class PatientFolder:
    """One folder of a tree, usually of one patient."""

    path: Path
    root: Path  # of the tree

    @property
    def name(self) -> str:
        """Path from the root, with slashes."""
        return self.path.relative_to(self.root).as_posix()

    @property
    def patient(self) -> str | None:
        """The patient's ID, if the folder is called after it."""
        return self.path.name if _PATIENT.fullmatch(self.path.name) else None

    def catalogue(self) -> SeriesIndex:
        """Return its CT series and what else is in it, from the files' headers."""
        from tomolearn.dicom import find_series

        return find_series(self.path)


def find_patients(root: Path) -> tuple[PatientFolder, ...]:
    """Return the patients' folders below `root`, by name.

    They are those called ``LIDC-IDRI-0001`` and so on, at most three levels down. A tree without
    any is taken folder by folder, or as one if there is a file at its top.
    """
    if not root.is_dir():
        raise NotADirectoryError(f"{root}: expected a folder of LIDC-IDRI")
    found = sorted(_named(root, _DEPTH), key=lambda path: (path.name, path))
    if not found:
        entries = sorted(path for path in root.iterdir() if not path.name.startswith("."))
        found = entries if entries and all(path.is_dir() for path in entries) else [root]
    return tuple(PatientFolder(path, root) for path in found)


def check_folders(folders: Sequence[PatientFolder], splits: PatientSplits) -> None:
    """Check that patients in lists are there, if all folders are called after patients."""
    named = [folder.patient for folder in folders]
    if None not in named:
        splits.check_known(name for name in named if name is not None)


def _named(folder: Path, depth: int) -> Iterator[Path]:
    if _PATIENT.fullmatch(folder.name):
        yield folder
        return
    for path in folder.iterdir() if depth else ():
        if path.is_dir():
            yield from _named(path, depth - 1)


def state(folder: str | os.PathLike[str]) -> str:
    """Return a digest of the names, sizes and times of all files below a folder.

    Links are followed, and each folder is entered once, as `tomolearn.dicom.find_series` does.
    """
    digest = hashlib.sha256()
    entered = {os.path.realpath(folder)}
    for place, folders, names in os.walk(folder, followlinks=True):
        real = {name: os.path.realpath(os.path.join(place, name)) for name in sorted(folders)}
        # what is left in this list is entered, in its order
        folders.clear()
        for name, target in real.items():
            if target not in entered:
                entered.add(target)
                folders.append(name)
        for name in sorted(names):
            path = os.path.join(place, name)
            about = os.stat(path) if os.path.exists(path) else os.lstat(path)
            line = (os.path.relpath(path, folder), about.st_size, about.st_mtime_ns)
            digest.update(repr(line).encode())
    return digest.hexdigest()[:32]


class AnnotationFiles:
    """XML files by the series that they are about: those next to it, and in a tree of their own."""

    def __init__(self, folder: Path | None = None) -> None:
        self.problems: dict[Path, str] = {}
        """What is wrong with files that could not be read."""
        self._paths: dict[str, Path] = {}
        if folder is not None:
            if not folder.is_dir():
                raise NotADirectoryError(f"{folder}: expected a folder of XML files")
            self._paths = self._by_series(sorted(folder.rglob("*.xml")))

    def of(self, series: Series, catalogue: SeriesIndex) -> Path | None:
        """Return a series' file: that of its own folder, else of the tree; None if it has none."""
        return self.in_folder(catalogue).get(series.uid) or self._paths.get(series.uid)

    def in_folder(self, catalogue: SeriesIndex) -> Mapping[str, Path]:
        """Return the XML files among a patient's files, by series."""
        others = (left.path for left in catalogue.skipped)
        return self._by_series(path for path in others if path.suffix.lower() == ".xml")

    def read(self, series: Series, catalogue: SeriesIndex) -> Annotations | None:
        """Return a series' annotations; None if it has none, or none that can be read."""
        path = self.of(series, catalogue)
        found = None if path is None else self._tried(read_annotations, path)
        if found is not None and found.problems:
            n, first = len(found.problems), found.problems[0]
            self.problems[found.path] = f"{found.path}: left out {n} parts of marks, first {first}"
        return found

    def _tried(self, read: Callable[[Path], T | None], path: Path) -> T | None:
        try:
            return read(path)
        except (OSError, ValueError) as error:
            self.problems[path] = str(error)
            return None

    def _by_series(self, paths: Iterable[Path]) -> dict[str, Path]:
        found: dict[str, Path] = {}
        for path in paths:
            uid = self._tried(annotated_series, path)
            if uid is None:
                continue
            if uid in found and not _same_marks(path, found[uid]):
                self.problems[path] = f"{path}: expected one file per series, got also {found[uid]}"
            found.setdefault(uid, path)
        return found


def _same_marks(one: Path, other: Path) -> bool:
    """Return whether two files have the same marks; the published set has some series twice."""
    try:
        first, second = read_annotations(one), read_annotations(other)
    except (OSError, ValueError):
        return False
    return (first.nodules, first.non_nodules) == (second.nodules, second.non_nodules)
