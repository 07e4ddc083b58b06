"""Identifiers in files that cannot be read as slices, and names of files that may have been one."""

from __future__ import annotations

import re
import struct
import warnings
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pydicom
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from tomolearn.dicom.elements import DAMAGE, text
from tomolearn.dicom.identity import Identity
from tomolearn.dicom.opening import opened
from tomolearn.dicom.slices import SeriesAttributes

_KEYWORDS: Final = ("PatientID", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
# Where a header is looked through; what stands before the identifiers is short.
_SEARCHED: Final = 2**20
_UID: Final = re.compile(r"[0-9.]+")

_DICOM_NAMES: Final = frozenset({".dcm", ".dicom", ".dic", ".ima"})
_PLAIN: Final = re.compile(r"\.?\d*")
_START: Final = 512
# What programs add to the names of files that they have not finished.
_PART: Final = re.compile(
    r"[._ ~(-]*(part|partial|filepart|tmp|temp|download|crdownload|incomplete)\)?",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Identifiers:
    """What a file says of its place in patient, study and series; empty where it does not."""

    patient_id: str = ""
    study_uid: str = ""
    series_uid: str = ""
    sop_instance_uid: str = ""

    def may_be_of(self, series: SeriesAttributes) -> bool:
        """Return whether nothing contradicts that the file is of a series' patient and study."""
        return not Identity(self.study_uid, self.patient_id).contradictions(series.identity)


def identifiers_in(path: Path) -> Identifiers:
    """Return the identifiers in a file that may be damaged, or end within its header."""
    try:
        with opened(path, searched=_SEARCHED) as stream:
            start = stream.read(_SEARCHED)
            stream.seek(0)
            dataset = _dataset(stream)
    except OSError:
        return Identifiers()
    values = {}
    for keyword in _KEYWORDS:
        found = "" if dataset is None else _text(dataset, keyword)
        values[keyword] = found or _written(start, keyword)
    # the file meta information comes first, and may be all that is left
    meta = _written(start, "MediaStorageSOPInstanceUID")
    return Identifiers(
        values["PatientID"],
        values["StudyInstanceUID"],
        values["SeriesInstanceUID"],
        values["SOPInstanceUID"] or meta,
    )


def kind_of_name(path: Path) -> str:
    """Return the kind of a file's name: its suffix, none of names without one or with a number."""
    suffix = path.suffix.lower()
    return "" if _PLAIN.fullmatch(suffix) else suffix


def may_be_slice(path: Path, alike: Collection[str]) -> bool:
    """Return whether a file that is no DICOM may have been a slice before it was damaged.

    Parameters
    ----------
    path : pathlib.Path
        The file.
    alike : collection of str
        Kinds of names that the images in its folder have.
    """
    name, kind = path.name, kind_of_name(path)
    if kind in _DICOM_NAMES:
        return not name.startswith(".")
    if name.startswith(".") or not name.isprintable() or name.upper() == "DICOMDIR":
        return False
    numbered = kind == "" and any(character.isdigit() for character in name)
    return (numbered or kind in alike) and not _is_text(path)


def is_part_of(part: Path, whole: Path) -> bool:
    """Return whether a file is the beginning of another one that lies beside it, by its name too.

    Before its identifiers all images of a series begin alike, so that bytes alone do not tell.
    """
    addition = part.name.removeprefix(whole.name)
    if addition == part.name:
        addition = part.name.removesuffix(whole.suffix).removeprefix(whole.stem)
    if part.parent != whole.parent or not _PART.fullmatch(addition):
        return False
    try:
        with part.open("rb") as one, whole.open("rb") as other:
            start = one.read(_SEARCHED)
            return len(start) < _SEARCHED and other.read(len(start)) == start
    except OSError:
        return False


def _is_text(path: Path) -> bool:
    try:
        with opened(path, searched=_START) as stream:
            start = stream.read(_START)
    except OSError:
        return False
    shown = start.decode("utf-8", errors="ignore")
    return bool(shown) and all(c.isprintable() or c.isspace() for c in shown)


def _dataset(stream: object) -> Dataset | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return pydicom.dcmread(
                stream,  # type: ignore[arg-type]
                stop_before_pixels=True,
                force=True,
                specific_tags=list(_KEYWORDS),
            )
    except DAMAGE:
        return None


def _text(dataset: Dataset, keyword: str) -> str:
    try:
        return text(dataset, keyword)
    except ValueError:  # it is cut off
        return ""


def _written(start: bytes, keyword: str) -> str:
    """Return the value of an element by a search for its tag, if only one is found."""
    tag = Tag(keyword)
    found = set()
    for order in "<>":
        for place in re.finditer(re.escape(struct.pack(order + "HH", tag.group, tag.elem)), start):
            head, value = start[place.end() : place.end() + 4], start[place.end() + 4 :]
            explicit = head[:2] in (b"UI", b"LO")
            layout, length = (order + "H", head[2:]) if explicit else (order + "I", head)
            if len(length) < struct.calcsize(layout):
                continue
            (size,) = struct.unpack(layout, length)
            written = value[:size].decode("latin-1").strip(" \0")
            plausible = not keyword.endswith("UID") or _UID.fullmatch(written)
            if written and size <= min(64, len(value)) and plausible:
                found.add(written)
    return found.pop() if len(found) == 1 else ""
