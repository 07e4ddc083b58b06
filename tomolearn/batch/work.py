"""Work on a chunk: read, reconstruct and write a few slices of one series."""

from __future__ import annotations

import errno
import json
import os
import time
import warnings
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tomolearn._core.errors import TomolearnError, TrainedElsewhereWarning
from tomolearn._core.files import complete_file
from tomolearn._core.memory import peak_mib
from tomolearn.batch.chunks import THUMBNAIL, Chunk, file_digest, file_name, half_width_name
from tomolearn.batch.image_errors import measure_errors
from tomolearn.batch.processing import process, process_uncertain, process_volume
from tomolearn.batch.thumbnails import write_thumbnail
from tomolearn.batch.workspace import files_of
from tomolearn.dicom import CTSlice, write_half_widths
from tomolearn.geometry import CoverageWarning

# What the ledger says of a series; what DICOM files have that is odd is in their slices' records.
_TOLD = (CoverageWarning, TrainedElsewhereWarning)
# What reading or reconstructing a slice may end with; the slice is lost then, and the run goes on.
_LOSSES = (ValueError, ArithmeticError, MemoryError)
# Errors of the system that are not of the file that was to be read.
_MACHINE = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE, errno.ENFILE}


def run_chunk(chunk: Chunk) -> dict[str, Any]:
    """Read, reconstruct and write the slices of a chunk.

    Slices that cannot be read or reconstructed are lost; their reasons are in the record.

    The record, which is also written next to the files, has `slices` and `lost` (see `_write` and
    `Chunk.loss`), `warnings`, `seconds`, `peak_mib` of the worker's process so far, and `worker`.
    """
    start = time.perf_counter()
    with _one_thread(), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        # here and not with the slices, none of which is to be lost for want of weights
        chunk.settings.method.prepare()
        state = chunk.state()
        for index in chunk.slices:
            # of a run that died before it wrote the record, perhaps from another source
            for name in (file_name(index), half_width_name(index)):
                (files_of(chunk.folder) / name).unlink(missing_ok=True)
        record = {**_run(chunk), "state": state}
    record["warnings"] = sorted(
        {str(one.message) for one in caught if issubclass(one.category, _TOLD)}
    )
    record["seconds"] = time.perf_counter() - start
    record["peak_mib"] = peak_mib()
    record["worker"] = os.getpid()
    with complete_file(chunk.record_path) as stream:
        stream.write(json.dumps(record).encode(errors="backslashreplace"))
    return record


@contextmanager
def _one_thread() -> Iterator[None]:
    """Limit torch to one thread, as the other cores have their workers."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _run(chunk: Chunk) -> dict[str, Any]:
    record: dict[str, Any] = {"slices": [], "lost": []}
    read: dict[int, CTSlice] = {}
    for index, one in chunk.slices.items():
        try:
            read[index] = one.read_source()
        except OSError as error:
            if error.errno in _MACHINE:
                raise
            record["lost"].append(chunk.loss(index, error))
        except _LOSSES as error:
            record["lost"].append(chunk.loss(index, error))
    if chunk.settings.of_volumes:
        return _run_volume(chunk, read, record)
    groups = deque(_of_one_kind(read))
    while groups:
        indices = groups.popleft()
        half_widths: list[Any] = [None] * len(indices)
        meaning, slices = "", [read[i] for i in indices]
        try:
            if chunk.settings.uncertainty:
                found, half_widths, meaning = process_uncertain(slices, chunk.settings)
            else:
                found = process(slices, chunk.settings)
        # torch's own errors, of memory for example, are RuntimeErrors
        except (*_LOSSES, RuntimeError) as error:
            if len(indices) > 1:
                # which of them is it?
                groups.extend([index] for index in indices)
            else:
                record["lost"].append(chunk.loss(indices[0], error))
            continue
        for index, image, half_width in zip(indices, found, half_widths, strict=True):
            _account(chunk, index, read[index], image, record, half_width, meaning)
    return record


def _run_volume(chunk: Chunk, read: dict[int, CTSlice], record: dict[str, Any]) -> dict[str, Any]:
    """Add to a record what became of a series that is scanned as a whole: all or nothing."""
    try:
        if record["lost"]:
            first, n_lost = record["lost"][0], len(record["lost"])
            raise TomolearnError(
                f"a volume needs all of its slices, {n_lost} of {len(chunk.slices)} cannot be "
                f"read, the first {first['path']}: {first['reason']}"
            )
        places = [one.source for one in chunk.slices.values()]
        found = process_volume(list(read.values()), places, chunk.settings)
    except (*_LOSSES, RuntimeError) as error:
        record["lost"] = [chunk.loss(index, error) for index in chunk.slices]
        return record
    for index, image in zip(read, found, strict=True):
        _account(chunk, index, read[index], image, record)
    return record


def _account(
    chunk: Chunk,
    index: int,
    source: CTSlice,
    image: NDArray[np.float32],
    record: dict[str, Any],
    half_width: NDArray[np.float32] | None = None,
    meaning: str = "",
) -> None:
    """Write a slice, and its half-widths if there are some, and record what became of it."""
    try:
        written = _write(chunk, index, source, image)
        if half_width is not None:
            written |= _write_half_widths(chunk, index, source, half_width, meaning)
        record["slices"].append(written)
    except ValueError as error:
        record["lost"].append(chunk.loss(index, error))
    except OSError as error:
        # a result that cannot be written is no fault of a slice
        if error.filename != os.fspath(source.path or ""):
            raise
        record["lost"].append(chunk.loss(index, error))


def _write(chunk: Chunk, index: int, source: CTSlice, image: NDArray[np.float32]) -> dict[str, Any]:
    path = files_of(chunk.folder) / file_name(index)
    clipped = chunk.slices[index].write(
        image, path, padding=source.padding, path_of_source=source.path
    )
    drawn = {}
    if index == chunk.thumbnail:
        write_thumbnail(chunk.folder / THUMBNAIL, source, image)
        drawn = {"thumbnail": file_digest(chunk.folder / THUMBNAIL)}
    return {
        **drawn,
        "index": index,
        "path": str(chunk.slices[index].source.path),
        "sha256": file_digest(path),
        "clipped": clipped,
        "deviations": list(source.deviations),
        "agreement": asdict(measure_errors(image, source.hounsfield, source.padding)),
    }


def _write_half_widths(
    chunk: Chunk, index: int, source: CTSlice, half_widths: NDArray[np.float32], meaning: str
) -> dict[str, Any]:
    folder = files_of(chunk.folder)
    path = folder / half_width_name(index)
    write_half_widths(
        half_widths,
        path,
        derived=chunk.slices[index],
        image=folder / file_name(index),
        meaning=meaning,
        padding=source.padding,
    )
    return {"half_width": file_digest(path)}


def _of_one_kind(slices: dict[int, CTSlice]) -> list[list[int]]:
    """Return the indices of slices that share shape and spacing."""
    kinds: dict[Any, list[int]] = {}
    for index, ct in slices.items():
        kinds.setdefault((ct.hounsfield.shape, ct.spacing), []).append(index)
    return list(kinds.values())
