"""Files that appear only when they are complete, and folders that one run works in."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

__all__ = ["complete_file", "locked"]


@contextmanager
def complete_file(path: Path) -> Iterator[BinaryIO]:
    """Open a file for writing that gets its name when the block ends without an error.

    Until then it lies next to it under a hidden name; after an error it is removed.
    """
    # not the number of the process: those of several machines may write into one folder
    partial = path.with_name(f".{path.name}.{secrets.token_hex(6)}.partial")
    try:
        with partial.open("w+b") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def locked(path: Path, place: Path) -> Iterator[None]:
    """Hold the lock of this file, which is made if it is missing.

    Raises
    ------
    BlockingIOError
        If another process holds it; the message names `place`, which the lock is for.
    """
    import fcntl

    busy = BlockingIOError(errno.EAGAIN, "another run is at work in this folder", str(place))
    with path.open("ab") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                raise
            raise busy from error
        # A run that ended between the opening and the locking may have removed the file; the next
        # run would make, and lock, another.
        if os.fstat(lock.fileno()).st_nlink == 0:
            raise busy
        yield
