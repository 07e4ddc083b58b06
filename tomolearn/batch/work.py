"""What a worker does: a few slices of one series, from its files to new files."""

from __future__ import annotations

import json
import os
import time
import traceback
import warnings
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tomolearn._core.files import complete_file
from tomolearn._core.memory import resident_bytes
from tomolearn.batch.agreement import compare
from tomolearn.batch.processing import LANES, process
from tomolearn.batch.settings import BatchSettings
from tomolearn.batch.thumbnails import write_thumbnail
from tomolearn.batch.workspace import files_of
from tomolearn.dicom import CTSlice, DerivedSeries
from tomolearn.geometry import CoverageWarning
from tomolearn.models.base import ReconstructionModel

__all__ = [
    "THUMBNAIL",
    "Chunk",
    "Outcome",
    "WeightsChangedError",
    "attempt",
    "chunk_record",
    "chunks_of",
    "covers",
    "earlier_record",
    "file_name",
    "run_chunk",
]

THUMBNAIL = "thumbnail.png"
# What reading or reconstructing a slice may end with; the slice is lost then, and the run goes on.
_LOSSES = (OSError, ValueError, ArithmeticError, MemoryError)
_PERMANENT = (ValueError, ArithmeticError)


class WeightsChangedError(ValueError):
    """A worker has other weights under the name that the run was begun with."""


@dataclass(frozen=True)
class Chunk:
    """Some neighbouring slices of one series.

    Parameters
    ----------
    derived : DerivedSeries
        What is made, and of what.
    indices : tuple of int
        Which slices.
    settings : BatchSettings
        What is done to them.
    folder : Path
        The unfinished series.
    shown : int
        Index of the slice that is drawn for the summary.
    """

    derived: DerivedSeries
    indices: tuple[int, ...]
    settings: BatchSettings
    folder: Path
    shown: int

    def parts(self) -> list[Chunk]:
        """Return a chunk for each slice."""
        return [
            Chunk(self.derived, (index,), self.settings, self.folder, self.shown)
            for index in self.indices
        ]

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
        path = str(self.derived.source.slices[index].path)
        return {"index": index, "path": path, "reason": reason, "transient": transient}


def chunks_of(derived: DerivedSeries, settings: BatchSettings, folder: Path) -> list[Chunk]:
    """Divide a series into chunks."""
    n_slices = len(derived.source)
    return [
        Chunk(
            derived,
            tuple(range(first, min(first + LANES, n_slices))),
            settings,
            folder,
            n_slices // 2,
        )
        for first in range(0, n_slices, LANES)
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


@dataclass(frozen=True)
class Outcome:
    """What a worker sends back: data only, since not every exception survives the way.

    Parameters
    ----------
    record : dict, optional
        The record of the chunk, if it came to its end.
    fatal : Exception, optional
        Why the whole run cannot go on.
    unexpected : str
        The traceback of any other error: a bug, which costs these slices only.
    """

    record: dict[str, Any] | None = None
    fatal: Exception | None = None
    unexpected: str = ""


def attempt(chunk: Chunk) -> Outcome:
    """Run a chunk, and return what came of it, whatever it is."""
    try:
        return Outcome(run_chunk(chunk))
    except OSError as error:
        return Outcome(fatal=OSError(error.errno, error.strerror or str(error), error.filename))
    except (ImportError, WeightsChangedError) as error:
        return Outcome(fatal=type(error)(str(error)))
    # The next file may be a better one. The run's result says that there was a bug.
    except Exception:
        return Outcome(unexpected=traceback.format_exc(limit=-5))


def run_chunk(chunk: Chunk) -> dict[str, Any]:
    """Read, reconstruct and write the slices of a chunk.

    Slices that cannot be read or reconstructed are lost; their reasons are in the record.

    Returns
    -------
    dict
        The record of the chunk, which is also written next to the files: `slices` (index, source
        path, clipped pixels, agreement), `lost` (index, source path, reason), `seconds`,
        `peak_mib` (of the worker's process so far) and `worker`.

    A chunk whose record is there already is not computed again.

    Raises
    ------
    OSError
        If a result cannot be written. Nothing incomplete has a result's name then.
    ImportError, WeightsChangedError
        If this worker is not equipped for the work.
    """
    start = time.perf_counter()
    earlier = earlier_record(chunk)
    if earlier is not None:
        return earlier
    # Every core has its worker.
    torch.set_num_threads(1)
    model = _model(chunk.settings)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        record = _run(chunk, model)
    # what DICOM files have that is odd is in the records of their slices
    record["warnings"] = sorted(
        {str(one.message) for one in caught if issubclass(one.category, CoverageWarning)}
    )
    record["seconds"] = time.perf_counter() - start
    record["peak_mib"] = _peak_mib()
    record["worker"] = os.getpid()
    with complete_file(chunk_record(chunk)) as stream:
        stream.write(json.dumps(record).encode(errors="backslashreplace"))
    return record


def _run(chunk: Chunk, model: ReconstructionModel | None) -> dict[str, Any]:
    record: dict[str, Any] = {"slices": [], "lost": []}
    source = chunk.derived.source
    read: dict[int, CTSlice] = {}
    for index in chunk.indices:
        try:
            read[index] = source.read(index)
        except _LOSSES as error:
            record["lost"].append(chunk.loss(index, error))
    groups = deque(_of_one_kind(read))
    while groups:
        indices = groups.popleft()
        try:
            found = process([read[i] for i in indices], chunk.settings, model)
        # torch's own errors, of memory for example, are RuntimeErrors
        except (*_LOSSES, RuntimeError) as error:
            if len(indices) > 1:
                # which of them is it?
                groups.extend([index] for index in indices)
            else:
                record["lost"].append(chunk.loss(indices[0], error))
            continue
        for index, image in zip(indices, found, strict=True):
            try:
                record["slices"].append(_write(chunk, index, read[index], image))
            except ValueError as error:
                record["lost"].append(chunk.loss(index, error))
    return record


def _write(chunk: Chunk, index: int, source: CTSlice, image: NDArray[np.float32]) -> dict[str, Any]:
    path = files_of(chunk.folder) / file_name(index)
    clipped = chunk.derived.write(index, image, path, padding=source.padding)
    if index == chunk.shown:
        write_thumbnail(chunk.folder / THUMBNAIL, source, image)
    return {
        "index": index,
        "path": str(chunk.derived.source.slices[index].path),
        "clipped": clipped,
        "deviations": list(source.deviations),
        "agreement": compare(image, source.hounsfield, source.padding).to_dict(),
    }


def _of_one_kind(slices: dict[int, CTSlice]) -> list[list[int]]:
    """Return the indices of slices that share shape and spacing."""
    kinds: dict[Any, list[int]] = {}
    for index, ct in slices.items():
        kinds.setdefault((ct.hounsfield.shape, ct.spacing), []).append(index)
    return list(kinds.values())


@lru_cache(maxsize=1)
def _loaded(method: str, fingerprint: str) -> ReconstructionModel:
    from tomolearn.training import load

    model = load(method)
    card = model.card or {}
    if card.get("sha256") != fingerprint:
        raise WeightsChangedError(
            f"method: expected the weights {method} that the run was begun with, SHA-256 "
            f"{fingerprint[:12]}..., got {str(card.get('sha256'))[:12]}..."
        )
    return model.eval()


def _model(settings: BatchSettings) -> ReconstructionModel | None:
    return _loaded(settings.method, settings.fingerprint) if settings.is_network else None


def _reason(error: Exception) -> str:
    text = " ".join(str(error).splitlines())
    if isinstance(error, (ValueError, OSError)) and text:
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _peak_mib() -> float | None:
    try:
        return resident_bytes("VmHWM") / 2**20
    except ValueError:  # only Linux tells
        return None


def covers(records: Sequence[dict[str, Any]], n_slices: int) -> bool:
    """Return whether records account for every slice of a series."""
    indices = {one["index"] for record in records for one in record["slices"] + record["lost"]}
    return indices == set(range(n_slices))
