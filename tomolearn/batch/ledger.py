"""Ledger of a batch: one JSON object per line, appended and never changed."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, Self

from tomolearn._core.errors import TomolearnError
from tomolearn._core.files import named


class Ledger:
    """A file of JSON lines that a killed run leaves readable.

    A line is on the disk when `append` returns. Half a line, which a killed run may have left at
    the end, is removed when the file is opened.

    Parameters
    ----------
    path : Path
        The file; made if missing. One process at a time may have it open.

    Raises
    ------
    OSError
        If it cannot be opened for reading and writing.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stream: BinaryIO = path.open("r+b" if path.exists() else "x+b")
        self._stream.truncate(self._stream.read().rfind(b"\n") + 1)
        self._stream.seek(0, os.SEEK_END)

    def append(self, *records: Mapping[str, Any]) -> None:
        """Add records, of values that JSON knows.

        Raises
        ------
        OSError
            If it could not be written; half a line may be there then.
        """
        lines = [json.dumps(one, ensure_ascii=False, allow_nan=False) + "\n" for one in records]
        # a file's name need not be text: its odd bytes become escapes, as JSON has them
        content = "".join(lines).encode(errors="backslashreplace")
        with named(self.path):
            self._stream.write(content)
            self._stream.flush()
            os.fsync(self._stream.fileno())

    def close(self) -> None:
        """Close the file."""
        with named(self.path):
            self._stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def read_ledger(path: Path) -> list[dict[str, Any]]:
    """Return the records of a ledger, without half a line at the end.

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        If a complete line is no JSON object; the message has its number.
    """
    *lines, _half = path.read_bytes().split(b"\n")
    records = []
    for number, line in enumerate(lines, start=1):
        try:
            record = json.loads(line)
        except ValueError as error:
            raise TomolearnError(
                f"{path}: line {number}: expected JSON, got {line[:60]!r}"
            ) from error
        if not isinstance(record, dict):
            raise TomolearnError(f"{path}: line {number}: expected an object, got {line[:60]!r}")
        records.append(record)
    return records
