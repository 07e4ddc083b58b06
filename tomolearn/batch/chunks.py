"""Chunks of a batch: slices for a worker, and the record of what became of them."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tomolearn.batch.settings import SLICES_PER_CALL, BatchSettings
from tomolearn.batch.shapes import NUMBER, NUMBER_OR_NONE, has_shape
from tomolearn.batch.workspace import files_of
from tomolearn.dicom import DerivedSeries, DerivedSlice, SourceChangedError

THUMBNAIL = "thumbnail.png"
_PERMANENT = (ValueError, ArithmeticError)
_RECORD = {
    "slices": [
        {
            "index": int,
            "clipped": int,
            "deviations": [str],
            "agreement": {
                "pixels": int,
                "error_sum": NUMBER,
                "error_square_sum": NUMBER,
                "ssim": NUMBER_OR_NONE,
            },
        }
    ],
    "lost": [{"index": int, "reason": str, "transient": bool}],
}


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
        """Return the record of the chunk if it is complete, with all files that it speaks of.

        None if it cannot be read, a file of source or result is another one now, or a slice was
        lost to what may have been the machine.
        """
        try:
            record = json.loads(self.record_path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            return None
        if not has_shape(record, _RECORD):
            return None
        found = [one["index"] for one in (*record["slices"], *record["lost"])]
        if sorted(found) != sorted(self.slices) or not all(map(self._is_there, record["slices"])):
            return None
        if any(one["transient"] for one in record["lost"]):
            return None
        if record.get("state") not in (None, self.state()):
            return None
        # the input may have been moved meanwhile
        for one in (*record["slices"], *record["lost"]):
            one["path"] = str(self.slices[one["index"]].source.path)
        done: dict[str, Any] = record
        return done

    def state(self) -> list[list[int]]:
        """Return what tells the source's files from others with the same names."""
        return [file_state(one.source.path) for one in self.slices.values()]

    def _is_there(self, one: Mapping[str, Any]) -> bool:
        """Return whether the file of a slice is there, and is the one that was written."""
        path = files_of(self.folder) / file_name(one["index"])
        if "sha256" not in one:  # of version 0.1
            return path.is_file()
        thumbnail = self.folder / THUMBNAIL
        half_widths = path.with_name(half_width_name(one["index"]))
        if self.settings.uncertainty and (
            not half_widths.is_file() or file_digest(half_widths) != one.get("half_width")
        ):
            return False
        try:
            return file_digest(path) == one["sha256"] and (
                one["index"] != self.thumbnail or file_digest(thumbnail) == one["thumbnail"]
            )
        except (OSError, KeyError):
            return False

    def split(self) -> list[Chunk]:
        """Return a chunk for each slice; a volume cannot be divided."""
        if self.settings.of_volumes:
            return [self]
        return [replace(self, slices={index: one}) for index, one in self.slices.items()]

    def lost(self, reason: str, fault: str) -> dict[str, Any]:
        """Return the record of a chunk of which nothing came; the next run may have more luck.

        What `fault` is the same for is taken for one.
        """
        return {
            "slices": [],
            "lost": [self._loss(index, reason, fault) for index in self.slices],
        }

    def loss(self, index: int, error: Exception) -> dict[str, Any]:
        """Return the record of a slice of which nothing came because of an error."""
        text = " ".join(str(error).splitlines())
        if not (text and isinstance(error, (ValueError, OSError))):
            text = f"{type(error).__name__}: {text}" if text else type(error).__name__
        # What a file holds will be the same next time; discs, networks and memory may not, and a
        # file that was replaced is read as what it is then.
        permanent = isinstance(error, _PERMANENT) and not isinstance(error, SourceChangedError)
        return self._loss(index, text, None if permanent else fault_of(error))

    def _loss(self, index: int, reason: str, fault: str | None) -> dict[str, Any]:
        return {
            "index": index,
            "path": str(self.slices[index].source.path),
            "reason": reason,
            "transient": fault is not None,
            "fault": fault,
        }


def chunks_of(derived: DerivedSeries, settings: BatchSettings, folder: Path) -> list[Chunk]:
    """Divide a series into chunks; what is scanned as a volume is one."""
    indices, middle = range(len(derived)), len(derived) // 2
    size = len(derived) if settings.of_volumes else SLICES_PER_CALL
    return [
        Chunk(
            {index: derived[index] for index in indices[first : first + size]},
            settings,
            folder,
            middle,
        )
        for first in indices[:: max(size, 1)]
    ]


def file_name(index: int) -> str:
    """Return the name of the file of a slice."""
    return f"{index + 1:05d}.dcm"


def half_width_name(index: int) -> str:
    """Return the name of the file of a slice's half-widths."""
    return f"{index + 1:05d}-half-width.dcm"


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def file_state(path: Path) -> list[int]:
    """Return size and time of change of a file; zeros where it cannot be asked."""
    try:
        status = os.stat(path)
    except OSError:
        return [0, 0]
    return [status.st_size, status.st_mtime_ns]


def fault_of(error: Exception) -> str:
    """Return what errors of one cause have in common: their class, and the system's number."""
    number = error.errno if isinstance(error, OSError) else None
    return type(error).__name__ if number is None else f"{type(error).__name__} {number}"
