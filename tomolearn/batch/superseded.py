"""Superseded results: of a source series as it was when it had other slices."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tomolearn.batch.ledger_records import FAILED, is_series_record, roots
from tomolearn.batch.planning import PlannedSeries, result_folder
from tomolearn.dicom import find_series

_NAME = re.compile(r"\d{5,}\.dcm", re.ASCII)
_HALF_WIDTHS = re.compile(r"\d{5,}-half-width\.dcm", re.ASCII)


def find_superseded(
    earlier: Iterable[Mapping[str, Any]],
    planned: Sequence[PlannedSeries],
    made: Sequence[Mapping[str, Any]],
    root: Path,
    out: Path,
) -> list[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """Return results that have been superseded and are still there, each with its successor.

    A successor is of the same input, study, series, settings and removal of identities. `earlier`
    are the ledger's records before the run, `made` those of the series that are there now.
    """
    current = {one.derived.uid for one in planned}
    # lines of version 0.1 do not say whether identities were removed
    known = (record for record in made if "identity" in record)
    successors = {_key(record): record for record in known if record["status"] != FAILED}
    last = {
        record["derived"]: record
        for where, record in roots(earlier)
        if where == str(root) and is_series_record(record) and "identity" in record
    }
    return [
        (record, successors[_key(record)])
        for uid, record in last.items()
        if uid not in current
        and _key(record) in successors
        and result_folder(record, out) is not None
    ]


def prunable(record: Mapping[str, Any], out: Path) -> Path | None:
    """Return the folder of a superseded result if all that is in it is the result."""
    folder = result_folder(record, out)
    if folder is None:
        return None
    names = [one.name for one in folder.iterdir() if not _HALF_WIDTHS.fullmatch(one.name)]
    index = find_series(folder, include_derived=True)
    ours = (
        all(map(_NAME.fullmatch, names))
        and len(names) == record["written"]
        and [(one.uid, len(one)) for one in index.series] == [(record["derived"], len(names))]
    )
    if not ours:
        warnings.warn(
            f"{folder}: superseded, but not pruned: it has other files than the result's",
            stacklevel=2,
        )
    return folder if ours else None


def _key(record: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(record[name] for name in ("study", "series", "digest", "identity"))
