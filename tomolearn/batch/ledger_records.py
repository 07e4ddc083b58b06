"""Ledger records: one JSON object per run, skipped file and finished series.

Their keys are those of version 0.1.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tomolearn._core.version import __version__
from tomolearn.batch.image_errors import ImageErrors
from tomolearn.batch.settings import BatchSettings
from tomolearn.batch.shapes import NUMBER_OR_NONE, has_shape
from tomolearn.dicom import DerivedSeries, Series, SeriesFilter, SeriesIndex, SkippedFile

DONE, INCOMPLETE, FAILED = "done", "incomplete", "failed"
"""Statuses of a series: all slices are there, some are lost, or none is and it has no output."""
SUPERSEDED, PRUNED = "superseded", "pruned"
"""Events of a result whose series had other slices: it is still there, or was removed."""

_SERIES = {
    "status": str,
    "patient": str,
    "study": str,
    "series": str,
    "description": str,
    "source": str,
    "slices": int,
    "findings": [{"kind": str, "detail": str}],
    "derived": str,
    "output": (str, type(None)),
    "digest": str,
    "written": int,
    "lost": [{"path": str, "reason": str, "transient": bool}],
    "warnings": [str],
    "deviations": [{"what": str, "slices": int}],
    "clipped_pixels": int,
    "agreement": dict.fromkeys(("rmse_hu", "bias_hu", "psnr", "ssim"), NUMBER_OR_NONE),
}
_ERRORS = ("rmse_hu", "bias_hu", "psnr", "ssim")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def run_record(
    series_index: SeriesIndex, settings: BatchSettings, select: SeriesFilter | None = None
) -> dict[str, Any]:
    """Return the record that begins a run."""
    selection = {} if select is None else select.to_dict()
    return {
        "event": "run",
        "time": _now(),
        "version": __version__,
        "source": str(series_index.root),
        "files": series_index.n_files,
        "left_out": {str(reason): n for reason, n in sorted(series_index.counts.items())},
        "series": len(series_index.series),
        "settings": settings.to_dict(),
        "digest": settings.digest(),
        **({"selection": selection} if selection else {}),
    }


def skipped_record(skipped: SkippedFile, root: Path) -> dict[str, Any]:
    """Return the record of a file that belongs to no series."""
    return {
        "event": "left out",
        "path": relative(skipped.path, root),
        "reason": str(skipped.reason),
        "detail": skipped.detail,
    }


def series_record(
    derived: DerivedSeries,
    output: str,
    settings: BatchSettings,
    chunks: Sequence[Mapping[str, Any]],
    root: Path,
    *,
    state: str,
    n_bytes: int,
) -> dict[str, Any]:
    """Return the record of a series, of which `chunks` are the records of all chunks.

    `output` is its folder, relative to that of the output; other paths are relative to `root`.
    `state` tells the source's files from later ones with their names, `n_bytes` is the size of the
    series' files.
    """
    slices = [one for chunk in chunks for one in chunk["slices"]]
    lost = sorted((one for chunk in chunks for one in chunk["lost"]), key=lambda one: one["index"])
    source = derived.source
    errors = ImageErrors.pooled(ImageErrors(**one["agreement"]) for one in slices)
    deviations = Counter(text for one in slices for text in one["deviations"])
    return {
        "event": "series",
        "time": _now(),
        "status": _status(len(slices), len(lost) + source.n_lost),
        **_source(source, root),
        "derived": derived.uid,
        "output": output if slices else None,
        "digest": settings.digest(),
        "identity": None if derived.deidentify is None else derived.deidentify.label,
        "state": state,
        "bytes": n_bytes,
        "written": len(slices),
        "lost": [
            {
                "path": relative(one["path"], root),
                "reason": one["reason"],
                "transient": one["transient"],
            }
            for one in lost
        ]
        + _lost_before(source, root),
        "warnings": sorted({text for chunk in chunks for text in chunk.get("warnings", ())}),
        "deviations": [{"what": text, "slices": n} for text, n in sorted(deviations.items())],
        "clipped_pixels": sum(one["clipped"] for one in slices),
        "agreement": {name: getattr(errors, name) for name in _ERRORS},
        "seconds": round(sum(chunk.get("seconds", 0.0) for chunk in chunks), 3),
    }


def refreshed_record(record: Mapping[str, Any], source: Series, root: Path) -> Mapping[str, Any]:
    """Return an earlier record of a series with what its source looks like now.

    Its slices are the same, but others that are lost may have come or gone.
    """
    lost = [one for one in record["lost"] if not one.get("skipped")]
    status = _status(record["written"], len(lost) + source.n_lost)
    now = {"status": status, "lost": lost + _lost_before(source, root), **_source(source, root)}
    changed = any(record.get(key) != value for key, value in now.items())
    return {**record, **now, "time": _now()} if changed else record


def _status(n_written: int, n_lost: int) -> str:
    return FAILED if not n_written else INCOMPLETE if n_lost else DONE


def _lost_before(series: Series, root: Path) -> list[dict[str, Any]]:
    """Return what the search for slices has skipped of a series."""
    return [
        {
            "path": relative(one.path, root),
            "reason": one.detail if one.frame is None else f"frame {one.frame}: {one.detail}",
            "transient": False,
            "skipped": True,
        }
        for one in series.lost
    ]


def superseded_record(old: Mapping[str, Any], by: str, *, pruned: bool) -> dict[str, Any]:
    """Return the record of a result in whose place there is one of the same series and settings."""
    return {
        "event": PRUNED if pruned else SUPERSEDED,
        "time": _now(),
        "series": old["series"],
        "derived": old["derived"],
        "output": old["output"],
        "by": by,
    }


def is_series_record(record: Mapping[str, Any]) -> bool:
    """Return whether a record is one of a series, with all that is read from it."""
    return record.get("event") == "series" and has_shape(record, _SERIES)


def roots(records: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str | None, Mapping[str, Any]]]:
    """Return records with the folder of the input of the run that wrote them."""
    by_run: dict[Any, str] = {}
    last: str | None = None
    for record in records:
        run = record.get("run") if isinstance(record.get("run"), str) else None
        if record.get("event") == "run" and isinstance(record.get("source"), str):
            last = by_run[run] = record["source"]
        # lines of version 0.1 follow the one of their run
        yield (last if run is None else by_run.get(run)), record


def _source(series: Series, root: Path) -> dict[str, Any]:
    """Return identifiers, place and findings of a source series."""
    folders = {str(Path(one.path).parent) for one in series.slices}
    return {
        "patient": series.patient_id,
        "study": series.study_uid,
        "series": series.uid,
        "description": series.description,
        "source": relative(os.path.commonpath(folders), root),
        "slices": len(series) + series.n_lost,
        "findings": [{"kind": str(one.kind), "detail": one.detail} for one in series.findings],
    }


def relative(path: str | Path, root: Path) -> str:
    """Return a path relative to a folder that it lies in."""
    folder = root if root.is_dir() else root.parent
    return Path(path).relative_to(folder).as_posix()
