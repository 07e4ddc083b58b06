"""Files that appear only when they are complete, and folders that one run works in."""

from __future__ import annotations

import errno
import io
import os
import secrets
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if sys.platform != "win32":
    import fcntl

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

_PARTIAL = ".partial"


@contextmanager
def named(path: Path) -> Iterator[None]:
    """Let errors of the system name this file; those of writing and flushing name none."""
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, os.fspath(path)) from error


def resolved(path: str | os.PathLike[str]) -> Path:
    """Return an absolute path without links; of links in a circle, one of them.

    `Path.resolve` would end in a RuntimeError there, until Python 3.13.
    """
    return Path(os.path.realpath(path))


@contextmanager
def complete_file(path: Path) -> Iterator[io.BufferedRandom]:
    """Open a file for writing that gets its name when the block ends without an error.

    Until then it lies next to it under a hidden name; after an error it is removed. What a process
    that was killed has left of the same file is removed first. Errors of the system name the file.
    """
    with complete_files(path) as (stream,):
        yield stream


@contextmanager
def complete_files(*paths: Path) -> Iterator[tuple[io.BufferedRandom, ...]]:
    """Open files for writing that get their names, in this order, when all are on the disk."""
    with ExitStack() as stack:
        partials = [stack.enter_context(_partial(path)) for path in paths]
        streams = [io.BufferedRandom(partial) for partial in partials]
        yield tuple(streams)
        for stream, path in zip(streams, paths, strict=True):
            stream.flush()
            with named(path):
                os.fsync(stream.fileno())
        for partial, path in zip(partials, paths, strict=True):
            if sys.platform == "win32":
                partial.close()
            with named(path):
                partial.path.replace(path)


def write_bytes(path: Path, content: ReadableBuffer) -> None:
    """Write a file that appears when it is complete."""
    with complete_file(path) as stream:
        stream.write(content)


class _Partial(io.FileIO):
    """A new file under a hidden name, locked while its process lives."""

    def __init__(self, path: Path) -> None:
        # not the number of the process: those of several machines may write into one folder
        token = secrets.token_hex(6)
        self.target, self.path = path, path.with_name(f".{path.name}.{token}{_PARTIAL}")
        with named(path):
            super().__init__(self.path, "x+b")

    def write(self, content: ReadableBuffer, /) -> int:
        with named(self.target):
            return super().write(content)

    def truncate(self, size: int | None = None, /) -> int:
        with named(self.target):
            return super().truncate(size)


@contextmanager
def _partial(path: Path) -> Iterator[_Partial]:
    _remove_abandoned(path)
    partial = _Partial(path)
    try:
        while _lock(partial.fileno()) is False:
            # another process took it for abandoned before it was locked
            partial.close()
            partial.path.unlink(missing_ok=True)
            partial = _Partial(path)
        yield partial
    finally:
        # without what its buffer still has, which may not fit on the disk
        partial.close()
        partial.path.unlink(missing_ok=True)


def _remove_abandoned(path: Path) -> None:
    """Remove what processes that were killed have left of a file."""
    prefix = f".{path.name}."
    try:
        with os.scandir(path.parent) as entries:
            named_so = [Path(e) for e in entries if e.name.startswith(prefix)]
    except OSError:  # a folder that may be written to, but not read
        return
    for leftover in filter(is_partial, named_so):
        try:
            if sys.platform == "win32":
                leftover.unlink()  # fails while a process has it open
            elif not leftover.is_symlink():
                with leftover.open("r+b") as stream:
                    if _lock(stream.fileno()):
                        leftover.unlink(missing_ok=True)
        except OSError:  # of another user, or removed by another process meanwhile
            continue


def _lock(descriptor: int) -> bool | None:
    """Lock a file that nobody has locked; return whether it is ours, None where locks are unknown.

    It is not if it was removed while it had no lock.
    """
    if sys.platform == "win32":
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return os.fstat(descriptor).st_nlink > 0


def is_partial(path: Path) -> bool:
    """Return whether a file is one that a killed run did not complete."""
    return path.name.startswith(".") and path.name.endswith(_PARTIAL)


# What systems say of operations that a file system does not have.
_UNSUPPORTED = {errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOLCK, errno.EINVAL}


@contextmanager
def locked(path: Path, place: Path) -> Iterator[None]:
    """Hold the lock of this file, which is made if it is missing.

    On shares without locks a file with the process's name stands for it. That of a process that is
    dead counts for nothing on its own machine; from another one nobody can tell.
    """
    from filelock import FileLock, SoftFileLock, Timeout

    text, marker = "another run is at work in this folder", path.with_name(f"{path.name}-owner")
    try:
        try:
            # a lock file by itself would outlive a killed run
            held = FileLock(path, blocking=False, fallback_to_soft=False).acquire()
        except OSError as error:
            if error.errno not in _UNSUPPORTED:
                raise
            text += f", or one was killed on another machine; {marker} says which, remove it then"
            held = SoftFileLock(marker, blocking=False).acquire()
    except Timeout as error:
        raise BlockingIOError(errno.EAGAIN, text, str(place)) from error
    with held:
        yield


@contextmanager
def alone(path: Path, place: Path) -> Iterator[None]:
    """Hold the lock of this file, as `locked` does, and remove it in the end."""
    with locked(path, place):
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


@contextmanager
def only_writer(path: Path) -> Iterator[None]:
    """Let no other run begin to write this file; it may take hours."""
    with named(path):
        path.parent.stat()  # a lock would make it
    with alone(path.with_name(f".{path.name}.lock"), path):
        yield


def sync_folder(folder: Path) -> None:
    """Flush the names in a folder to the disk, where its file system can do that."""
    with named(folder):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        except OSError as error:
            if error.errno not in _UNSUPPORTED:
                raise
        finally:
            os.close(descriptor)
