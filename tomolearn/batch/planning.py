"""Plan of a batch: the derived series, their folders, and which are there already."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tomolearn.batch.chunks import file_name, file_state
from tomolearn.batch.derivation_text import derivation_of
from tomolearn.batch.ledger_records import is_series_record, refreshed_record
from tomolearn.batch.settings import BatchSettings
from tomolearn.batch.workspace import Workspace
from tomolearn.dicom import Deidentification, DerivedSeries, Series


@dataclass(frozen=True)
class PlannedSeries:
    """A series of the output, its folder, and the record of an earlier result that is kept."""

    derived: DerivedSeries
    target: Path
    record: Mapping[str, Any] | None
    state: str
    """What tells the source's files from later ones with the same names."""


def plan_series(
    found: Sequence[Series],
    settings: BatchSettings,
    deidentification: Deidentification | None,
    workspace: Workspace,
    earlier: Sequence[Mapping[str, Any]],
    root: Path,
    *,
    resume: bool,
    retry: bool,
) -> list[PlannedSeries]:
    """Plan a series for each that was found, and remove unfinished ones that are made anew.

    `earlier` are the ledger's records of earlier runs, `root` is the folder of the input; the other
    arguments are those of `run_batch`.
    """
    last = {record["derived"]: record for record in earlier if is_series_record(record)}
    planned = []
    for series in found:
        derived = DerivedSeries(
            series, derivation_of(settings, series), deidentify=deidentification
        )
        target = workspace.place(derived.study_uid, derived.uid)
        record = last.get(derived.uid) if resume else None
        # killed between the ledger's line and the renaming: what is there is older than the line
        unfinished = workspace.is_unfinished(derived.uid)
        state = _state(series)
        # version 0.1 did not write the state
        changed = record is not None and record.get("state") not in (None, state)
        if record is not None and (
            unfinished or changed or not _is_kept(derived, target, record, retry)
        ):
            record = None
        if record is not None:
            record = refreshed_record(record, series, root)
        elif retry or not resume:
            workspace.discard(derived.uid)
        planned.append(PlannedSeries(derived, target, record, state))
    return planned


def _is_kept(derived: DerivedSeries, target: Path, record: Mapping[str, Any], retry: bool) -> bool:
    """Return whether the result that a record speaks of is there, and need not be made again."""
    files = [target / file_name(index) for index in range(len(derived))]
    sizes = [path.stat().st_size for path in files if path.is_file()]
    if len(sizes) != record["written"] or record.get("bytes") not in (None, sum(sizes)):
        return False
    # what the search has skipped is not made by trying again
    lost = [one for one in record["lost"] if not one.get("skipped")]
    return not lost or (not retry and not any(one["transient"] for one in lost))


def _state(series: Series) -> str:
    states = [[one.sop_instance_uid, *file_state(one.path)] for one in series.slices]
    return hashlib.sha256(json.dumps(states).encode()).hexdigest()[:16]
