"""Ledger of a batch: one JSON object per line."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Self

from tomolearn._core.errors import TomolearnError
from tomolearn._core.files import complete_file, named
from tomolearn._core.printable import printable


class Ledger:
    """A file of JSON lines that a killed run leaves readable.

    A line is on the disk when `append` returns. Half a line, which a killed run may have left at
    the end, is removed when the file is opened.

    Parameters
    ----------
    path : Path
        The file; made if missing. One process at a time may have it open.
    run : str, optional
        Identifier that every line of this run has.
    private : bool
        Whether nobody but its owner may read the file.

    Attributes
    ----------
    earlier : list of dict
        The records that were there when it was opened.
    n_damaged : int
        Number of complete lines that were there and are no records.

    Raises
    ------
    OSError
        If it cannot be opened for reading and writing.
    """

    def __init__(self, path: Path, *, run: str | None = None, private: bool = False) -> None:
        self.path, self.run, self._private = path, run, private
        self._stream: BinaryIO = path.open("r+b" if path.exists() else "x+b")
        self._protect()
        content = self._stream.read()
        self._stream.truncate(content.rfind(b"\n") + 1)
        self._stream.seek(0, os.SEEK_END)
        records = [_record(line) for line in content.split(b"\n")[:-1]]
        self.earlier = [one for one in records if one is not None]
        self.n_damaged = len(records) - len(self.earlier)

    def append(self, *records: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Add records, of values that JSON knows; return them with the identifier of the run.

        Raises
        ------
        OSError
            If it could not be written; half a line may be there then.
        """
        run = {} if self.run is None else {"run": self.run}
        stamped = [{**record, **run} for record in records]
        with named(self.path):
            self._stream.write(b"".join(map(_line, stamped)))
            self._stream.flush()
            os.fsync(self._stream.fileno())
        return stamped

    def replace(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Put records in place of all lines, in one step.

        Raises
        ------
        OSError
            If it could not be written; the old lines are there then.
        """
        with complete_file(self.path) as stream:
            stream.write(b"".join(map(_line, records)))
        self._stream.close()
        self._stream = self.path.open("r+b")
        self._protect()
        self._stream.seek(0, os.SEEK_END)

    def _protect(self) -> None:
        if self._private:
            self.path.chmod(0o600)

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


def _line(record: Mapping[str, Any]) -> bytes:
    text = json.dumps(record, ensure_ascii=False, allow_nan=False)
    # odd bytes of names, and what a terminal would obey, become escapes, as JSON has them
    return printable(text, json=True).encode() + b"\n"


def _record(line: bytes) -> dict[str, Any] | None:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None
