"""Index of a folder of LIDC-IDRI, one record for each CT series."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tomolearn._core.errors import TomolearnError
from tomolearn._core.files import complete_file
from tomolearn.data.lidc.folders import AnnotationFiles, find_patients
from tomolearn.data.lidc.masks import SlicePositions, cluster_nodules
from tomolearn.data.lidc.splits import PatientSplits

if TYPE_CHECKING:
    from tomolearn.dicom import Series, SeriesIndex

Progress = Callable[[int, int], None]
"""Called with the number of patients' folders that are done, and of all."""


@dataclass(frozen=True)
class SeriesRecord:
    """One CT series.

    Parameters
    ----------
    patient, study_uid, series_uid, folder : str
        Who and what; where its slices lie, from the root, with slashes.
    n_slices, shape, spacing : int, (int, int), (float, float, float)
        Number of slices; rows and columns of most; distances in mm of slices (the median), rows and
        columns.
    slice_thickness, manufacturer, kernel : float or None, str, str
        In mm; of the scanner, and its reconstruction; None or empty where the files do not say.
    findings : tuple of str
        What is irregular, as `dicom.Series.findings`.
    xml : str or None
        File of annotations, from the root if it is below; None if there is none.
    n_nodules, n_small, n_other : int or None
        Nodules of 3 mm or more that at least one reader marked; marks of smaller ones, and of other
        lesions, of all readers together. None without annotations.
    split : str or None
        Name of the split.
    """

    patient: str
    study_uid: str
    series_uid: str
    folder: str
    n_slices: int
    shape: tuple[int, int]
    spacing: tuple[float, float, float]
    slice_thickness: float | None
    manufacturer: str
    kernel: str
    findings: tuple[str, ...]
    xml: str | None
    n_nodules: int | None
    n_small: int | None
    n_other: int | None
    split: str | None


@dataclass(frozen=True)
class LIDCIndex:
    """All series of a folder.

    Parameters
    ----------
    root, records : Path, tuple of SeriesRecord
        The folder, and what is in it by patient.
    left_out : mapping of str to int
        Numbers of files that are no CT slices, by reason, radiographs among them.
    problems : tuple of str
        What is wrong with annotations that could not be read.
    splits : PatientSplits
        Which patient is in which.
    """

    root: Path
    records: tuple[SeriesRecord, ...]
    left_out: Mapping[str, int]
    problems: tuple[str, ...]
    splits: PatientSplits

    @property
    def patients(self) -> tuple[str, ...]:
        """Patients, each once."""
        return tuple(dict.fromkeys(record.patient for record in self.records))

    def to_dict(self) -> dict[str, Any]:
        """Return all of it, ready for JSON."""
        return {
            "root": str(self.root),
            "split": self.splits.to_dict(),
            "left_out": dict(self.left_out),
            "problems": list(self.problems),
            "series": [asdict(record) for record in self.records],
        }

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write it as JSON; the file gets its name when it is complete."""
        text = json.dumps(self.to_dict(), indent=1, ensure_ascii=False) + "\n"
        with complete_file(Path(path)) as stream:
            stream.write(text.encode())


def build_index(
    root: str | os.PathLike[str],
    *,
    xml: str | os.PathLike[str] | None = None,
    splits: PatientSplits | None = None,
    progress: Progress | None = None,
) -> LIDCIndex:
    """Look through a folder of LIDC-IDRI, reading headers and annotations only.

    Parameters
    ----------
    root : path-like
        Folder of patients' folders, in either published layout.
    xml : path-like, optional
        Tree of annotations, such as ``LIDC-XML-only``; those next to the series come first.
    splits, progress : PatientSplits, callable, optional
        Default: 80, 10 and 10 % at random with seed 0; told about each patient's folder.

    Raises
    ------
    OSError, ValueError
        If a folder is missing or cannot be listed, there is no CT series, or the lists of `splits`
        name patients that are not there.
    """
    root = Path(root)
    splits = PatientSplits() if splits is None else splits
    files = AnnotationFiles(None if xml is None else Path(xml))
    folders = find_patients(root)
    records: list[SeriesRecord] = []
    left_out: Counter[str] = Counter()
    for done, folder in enumerate(folders, 1):
        catalogue = folder.catalogue()
        records += [_record(one, catalogue, root, files, splits) for one in catalogue.series]
        annotations = set(files.in_folder(catalogue).values())
        left_out.update(
            str(left.reason) for left in catalogue.skipped if left.path not in annotations
        )
        if progress is not None:
            progress(done, len(folders))
    if not records:
        found = ", ".join(f"{n} {reason}" for reason, n in left_out.items()) or "nothing"
        raise TomolearnError(f"{root}: expected CT series, got none ({found})")
    splits.check_known(record.patient for record in records)
    reasons, problems = dict(sorted(left_out.items())), tuple(files.problems.values())
    return LIDCIndex(root, tuple(records), reasons, problems, splits)


def _record(
    series: Series,
    catalogue: SeriesIndex,
    root: Path,
    files: AnnotationFiles,
    splits: PatientSplits,
) -> SeriesRecord:
    positions = SlicePositions.of(series)
    place = Path(os.path.commonpath([one.path.parent for one in series.slices]))
    annotations = files.read(series, catalogue)
    n_nodules = n_small = n_other = None
    if annotations is not None:
        n_nodules = len(cluster_nodules(annotations.nodules, positions))
        n_small = len(annotations.nodules) - len(annotations.outlined)
        n_other = len(annotations.non_nodules)
    return SeriesRecord(
        patient=series.patient_id,
        study_uid=series.study_uid,
        series_uid=series.uid,
        folder=_below(place, root),
        n_slices=len(series),
        shape=positions.shape,
        spacing=positions.spacing,
        slice_thickness=series.slices[0].thickness,
        manufacturer=series.manufacturer,
        kernel=series.kernel,
        findings=tuple(f"{finding.kind}: {finding.detail}" for finding in series.findings),
        xml=None if annotations is None else _below(annotations.path, root),
        n_nodules=n_nodules,
        n_small=n_small,
        n_other=n_other,
        split=splits.split_of(series.patient_id),
    )


def _below(path: Path, root: Path) -> str:
    return (path.relative_to(root) if path.is_relative_to(root) else path).as_posix()
