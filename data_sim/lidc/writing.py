"""A tree of patients in the folders that LIDC-IDRI is published in."""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Literal, get_args

from data_sim.lidc.files import complete_file, is_partial
from data_sim.lidc.identity import LAST_PATIENT, digits
from data_sim.lidc.patient import (
    SMALLEST_IMAGE,
    SyntheticPatient,
    check_slices,
    lidc_patient,
)
from tomolearn._core.checks import check_image_shape, check_int
from tomolearn._core.errors import TomolearnError

Layout = Literal["classic", "nbia"]
Annotations = Literal["series", "tree"]
Progress = Callable[[int, int], None]

_ANNOTATION_TREE = "tcia-lidc-xml"
_ANNOTATION_FOLDERS = ("157", "185", "186", "187", "188", "189")
_PER_ANNOTATION_FOLDER = 200


@dataclass(frozen=True)
class LidcTree:
    """What `write_lidc` has made.

    Parameters
    ----------
    root : Path
        The folder.
    patients, slices, radiographs, annotations : int
        Patients, CT slices, radiographs and XML files in it that belong to the patients asked
        for.
    """

    root: Path
    patients: int
    slices: int
    radiographs: int
    annotations: int


@dataclass(frozen=True)
class _Request:
    root: Path
    slices: int
    seed: int
    shape: tuple[int, int]
    layout: Layout
    annotations: Annotations
    resume: bool


@dataclass(frozen=True)
class PatientFiles:
    """Where the files of one patient lie.

    Parameters
    ----------
    folder : Path
        Of the patient.
    slices : tuple of Path
        CT slices from the feet to the head, as the patient counts them.
    annotation : Path
        XML file of the CT series.
    radiograph, radiograph_annotation : Path or None
        Of the radiograph, if there is one.
    """

    folder: Path
    slices: tuple[Path, ...]
    annotation: Path
    radiograph: Path | None
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
    jobs: int = 1,
    progress: Progress | None = None,
) -> LidcTree:
    """Write synthetic patients in the form in which LIDC-IDRI is published.

    Each patient has one CT series, and a third of them a chest radiograph in a study of its own.
    The readings of four radiologists lie in an XML file in the folder of each series, as in the
    publication. `lidc_patient` returns the truth behind the files.

    The same arguments give the same files, byte by byte on one machine, and a patient is the same
    however many there are. UIDs are derived from seed, patient, number and size of the slices.
    Files appear under their names only when they are complete, so a run that was killed leaves
    no half file, and can be continued.

    Layout ``"classic"``: ``LIDC-IDRI-0001/<StudyInstanceUID>/<SeriesInstanceUID>/1-001.dcm``, the
    last number being the instance number. Layout ``"nbia"``, as the NBIA data retriever names
    folders: ``LIDC-IDRI/LIDC-IDRI-0001/01-01-2000-NA-NA-30178/3000566.000000-NA-03192/1-001.dcm``,
    with the last digits of the UIDs.

    Parameters
    ----------
    out : path
        Folder to write into; made if it is missing.
    patients : int
        Number of patients, from 1 to 9999.
    slices : int
        Number of CT slices of each patient, from 1 to 300. They lie where they meet nodules, see
        `lidc_patient`.
    seed : int
        Which patients, at least 0.
    layout : {"classic", "nbia"}
        Names of the folders.
    annotations : {"series", "tree"}
        Whether the XML files lie with the images of their series, ``069.xml``, or in a tree of
        their own, ``tcia-lidc-xml/157/158.xml``.
    shape : (int, int)
        Rows and columns, at least 32 of each. The field of view stays, the pixels become larger.
    resume : bool
        Whether `out` may hold files already. Those of this request are kept as they are, the
        missing ones are added, and what a killed run has left half done is removed. So a tree can
        also be given more patients.
    jobs : int
        Number of processes. With more than one, a script that calls this needs the usual
        ``if __name__ == "__main__":``.
    progress : callable, optional
        Called with the number of patients done and of all.

    Returns
    -------
    LidcTree

    Raises
    ------
    TypeError
        If a number is no integer, or `shape` no pair.
    ValueError
        If an argument is not in the range named above.
    FileExistsError
        If `out` holds something and `resume` is not set; or it holds what does not belong to this
        request.
    OSError
        If a file cannot be written, or a process died.
    """
    patients = check_int("patients", patients, minimum=1)
    if patients > LAST_PATIENT:
        raise TomolearnError(f"patients: expected 1 to {LAST_PATIENT}, got {patients}")
    jobs = check_int("jobs", jobs, minimum=1)
    for name, value, known in (
        ("layout", layout, get_args(Layout)),
        ("annotations", annotations, get_args(Annotations)),
    ):
        if value not in known:
            raise TomolearnError(f"{name}: expected one of {', '.join(known)}, got {value!r}")
    request = _Request(
        root=Path(out),
        slices=check_slices(slices),
        seed=check_int("seed", seed, minimum=0),
        shape=check_image_shape(shape, minimum=SMALLEST_IMAGE),
        layout=layout,
        annotations=annotations,
        resume=bool(resume),
    )
    _check_folder(request)
    request.root.mkdir(parents=True, exist_ok=True)
    radiographs = written = done = 0
    with _runs(request, patients, min(jobs, patients)) as runs:
        for files in runs:
            done += 1
            radiographs += files.radiograph is not None
            written += 1 + (files.radiograph_annotation is not None)
            if progress is not None:
                progress(done, patients)
    return LidcTree(request.root, patients, patients * request.slices, radiographs, written)


def patient_files(
    patient: SyntheticPatient,
    root: str | os.PathLike[str],
    layout: Layout = "classic",
    annotations: Annotations = "series",
) -> PatientFiles:
    """Return the names that `write_lidc` gives to a patient's files.

    Parameters
    ----------
    patient : SyntheticPatient
        Who.
    root : path
        Folder of the tree.
    layout, annotations
        As for `write_lidc`.

    Returns
    -------
    PatientFiles
    """
    top = Path(root)
    folder = (top / "LIDC-IDRI" if layout == "nbia" else top) / patient.patient_id
    series = _series_folder(folder, layout, patient.study_instance_uid, patient.series_instance_uid)
    radiographs = None
    if patient.radiograph is not None:
        radiographs = _series_folder(
            folder, layout, patient.uid("radiograph study"), patient.uid("radiograph series")
        )
    annotation = series / f"{68 + patient.index:03d}.xml"
    radiograph_annotation = None
    if annotations == "tree":
        place = min((patient.index - 1) // _PER_ANNOTATION_FOLDER, len(_ANNOTATION_FOLDERS) - 1)
        shelf = top / _ANNOTATION_TREE / _ANNOTATION_FOLDERS[place]
        annotation = shelf / f"{157 + patient.index:03d}.xml"
        if radiographs is not None:
            # Numbers that no CT series has.
            radiograph_annotation = shelf / f"{158 + LAST_PATIENT + patient.index:05d}.xml"
    elif radiographs is not None:
        radiograph_annotation = radiographs / f"{68 + patient.index:03d}.xml"
    return PatientFiles(
        folder=folder,
        slices=tuple(
            series / f"1-{patient.instance_number(i):03d}.dcm" for i in range(len(patient))
        ),
        annotation=annotation,
        radiograph=None if radiographs is None else radiographs / "1-1.dcm",
        radiograph_annotation=radiograph_annotation,
    )


def _series_folder(folder: Path, layout: Layout, study: str, series: str) -> Path:
    if layout == "classic":
        return folder / study / series
    from data_sim.lidc.datasets import DATE, series_number

    day = f"{DATE:%m-%d-%Y}"
    number = float(series_number(series))
    return folder / f"{day}-NA-NA-{digits(study, 5)}" / f"{number:.6f}-NA-{digits(series, 5)}"


def _check_folder(request: _Request) -> None:
    root = request.root
    if root.exists() and not root.is_dir():
        raise FileExistsError(f"{root}: expected a folder, got a file")
    if root.is_dir() and not request.resume and any(root.iterdir()):
        raise FileExistsError(
            f"{root}: expected an empty folder, got one that holds files; "
            "resume keeps what is there and adds what is missing"
        )
    if root.is_dir():
        known = "LIDC-IDRI" if request.layout == "nbia" else r"LIDC-IDRI-\d{4}"
        if request.annotations == "tree":
            known += f"|{_ANNOTATION_TREE}"
        strange = [path for path in root.iterdir() if not re.fullmatch(known, path.name)]
        if strange:
            raise FileExistsError(
                f"{strange[0]}: expected only what belongs to the layout {request.layout} with "
                f"annotations={request.annotations!r}"
            )


@contextmanager
def _runs(request: _Request, patients: int, jobs: int) -> Iterator[Iterator[PatientFiles]]:
    """Write all patients; yields an iterator over those that are done."""
    numbers = range(1, patients + 1)
    if jobs == 1:
        yield (_write_patient(request, index) for index in numbers)
        return
    # A fresh interpreter: a fork would copy the threads' locks of whoever calls.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(jobs, mp_context=context, initializer=_start_worker)
    try:
        yield _finished(pool, request, iter(numbers), 2 * jobs)
    finally:
        pool.shutdown(cancel_futures=True)


def _finished(
    pool: ProcessPoolExecutor, request: _Request, numbers: Iterator[int], ahead: int
) -> Iterator[PatientFiles]:
    pending: set[Future[PatientFiles]] = set()
    while True:
        for index in numbers:
            pending.add(pool.submit(_write_patient, request, index))
            if len(pending) >= ahead:
                break
        if not pending:
            return
        done, pending = wait(pending, return_when=FIRST_COMPLETED)
        for future in done:
            try:
                files = future.result()
            except BrokenProcessPool as error:
                raise ChildProcessError(
                    "a process that was writing patients died, perhaps for lack of memory; "
                    "resume continues"
                ) from error
            yield files


def _start_worker() -> None:
    """Let a worker end when it is interrupted, without a traceback, and when its parent dies."""
    signal.signal(signal.SIGINT, lambda *_: sys.exit(1))
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_follow, args=(parent,), daemon=True).start()


def _follow(parent: BaseProcess) -> None:
    """End this process after another one, as a killed pool leaves its workers waiting for ever."""
    parent.join()
    os._exit(1)


def _write_patient(request: _Request, index: int) -> PatientFiles:
    # pydicom takes a while to import; the truth about a patient needs none of it.
    from data_sim.lidc.datasets import ct_dataset, radiograph_dataset
    from data_sim.lidc.images import stored_slice
    from data_sim.lidc.messages import ct_message, radiograph_message
    from data_sim.lidc.radiograph import radiograph
    from data_sim.lidc.reading import read

    patient = lidc_patient(index, request.seed, slices=request.slices, shape=request.shape)
    files = patient_files(patient, request.root, request.layout, request.annotations)
    _tidy(files)
    for folder in {path.parent for path in files.all}:
        folder.mkdir(parents=True, exist_ok=True)
    for i, path in enumerate(files.slices):
        if not path.exists():
            data = ct_dataset(patient, i, stored_slice(patient, i))
            with complete_file(path) as stream:
                data.save_as(stream, enforce_file_format=True)
    readings = None
    if not files.annotation.exists():
        readings = read(patient)
        with complete_file(files.annotation) as stream:
            stream.write(ct_message(patient, readings))
    if files.radiograph is None or files.radiograph_annotation is None:
        return files
    if not (files.radiograph.exists() and files.radiograph_annotation.exists()):
        image = radiograph(patient)
        with complete_file(files.radiograph) as stream:
            radiograph_dataset(patient, image).save_as(stream, enforce_file_format=True)
        message = radiograph_message(patient, readings or read(patient), image.places)
        with complete_file(files.radiograph_annotation) as stream:
            stream.write(message)
    return files


def _tidy(files: PatientFiles) -> None:
    """Remove what a killed run has left, and refuse a folder with what is not ours.

    In the tree of annotations other patients may be under way, so nothing there is touched.
    """
    expected = set(files.all)
    for path in sorted(files.folder.rglob("*")):
        if path.is_dir():
            continue
        if is_partial(path):
            path.unlink()
        elif path not in expected:
            raise FileExistsError(
                f"{path}: expected only files of this request in {files.folder}, "
                "got one of another seed, size, layout or number of slices"
            )
