"""Headers of CT files: parsing, functional groups, and other kinds of files told apart."""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, BinaryIO, Final, NamedTuple, TypeVar

import pydicom
from pydicom._uid_dict import UID_dictionary
from pydicom.dataset import Dataset, FileDataset
from pydicom.errors import InvalidDicomError
from pydicom.uid import (
    UID,
    CTImageStorage,
    EnhancedCTImageStorage,
    LegacyConvertedEnhancedCTImageStorage,
    MediaStorageDirectoryStorage,
)

from tomolearn.dicom.elements import (
    DAMAGE,
    comma_deviation,
    element_error,
    integer,
    message,
    reraise_io,
    sequence_items,
    text,
    texts,
)
from tomolearn.dicom.opening import opened
from tomolearn.dicom.skipping import NotASlice, SkipReason

Value = TypeVar("Value")

ENHANCED: Final = (EnhancedCTImageStorage, LegacyConvertedEnhancedCTImageStorage)
"""Storage classes with many slices in one file."""


class _Signature(NamedTuple):
    """Bytes that tell what a file is, and where they stand."""

    start: int
    magic: bytes


_SCOUT = {"LOCALIZER", "SCOUT", "TOPOGRAM"}
_SCREEN = {"SCREEN SAVE", "SCREENSAVE"}

_TAR: Final = _Signature(257, b"ustar")
_ARCHIVES: Final = {
    b"PK\x03\x04": "ZIP",
    b"7z\xbc\xaf\x27\x1c": "7z",
    b"Rar!\x1a\x07": "RAR",
    b"\x1f\x8b\x08": "gzip",
    b"\xfd7zXZ\x00": "xz",
    b"BZh": "bzip2",
}

# Storage classes that have a reason of their own, by the beginning of their UID and a dot.
_CLASSES = (
    (str(MediaStorageDirectoryStorage), SkipReason.DICOMDIR),
    ("1.2.840.10008.5.1.4.1.1.7.", SkipReason.SECONDARY_CAPTURE),
    ("1.2.840.10008.5.1.4.1.1.88.", SkipReason.STRUCTURED_REPORT),
    ("1.2.840.10008.5.1.4.1.1.11.", SkipReason.PRESENTATION_STATE),
)


@dataclass(frozen=True, eq=False)
class Header:
    """Header of a CT file: the elements before its pixels, at which `stream` stands.

    `deviations` are what deviates from the standard and is read all the same.
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

    def note(self, deviation: str) -> None:
        """Add a deviation, unless it is known."""
        if deviation not in self.deviations:
            self.deviations.append(deviation)

    @property
    def n_frames(self) -> int:
        """Number of frames that there seem to be, by their functional groups if those can be read.

        It is never a number that nothing but NumberOfFrames speaks for.
        """
        try:
            return len(self._groups[0]) or 1
        except ValueError:
            return 1

    @functools.cached_property
    def _groups(self) -> tuple[tuple[Dataset, ...], tuple[Dataset, ...]]:
        """Functional groups of the frames, and those of all frames together."""
        if not self.enhanced:
            return (), ()
        own = sequence_items(self.dataset, "PerFrameFunctionalGroupsSequence")
        return own, sequence_items(self.dataset, "SharedFunctionalGroupsSequence")[:1]

    def places(self, frame: int, macro: str) -> tuple[Dataset, ...]:
        """Return where an element of one frame can stand, the most particular place first.

        In an enhanced file these are the frame's functional group `macro`, then the one shared by
        all frames, then the file itself; in any other the file alone.
        """
        own, shared = self._groups
        if self.enhanced and frame >= len(own) and self.frames > 1:
            expected = f"{self.frames} items"
            raise element_error("PerFrameFunctionalGroupsSequence", expected, len(own))
        found = [
            item
            for group in (*own[frame : frame + 1], *shared)
            for item in sequence_items(group, macro)
        ]
        return (*found, self.dataset)

    def first(
        self, read: Callable[[Dataset, str], Value | None], keyword: str, frame: int, macro: str
    ) -> Value | None:
        """Return an element of one frame from the most particular place that has it.

        `read`, such as `elements.number`, is called as ``read(dataset, keyword)``.
        """
        for place in self.places(frame, macro):
            value = read(place, keyword)
            if value not in (None, "", ()):
                deviation = comma_deviation(place, keyword)
                if deviation is not None:
                    self.note(deviation)
                return value
        return None


def header_of(stream: BinaryIO, tags: Sequence[int] | None = None) -> Header:
    """Read the header of a CT file, or of it only some tags, up to the pixel data."""
    dataset, deviations = _dataset(stream, tags)
    try:
        storage = text(dataset, "SOPClassUID")
        _check_class(dataset, storage)
    except NotASlice:
        raise
    except ValueError as error:  # the file ends in one of them
        raise NotASlice(SkipReason.DAMAGED, error) from error
    try:
        kinds = {kind.upper() for kind in texts(dataset, "ImageType")}
        frames = integer(dataset, "NumberOfFrames")
        samples = integer(dataset, "SamplesPerPixel")
    except ValueError as error:
        raise NotASlice(SkipReason.DAMAGED, error) from error
    shown = "\\".join(texts(dataset, "ImageType"))
    classic, no_image = storage == CTImageStorage, SkipReason.NO_IMAGE
    for refused, reason, keyword, expected, found in (
        (kinds & _SCOUT, SkipReason.LOCALIZER, "ImageType", "an axial image", shown),
        (kinds & _SCREEN, SkipReason.SECONDARY_CAPTURE, "ImageType", "an axial image", shown),
        (classic and frames not in (None, 1), no_image, "NumberOfFrames", "one frame", frames),
        (frames is not None and frames < 1, no_image, "NumberOfFrames", "at least one", frames),
        (samples != 1, no_image, "SamplesPerPixel", "1, grey values", samples),
    ):
        if refused:
            raise NotASlice(reason, element_error(keyword, expected, found))
    return Header(dataset, stream, storage, _transfer_syntax(dataset), frames or 1, deviations)


# Key, header and place of the pixels of the file with many frames that a thread has read last.
_NOTHING: Final[tuple[Any, Any, int]] = (None, None, 0)
_remembered = threading.local()


@contextmanager
def opened_header(path: str | os.PathLike[str]) -> Iterator[Header]:
    """Open a CT file and read all of its header.

    Frames are read one by one, and each would parse the functional groups of all. So the header of
    the last file with several is remembered, as long as the file stays what it was.
    """
    with opened(path) as stream:
        status = os.fstat(stream.fileno())
        key = os.fspath(path), status.st_ino, status.st_size, status.st_mtime_ns
        known, header, pixels = getattr(_remembered, "file", _NOTHING)
        if known == key:
            stream.seek(pixels)
        else:
            header = header_of(stream)
            if header.frames > 1:
                _remembered.file = key, header, stream.tell()
        # each reading has deviations of its own
        yield replace(header, stream=stream, deviations=[*header.deviations])


def _archive(start: bytes) -> str:
    """Return the kind of an archive by the first bytes of its file, empty for any other file."""
    if start[_TAR.start :] == _TAR.magic:
        return "tar"
    return next((kind for magic, kind in _ARCHIVES.items() if start.startswith(magic)), "")


def _dataset(stream: BinaryIO, tags: Sequence[int] | None) -> tuple[FileDataset, list[str]]:
    start = stream.read(_TAR.start + len(_TAR.magic))
    stream.seek(0)
    formatted = start[128:132] == b"DICM"
    nothing = "expected a DICOM file, got one without its header"
    if not formatted and (kind := _archive(start)):
        detail = f"expected a DICOM file, got a {kind} archive: unpack it, and give the folder"
        raise NotASlice(SkipReason.ARCHIVE, detail)
    # without preamble it begins with an element of group 2 or 8
    plausible = start[:2] in (b"\x02\x00", b"\x08\x00", b"\x00\x08") and len(start) >= 8
    if not formatted and not plausible:
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


def _transfer_syntax(dataset: FileDataset) -> UID:
    """Return the encoding; where the file does not name it, the one that it was read in."""
    found = text(dataset.file_meta, "TransferSyntaxUID") if dataset.file_meta else ""
    if found:
        return UID(found)
    implicit, little = dataset.original_encoding
    return UID("1.2.840.10008.1.2" + ("" if implicit else ".1" if little else ".2"))


def _check_class(dataset: FileDataset, storage: str) -> None:
    if storage == CTImageStorage or storage in ENHANCED:
        return
    media = text(dataset.file_meta, "MediaStorageSOPClassUID") if dataset.file_meta else ""
    if not storage and media == MediaStorageDirectoryStorage:
        detail = "expected an image, got a directory of DICOM files"
        raise NotASlice(SkipReason.DICOMDIR, detail)
    reasons = (reason for start, reason in _CLASSES if f"{storage or media}.".startswith(start))
    # a class of a maker's own is in both places; one that nobody knows is in one of them if spoilt
    is_known = UID(storage or media) in UID_dictionary
    contradicted = media == CTImageStorage or media in ENHANCED
    damaged = contradicted or not (is_known or (storage and storage == media))
    reason = next(reasons, SkipReason.DAMAGED if damaged else SkipReason.OTHER_CLASS)
    found = UID(storage).name if storage else None
    raise NotASlice(reason, element_error("SOPClassUID", "CT Image Storage", found))
