"""The header of one file: what kind of file it is, and whether it holds CT images."""

from __future__ import annotations

import functools
import io
import os
import stat
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO, Final

import pydicom
from pydicom.dataset import Dataset, FileDataset
from pydicom.errors import InvalidDicomError
from pydicom.uid import (
    UID,
    CTImageStorage,
    EnhancedCTImageStorage,
    LegacyConvertedEnhancedCTImageStorage,
    MediaStorageDirectoryStorage,
)

from tomolearn._core.errors import TomolearnError
from tomolearn.dicom.elements import (
    DAMAGE,
    element_error,
    integer,
    message,
    reraise_io,
    sequence_items,
    text,
    texts,
)

__all__ = ["ENHANCED", "Header", "NotASlice", "SkipReason", "header_of", "opened", "opened_header"]

ENHANCED: Final = (EnhancedCTImageStorage, LegacyConvertedEnhancedCTImageStorage)
"""Storage classes with many slices in one file."""

_SCOUT = {"LOCALIZER", "SCOUT", "TOPOGRAM"}
_SCREEN = {"SCREEN SAVE", "SCREENSAVE"}
_BULK = 2**20


class SkipReason(StrEnum):
    """Why a file is left out of all series."""

    NOT_DICOM = "not DICOM"
    UNREADABLE = "unreadable"
    DAMAGED = "damaged"
    DICOMDIR = "DICOMDIR"
    SECONDARY_CAPTURE = "secondary capture"
    STRUCTURED_REPORT = "structured report"
    PRESENTATION_STATE = "presentation state"
    OTHER_CLASS = "other storage class"
    LOCALIZER = "localizer"
    NO_IMAGE = "no CT image"
    NO_IDENTIFIER = "no identifier"
    NO_GEOMETRY = "no geometry"
    NO_HOUNSFIELD_UNITS = "no Hounsfield units"
    COPY = "identical copy"
    CONFLICT = "identifier used twice"
    EXCLUDED = "excluded"


# Storage classes that have a reason of their own, by the beginning of their UID.
_CLASSES = (
    (str(MediaStorageDirectoryStorage), SkipReason.DICOMDIR),
    ("1.2.840.10008.5.1.4.1.1.7", SkipReason.SECONDARY_CAPTURE),
    ("1.2.840.10008.5.1.4.1.1.88.", SkipReason.STRUCTURED_REPORT),
    ("1.2.840.10008.5.1.4.1.1.11.", SkipReason.PRESENTATION_STATE),
)


class NotASlice(TomolearnError):
    """A file, or something in it, that is no CT slice.

    Parameters
    ----------
    reason : SkipReason
        Which kind of file it is.
    detail : str or Exception
        What was expected and what came, with the tag; the file is not named.
    """

    def __init__(self, reason: SkipReason, detail: str | Exception) -> None:
        super().__init__(reason, str(detail))
        self.reason = reason
        self.detail = str(detail)

    def __str__(self) -> str:
        return self.detail


@dataclass(frozen=True, eq=False)
class Header:
    """What a CT file says before its pixels.

    Parameters
    ----------
    dataset : pydicom.FileDataset
        The elements before the pixel data; `stream` stands at the pixel data.
    stream : BinaryIO
        The open file.
    storage : str
        Its storage class.
    transfer_syntax : pydicom.uid.UID
        Its encoding.
    frames : int
        Number of images in it.
    deviations : list of str
        What deviates from the standard and is read all the same.
    """

    dataset: FileDataset
    stream: BinaryIO
    storage: str
    transfer_syntax: UID
    frames: int
    deviations: list[str] = field(default_factory=list)

    @property
    def enhanced(self) -> bool:
        """Whether its elements lie in functional groups, one for each frame."""
        return self.storage in ENHANCED

    @functools.cached_property
    def _groups(self) -> tuple[tuple[Dataset, ...], tuple[Dataset, ...]]:
        """Functional groups of the frames, and those of all frames together."""
        if not self.enhanced:
            return (), ()
        own = sequence_items(self.dataset, "PerFrameFunctionalGroupsSequence")
        if len(own) != self.frames and (own or self.frames > 1):
            raise element_error(
                "PerFrameFunctionalGroupsSequence", f"{self.frames} items", len(own)
            )
        return own, sequence_items(self.dataset, "SharedFunctionalGroupsSequence")[:1]

    def places(self, frame: int, macro: str) -> tuple[Dataset, ...]:
        """Return where an element of one frame can stand, the most particular place first.

        In an enhanced file these are the frame's functional group `macro`, then the one shared by
        all frames, then the file itself; in any other the file alone.

        Raises
        ------
        ValueError
            If the functional groups cannot be read, or their number is not that of the frames.
        """
        own, shared = self._groups
        found = [
            item
            for group in (*own[frame : frame + 1], *shared)
            for item in sequence_items(group, macro)
        ]
        return (*found, self.dataset)


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
    """Open a file for reading.

    Raises
    ------
    OSError
        If it cannot be opened, or is a pipe or device, which could block for ever.
    """
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


def header_of(stream: BinaryIO, tags: Sequence[int] | None = None) -> Header:
    """Read the header of a CT file.

    Parameters
    ----------
    stream : BinaryIO
        The file, at its beginning; at the pixel data afterwards.
    tags : sequence of tags, optional
        The only ones to read.

    Raises
    ------
    NotASlice
        If it is no DICOM file, damaged, or no CT image.
    """
    dataset, deviations = _dataset(stream, tags)
    storage = text(dataset, "SOPClassUID")
    if storage != CTImageStorage and storage not in ENHANCED:
        raise _other_class(dataset, storage)
    try:
        kinds = {kind.upper() for kind in texts(dataset, "ImageType")}
        frames = integer(dataset, "NumberOfFrames")
        samples = integer(dataset, "SamplesPerPixel")
    except ValueError as error:
        raise NotASlice(SkipReason.DAMAGED, error) from error
    shown = "\\".join(texts(dataset, "ImageType"))
    if kinds & _SCOUT:
        raise NotASlice(
            SkipReason.LOCALIZER, str(element_error("ImageType", "an axial image", shown))
        )
    if kinds & _SCREEN:
        raise NotASlice(
            SkipReason.SECONDARY_CAPTURE, str(element_error("ImageType", "an axial image", shown))
        )
    if storage == CTImageStorage and frames not in (None, 1):
        raise NotASlice(
            SkipReason.NO_IMAGE, str(element_error("NumberOfFrames", "one frame", frames))
        )
    if frames is not None and frames < 1:
        raise NotASlice(
            SkipReason.NO_IMAGE, str(element_error("NumberOfFrames", "at least one", frames))
        )
    if samples != 1:
        raise NotASlice(
            SkipReason.NO_IMAGE, str(element_error("SamplesPerPixel", "1, grey values", samples))
        )
    return Header(dataset, stream, storage, _transfer_syntax(dataset), frames or 1, deviations)


class _Remembered(threading.local):
    """The header of the file with many frames that a thread has read last."""

    key: tuple[str, int, int, int] | None = None
    header: Header
    pixels: int


_remembered = _Remembered()


@contextmanager
def opened_header(path: str | os.PathLike[str]) -> Iterator[Header]:
    """Open a CT file and read all of its header.

    Frames are read one by one, and each would parse the functional groups of all. So the header of
    the last file with several is remembered, as long as the file stays what it was.

    Raises
    ------
    OSError
        If it cannot be read.
    NotASlice
        If it is no DICOM file, damaged, or no CT image.
    """
    with opened(path) as stream:
        status = os.fstat(stream.fileno())
        key = os.fspath(path), status.st_ino, status.st_size, status.st_mtime_ns
        if _remembered.key == key:
            stream.seek(_remembered.pixels)
            found = _remembered.header
            # each reading has deviations of its own
            yield replace(found, stream=stream, deviations=[*found.deviations])
            return
        header = header_of(stream)
        if header.frames > 1:
            _remembered.key = None
            _remembered.header = replace(header, deviations=[*header.deviations])
            _remembered.pixels = stream.tell()
            _remembered.key = key
        yield header


def _dataset(stream: BinaryIO, tags: Sequence[int] | None) -> tuple[FileDataset, list[str]]:
    start = stream.read(132)
    stream.seek(0)
    formatted = start[128:] == b"DICM"
    nothing = "expected a DICOM file, got one without its header"
    if not formatted and not _plausible(start):
        raise NotASlice(SkipReason.NOT_DICOM, nothing)
    try:
        dataset = pydicom.dcmread(
            stream,
            stop_before_pixels=True,
            force=not formatted,
            specific_tags=None if tags is None else list(tags),
        )
        known = "SOPClassUID" in dataset
    except InvalidDicomError as error:
        raise NotASlice(SkipReason.NOT_DICOM, nothing) from error
    except DAMAGE as error:
        reraise_io(error)
        reason = SkipReason.DAMAGED if formatted else SkipReason.NOT_DICOM
        raise NotASlice(reason, f"expected a complete DICOM file, got {message(error)}") from error
    if formatted:
        return dataset, []
    if not known:
        raise NotASlice(SkipReason.NOT_DICOM, nothing)
    return dataset, ["expected 128 bytes and DICM before the data set, got the data set alone"]


def _plausible(start: bytes) -> bool:
    """Whether a file without preamble can begin with an element of group 2 or 8."""
    return start[:2] in (b"\x02\x00", b"\x08\x00", b"\x00\x08") and len(start) >= 8


def _transfer_syntax(dataset: FileDataset) -> UID:
    """Return the encoding; where the file does not name it, the one that it was read in."""
    found = text(dataset.file_meta, "TransferSyntaxUID") if dataset.file_meta else ""
    if found:
        return UID(found)
    implicit, little = dataset.original_encoding
    return UID("1.2.840.10008.1.2" + ("" if implicit else ".1" if little else ".2"))


def _other_class(dataset: FileDataset, storage: str) -> NotASlice:
    if not storage:
        media = text(dataset.file_meta, "MediaStorageSOPClassUID") if dataset.file_meta else ""
        if media == MediaStorageDirectoryStorage:
            return NotASlice(
                SkipReason.DICOMDIR, "expected an image, got a directory of DICOM files"
            )
        return NotASlice(
            SkipReason.OTHER_CLASS, str(element_error("SOPClassUID", "CT Image Storage", None))
        )
    reason = next(
        (why for start, why in _CLASSES if storage.startswith(start)), SkipReason.OTHER_CLASS
    )
    return NotASlice(
        reason, str(element_error("SOPClassUID", "CT Image Storage", UID(storage).name))
    )
