"""A tree of patients in the folders that LIDC-IDRI is published in."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from data_sim.lidc.patient import LAST_PATIENT, SyntheticPatient, check_range, lidc_patient
from tomolearn._core.checks import check_choice
from tomolearn._core.files import complete_file

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

Layout = Literal["classic", "nbia"]
Annotations = Literal["series", "tree"]


@dataclass(frozen=True)
class PatientFiles:
    """Where the files of one patient lie."""

    folder: Path
    slices: tuple[Path, ...]  # from the feet to the head, as the patient counts them
    annotation: Path  # of the CT series
    radiograph: Path | None  # if there is one
    radiograph_annotation: Path | None

    @property
    def all(self) -> tuple[Path, ...]:
        """Every file."""
        others = (self.annotation, self.radiograph, self.radiograph_annotation)
        return (*self.slices, *(path for path in others if path is not None))


def write_lidc(
    out: str | os.PathLike[str],
    patients: int,
    slices: int,
    *,
    seed: int = 0,
    layout: Layout = "classic",
    annotations: Annotations = "series",
    shape: Sequence[int] = (512, 512),
    resume: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[PatientFiles, ...]:
    """Write synthetic patients in the form in which LIDC-IDRI is published.

    Each patient has one CT series, and a third of them a chest radiograph in a study of its own,
    with the readings of four radiologists as XML. `lidc_patient` returns the truth behind them.

    The same arguments give the same files, byte by byte on one machine, and a patient is the same
    however many there are. Files appear under their names when they are complete, so a run that
    was killed can be continued.

    Layout ``"classic"``: ``LIDC-IDRI-0001/<StudyInstanceUID>/<SeriesInstanceUID>/1-001.dcm``, the
    last number being the instance number. Layout ``"nbia"``, as the NBIA data retriever names
    folders: ``LIDC-IDRI/LIDC-IDRI-0001/01-01-2000-NA-NA-30178/3000566.000000-NA-03192/1-001.dcm``,
    with the last digits of the UIDs.

    Parameters
    ----------
    out : path
        Folder to write into; made if it is missing.
    patients, slices : int
        Number of patients, from 1 to 9999, and of CT slices of each, from 1 to 300; for where they
        lie see `lidc_patient`.
    seed : int
        Which patients, at least 0.
    layout, annotations : {"classic", "nbia"}, {"series", "tree"}
        Names of the folders; whether the XML files lie with the images of their series,
        ``069.xml``, or in a tree of their own, ``tcia-lidc-xml/157/158.xml``.
    shape : (int, int)
        Rows and columns, at least 32 of each. The field of view stays, the pixels become larger.
    resume : bool
        Whether `out` may hold files already: those of this request are kept, missing ones added. So
        a tree can also be given more patients.
    progress : callable, optional
        Called with the number of patients done and of all.

    Raises
    ------
    TypeError, ValueError
        If an argument is not of the kind and in the range named above.
    OSError
        If a file cannot be written, `out` holds something and `resume` is not set, or a patient's
        folder holds what does not belong to this request.
    """
    check_range("patients", patients, LAST_PATIENT)
    check_choice("layout", layout, get_args(Layout))
    check_choice("annotations", annotations, get_args(Annotations))
    root = Path(out)
    if not resume and root.exists() and any(root.iterdir()):
        raise FileExistsError(
            f"{root}: expected an empty folder, got one that holds files; "
            "resume keeps what is there and adds what is missing"
        )
    written = []
    for index in range(1, patients + 1):
        patient = lidc_patient(index, seed, slices=slices, shape=shape)
        written.append(patient_files(patient, root, layout, annotations))
        _write_patient(patient, written[-1])
        if progress is not None:
            progress(index, patients)
    return tuple(written)


def patient_files(
    patient: SyntheticPatient,
    root: str | os.PathLike[str],
    layout: Layout = "classic",
    annotations: Annotations = "series",
) -> PatientFiles:
    """Return the names that `write_lidc` gives to a patient's files in the folder `root`."""
    top = Path(root)
    folder = (top / "LIDC-IDRI" if layout == "nbia" else top) / patient.patient_id
    series = _series_folder(folder, layout, patient.study_instance_uid, patient.series_instance_uid)
    images = series
    if patient.has_radiograph:
        study, one = patient.uid("radiograph study"), patient.uid("radiograph series")
        images = _series_folder(folder, layout, study, one)
    if annotations == "series":
        annotation, other = (place / f"{68 + patient.index:03d}.xml" for place in (series, images))
    else:
        shelf = top / "tcia-lidc-xml" / str(157 + patient.index // 200)
        annotation = shelf / f"{157 + patient.index:03d}.xml"
        other = annotation.with_stem(f"{annotation.stem}-radiograph")
    return PatientFiles(
        folder=folder,
        slices=tuple(
            series / f"1-{patient.instance_number(i):03d}.dcm" for i in range(len(patient))
        ),
        annotation=annotation,
        radiograph=images / "1-1.dcm" if patient.has_radiograph else None,
        radiograph_annotation=other if patient.has_radiograph else None,
    )


def _series_folder(folder: Path, layout: Layout, study: str, series: str) -> Path:
    if layout == "classic":
        return folder / study / series
    from data_sim.lidc.datasets import DATE, series_number

    number = f"{series_number(series)}.000000"
    return folder / f"{DATE:%m-%d-%Y}-NA-NA-{study[-5:]}" / f"{number}-NA-{series[-5:]}"


def _write_patient(patient: SyntheticPatient, files: PatientFiles) -> None:
    # pydicom takes a while to import; the truth about a patient needs none of it.
    from data_sim.lidc.datasets import ct_dataset, radiograph_dataset
    from data_sim.lidc.messages import ct_message, radiograph_message
    from data_sim.lidc.reading import read

    _tidy(files)
    contents: dict[Path | None, Callable[[], Dataset | bytes]] = {
        path: partial(ct_dataset, patient, i) for i, path in enumerate(files.slices)
    }
    contents[files.annotation] = lambda: ct_message(patient, read(patient))
    contents[files.radiograph] = partial(radiograph_dataset, patient)
    contents[files.radiograph_annotation] = partial(radiograph_message, patient)
    for path, make in contents.items():
        if path is None or path.exists():
            continue
        content = make()
        path.parent.mkdir(parents=True, exist_ok=True)
        with complete_file(path) as stream:
            if isinstance(content, bytes):
                stream.write(content)
            else:
                content.save_as(stream, enforce_file_format=True)


def _tidy(files: PatientFiles) -> None:
    """Remove what a killed run has left, and refuse a folder with what is not ours."""
    for path in sorted(set(files.folder.rglob("*.*")) - set(files.all)):
        if path.match(".*.partial"):
            path.unlink()
        elif path.is_file():
            raise FileExistsError(
                f"{path}: expected only files of this request in {files.folder}, "
                "got one of another seed, size, layout or number of slices"
            )
