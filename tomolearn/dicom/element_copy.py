"""Copies of the elements that a derived image takes over from its source."""

from __future__ import annotations

from typing import Any, Final

from pydicom.charset import convert_encodings, default_encoding
from pydicom.datadict import dictionary_has_tag, dictionary_VR
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.tag import BaseTag, Tag
from pydicom.valuerep import EXPLICIT_VR_LENGTH_32, STR_VR

from tomolearn.dicom.elements import DAMAGE, text, texts, with_points

_WIDTHS: Final = {
    "AT": 2, "US": 2, "SS": 2, "OW": 2, "UL": 4, "SL": 4, "FL": 4, "OF": 4, "OL": 4,
    "FD": 8, "OD": 8, "UV": 8, "SV": 8, "OV": 8, "OB": 1, "UN": 1,
}  # fmt: skip
_AMBIGUOUS: Final = {"US or SS": "US", "OB or OW": "OW", "US or OW": "OW", "US or SS or OW": "OW"}

# What describes the pixels, the file or the signature of the source and not of what is derived
# from it.
_DROPPED: Final = frozenset(
    Tag(keyword)
    for keyword in (
        "InstanceCreationDate", "InstanceCreationTime", "InstanceCreatorUID",
        "DerivationDescription", "DerivationCodeSequence", "SourceImageSequence",
        "NumberOfFrames", "PixelAspectRatio", "PlanarConfiguration", "PixelDataProviderURL",
        "SmallestImagePixelValue", "LargestImagePixelValue",
        "SmallestPixelValueInSeries", "LargestPixelValueInSeries",
        "SmallestImagePixelValueInPlane", "LargestImagePixelValueInPlane",
        "PixelPaddingValue", "PixelPaddingRangeLimit",
        "ModalityLUTSequence", "VOILUTSequence", "RealWorldValueMappingSequence",
        "IconImageSequence", "ExtendedOffsetTable", "ExtendedOffsetTableLengths",
        "MACParametersSequence", "DigitalSignaturesSequence", "DataSetTrailingPadding",
        "OriginalAttributesSequence", "EncryptedAttributesSequence",
    )
)  # fmt: skip

# The dimensions of an enhanced image, which a classic one does not have.
_ENHANCED: Final = frozenset(
    Tag(keyword)
    for keyword in (
        "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence",
        "DimensionOrganizationSequence", "DimensionIndexSequence", "DimensionOrganizationType",
        "ConcatenationUID", "SOPInstanceUIDOfConcatenationSource", "InConcatenationNumber",
        "InConcatenationTotalNumber", "ConcatenationFrameOffsetNumber",
        "PixelPresentation", "VolumetricProperties", "VolumeBasedCalculationTechnique",
        "RepresentativeFrameNumber", "FrameIncrementPointer",
    )
)  # fmt: skip

_REFERENCES: Final = frozenset(
    Tag(keyword)
    for keyword in (
        "ReferencedImageSequence", "ReferencedStudySequence", "ReferencedPatientSequence",
        "ReferencedPerformedProcedureStepSequence", "ReferencedInstanceSequence",
    )
)  # fmt: skip


def copy_elements(dataset: Dataset) -> Dataset:
    """Return a data set with what a derived image takes over, in explicit VR little endian.

    Text keeps its bytes, whatever character set they are in; commas in decimals become points. Left
    out are private elements, which describe the raw image in their maker's own way, overlays and
    curves, group lengths, and whatever describes pixels, encoding or signatures; references without
    target; and elements that are damaged or of a type that is not theirs.
    """
    result = Dataset()
    for tag in sorted(dataset.keys()):
        copy_element(result, dataset, tag)
    return keep_raw_encoding(result)


def set_elements(dataset: Dataset, **elements: Any) -> None:
    """Set elements by keyword, without a look at what they were, which may be unreadable."""
    for keyword, value in elements.items():
        tag = Tag(keyword)
        dataset.add_new(tag, dictionary_VR(tag), value)


def code_item(value: str, meaning: str) -> Dataset:
    """Return an item of a code sequence, of the terms of DICOM itself (PS3.16)."""
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "DCM", meaning
    return item


def keep_raw_encoding(dataset: Dataset) -> Dataset:
    """Set the encoding of a data set of raw elements so that their bytes are written as read."""
    found = texts(dataset, "SpecificCharacterSet")
    encodings = convert_encodings(list(found)) if found else default_encoding
    dataset.set_original_encoding(False, True, encodings)
    return dataset


def copy_element(dataset: Dataset, source: Dataset, tag: BaseTag) -> None:
    """Copy one element as `copy_elements` does, if the source has it."""
    if tag not in source or tag in _DROPPED or tag in _ENHANCED or _is_dropped_group(tag):
        return
    element = _copied_element(source, tag)
    if element is not None:
        dataset[tag] = element


def _is_dropped_group(tag: BaseTag) -> bool:
    return (
        tag.is_private
        or tag.element == 0
        or tag.group < 8
        or 0x5000 <= tag.group <= 0x50FF
        or 0x6000 <= tag.group <= 0x60FF
        or tag.group >= 0x7FE0
    )


def _copied_element(dataset: Dataset, tag: BaseTag) -> DataElement | RawDataElement | None:
    element = dataset.get_item(tag, keep_deferred=True)
    named = dictionary_VR(tag) if dictionary_has_tag(tag) else None
    if named == "SQ" or element.VR == "SQ":
        return _copied_sequence(dataset, tag) if named in ("SQ", None) else None
    if not isinstance(element, RawDataElement):
        return element  # the character set, which pydicom decodes at once
    return _little_endian(element, named)


def _copied_sequence(dataset: Dataset, tag: BaseTag) -> DataElement | None:
    try:
        found = dataset[tag].value
        items = [_copied_item(item) for item in found or ()]
    except DAMAGE:
        return None
    if tag in _REFERENCES:
        items = [
            item
            for item in items
            if text(item, "ReferencedSOPClassUID") and text(item, "ReferencedSOPInstanceUID")
        ]
        if not items:
            return None
    return DataElement(tag, "SQ", Sequence(items))


def _copied_item(item: Dataset) -> Dataset:
    result = Dataset()
    for tag in sorted(item.keys()):
        if tag.is_private or tag.element == 0:
            continue
        element = _copied_element(item, tag)
        if element is not None:
            result[tag] = element
    return keep_raw_encoding(result)


def _little_endian(element: RawDataElement, named: str | None) -> RawDataElement | None:
    value = element.value or b""
    if element.length not in (0xFFFFFFFF, len(value)):
        return None
    vr = _vr(element.VR, named)
    if vr is None:
        return None
    width = _WIDTHS.get(vr, 1)
    if len(value) % width:
        return None
    if not element.is_little_endian and width > 1:
        value = b"".join(
            value[start : start + width][::-1] for start in range(0, len(value), width)
        )
    if vr == "DS":
        value = with_points(value)
    if len(value) % 2:
        value += b" " if vr in STR_VR and vr != "UI" else b"\0"
    if len(value) > 0xFFFE and vr not in EXPLICIT_VR_LENGTH_32:
        return None
    return RawDataElement(element.tag, vr, len(value), value, 0, False, True)


def _vr(written: str | None, named: str | None) -> str | None:
    """Return the type to write an element in, or None if its bytes are not of its type."""
    if named in _AMBIGUOUS:
        return written if written in named.split(" or ") else _AMBIGUOUS[named]
    if named is None:
        return written if written in STR_VR or written in _WIDTHS else "UN"
    if written in (None, "UN", named) or (written in STR_VR and named in STR_VR):
        return named
    same_width = _WIDTHS.get(written) == _WIDTHS.get(named)
    return named if written in _WIDTHS and named in _WIDTHS and same_width else None
