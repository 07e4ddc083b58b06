"""Files that appear only when they are complete, and folders that one run works in."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO

_PARTIAL = ".partial"


@contextmanager
def complete_file(path: Path) -> Iterator[BinaryIO]:
    """Open a file for writing that gets its name when the block ends without an error.

    Until then it lies next to it under a hidden name; after an error it is removed.
    """
    with complete_files(path) as (stream,):
        yield stream


@contextmanager
def complete_files(*paths: Path) -> Iterator[tuple[BinaryIO, ...]]:
    """Open files for writing that get their names, in this order, when all are on the disk."""
    # not the number of the process: those of several machines may write into one folder
    token = secrets.token_hex(6)
    partials = [path.with_name(f".{path.name}.{token}{_PARTIAL}") for path in paths]
    try:
        with ExitStack() as stack:
            streams = tuple(stack.enter_context(partial.open("w+b")) for partial in partials)
            yield streams
            for stream in streams:
                stream.flush()
                os.fsync(stream.fileno())
        for partial, path in zip(partials, paths, strict=True):
            partial.replace(path)
    finally:
        for partial in partials:
            partial.unlink(missing_ok=True)


def is_partial(path: Path) -> bool:
    """Return whether a file is one that a killed run did not complete."""
    return path.name.startswith(".") and path.name.endswith(_PARTIAL)


@contextmanager
def locked(path: Path, place: Path) -> Iterator[None]:
    """Hold the lock of this file, which is made if it is missing."""
    from filelock import FileLock, Timeout

    try:
        # a lock file by itself would outlive a killed run
        held = FileLock(path, blocking=False, fallback_to_soft=False).acquire()
    except Timeout as error:
        text = "another run is at work in this folder"
        raise BlockingIOError(errno.EAGAIN, text, str(place)) from error
    with held:
        yield
