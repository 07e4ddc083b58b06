"""Names of the folders of a batch's results, from a template."""

from __future__ import annotations

import re
import string
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

from tomolearn._core.errors import TomolearnError
from tomolearn.batch.settings import BatchSettings
from tomolearn.batch.workspace import folder_name
from tomolearn.dicom import DerivedSeries

DEFAULT_TEMPLATE = "{study}/{series}"

_LONGEST = 180  # bytes of a folder's name; file systems allow 255
_PORTS = (f"{port}{n}" for port in ("com", "lpt") for n in range(1, 10))
_RESERVED = {"con", "prn", "aux", "nul", *_PORTS}
# what a removal of identities removes
_IDENTIFYING = ("description", "study_description", "source_series")


class ResultNames:
    """Names of result folders: a template with fields in braces, ``/`` between folders.

    Fields are ``patient`` (PatientID), ``study`` and ``series`` (identifiers of the result),
    ``source_series`` (SeriesInstanceUID of the source), ``number`` (SeriesNumber of the source),
    ``description``, ``study_description`` and ``kernel`` of the source, ``method``, and
    ``settings``, 16 digits that differ between different settings. Characters that file systems
    refuse become underscores.

    Parameters
    ----------
    template : str
        As ``"{patient}/{number}-{description}"``.

    Raises
    ------
    ValueError
        If the template has another field or no field, is absolute, or leads out of its folder.
    """

    def __init__(self, template: str = DEFAULT_TEMPLATE) -> None:
        self.template = template
        try:
            parts = list(string.Formatter().parse(template))
        except ValueError as error:
            raise self._error(f"fields in braces ({error})") from error
        self._fields = [name for _, name, _, _ in parts if name is not None]
        plain = all(not form and not conversion for _, name, form, conversion in parts if name)
        if not self._fields or not plain or any(one not in _FIELDS for one in self._fields):
            raise self._error(f"fields among {', '.join(f'{{{one}}}' for one in _FIELDS)}")
        names = template.split("/")
        if any(not name.strip(" .") or "\\" in name for name in names):
            raise self._error("names of folders, with / between them")

    def _error(self, expected: str) -> TomolearnError:
        return TomolearnError(f"name_template: expected {expected}, got {self.template!r}")

    def places(
        self, found: Sequence[DerivedSeries], settings: BatchSettings
    ) -> dict[str, PurePosixPath]:
        """Return the folder of each series by its identifier, relative to that of the results.

        Raises
        ------
        ValueError
            If series would have one folder, or a folder within another's, or a name would tell
            what is removed with the patient's identity.
        """
        places: dict[str, PurePosixPath] = {}
        owners: dict[str, DerivedSeries] = {}
        for one in found:
            if one.deidentify is not None:
                telling = [name for name in self._fields if name in _IDENTIFYING]
                if telling:
                    raise TomolearnError(
                        f"name_template: expected no {{{telling[0]}}} with the removal of "
                        f"identities, got {self.template!r}"
                    )
            values = _values(one, settings)
            names = [_safe(name.format_map(values)) for name in self.template.split("/")]
            place = PurePosixPath(*names)
            for known in (place, *place.parents):
                other = owners.get(str(known).casefold())
                if other is not None:
                    raise self._shared(place, other, one)
            owners[str(place).casefold()] = one
            places[one.uid] = place
        for one in found:
            for parent in places[one.uid].parents:
                other = owners.get(str(parent).casefold())
                if other is not None:
                    raise self._shared(parent, other, one)
        return places

    def _shared(
        self, place: PurePosixPath, one: DerivedSeries, other: DerivedSeries
    ) -> TomolearnError:
        return TomolearnError(
            f"name_template: expected a folder for each series, got {self.template!r}, by which "
            f"{one.source.uid} and {other.source.uid} would lie in {place}; {{series}} tells all "
            "apart"
        )


_FIELDS = (
    "patient", "study", "series", "source_series", "number", "description", "study_description",
    "kernel", "method", "settings",
)  # fmt: skip


def _values(derived: DerivedSeries, settings: BatchSettings) -> Mapping[str, str]:
    source, removal = derived.source, derived.deidentify
    patient = source.patient_id if removal is None else removal.patient(source.identity.person)
    return {
        "patient": patient,
        # a damaged identifier may be anything, such as a path
        "study": folder_name(derived.study_uid),
        "series": derived.uid,
        "source_series": source.uid,
        "number": "" if source.series_number is None else str(source.series_number),
        "description": source.description,
        "study_description": source.study_description,
        "kernel": source.kernel,
        "method": settings.method_name,
        "settings": settings.digest(),
    }


def _safe(name: str) -> str:
    """Return a name that every file system takes."""
    kept = re.sub(r"[^\w .,+=@()\[\]-]", "_", name).encode()[:_LONGEST].decode(errors="ignore")
    kept = kept.strip(" .")
    if not kept or kept.startswith("."):
        kept = f"_{kept}"
    return f"_{kept}" if kept.split(".")[0].casefold() in _RESERVED else kept
