"""Parts of a batch that a worker is given, and what comes back: data only, no torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tomolearn._core.errors import TomolearnError
from tomolearn.batch.settings import SLICES_PER_CALL, BatchSettings
from tomolearn.batch.workspace import files_of
from tomolearn.dicom import DerivedSeries, DerivedSlice

__all__ = [
    "THUMBNAIL",
    "Chunk",
    "WeightsChangedError",
    "chunk_record",
    "chunks_of",
    "earlier_record",
    "file_name",
]

THUMBNAIL = "thumbnail.png"
_PERMANENT = (ValueError, ArithmeticError)


class WeightsChangedError(TomolearnError):
    """A worker has other weights under the name that the run was begun with."""


@dataclass(frozen=True)
class Chunk:
    """Some neighbouring slices of one series.

    Parameters
    ----------
    slices : mapping of int to DerivedSlice
        What is made, and of what, by the slices' places in the series.
    settings : BatchSettings
        What is done to them.
    folder : Path
        The unfinished series.
    shown : int
        Index of the slice that is drawn for the summary.
    """

    slices: Mapping[int, DerivedSlice]
    settings: BatchSettings
    folder: Path
    shown: int

    @property
    def indices(self) -> tuple[int, ...]:
        """Which slices of the series."""
        return tuple(self.slices)

    def parts(self) -> list[Chunk]:
        """Return a chunk for each slice."""
        return [replace(self, slices={index: one}) for index, one in self.slices.items()]

    def lost(self, reason: str, *, transient: bool = False) -> dict[str, Any]:
        """Return the record of a chunk of which nothing came.

        Parameters
        ----------
        reason : str
            Why.
        transient : bool
            Whether the next run may have more luck.
        """
        return {
            "slices": [],
            "lost": [self._loss(index, reason, transient) for index in self.indices],
        }

    def loss(self, index: int, error: Exception) -> dict[str, Any]:
        """Return the record of a slice of which nothing came because of an error."""
        # What a file holds will be the same next time; discs, networks and memory may not.
        return self._loss(index, _reason(error), not isinstance(error, _PERMANENT))

    def _loss(self, index: int, reason: str, transient: bool) -> dict[str, Any]:
        path = str(self.slices[index].source.path)
        return {"index": index, "path": path, "reason": reason, "transient": transient}


def chunks_of(derived: DerivedSeries, settings: BatchSettings, folder: Path) -> list[Chunk]:
    """Divide a series into chunks."""
    n_slices = len(derived.source)
    return [
        Chunk(
            {
                index: derived.slice(index)
                for index in range(first, min(first + SLICES_PER_CALL, n_slices))
            },
            settings,
            folder,
            shown=n_slices // 2,
        )
        for first in range(0, n_slices, SLICES_PER_CALL)
    ]


def file_name(index: int) -> str:
    """Return the name of the file of a slice."""
    return f"{index + 1:05d}.dcm"


def chunk_record(chunk: Chunk) -> Path:
    """Return where it is written down that a chunk is complete."""
    return chunk.folder / f"chunk-{chunk.indices[0]:05d}-{len(chunk.indices)}.json"


def earlier_record(chunk: Chunk) -> dict[str, Any] | None:
    """Return the record of a chunk that is complete, with all files that it speaks of."""
    path, files = chunk_record(chunk), files_of(chunk.folder)
    if not path.exists():
        return None
    record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    # a run that was killed while it removed a series may have left records without files
    complete = all((files / file_name(one["index"])).exists() for one in record["slices"])
    return record if complete else None


def _reason(error: Exception) -> str:
    text = " ".join(str(error).splitlines())
    if isinstance(error, (ValueError, OSError)) and text:
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
