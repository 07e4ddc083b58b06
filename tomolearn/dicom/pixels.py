"""Pixel data of a CT file: layout, decoding, rescaling to Hounsfield units, padding."""

from __future__ import annotations

import hashlib
import io
import re
import struct
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, Final

import numpy as np
from numpy.typing import NDArray
from pydicom.encaps import get_frame
from pydicom.pixels import get_decoder
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    UID,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLSNearLossless,
    RLELossless,
)

from tomolearn._core.errors import TomolearnError
from tomolearn.dicom.codestreams import codestream_size
from tomolearn.dicom.elements import (
    DAMAGE,
    element_error,
    integer,
    message,
    number,
    numbers,
    reraise_io,
    text,
)
from tomolearn.dicom.headers import Header
from tomolearn.dicom.skipping import NotASlice, SkipReason
from tomolearn.dicom.unstated_units import (
    assumed_unit,
    look_like_hounsfield,
    no_unit_error,
    unstated_unit,
)

AIR: Final = -1000.0
"""Air in Hounsfield units, which stands for what a scanner did not measure."""

HOUNSFIELD_LIMIT: Final = 65536.0
"""Largest absolute value in Hounsfield units that is believed.

Sixteen bits at slope 1 stay below it, signed or not, with every intercept in use; metal on an
extended scale reaches about 30,000.
"""

SLOPES: Final = (1e-3, 100.0)
"""Least and largest rescale slope that is believed.

Below the first, sixteen bits span less than 66 HU; above the second, one step is the distance from
fat to water.
"""

LARGEST_IMAGE: Final = 2**26
"""Pixels, 8192 x 8192. CT images have at most 4096 x 4096; more is a damaged header."""

_NATIVE = (
    ImplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ExplicitVRBigEndian,
)
# Encodings that lose something, by the standard that they are of.
_LOSSY: Final = {
    JPEGBaseline8Bit: "ISO_10918_1",
    JPEGExtended12Bit: "ISO_10918_1",
    JPEGLSNearLossless: "ISO_14495_1",
}
# These may lose something, which their transformation tells.
_WAVELETS: Final = {JPEG2000: "ISO_15444_1", HTJ2K: "ISO_15444_15"}
# Marker of a JPEG 2000 code stream's coding style; the transformation stands so far behind it.
_CODING_STYLE, _STYLE_OFFSET = b"\xff\x52", 11
_TRANSFORMATION = "PixelValueTransformationSequence"
_GREY = ("MONOCHROME1", "MONOCHROME2")
_UNDEFINED = 0xFFFFFFFF
_BLOCK: Final = 2**20
_EXPLICIT_TYPES = (b"OB\0\0", b"OW\0\0", b"UN\0\0")
_ITEM, _END_OF_ITEMS = 0xFFFEE000, 0xFFFEE0DD


def _check_surplus(told: list[warnings.WarningMessage]) -> None:
    """Refuse an image of which pydicom has cut off what a damaged run-length code gave beyond it.

    One byte is what encoders pad segments with.
    """
    for warning in told:
        found = re.search(r"RLE segment .* (\d+) vs\. (\d+) bytes", str(warning.message))
        if found is not None and int(found[1]) > int(found[2]) + 1:
            raise TomolearnError(f"a segment of {found[1]} bytes for {found[2]}")


@dataclass(frozen=True, eq=False)
class Pixels:
    """Pixel data of a file: place, layout and encoding.

    `stream` is the open file, or what a deflated one is inflated to; `offset` and `length` are in
    bytes, `shape` is (rows, columns).
    """

    stream: BinaryIO
    offset: int
    length: int
    shape: tuple[int, int]
    frames: int
    bits_allocated: int
    bits_stored: int
    signed: bool
    transfer_syntax: UID

    def stored(self, frame: int) -> NDArray[Any]:
        """Return the stored values of one frame, shape (rows, columns)."""
        decoder = get_decoder(self.transfer_syntax)
        if not decoder.is_available:
            raise element_error(
                "TransferSyntaxUID",
                "an encoding for which a decoder is installed (remedy: pip install "
                "'tomolearn[dicom]')",
                self.transfer_syntax.name,
            )
        # pylibjpeg-rle panics on damaged data, which is no Exception and would end the process.
        plugin = "pydicom" if self.transfer_syntax == RLELossless else ""
        options: dict[str, Any] = {
            "rows": self.shape[0],
            "columns": self.shape[1],
            "samples_per_pixel": 1,
            # Grey either way. CT numbers do not depend on which end is shown bright.
            "photometric_interpretation": "MONOCHROME2",
            "bits_allocated": self.bits_allocated,
            "bits_stored": self.bits_stored,
            "pixel_representation": int(self.signed),
            "pixel_keyword": "PixelData",
            "pixel_vr": "OW",
        }
        try:
            if self.transfer_syntax in _NATIVE:
                source: Any = self._native(frame)
                options["number_of_frames"], frame = 1, 0
            else:
                self._check_codestream(frame)
                self.stream.seek(self.offset)
                source = self.stream
                options["number_of_frames"] = self.frames
            with warnings.catch_warnings(record=True) as told:
                warnings.simplefilter("always")
                stored, _ = decoder.as_array(source, index=frame, decoding_plugin=plugin, **options)
            _check_surplus(told)
        except DAMAGE as error:
            reraise_io(error)
            raise element_error("PixelData", "a complete image", message(error)) from error
        return stored

    def words(self, frame: int) -> NDArray[Any] | None:
        """Return the values of one frame with all their bits; None if they are compressed."""
        if self.transfer_syntax not in _NATIVE:
            return None
        order = ">" if self.transfer_syntax == ExplicitVRBigEndian else "<"
        kind = f"{order}{'i' if self.signed else 'u'}{self.bits_allocated // 8}"
        rows, columns = self.shape
        found = np.frombuffer(self._native(frame), kind, rows * columns).reshape(self.shape)
        return found.astype(found.dtype.newbyteorder("="))

    def _check_codestream(self, frame: int) -> None:
        """Check that a compressed frame is no larger than the file says, before it is decoded."""
        self.stream.seek(self.offset)
        found = codestream_size(get_frame(self.stream, frame, number_of_frames=self.frames))
        if found is not None and found[0] * found[1] > self.shape[0] * self.shape[1]:
            rows, columns = self.shape
            expected = f"an image of {rows} x {columns}"
            raise element_error("PixelData", expected, f"one of {found[0]} x {found[1]}")

    def _native(self, frame: int) -> bytes:
        size = self.shape[0] * self.shape[1] * self.bits_allocated // 8
        self.stream.seek(self.offset + frame * size)
        found = self.stream.read(size)
        if len(found) < size:
            raise TomolearnError(f"{len(found)} of {size} bytes")
        return found + bytes(size % 2)


def pixels_of(header: Header) -> Pixels:
    """Find the pixels of a file and check that all are there, without decoding them."""
    syntax = header.transfer_syntax
    try:
        get_decoder(syntax)
    except NotImplementedError as error:
        unknown = element_error("TransferSyntaxUID", "an encoding that pydicom knows", syntax.name)
        raise NotASlice(SkipReason.UNREADABLE, unknown) from error
    try:
        layout = _layout(header)
    except ValueError as error:
        raise NotASlice(SkipReason.NO_IMAGE, error) from error
    rows, columns, allocated, stored, signed = layout
    try:
        stream, offset, length = _pixel_data(header)
        found = stream.seek(0, io.SEEK_END) - offset
        if syntax in _NATIVE:
            needed = rows * columns * allocated // 8 * header.frames
            if length == _UNDEFINED or min(length, found) < needed:
                complete = found if length == _UNDEFINED else min(length, found)
                there = f"{complete} of {needed} bytes"
                raise element_error("PixelData", "a complete image", there)
            if length > needed + needed % 2:
                deviation = element_error("PixelData", f"{needed} bytes", length)
                header.deviations.append(str(deviation))
        elif length != _UNDEFINED:
            expected = f"fragments of {syntax.name}"
            raise element_error("PixelData", expected, f"{length} plain bytes")
        else:
            length, n_fragments = _fragments(stream, offset)
            if n_fragments < header.frames:
                expected = f"{header.frames} frames"
                raise element_error("PixelData", expected, f"{n_fragments} fragments")
    except ValueError as error:
        raise NotASlice(SkipReason.DAMAGED, error, n_slices=header.n_frames) from error
    return Pixels(
        stream, offset, length, (rows, columns), header.frames, allocated, stored, signed, syntax
    )  # fmt: skip


def _layout(header: Header) -> tuple[int, int, int, int, bool]:
    values = []
    for keyword in ("Rows", "Columns", "BitsAllocated", "BitsStored", "PixelRepresentation"):
        value = integer(header.dataset, keyword)
        if value is None:
            raise element_error(keyword, "an integer", None)
        values.append(value)
    rows, columns, allocated, stored, signed = values
    high = integer(header.dataset, "HighBit")
    polarity = text(header.dataset, "PhotometricInterpretation")
    whole = rows >= 1 and columns >= 1 and rows * columns <= LARGEST_IMAGE
    for good, keyword, expected, found in (
        (whole, "Rows", f"an image of 1 to {LARGEST_IMAGE} pixels", f"{rows} x {columns}"),
        (allocated in (8, 16, 32), "BitsAllocated", "8, 16 or 32", allocated),
        (1 <= stored <= allocated, "BitsStored", f"1 to {allocated}", stored),
        (signed in (0, 1), "PixelRepresentation", "0 or 1", signed),
        (high in (None, stored - 1), "HighBit", f"{stored - 1}", high),
        (polarity in _GREY, "PhotometricInterpretation", " or ".join(_GREY), polarity),
    ):
        if not good:
            raise element_error(keyword, expected, found)
    return rows, columns, allocated, stored, bool(signed)


def _pixel_data(header: Header) -> tuple[BinaryIO, int, int]:
    """Return stream, first byte and length of the pixel data at which the file stands."""
    stream = header.stream
    start = stream.tell()
    head = stream.read(12)
    order = ">" if header.transfer_syntax == ExplicitVRBigEndian else "<"
    if len(head) < 12 or struct.unpack(order + "HH", head[:4]) != (0x7FE0, 0x0010):
        raise element_error("PixelData", "the image", None)
    # The file may be in another type of encoding than it says, so its own bytes decide. Lengths are
    # even, so no implicit length looks like a type.
    if head[4:8] in _EXPLICIT_TYPES:
        return stream, start + 12, struct.unpack(order + "I", head[8:])[0]
    return stream, start + 8, struct.unpack(order + "I", head[4:8])[0]


def _fragments(stream: BinaryIO, offset: int) -> tuple[int, int]:
    """Return length and number of the fragments of encapsulated pixel data."""
    place, count = offset, 0
    while True:
        stream.seek(place)
        head = stream.read(8)
        if len(head) < 8:
            found = f"{count} fragments without an end"
            raise element_error("PixelData", "a complete image", found)
        group, element, length = struct.unpack("<HHI", head)
        kind = group << 16 | element
        if kind == _END_OF_ITEMS:
            break
        if kind != _ITEM or length == _UNDEFINED:
            raise element_error("PixelData", "a complete image", f"a broken fragment after {count}")
        place += 8 + length
        count += 1
    if count < 2:  # the first is the table of offsets
        raise element_error("PixelData", "the image", None)
    return place - offset, count - 1


def can_lose(syntax: UID) -> bool:
    """Return whether images in an encoding may have lost something."""
    return syntax in _LOSSY or syntax in _WAVELETS


def lossy_method(syntax: UID, pixels: Pixels) -> str | None:
    """Return the standard of lossy compression that the encoding tells of, None for lossless."""
    if syntax in _WAVELETS:
        pixels.stream.seek(pixels.offset)
        style = pixels.stream.read(4096).partition(_CODING_STYLE)[2]
        # 0 is the irreversible one, in floating-point numbers
        irreversible = style[_STYLE_OFFSET : _STYLE_OFFSET + 1] == b"\0"
        return _WAVELETS[syntax] if irreversible else None
    return _LOSSY.get(syntax)


def digest_of(header: Header, pixels: Pixels, frames: Sequence[int]) -> str:
    """Return a digest of the pixel data as it is stored, and of what it means in some frames."""
    meaning = [
        pixels.transfer_syntax, pixels.shape, pixels.frames, pixels.bits_allocated,
        pixels.bits_stored, pixels.signed, _padding_bounds(header),
        *(_rescaling(header, frame) for frame in frames),
    ]  # fmt: skip
    digest = hashlib.sha256(repr(meaning).encode())
    left = pixels.length
    if pixels.transfer_syntax in _NATIVE:
        left = pixels.shape[0] * pixels.shape[1] * pixels.bits_allocated // 8 * pixels.frames
    pixels.stream.seek(pixels.offset)
    while left > 0 and (block := pixels.stream.read(min(left, _BLOCK))):
        digest.update(block)
        left -= len(block)
    return digest.hexdigest()


def hounsfield_units(
    header: Header, pixels: Pixels, frame: int, *, assume_hu: bool = False
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return Hounsfield units of a frame, air where nothing was measured, and where that is.

    Both have the shape (rows, columns). Values without a unit have to look like Hounsfield units,
    unless they are assumed to be.
    """
    unit = unit_of(header, frame, assume_hu=assume_hu)
    slope, intercept = _rescaling(header, frame)
    stored = pixels.stored(frame)
    words = pixels.words(frame)
    bounds = _padding_bounds(header)
    padding = _between(stored, bounds)
    if words is not None and pixels.bits_stored < pixels.bits_allocated:
        # the decoder has cut off the bits above those stored, which some padding has
        padding |= _between(words, bounds)
        _check_high_bits(header, pixels, words[~padding])
    hounsfield = (stored * slope + intercept).astype(np.float32)
    hounsfield[padding] = AIR
    low, high = float(hounsfield.min()), float(hounsfield.max())
    if not -HOUNSFIELD_LIMIT <= low <= high <= HOUNSFIELD_LIMIT:
        raise element_error(
            "RescaleSlope",
            f"Hounsfield units from {-HOUNSFIELD_LIMIT:g} to {HOUNSFIELD_LIMIT:g}",
            f"{low:g} to {high:g} by slope {slope:g} and intercept {intercept:g}",
        )
    if unit:
        if not assume_hu and not look_like_hounsfield(hounsfield, padding):
            raise no_unit_error(unit)
        header.deviations.append(assumed_unit(unit))
    return hounsfield, padding


def unit_of(header: Header, frame: int, *, assume_hu: bool = False) -> str:
    """Return the RescaleType of a frame if it leaves open what the values are, else nothing.

    Raises
    ------
    NotASlice
        If it says that they are no Hounsfield units.
    """
    unit = header.first(text, "RescaleType", frame, _TRANSFORMATION) or ""
    return unstated_unit(unit, assume_hu=assume_hu)


def _rescaling(header: Header, frame: int) -> tuple[float, float]:
    values: list[float] = []
    for keyword in ("RescaleSlope", "RescaleIntercept"):
        value = header.first(number, keyword, frame, _TRANSFORMATION)
        if value is None:
            raise element_error(keyword, "a finite number", None)
        values.append(value)
    slope, intercept = values
    if not SLOPES[0] <= slope <= SLOPES[1]:
        raise element_error("RescaleSlope", f"{SLOPES[0]:g} to {SLOPES[1]:g} HU", f"{slope:g}")
    if abs(intercept) > HOUNSFIELD_LIMIT:
        expected = f"at most {HOUNSFIELD_LIMIT:g} HU"
        raise element_error("RescaleIntercept", expected, f"{intercept:g}")
    return slope, intercept


def _check_high_bits(header: Header, pixels: Pixels, words: NDArray[Any]) -> None:
    """Note where values have more bits than the file says, and no overlay is there."""
    above = words.astype(np.int64) >> pixels.bits_stored
    # those of negative values are the sign
    extra = int(((above != 0) & ~(pixels.signed & (above == -1))).sum())
    tags = header.dataset.keys()
    if extra and not any(0x6000 <= tag.group <= 0x60FF for tag in tags):
        expected, found = f"values of {pixels.bits_stored} bits", f"{extra} of more, cut off"
        header.deviations.append(str(element_error("BitsStored", expected, found)))


def _padding_bounds(header: Header) -> tuple[int, int] | None:
    """Return the two ends, in any order, of the values that stand for nothing measured."""
    found = numbers(header.dataset, "PixelPaddingValue")
    if found is None:
        return None
    if len(found) > 1:
        shown = "\\".join(f"{value:.10g}" for value in found)
        got = f"{shown}, of which the first is taken"
        header.deviations.append(str(element_error("PixelPaddingValue", "one number", got)))
    if not found[0].is_integer():
        raise element_error("PixelPaddingValue", "an integer", f"{found[0]:g}")
    value = int(found[0])
    limit = integer(header.dataset, "PixelPaddingRangeLimit")
    return value, value if limit is None else limit


def _between(stored: NDArray[Any], bounds: tuple[int, int] | None) -> NDArray[np.bool_]:
    if bounds is None:
        return np.zeros(stored.shape, dtype=bool)
    low, high = sorted(_as_stored(bound, stored.dtype) for bound in bounds)
    return (stored >= low) & (stored <= high)


def _as_stored(value: int, dtype: np.dtype[Any]) -> int:
    """Return the value that the same bits have in the pixels' type, whose range it may exceed."""
    limits = np.iinfo(dtype)
    return (value - int(limits.min)) % 2**limits.bits + int(limits.min)
