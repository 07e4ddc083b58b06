"""DICOM files spoiled in every way that discs, networks and programs spoil them, by seed."""

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataelem import RawDataElement
from pydicom.uid import generate_uid

__all__ = ["KINDS", "mutate"]

_NEEDED = (
    "SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID", "ImageType", "Rows",
    "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "SamplesPerPixel",
    "PhotometricInterpretation", "PixelSpacing", "ImagePositionPatient", "ImageOrientationPatient",
    "RescaleSlope", "RescaleIntercept", "PixelData", "InstanceNumber", "FrameOfReferenceUID",
)  # fmt: skip
_TYPES = (b"US", b"DS", b"OB", b"SQ", b"FD", b"UN", b"LO", b"UI", b"ZZ", b"\0\0", b"UL", b"AT")
_TEXTS = (
    b"",
    b"0",
    b"nan",
    b"1e30",
    b"-1e30",
    b"abc",
    b"1\\2\\3\\4",
    b"-",
    b"1e-30",
    b"inf",
    b"99",
)
_LONG_TYPES = ("OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV")

Rng = np.random.Generator


def mutate(source: Path, target: Path, rng: Rng, kind: str, *, fresh: bool = True) -> Path:
    """Write a spoiled copy of an uncompressed DICOM file in explicit VR little endian.

    Parameters
    ----------
    source, target : path
        The good file, and the bad one.
    rng : numpy.random.Generator
        Decides where and how.
    kind : str
        One of `KINDS`.
    fresh : bool
        Whether the copy gets a series and an image identifier of its own first. Without it, it
        may pass for another copy of the good file, or turn up in its series.

    Returns
    -------
    pathlib.Path
        `target`.
    """
    if fresh:
        dataset = pydicom.dcmread(source)
        for keyword in ("SOPInstanceUID", "SeriesInstanceUID"):
            setattr(dataset, keyword, generate_uid(entropy_srcs=[str(rng.integers(2**62))]))
        pydicom.dcmwrite(target, dataset, enforce_file_format=True)
        source = target
    target.write_bytes(_KINDS[kind](bytearray(source.read_bytes()), rng))
    return target


def _elements(data: bytearray) -> list[RawDataElement]:
    """Return the elements of the good file that lie open in its bytes, the pixels too."""
    from io import BytesIO

    dataset = pydicom.dcmread(BytesIO(bytes(data)))
    return [one for one in dataset.elements() if isinstance(one, RawDataElement) and one.VR]


def _element(data: bytearray, rng: Rng, keyword: str | None = None) -> RawDataElement:
    found = _elements(data)
    if keyword is not None:
        found = [one for one in found if one.tag == pydicom.tag.Tag(keyword)] or found
    return found[int(rng.integers(len(found)))]


def _start(element: RawDataElement) -> int:
    """Where the tag of an element stands."""
    return element.value_tell - (12 if element.VR in _LONG_TYPES else 8)


def _pixels(data: bytearray) -> int:
    return _start(_elements(data)[-1])


def _truncated(data: bytearray, rng: Rng) -> bytes:
    return bytes(data[: int(rng.integers(len(data)))])


def _truncated_header(data: bytearray, rng: Rng) -> bytes:
    return bytes(data[: int(rng.integers(_pixels(data) + 12))])


def _flip(data: bytearray, rng: Rng, end: int) -> bytes:
    for place in rng.integers(end, size=int(rng.integers(1, 30))):
        data[place] ^= 1 << int(rng.integers(8))
    return bytes(data)


def _bits(data: bytearray, rng: Rng) -> bytes:
    return _flip(data, rng, len(data))


def _bits_header(data: bytearray, rng: Rng) -> bytes:
    return _flip(data, rng, _pixels(data) + 12)


def _wrong_length(data: bytearray, rng: Rng) -> bytes:
    element = _element(data, rng)
    wide = element.VR in _LONG_TYPES
    largest = 2**32 if wide else 2**16
    length = int(rng.choice([0, 1, 3, element.length + 1, element.length * 2, largest - 1]))
    length = length if rng.random() < 0.7 else int(rng.integers(largest))
    place = element.value_tell - (4 if wide else 2)
    data[place : element.value_tell] = struct.pack("<I" if wide else "<H", length % largest)
    return bytes(data)


def _missing(data: bytearray, rng: Rng) -> bytes:
    for _ in range(int(rng.integers(1, 3))):
        element = _element(data, rng, str(rng.choice(_NEEDED)))
        del data[_start(element) : element.value_tell + element.length]
    return bytes(data)


def _with_value(data: bytearray, element: RawDataElement, value: bytes) -> bytes:
    value += b" " * (len(value) % 2)
    place = element.value_tell
    data[place - 2 : place] = struct.pack("<H", len(value))
    data[place : place + element.length] = value
    return bytes(data)


def _text_of(*keywords: str) -> Callable[[bytearray, Rng], bytes]:
    def spoil(data: bytearray, rng: Rng) -> bytes:
        element = _element(data, rng, str(rng.choice(keywords)))
        return _with_value(data, element, bytes(rng.choice(_TEXTS)))

    return spoil


def _size(data: bytearray, rng: Rng) -> bytes:
    keyword = str(
        rng.choice(
            ["Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "SamplesPerPixel",
             "PixelRepresentation"]
        )
    )  # fmt: skip
    element = _element(data, rng, keyword)
    value = int(rng.choice([0, 1, 2, 7, 12, 32, 64, 255, 4096, 65535]))
    return _with_value(data, element, struct.pack("<H", value))


def _wrong_type(data: bytearray, rng: Rng) -> bytes:
    element = _element(data, rng, str(rng.choice(_NEEDED)) if rng.random() < 0.7 else None)
    place = _start(element) + 4
    data[place : place + 2] = bytes(rng.choice(_TYPES)).ljust(2, b"\0")
    return bytes(data)


def _wrong_syntax(data: bytearray, rng: Rng) -> bytes:
    """Claim another transfer syntax of the same length, or one that is shorter."""
    old = b"1.2.840.10008.1.2.1\0"
    new = rng.choice(
        [b"1.2.840.10008.1.2.2", b"1.2.840.10008.1.2", b"1.2.840.10008.1.2.5", b"1.2.3.4.5",
         b"1.2.840.10008.1.2.9"]
    )  # fmt: skip
    place = bytes(data).find(old)
    data[place : place + len(old)] = bytes(new).ljust(len(old), b"\0")
    return bytes(data)


def _block(data: bytearray, rng: Rng) -> bytes:
    """Replace a block, as a bad sector or a lost packet does."""
    start = int(rng.integers(len(data)))
    length = min(int(rng.choice([16, 512, 4096])), len(data) - start)
    noise = bytes(length) if rng.random() < 0.5 else rng.bytes(length)
    data[start : start + length] = noise
    return bytes(data)


def _cut_out(data: bytearray, rng: Rng) -> bytes:
    start = int(rng.integers(len(data)))
    del data[start : start + int(rng.integers(1, 600))]
    return bytes(data)


def _noise(data: bytearray, rng: Rng) -> bytes:
    kept = int(rng.choice([0, 128, 132, 200]))
    return bytes(data[:kept]) + rng.bytes(int(rng.integers(2000)))


def _empty(data: bytearray, rng: Rng) -> bytes:
    return b""


def _appended(data: bytearray, rng: Rng) -> bytes:
    return bytes(data) + rng.bytes(int(rng.integers(1, 5000)))


_KINDS: dict[str, Callable[[bytearray, Rng], bytes]] = {
    "truncated": _truncated,
    "truncated header": _truncated_header,
    "flipped bits": _bits,
    "flipped bits in the header": _bits_header,
    "wrong length": _wrong_length,
    "missing elements": _missing,
    "absurd rescale": _text_of("RescaleSlope", "RescaleIntercept"),
    "absurd geometry": _text_of(
        "PixelSpacing", "ImagePositionPatient", "ImageOrientationPatient", "SliceThickness"
    ),
    "absurd text": _text_of("ImageType", "SeriesNumber", "InstanceNumber", "RescaleType"),
    "absurd size": _size,
    "wrong VR": _wrong_type,
    "wrong transfer syntax": _wrong_syntax,
    "bad block": _block,
    "bytes lost": _cut_out,
    "noise": _noise,
    "empty": _empty,
    "bytes appended": _appended,
}

KINDS = tuple(_KINDS)
"""Kinds of damage. Some leave a file readable, and some leave it as good as it was."""
