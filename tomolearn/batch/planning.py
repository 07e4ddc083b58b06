"""Plan of a batch: the derived series, their folders, and which are there already."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from tomolearn._core.errors import TomolearnError
from tomolearn.batch.chunks import file_name, file_state, half_width_name
from tomolearn.batch.derivation_text import derivation_of
from tomolearn.batch.ledger_records import is_series_record, refreshed_record
from tomolearn.batch.result_names import ResultNames
from tomolearn.batch.settings import BatchSettings
from tomolearn.batch.workspace import HIDDEN, Workspace
from tomolearn.dicom import Deidentification, DerivedSeries, Series


@dataclass(frozen=True)
class PlannedSeries:
    """A series of the output, its folder, and the record of an earlier result that is kept."""

    derived: DerivedSeries
    target: Path
    record: Mapping[str, Any] | None
    state: str
    """What tells the source's files from later ones with the same names."""


def derived_series(
    found: Sequence[Series], settings: BatchSettings, removal: Deidentification | None
) -> list[DerivedSeries]:
    """Return the series that the settings make of those that were found."""
    return [
        DerivedSeries(series, derivation_of(settings, series), deidentify=removal)
        for series in found
    ]


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
    names: ResultNames,
) -> list[PlannedSeries]:
    """Plan a series for each that was found, and remove unfinished ones that are made anew.

    `earlier` are the ledger's records of earlier runs, `root` is the folder of the input, `names`
    say where results lie that are made now; the other arguments are those of `run_batch`.
    """
    last = {record["derived"]: record for record in earlier if is_series_record(record)}
    planned = []
    made = derived_series(found, settings, deidentification)
    places = names.places(made, settings)
    for series, derived in zip(found, made, strict=True):
        known = last.get(derived.uid)
        record = known if resume else None
        # what is there stays where it is
        target = None if known is None else result_folder(known, workspace.out)
        if target is None:
            target = workspace.out / places[derived.uid]
            _check_free(target, derived.uid, last, workspace.out)
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


def _check_free(target: Path, uid: str, last: Mapping[str, Mapping[str, Any]], out: Path) -> None:
    """Refuse a folder for a new result that has another's files, or lies within or around it."""
    others = [folder for one in last.values() if (folder := result_folder(one, out)) is not None]
    shared = [one for one in others if one in target.parents or target in one.parents]
    if shared or (target.exists() and target.name != uid):
        raise TomolearnError(
            f"name_template: expected a new folder for each result, got {target.relative_to(out)}, "
            f"where there is another, {(shared or [target])[0]}; {{series}} or {{settings}} tell "
            "results apart"
        )


def result_folder(record: Mapping[str, Any], out: Path) -> Path | None:
    """Return the folder of a result, if it is there, within the folder of results and no link."""
    parts = PurePosixPath(record["output"] or "").parts
    if not parts or any(one in ("..", ".", "/", HIDDEN) for one in parts):
        return None
    folder = out.joinpath(*parts)
    steps = [folder, *itertools.takewhile(lambda one: one != out, folder.parents)]
    return folder if folder.is_dir() and not any(one.is_symlink() for one in steps) else None


def _is_kept(derived: DerivedSeries, target: Path, record: Mapping[str, Any], retry: bool) -> bool:
    """Return whether the result that a record speaks of is there, and need not be made again."""
    files = [target / file_name(index) for index in range(len(derived))]
    sizes = [path.stat().st_size for path in files if path.is_file()]
    # settings with them make other series, so that all have some or none
    maps = [target / half_width_name(index) for index in range(len(derived))]
    size = sum(sizes) + sum(path.stat().st_size for path in maps if path.is_file())
    if len(sizes) != record["written"] or record.get("bytes") not in (None, size):
        return False
    # what the search has skipped is not made by trying again
    lost = [one for one in record["lost"] if not one.get("skipped")]
    return not lost or (not retry and not any(one["transient"] for one in lost))


def _state(series: Series) -> str:
    states = [[one.sop_instance_uid, *file_state(one.path)] for one in series.slices]
    return hashlib.sha256(json.dumps(states).encode()).hexdigest()[:16]
