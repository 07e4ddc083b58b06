"""Chunks of a batch: slices for a worker, and the record of what became of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tomolearn.batch.settings import SLICES_PER_CALL, BatchSettings
from tomolearn.batch.workspace import files_of
from tomolearn.dicom import DerivedSeries, DerivedSlice, SourceChangedError

THUMBNAIL = "thumbnail.png"
_PERMANENT = (ValueError, ArithmeticError)


@dataclass(frozen=True)
class Chunk:
    """Neighbouring slices of a series by their places in it, and the unfinished series' folder.

    `thumbnail` is the place of the slice that is drawn for the summary.
    """

    slices: Mapping[int, DerivedSlice]
    settings: BatchSettings
    folder: Path
    thumbnail: int

    @property
    def record_path(self) -> Path:
        """File that says that the chunk is complete."""
        return self.folder / f"chunk-{next(iter(self.slices)):05d}-{len(self.slices)}.json"

    def earlier_record(self) -> dict[str, Any] | None:
        """Return the record of the chunk if it is complete, with all files that it speaks of."""
        if not self.record_path.exists():
            return None
        record: dict[str, Any] = json.loads(self.record_path.read_text(encoding="utf-8"))
        # a run that was killed while it removed a series may have left records without files
        files = files_of(self.folder)
        complete = all((files / file_name(one["index"])).exists() for one in record["slices"])
        return record if complete else None

    def split(self) -> list[Chunk]:
        """Return a chunk for each slice."""
        return [replace(self, slices={index: one}) for index, one in self.slices.items()]

    def lost(self, reason: str) -> dict[str, Any]:
        """Return the record of a chunk of which nothing came; the next run may have more luck."""
        return {
            "slices": [],
            "lost": [self._loss(index, reason, transient=True) for index in self.slices],
        }

    def loss(self, index: int, error: Exception) -> dict[str, Any]:
        """Return the record of a slice of which nothing came because of an error."""
        text = " ".join(str(error).splitlines())
        if not (text and isinstance(error, (ValueError, OSError))):
            text = f"{type(error).__name__}: {text}" if text else type(error).__name__
        # What a file holds will be the same next time; discs, networks and memory may not, and a
        # file that was replaced is read as what it is then.
        permanent = isinstance(error, _PERMANENT) and not isinstance(error, SourceChangedError)
        return self._loss(index, text, transient=not permanent)

    def _loss(self, index: int, reason: str, *, transient: bool) -> dict[str, Any]:
        path = str(self.slices[index].source.path)
        return {"index": index, "path": path, "reason": reason, "transient": transient}


def chunks_of(derived: DerivedSeries, settings: BatchSettings, folder: Path) -> list[Chunk]:
    """Divide a series into chunks."""
    indices, middle = range(len(derived)), len(derived) // 2
    return [
        Chunk(
            {index: derived[index] for index in indices[first : first + SLICES_PER_CALL]},
            settings,
            folder,
            middle,
        )
        for first in indices[::SLICES_PER_CALL]
    ]


def file_name(index: int) -> str:
    """Return the name of the file of a slice."""
    return f"{index + 1:05d}.dcm"
