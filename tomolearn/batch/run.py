"""Batch run: every CT series of a folder to a derived series."""

from __future__ import annotations

import os
import time
import uuid
import warnings
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from tomolearn._core.checks import check_int
from tomolearn._core.errors import TomolearnError
from tomolearn._core.files import resolved
from tomolearn._core.memory import peak_mib
from tomolearn._core.version import __version__
from tomolearn.batch.dask_executor import Certificates, check_scheduler, dask_executor
from tomolearn.batch.execution import THUMBNAILS, Batch
from tomolearn.batch.executors import Executor, InProcessExecutor
from tomolearn.batch.forkserver import prepare_workers
from tomolearn.batch.ledger import Ledger
from tomolearn.batch.ledger_records import (
    DONE,
    SUPERSEDED,
    roots,
    run_record,
    skipped_record,
    superseded_record,
)
from tomolearn.batch.planning import PlannedSeries, plan_series
from tomolearn.batch.process_executor import process_executor
from tomolearn.batch.report import BatchReport, Progress
from tomolearn.batch.result_names import DEFAULT_TEMPLATE, ResultNames
from tomolearn.batch.scheduling import run_chunks
from tomolearn.batch.settings import BatchSettings
from tomolearn.batch.summary import write_summary
from tomolearn.batch.superseded import find_superseded, prunable
from tomolearn.batch.workspace import Workspace
from tomolearn.dicom import Deidentification, SeriesFilter, SeriesIndex, find_series

LEDGER = "ledger.jsonl"
SUMMARY = "summary.html"


def run_batch(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    settings: BatchSettings,
    *,
    workers: int | None = None,
    scheduler: str | None = None,
    certificates: Certificates | None = None,
    insecure_scheduler: bool = False,
    executor: Executor | None = None,
    deidentification: Deidentification | None = None,
    resume: bool = True,
    retry: bool = False,
    assume_hu: bool = False,
    include_derived: bool = False,
    prune: bool = False,
    select: SeriesFilter | None = None,
    name_template: str = DEFAULT_TEMPLATE,
    progress: Progress | None = None,
) -> BatchReport:
    """Make a derived series of every CT series of a folder.

    Results are ``<out>/<study UID>/<series UID>/<number>.dcm``, or lie in folders of other names;
    both UIDs follow from input and settings, so that the same run again finds them there. A folder
    has its name when it is complete. Next to them lie the ledger (``ledger.jsonl``: what became of
    each series and each file), thumbnails and ``summary.html``.

    Workers are processes: a script that calls this does so under ``if __name__ == "__main__":``.

    Parameters
    ----------
    source : path
        A folder with DICOM files anywhere below, or one file.
    out : path
        Folder for the results, made if missing. It must not lie within `source`, nor `source`
        within it.
    settings : BatchSettings
        What is done to each slice.
    workers : int, optional
        Processes on this machine. Default: as many as there are cores; 0 for none, all is done in
        this one.
    scheduler : str, optional
        Address of a Dask cluster to work on instead, ``tls://host:port``. Its workers need this
        package, and input and output under the same paths.
    certificates : Certificates, optional
        Files by which the scheduler and this process know each other. Default: those of Dask's own
        configuration.
    insecure_scheduler : bool
        Whether a scheduler of another machine may be spoken to without TLS (``tcp://host:port``):
        whoever reaches it can then run code as the user of its workers, and read the images. One of
        this machine, 127.0.0.1, is warned of.
    executor : Executor, optional
        Whatever else is to run the chunks.
    deidentification : Deidentification, optional
        How results lose the patient's identity. Default: they keep it. Ledger and summary name
        files and series of the input in any case. The key never travels with the work: workers of a
        cluster read it from its file, see `Deidentification.from_file`.
    resume : bool
        Whether results that are there are kept, and unfinished series are continued.
    retry : bool
        Whether series that lost slices in an earlier run are made again. Those whose files have
        changed since are, in any case.
    prune : bool
        Whether results that are superseded are removed: of the same series of the same input, made
        with the same settings, when it had other slices. Without it they are named. Nothing else is
        ever removed: a folder with a file that is not of the result stays.
    assume_hu : bool
        Whether series of an unstated unit are taken to have Hounsfield units, whatever they look
        like, see `dicom.find_series`.
    include_derived : bool
        Whether series of the input that this toolkit derived, as those of an earlier batch that
        came back from an archive, are derived again.
    select : SeriesFilter, optional
        Which files and series of the input are taken. Default: all.
    name_template : str
        Names of the results' folders, see `ResultNames`. A result that is there keeps its own.
    progress : Progress, optional
        Is told how far the run is.

    Raises
    ------
    TypeError, ValueError
        If an argument is not of the kind named above, weights do not exist, or another version left
        unfinished series in `out`.
    OSError
        If the input cannot be read at all, a result cannot be written, another run is at work in
        the folder, the cluster is lost, or many slices in a row are lost for one reason that may be
        the machine's. What is complete by then stays, and the next run
        continues.
    """
    start = time.perf_counter()
    # workers have working directories of their own
    root, target = Path(source).absolute(), Path(out).absolute()
    if workers is not None:
        check_int("workers", workers, minimum=0)
        if scheduler is not None or executor is not None:
            other = "an executor" if scheduler is None else "a scheduler"
            raise TomolearnError(f"workers: expected none beside {other}, got {workers}")
    elif scheduler is not None and executor is not None:
        raise TomolearnError(f"scheduler: expected none beside an executor, got {scheduler}")
    if scheduler is not None:
        check_scheduler(scheduler, certificates, insecure_scheduler=insecure_scheduler)
        if deidentification is not None and deidentification.key_file is None:
            raise TomolearnError(
                "deidentification: expected Deidentification.from_file(path) with a scheduler, "
                "whose workers read the key themselves, got a key"
            )
    check_batch(root, target)
    names = ResultNames(name_template)
    if workers != 0 and scheduler is None and executor is None:
        prepare_workers()
    with (
        Workspace(target, private=deidentification is not None) as workspace,
        _ledger(target, private=deidentification is not None) as ledger,
    ):
        earlier = ledger.earlier
        if resume and workspace.unfinished():
            _check_version(earlier, target)
        searched = None if progress is None else progress.searched
        series_index = find_series(
            root,
            without=target,
            assume_hu=assume_hu,
            include_derived=include_derived,
            select=select,
            progress=searched,
        )
        check_patients(series_index, deidentification)
        _begin_ledger(ledger, series_index, settings, select)
        planned = plan_series(
            series_index.series,
            settings,
            deidentification,
            workspace,
            earlier,
            root,
            resume=resume,
            retry=retry,
            names=names,
        )
        ledger.append(*(one.record for one in planned if one.record and one.record not in earlier))
        batch = Batch(planned, root, settings, workspace, ledger, progress)
        waiting = [one.derived for one in planned if one.record is None]
        if progress is not None:
            progress.planned(series_index, len(waiting), sum(map(len, waiting)))
        if executor is not None:
            runners: AbstractContextManager[Executor] = nullcontext(executor)
        elif workers == 0:
            runners = nullcontext(InProcessExecutor())
        elif scheduler is not None:
            runners = dask_executor(scheduler, certificates)
        else:
            runners = process_executor(workers, deidentification)
        superseded: list[Mapping[str, Any]] = []
        try:
            if waiting:
                with runners as runner:
                    for chunk, record in run_chunks(runner, batch.chunks()):
                        batch.complete(chunk, record)
            batch.faults.check_end()
            superseded = _retire(workspace, ledger, batch.rows(), planned, root, prune=prune)
        finally:
            write_summary(
                target / SUMMARY,
                batch.rows(),
                series_index,
                settings,
                THUMBNAILS,
                superseded,
                private=deidentification is not None,
            )
    own = peak_mib()
    return BatchReport(
        tuple(batch.rows()),
        series_index,
        batch.n_written,
        batch.n_lost,
        batch.n_kept,
        time.perf_counter() - start,
        None if own is None else sum({**batch.peaks, os.getpid(): own}.values()),
        tuple(superseded),
        ledger.run or "",
    )


def _ledger(target: Path, *, private: bool) -> Ledger:
    """Open the ledger for a run; set aside what cannot be one, or cannot be read."""
    for name in (LEDGER, SUMMARY):
        if (target / name).is_dir():
            _set_aside(target / name, "a folder")
    if (target / THUMBNAILS).exists() and not (target / THUMBNAILS).is_dir():
        _set_aside(target / THUMBNAILS, "a file")
    run = uuid.uuid4().hex
    ledger = Ledger(target / LEDGER, run=run, private=private)
    if not ledger.n_damaged:
        return ledger
    earlier, n_damaged = ledger.earlier, ledger.n_damaged
    ledger.close()
    _set_aside(target / LEDGER, f"a file of which {n_damaged} lines are no records")
    ledger = Ledger(target / LEDGER, run=run, private=private)
    ledger.replace(earlier)
    ledger.earlier = earlier
    return ledger


def _set_aside(path: Path, what: str) -> None:
    aside = path.with_name(f"{path.name}.{uuid.uuid4().hex[:8]}.damaged")
    path.rename(aside)
    warnings.warn(f"{path}: {what}, is now {aside.name}, and counts as not there", stacklevel=3)


def _check_version(earlier: Sequence[Mapping[str, Any]], out: Path) -> None:
    """Refuse to go on with another version's unfinished series, whose identifiers have its name."""
    runs = (record for record in earlier if record.get("event") == "run")
    versions = [one["version"] for one in runs if isinstance(one.get("version"), str)]
    if versions and versions[-1] != __version__:
        raise TomolearnError(
            f"out: expected unfinished series of version {__version__}, got those of "
            f"{versions[-1]} in {out}: finish them with that version, leave them (resume=False), "
            "or begin in another folder"
        )


def _begin_ledger(
    ledger: Ledger,
    series_index: SeriesIndex,
    settings: BatchSettings,
    select: SeriesFilter | None,
) -> None:
    """Write down that a run begins, and what it skips.

    What an earlier run wrote of the same file is not repeated, and is forgotten where it holds no
    longer.
    """
    root = str(series_index.root)
    skipped = [skipped_record(one, series_index.root) for one in series_index.skipped]
    known, kept = [], []
    for where, record in roots(ledger.earlier):
        said = {key: value for key, value in record.items() if key != "run"}
        if record.get("event") == "left out" and where == root and said not in skipped:
            continue
        known.append(said)
        kept.append(record)
    if len(kept) < len(ledger.earlier):
        ledger.replace(kept)
    begin = run_record(series_index, settings, select)
    ledger.append(begin, *(one for one in skipped if one not in known))


def _retire(
    workspace: Workspace,
    ledger: Ledger,
    made: Sequence[Mapping[str, Any]],
    planned: Sequence[PlannedSeries],
    root: Path,
    *,
    prune: bool,
) -> list[Mapping[str, Any]]:
    """Say which results are superseded, remove them if wanted; return those that remain."""
    out, remaining = workspace.out, []
    earlier = (one for one in ledger.earlier if one.get("event") == SUPERSEDED)
    said = [(one.get("derived"), one.get("by")) for one in earlier]
    for old, new in find_superseded(ledger.earlier, planned, made, root, out):
        folder = prunable(old, out) if prune and new["status"] == DONE else None
        if folder is not None:
            ledger.append(superseded_record(old, new["derived"], pruned=True))
            workspace.remove(folder)
            (out / THUMBNAILS / f"{old['derived']}.png").unlink(missing_ok=True)
            continue
        remaining.append(old)
        if (old["derived"], new["derived"]) not in said:
            ledger.append(superseded_record(old, new["derived"], pruned=False))
    return remaining


def check_patients(series_index: SeriesIndex, removal: Deidentification | None) -> None:
    """Check that a new PatientID is for one patient.

    Raises
    ------
    ValueError
        If several patients would get one.
    """
    patients = sorted({one.patient_id for one in series_index.series})
    if removal is not None and removal.patient_id is not None and len(patients) > 1:
        raise TomolearnError(
            f"patient_id: expected none for {len(patients)} patients, who would become one, got "
            f"{removal.patient_id!r}; select one of them, or let each have a new one made from "
            "the key"
        )


def check_batch(source: str | os.PathLike[str], out: str | os.PathLike[str]) -> None:
    """Check the folders of a run.

    Raises
    ------
    OSError
        If there is no input.
    ValueError
        If input and output are not apart.
    """
    root, target = Path(source).absolute(), Path(out).absolute()
    root.stat()
    here, there = resolved(root), resolved(target)
    if here == there or here in there.parents or there in here.parents:
        raise TomolearnError(
            f"out: expected a folder apart from the input {source}, got {out}: results would be "
            "taken for input"
        )
