"""Marks by which images that were derived by this toolkit are known again."""

from __future__ import annotations

import re
from typing import Final

from pydicom.dataset import Dataset, FileDataset
from pydicom.uid import UID

from tomolearn.dicom.elements import sequence_items, text
from tomolearn.dicom.uids import derived_uid

MANUFACTURER: Final = "tomolearn"
"""Manufacturer in ContributingEquipmentSequence, as version 0.1 wrote it too."""

IMPLEMENTATION: Final = UID(derived_uid("implementation"))
"""ImplementationClassUID of files as they are written here, until somebody else writes them."""

PROVENANCE_KEYWORDS: Final = ("ContributingEquipmentSequence", "DerivationDescription")
"""Elements in the data set that the marks are in."""

_DESCRIPTION: Final = re.compile(r"\bby tomolearn[.;]")


def is_own_result(dataset: FileDataset) -> bool:
    """Return whether an image was derived by this toolkit, or by somebody else from such a one.

    Archives rewrite the file meta information, and other programs what they do not know; so each
    of three marks will do: the contributing equipment, the implementation that wrote the file, and
    the description of the derivation.
    """
    meta = dataset.file_meta if dataset.file_meta is not None else Dataset()
    return (
        any(one == MANUFACTURER for one in _contributors(dataset))
        or _text(meta, "ImplementationClassUID") == IMPLEMENTATION
        or _DESCRIPTION.search(_text(dataset, "DerivationDescription")) is not None
    )


def _contributors(dataset: Dataset) -> list[str]:
    try:
        items = sequence_items(dataset, "ContributingEquipmentSequence")
    except ValueError:  # it says nothing then
        return []
    return [_text(item, "Manufacturer").lower() for item in items]


def _text(dataset: Dataset, keyword: str) -> str:
    try:
        return text(dataset, keyword)
    except ValueError:
        return ""
