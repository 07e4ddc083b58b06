"""Progress of a batch: chunks of the planned series, their records, finished series."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tomolearn.batch.chunks import THUMBNAIL, Chunk, chunks_of
from tomolearn.batch.faults import FaultWatch
from tomolearn.batch.ledger import Ledger
from tomolearn.batch.ledger_records import FAILED, series_record
from tomolearn.batch.planning import PlannedSeries
from tomolearn.batch.report import Progress
from tomolearn.batch.settings import BatchSettings
from tomolearn.batch.workspace import Workspace, files_of

THUMBNAILS = "thumbnails"


class Batch:
    """Series in the making: a folder gets its place when all of its slices are accounted for.

    `planned` are all series, those that are kept too; `root` is the folder of the input.
    """

    def __init__(
        self,
        planned: Sequence[PlannedSeries],
        root: Path,
        settings: BatchSettings,
        workspace: Workspace,
        ledger: Ledger,
        progress: Progress | None,
    ) -> None:
        self._planned, self._root, self._settings = planned, root, settings
        self._workspace, self._ledger, self._progress = workspace, ledger, progress
        self._records = {one.derived.uid: one.record for one in planned if one.record is not None}
        # series that are being made, each with the records of its chunks so far
        self._unfinished: dict[str, tuple[PlannedSeries, list[dict[str, Any]]]] = {}
        self.faults = FaultWatch()
        self.n_kept = len(self._records)
        self.n_written = self.n_lost = 0
        self.peaks: dict[int, float] = {}
        """Largest memory in MiB of each worker's process."""

    def rows(self) -> list[Mapping[str, Any]]:
        """Return the records of all series that are finished, in the order of the input."""
        uids = (one.derived.uid for one in self._planned)
        return [self._records[uid] for uid in uids if uid in self._records]

    def chunks(self) -> Iterator[Chunk]:
        """Begin series after series, and return the chunks that are still to be run."""
        for planned in self._planned:
            if planned.record is not None:
                continue
            uid = planned.derived.uid
            folder = self._workspace.begin(uid)
            self._unfinished[uid] = planned, []
            for chunk in chunks_of(planned.derived, self._settings, folder):
                record = chunk.earlier_record()
                reason = self.faults.given_up.get(uid)
                if record is None and reason is not None:
                    record = chunk.lost(f"not tried, after many with: {reason}", "not tried")
                    self.n_lost += len(record["lost"])
                if record is None:
                    yield chunk
                else:
                    self._account(chunk, record)

    def complete(self, chunk: Chunk, record: dict[str, Any]) -> None:
        """Account for a chunk that this run has completed."""
        self.n_written += len(record["slices"])
        self.n_lost += len(record["lost"])
        if record.get("peak_mib") is not None:
            self.peaks[record["worker"]] = record["peak_mib"]
        self._account(chunk, record)
        self.faults.take(chunk.folder.name, record)

    def _account(self, chunk: Chunk, record: dict[str, Any]) -> None:
        planned, records = self._unfinished[chunk.folder.name]
        records.append(record)
        if self._progress is not None:
            self._progress.advanced(len(chunk.slices))
        n_slices = sum(len(one["slices"]) + len(one["lost"]) for one in records)
        if n_slices == len(planned.derived):
            del self._unfinished[chunk.folder.name]
            self._finish(planned, records, chunk.folder)

    def _finish(self, planned: PlannedSeries, chunks: list[dict[str, Any]], folder: Path) -> None:
        derived, target = planned.derived, planned.target
        output = target.relative_to(self._workspace.out).as_posix()
        n_bytes = sum(path.stat().st_size for path in files_of(folder).glob("[!.]*"))
        (record,) = self._ledger.append(
            # The ledger first: a folder in its place is one that the ledger knows.
            series_record(
                derived,
                output,
                self._settings,
                chunks,
                self._root,
                state=planned.state,
                n_bytes=n_bytes,
            )
        )
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
        self.n_lost += derived.source.n_lost
        if self._progress is not None:
            self._progress.finished(record)
