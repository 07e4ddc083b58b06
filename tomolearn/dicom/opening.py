"""Opening of files that may be damaged, or no files: bounded reads, errors with a path."""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

_BULK: Final = 2**20


class _File(io.BufferedReader):
    """A file of which no read asks for more bytes than it has.

    A flipped bit in a length would otherwise reserve gigabytes before the end of the file is seen.
    """

    def __init__(self, raw: io.FileIO) -> None:
        super().__init__(raw)
        self.size = os.fstat(raw.fileno()).st_size

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > _BULK:
            size = min(size, max(0, self.size - self.tell()))
        return super().read(size)


@contextmanager
def opened(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a file for reading."""
    mode = os.stat(path).st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise OSError(f"{path}: expected a file, got a pipe, socket or device")
    with io.FileIO(Path(path), "rb") as raw, _File(raw) as stream:
        try:
            yield stream
        except OSError as error:
            if error.errno is None or error.filename is not None:
                raise
            raise OSError(error.errno, error.strerror, os.fspath(path)) from error
