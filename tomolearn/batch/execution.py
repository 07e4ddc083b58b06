"""What a run has to do, who does it, and what became of it."""

from __future__ import annotations

import hashlib
import re
import time
from collections import deque
from collections.abc import Mapping
from concurrent.futures import CancelledError
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tomolearn._core.memory import resident_bytes
from tomolearn._core.version import __version__
from tomolearn.batch.chunks import (
    THUMBNAIL,
    Chunk,
    chunks_of,
    earlier_record,
    file_name,
)
from tomolearn.batch.cluster import Workers
from tomolearn.batch.derivation_text import derivation_of
from tomolearn.batch.ledger import Ledger, read_ledger
from tomolearn.batch.ledger_records import DONE, FAILED, run_record, series_record, skipped_record
from tomolearn.batch.report import Progress
from tomolearn.batch.settings import BatchSettings
from tomolearn.batch.worker import Outcome, run_on_worker
from tomolearn.batch.workspace import Workspace
from tomolearn.dicom import Deidentification, DerivedSeries, Series, SeriesIndex

if TYPE_CHECKING:
    from distributed import Future

__all__ = ["THUMBNAILS", "Batch", "first_finished", "folder_name"]

THUMBNAILS = "thumbnails"

# Chunks that are with the cluster, for each of its workers: one is computed, one waits.
_AHEAD = 2
# How long a cluster may be without a worker, in seconds.
_PATIENCE = 120.0
# How often it is looked whether workers have died, and whether a lost result is there again.
_INTERVAL, _SHORT_INTERVAL = 5.0, 0.1
_LONGEST_UID = 64


@dataclass
class _Unfinished:
    """A series that is being made."""

    series: Series
    derived: DerivedSeries
    chunks: list[dict[str, Any]] = field(default_factory=list)
    missing: set[int] = field(init=False)

    def __post_init__(self) -> None:
        self.missing = set(range(len(self.series)))

    def add(self, record: dict[str, Any]) -> None:
        """Add the record of a chunk."""
        self.chunks.append(record)
        self.missing -= {one["index"] for one in record["slices"] + record["lost"]}


class Batch:
    """State of a run.

    Parameters
    ----------
    series_index : SeriesIndex
        What was found in the input.
    settings : BatchSettings
        What is done to it.
    deidentification : Deidentification or None
        How results lose the patient's identity.
    workspace : Workspace
        The output folder.
    ledger : Ledger
        Opened.
    progress : Progress or None
        Is told how far the run is.
    """

    def __init__(
        self,
        series_index: SeriesIndex,
        settings: BatchSettings,
        deidentification: Deidentification | None,
        workspace: Workspace,
        ledger: Ledger,
        progress: Progress | None,
    ) -> None:
        self.series_index, self.settings = series_index, settings
        self._deidentification = deidentification
        self._workspace, self._ledger, self._progress = workspace, ledger, progress
        self.waiting: deque[tuple[Series, DerivedSeries]] = deque()
        self.n_written = self.n_lost = self.n_kept = 0
        # by the identifiers of the derived series, which no two series share
        self._order: list[str] = []
        self._records: dict[str, Mapping[str, Any]] = {}
        self._unfinished: dict[str, _Unfinished] = {}
        self._chunks: deque[Chunk] = deque()
        self._suspects: deque[Chunk] = deque()
        self._alone: Chunk | None = None
        self._peaks: dict[int, float] = {}

    def rows(self) -> list[Mapping[str, Any]]:
        """Return the records of all series that are finished, in the order of the input."""
        return [self._records[uid] for uid in self._order if uid in self._records]

    def plan(self, *, resume: bool, retry: bool) -> None:
        """Find out what is to be done."""
        earlier = read_ledger(self._ledger.path)
        self._ledger.append(run_record(self.series_index, self.settings, __version__))
        known = {tuple(record.items()) for record in earlier if record.get("event") == "left out"}
        records = [skipped_record(one, self.series_index.root) for one in self.series_index.skipped]
        self._ledger.append(*(one for one in records if tuple(one.items()) not in known))
        last = {record["derived"]: record for record in earlier if record.get("event") == "series"}
        n_slices = 0
        for series in self.series_index.series:
            derived = DerivedSeries(
                series, derivation_of(self.settings, series), deidentify=self._deidentification
            )
            self._order.append(derived.uid)
            record = last.get(derived.uid, {})
            if resume and self._is_there(derived, record, retry):
                self._records[derived.uid] = record
                self.n_kept += 1
                continue
            if not resume or retry:
                self._workspace.discard(derived.uid)
            self.waiting.append((series, derived))
            n_slices += len(series)
        if self._progress is not None:
            self._progress.planned(self.series_index, len(self.waiting), n_slices)

    def _is_there(self, derived: DerivedSeries, record: Mapping[str, Any], retry: bool) -> bool:
        """Return whether a result of an earlier run is to be kept."""
        # killed between the ledger's line and the renaming: what is there is older than the line
        if not record or self._workspace.is_unfinished(derived.uid):
            return False
        folder = self._folder(derived)
        n_files = sum((folder / file_name(index)).exists() for index in range(len(derived)))
        if n_files != record["written"]:
            return False
        if record["status"] == DONE:
            return True
        return not retry and not any(one["transient"] for one in record["lost"])

    def execute(self, workers: Workers) -> None:
        """Have the cluster do it."""
        running: dict[Future, Chunk] = {}
        try:
            idle_since: float | None = None
            while True:
                self._submit(workers, running)
                if not running:
                    return
                finished = first_finished(running)
                for future in finished:
                    self._settle(running.pop(future), future)
                workers.replace_lost()
                if finished or workers.count > 0:
                    idle_since = None
                else:
                    idle_since = idle_since or time.monotonic()
                    if time.monotonic() - idle_since > _PATIENCE:
                        raise ConnectionError(
                            f"the cluster has had no worker for {_PATIENCE:g} seconds"
                        )
        finally:
            workers.client.cancel(list(running), force=True)

    def peak_mib(self) -> float | None:
        """Return the sum of the processes' largest memory."""
        try:
            own = resident_bytes("VmHWM") / 2**20
        except ValueError:  # only Linux tells
            return None
        return own + sum(self._peaks.values())

    def _submit(self, workers: Workers, running: dict[Future, Chunk]) -> None:
        """Keep every worker busy, and no more: memory is bounded by what is in flight.

        What may have killed a worker runs while nothing else does. Dask blames a worker's death on
        all that it had been given: alone, it is known who it was.
        """
        if self._suspects:
            if not running:
                suspect = self._suspects.popleft()
                running[workers.client.submit(run_on_worker, suspect, pure=False)] = suspect
                self._alone = suspect
            return
        room = _AHEAD * max(workers.count, 1) - len(running)
        while room > 0 and (chunk := self._next_chunk()) is not None:
            running[workers.client.submit(run_on_worker, chunk, pure=False)] = chunk
            room -= 1

    def _next_chunk(self) -> Chunk | None:
        while not self._chunks and self.waiting:
            series, derived = self.waiting.popleft()
            folder = self._workspace.begin(derived.uid)
            self._unfinished[derived.uid] = _Unfinished(series, derived)
            for chunk in chunks_of(derived, self.settings, folder):
                record = earlier_record(chunk)
                if record is None:
                    self._chunks.append(chunk)
                else:
                    self._account(chunk, record, resumed=True)
        return self._chunks.popleft() if self._chunks else None

    def _settle(self, chunk: Chunk, future: Future) -> None:
        if future.status == "finished":
            outcome: Outcome = future.result()
            if outcome.fatal is not None:
                raise outcome.fatal
            record = outcome.record
            if record is None:
                reason = f"unexpected error, please report it: {outcome.unexpected}"
                record = chunk.lost(reason, transient=True)
            self._account(chunk, record)
            return
        from distributed.scheduler import KilledWorker

        error = future.exception() if future.status == "error" else None
        if not isinstance(error, KilledWorker):
            raise ConnectionError(
                f"a task could not be run ({error or future.status}): do the workers have this "
                "package, and is the scheduler up?"
            )
        if chunk is self._alone:
            reason = "killed its worker again and again: a crash, or out of memory"
            self._account(chunk, chunk.lost(reason, transient=True))
        else:
            # which of the slices is it, if any?
            self._suspects.extend(chunk.parts())

    def _account(self, chunk: Chunk, record: dict[str, Any], *, resumed: bool = False) -> None:
        uid = chunk.folder.name
        unfinished = self._unfinished[uid]
        unfinished.add(record)
        if not resumed:
            self.n_written += len(record["slices"])
            self.n_lost += len(record["lost"])
            if record.get("peak_mib") is not None:
                self._peaks[record["worker"]] = record["peak_mib"]
        if self._progress is not None:
            self._progress.advanced(len(chunk.indices))
        if not unfinished.missing:
            self._finish(self._unfinished.pop(uid), chunk.folder)

    def _finish(self, unfinished: _Unfinished, folder: Path) -> None:
        derived, series = unfinished.derived, unfinished.series
        target = self._folder(derived)
        record = series_record(
            series,
            derived.uid,
            target.relative_to(self._workspace.out).as_posix(),
            self.settings,
            unfinished.chunks,
            self.series_index.root,
        )
        # The ledger first: a folder in its place is one that the ledger knows.
        self._ledger.append(record)
        if record["status"] == FAILED:
            self._workspace.discard(derived.uid)
        else:
            thumbnail = folder / THUMBNAIL
            if thumbnail.exists():
                thumbnails = self._workspace.out / THUMBNAILS
                thumbnails.mkdir(exist_ok=True)
                thumbnail.replace(thumbnails / f"{derived.uid}.png")
            self._workspace.finish(derived.uid, target)
        self._records[derived.uid] = record
        if self._progress is not None:
            self._progress.finished(record)

    def _folder(self, derived: DerivedSeries) -> Path:
        return self._workspace.out / folder_name(derived.study_uid) / derived.uid


def folder_name(study_uid: str) -> str:
    """Return the name of a study's folder; a damaged identifier may be anything, such as a path."""
    if re.fullmatch(r"\d+(\.\d+)*", study_uid, re.ASCII) and len(study_uid) <= _LONGEST_UID:
        return study_uid
    return hashlib.sha256(study_uid.encode("utf-8", "surrogateescape")).hexdigest()[:32]


def first_finished(running: Mapping[Future, Chunk]) -> list[Future]:
    """Wait a while for results."""
    from distributed import TimeoutError as Timeout, wait

    try:
        done = wait(list(running), timeout=_INTERVAL, return_when="FIRST_COMPLETED").done
    except Timeout:
        return []
    except CancelledError as error:
        raise ConnectionError(f"the cluster's scheduler is lost: {error}") from error
    # A worker that dies takes along results that were not fetched yet: they are "lost" for a
    # moment, and are computed again.
    finished = [one for one in done if one.status in ("finished", "error", "cancelled")]
    if not finished:
        time.sleep(_SHORT_INTERVAL)
    return finished
