"""Opening of files that may be damaged, or no files: bounded reads, errors with a path."""

from __future__ import annotations

import io
import os
import stat
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

import pydicom
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian

from tomolearn.dicom.elements import DAMAGE, integer
from tomolearn.dicom.skipping import NotASlice, SkipReason

_BULK: Final = 2**20
_META: Final = 2**12

LARGEST_HEADER: Final = 2**25
"""Bytes that a deflated file may have before its pixels: 32 MiB."""

LARGEST_INFLATED: Final = 2**29
"""Bytes that a deflated file may have altogether: 512 MiB, a thousand slices of 512 x 512."""

_LONG_TYPES: Final = (b"OB", b"OW", b"SQ", b"UN", b"UT")


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


class _Inflated(io.BytesIO):
    """A deflated file as if it were not deflated, in memory."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__()
        self._file = file

    def fileno(self) -> int:
        return self._file.fileno()


@contextmanager
def opened(path: str | os.PathLike[str], *, searched: int | None = None) -> Iterator[BinaryIO]:
    """Open a file for reading; one with a deflated data set as if it had another encoding.

    Parameters
    ----------
    path : path
        The file.
    searched : int, optional
        How many bytes of a deflated file are needed at most.

    Raises
    ------
    OSError
        If it cannot be read; with its path.
    NotASlice
        If it is deflated, and has more bytes than its header says.
    """
    mode = os.stat(path).st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise OSError(f"{path}: expected a file, got a pipe, socket or device")
    with io.FileIO(Path(path), "rb") as raw, _File(raw) as stream:
        try:
            end = _end_of_meta(stream)
            yield stream if end is None else _inflated(stream, end, searched)
        except OSError as error:
            if error.errno is None or error.filename is not None:
                raise
            raise OSError(error.errno, error.strerror, os.fspath(path)) from error


def _end_of_meta(stream: BinaryIO) -> int | None:
    """Return where the data set begins if it is deflated, else None."""
    start = stream.read(_META)
    stream.seek(0)
    if start[128:132] != b"DICM" or str(DeflatedExplicitVRLittleEndian).encode() not in start:
        return None
    place, deflated = 132, False
    while start[place : place + 2] == b"\x02\x00" and place + 12 <= len(start):
        long = start[place + 4 : place + 6] in _LONG_TYPES
        layout, begin = ("<I", place + 8) if long else ("<H", place + 6)
        (length,) = struct.unpack_from(layout, start, begin)
        begin += struct.calcsize(layout)
        value = start[begin : begin + length].strip(b" \0")
        if start[place + 2 : place + 4] == b"\x10\x00":
            deflated = value == str(DeflatedExplicitVRLittleEndian).encode()
        place = begin + length
    return place if deflated else None


def _inflated(stream: BinaryIO, end: int, searched: int | None) -> _Inflated:
    plain, engine = _Inflated(stream), zlib.decompressobj(-zlib.MAX_WBITS)
    old, new = (
        str(uid).encode() for uid in (DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian)
    )
    plain.write(stream.read(end).replace(old, new.ljust(len(old), b"\0")))
    is_whole = _inflate(stream, engine, plain, searched or LARGEST_HEADER)
    if not is_whole and searched is None:
        limit = min(LARGEST_INFLATED, _declared_size(plain))
        if not _inflate(stream, engine, plain, limit):
            raise NotASlice(
                SkipReason.DAMAGED,
                f"expected at most {limit} bytes after inflation, by the size of its image, got "
                "more",
            )
    plain.seek(0)
    return plain


def _inflate(stream: BinaryIO, engine: zlib._Decompress, plain: BinaryIO, limit: int) -> bool:
    """Inflate up to a number of bytes; return whether that was all there is.

    It is also where the file is cut off or damaged: then elements, or pixels, are found missing.
    """
    while not engine.eof:
        left = limit - plain.tell()
        if left <= 0:
            return False
        data = engine.unconsumed_tail or stream.read(_BULK)
        try:
            found = engine.decompress(data, min(left, _BULK))
        except zlib.error:
            return True
        if not data and not found:
            return True
        plain.write(found)
    return True


def _declared_size(plain: BinaryIO) -> int:
    """Return how long an inflated file can be by what its beginning says of its image."""
    size = plain.tell()
    plain.seek(0)
    keywords = ["Rows", "Columns", "BitsAllocated", "NumberOfFrames"]
    try:
        header = pydicom.dcmread(plain, stop_before_pixels=True, specific_tags=keywords)
        rows, columns, bits, frames = (integer(header, keyword) or 1 for keyword in keywords)
        needed = plain.tell() + rows * columns * frames * (bits + 7) // 8 + _BULK
    except DAMAGE:
        needed = size
    plain.seek(size)
    return max(size, needed)
