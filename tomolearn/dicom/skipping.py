"""Reasons to skip a file: everything that is no CT slice."""

from __future__ import annotations

from enum import StrEnum

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
    CONFLICT = "identifier used twice"
    EXCLUDED = "excluded"


class NotASlice(TomolearnError):
    """A file, or something in it, that is no CT slice; `detail` does not name the file."""

    def __init__(self, reason: SkipReason, detail: str | Exception) -> None:
        super().__init__(reason, str(detail))
        self.reason = reason
        self.detail = str(detail)

    def __str__(self) -> str:
        return self.detail
