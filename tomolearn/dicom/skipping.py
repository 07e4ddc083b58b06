"""Reasons to skip a file: everything that is no CT slice."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from tomolearn._core.errors import TomolearnError


class SkipReason(StrEnum):
    """Reasons for which a file belongs to no series."""

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
    DAMAGED_COPY = "damaged copy"
    CONFLICT = "identifier used twice"
    OWN_RESULT = "result of tomolearn"
    EXCLUDED = "excluded"
    FILTERED = "not asked for"
    ARCHIVE = "archive"


@dataclass(frozen=True, slots=True)
class SkippedFile:
    """A file, folder or frame that is no slice of a series.

    Parameters
    ----------
    path : pathlib.Path
        Which one.
    reason : SkipReason
        Why, in a word.
    detail : str
        Why, in a sentence with tag and value.
    frame : int, optional
        Which frame of an enhanced file of which others are slices, counted from 0.
    n_slices : int
        How many slices it holds, as far as one can tell.
    is_lost : bool
        Whether it may have been a slice, and no other file is a copy of it.
    """

    path: Path
    reason: SkipReason
    detail: str
    frame: int | None = None
    n_slices: int = 1
    is_lost: bool = False


class NotASlice(TomolearnError):
    """A file, or something in it, that is no CT slice; `detail` does not name the file."""

    def __init__(self, reason: SkipReason, detail: str | Exception, *, n_slices: int = 1) -> None:
        super().__init__(reason, str(detail))
        self.reason = reason
        self.detail = str(detail)
        self.n_slices = n_slices

    def __str__(self) -> str:
        return self.detail
