"""Values of DICOM elements from their raw bytes, with tag and value in every error.

pydicom converts an element when it is first asked for, and warns or raises as its global settings
say. Here the raw bytes are read instead: an odd value is an error, or a deviation in a list, that
names tag and value, whatever those settings are; and nothing is converted that nobody asks for.
"""

from __future__ import annotations

import functools
import math
import re
import struct
import zlib
from typing import Any, Final

from pydicom.charset import convert_encodings, decode_bytes
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException
from pydicom.tag import BaseTag, Tag

from tomolearn._core.errors import TomolearnError

DAMAGE: Final = (
    AttributeError, BytesLengthException, EOFError, LookupError, MemoryError, OSError,
    OverflowError, RuntimeError, TypeError, ValueError, struct.error, zlib.error,
)  # fmt: skip
"""Exceptions that pydicom and its decoders raise for damaged files.

MemoryError is among them because a flipped bit in a length asks for gigabytes; OSError because
pydicom raises it for broken sequences, see `reraise_io`.
"""

LARGEST_INTEGER: Final = 2**31 - 1
"""Largest number that DICOM writes as a text (IS)."""

_TEXT_NUMBER = re.compile(rb"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
# A comma cannot mean anything else in a decimal: values are divided by backslashes.
_COMMA_NUMBER = re.compile(rb"[+-]?(\d+,\d*|,\d+)([eE][+-]?\d+)?")
_BINARY = {
    "US": "H", "SS": "h", "UL": "I", "SL": "i", "UV": "Q", "SV": "q", "FL": "f", "FD": "d",
}  # fmt: skip
_PADDING = b" \0"


class DicomWarning(UserWarning):
    """A DICOM file deviates from the standard in a way that does not hinder reading it."""


def reraise_io(error: BaseException) -> None:
    """Raise an error of the disc or network again, which pydicom's own are told from by number."""
    if isinstance(error, OSError) and error.errno is not None:
        raise error


@functools.cache
def _tag(keyword: str) -> BaseTag:
    return Tag(keyword)


@functools.cache
def _vr(keyword: str) -> str:
    return dictionary_VR(_tag(keyword))


def tag_name(keyword: str) -> str:
    """Return keyword and number of a tag, for example ``Rows (0028,0010)``."""
    return f"{keyword} {Tag(tag_for_keyword(keyword) or 0)}"


def message(error: BaseException) -> str:
    """Return the message of an error on one line."""
    return " ".join(str(error).split()) or type(error).__name__


def element_error(keyword: str, expected: str, found: Any) -> TomolearnError:
    """Return an error with the tag of an element, its expected and its found value."""
    if isinstance(found, tuple):
        found = "\\".join(f"{value:g}" for value in found)
    got = "nothing" if found is None or found == "" else found
    return TomolearnError(f"{tag_name(keyword)}: expected {expected}, got {got}")


def sequence_items(dataset: Dataset, keyword: str) -> tuple[Dataset, ...]:
    """Return the items of a sequence, none where there is no such sequence."""
    tag = _tag(keyword)
    if tag not in dataset:
        return ()
    try:
        value = dataset[tag].value
        return () if value is None else tuple(item for item in value if isinstance(item, Dataset))
    except DAMAGE as error:
        raise element_error(keyword, "a sequence", message(error)) from error


def numbers(dataset: Dataset, keyword: str) -> tuple[float, ...] | None:
    """Return the finite numbers of an element, or None where it is absent or empty.

    Numbers are read by the type that the file gives, which need not be the one that the standard
    wants: rows as 32 bits, a spacing in binary.
    """
    found = _raw(dataset, keyword)
    if found is None:
        return None
    values = _numbers(keyword, found)
    if not all(math.isfinite(value) for value in values):
        raise element_error(keyword, "finite numbers", value_text(keyword, found))
    return values


def comma_deviation(dataset: Dataset, keyword: str) -> str | None:
    """Return what is to be noted of an element whose decimals are read in spite of commas."""
    tag = _tag(keyword)
    element: Any = dataset.get_item(tag, keep_deferred=True) if tag in dataset else None
    if not isinstance(element, RawDataElement) or not _is_decimal(keyword, element):
        return None
    value = element.value or b""
    if with_points(value) == value:
        return None
    return str(element_error(keyword, "decimal points", value_text(keyword, element)))


def with_points(value: bytes) -> bytes:
    """Return decimals written as text with points in place of commas."""
    if b"," not in value:
        return value
    parts = value.split(b"\\")
    return b"\\".join(
        part.replace(b",", b".") if _COMMA_NUMBER.fullmatch(part.strip(_PADDING)) else part
        for part in parts
    )


def number(dataset: Dataset, keyword: str) -> float | None:
    """Return the number of an element, or None where it is absent or empty."""
    values = numbers(dataset, keyword)
    if values is None:
        return None
    if len(values) != 1:
        raise element_error(keyword, "one number", values)
    return values[0]


def integer(dataset: Dataset, keyword: str) -> int | None:
    """Return the integer of an element, or None where it is absent or empty."""
    try:
        value = number(dataset, keyword)
    except ValueError as error:
        found = _raw(dataset, keyword)
        shown = "" if found is None else value_text(keyword, found)
        raise element_error(keyword, "an integer", shown) from error
    if value is None:
        return None
    if value != round(value):
        raise element_error(keyword, "an integer", f"{value:g}")
    return int(value)


def texts(dataset: Dataset, keyword: str) -> tuple[str, ...]:
    """Return the texts of an element, decoded by the file's character set; none if it is absent.

    Bytes that the character set does not have are replaced, an unknown set is read as Latin-1.
    """
    found = _raw(dataset, keyword)
    if found is None:
        return ()
    if not isinstance(found, RawDataElement):
        value = found.value
        parts = value if isinstance(value, (list, tuple)) or _is_multiple(value) else [value]
        return tuple(str(part).strip(" \0") for part in parts)
    written = found.value or b""
    try:
        decoded = decode_bytes(written, _encodings(dataset), {0x5C})
    except (LookupError, UnicodeError):
        decoded = written.decode("latin-1")
    return tuple(part.strip(" \0\t\r\n") for part in decoded.split("\\"))


def text(dataset: Dataset, keyword: str) -> str:
    """Return the text of an element, empty if it is absent; several joined by backslashes."""
    return "\\".join(texts(dataset, keyword))


def value_text(keyword: str, element: Any) -> str:
    """Return an element's value as it can stand in a message."""
    value = element.value
    if isinstance(element, RawDataElement) and _type(keyword, element) in _BINARY:
        try:
            return "\\".join(f"{one:.10g}" for one in _numbers(keyword, element))[:64]
        except ValueError:  # bytes are missing at the end
            return f"{len(value or b'')} bytes"
    if isinstance(value, bytes):
        value = value[:64].decode("latin-1").strip(" \0")
        return value if value.isprintable() else repr(value)
    return str(value)[:64]


def _raw(dataset: Dataset, keyword: str) -> Any:
    """Return an element as it was read, or None where it is absent or empty."""
    tag = _tag(keyword)
    if tag not in dataset:
        return None
    element: Any = dataset.get_item(tag, keep_deferred=True)
    value = element.value
    if value is None or value == "":
        return None
    if isinstance(element, RawDataElement):
        if len(value) < element.length:
            found = f"{len(value)}: the file ends in it"
            raise element_error(keyword, f"{element.length} bytes", found)
        # Empty text is made of blanks; a binary zero is a value.
        if not value.strip(b"" if _type(keyword, element) in _BINARY else _PADDING):
            return None
    return element


def _type(keyword: str, element: RawDataElement) -> str:
    """Return the VR in which an element is written; the standard's where the file gives none."""
    if element.VR is not None and element.VR != "UN":
        return element.VR
    vr = _vr(keyword)
    return "US" if vr == "US or SS" else vr


def _is_decimal(keyword: str, element: RawDataElement) -> bool:
    return "DS" in (element.VR, _vr(keyword))


def _numbers(keyword: str, element: Any) -> tuple[float, ...]:
    value = element.value or b""
    if not isinstance(element, RawDataElement):
        parts = element.value if _is_multiple(element.value) else [element.value]
        try:
            return tuple(float(part) for part in parts)
        except (TypeError, ValueError) as error:
            raise element_error(keyword, "numbers", value_text(keyword, element)) from error
    vr = _type(keyword, element)
    if vr in _BINARY:
        layout = ("<" if element.is_little_endian else ">") + _BINARY[vr]
        size = struct.calcsize(layout)
        if len(value) % size:
            raise element_error(keyword, f"values of {size} bytes", len(value))
        return tuple(float(found) for (found,) in struct.iter_unpack(layout, value))
    if _is_decimal(keyword, element):
        value = with_points(value)
    parts = [part.strip(_PADDING) for part in value.split(b"\\")]
    if not all(_TEXT_NUMBER.fullmatch(part) for part in parts):
        raise element_error(keyword, "numbers", value_text(keyword, element))
    return tuple(float(part) for part in parts)


def _is_multiple(value: Any) -> bool:
    return hasattr(value, "__iter__") and not isinstance(value, (str, bytes))


def _encodings(dataset: Dataset) -> list[str]:
    found = dataset.original_character_set
    names = [found] if isinstance(found, str) else list(found)
    try:
        return [name or "iso8859" for name in names] or convert_encodings("")
    except DAMAGE:
        return ["iso8859"]
