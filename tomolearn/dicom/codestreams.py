"""Sizes of images in the headers of JPEG, JPEG-LS and JPEG 2000 code streams."""

from __future__ import annotations

import struct
from typing import Final

# Starts of frames of JPEG (ITU-T T.81 table B.1; C4 and CC are tables, C8 is reserved) and JPEG-LS.
_FRAMES: Final = frozenset({*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC})
_ALONE: Final = frozenset({0x01, *range(0xD0, 0xD9)})
_SCAN, _END = 0xDA, 0xD9
_JPEG, _SIZE_OF_2000 = b"\xff\xd8", b"\xff\x4f\xff\x51"


def codestream_size(data: bytes) -> tuple[int, int] | None:
    """Return rows and columns that a code stream's own header gives; None if it has none.

    Decoders reserve memory by these, whatever the DICOM header says.
    """
    if data.startswith(_JPEG):
        return _jpeg_size(data)
    place = data.find(_SIZE_OF_2000, 0, 4096)
    if place < 0 or len(data) < place + 24:
        return None
    # Lsiz, Rsiz; then the extent and the offset of the image, columns before rows
    columns, rows, left, above = struct.unpack_from(">4I", data, place + 8)
    return max(0, rows - above), max(0, columns - left)


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
    place = 2
    while place + 9 <= len(data) and data[place] == 0xFF:
        marker = data[place + 1]
        if marker == 0xFF or marker in _ALONE:
            place += 1 if marker == 0xFF else 2
        elif marker in _FRAMES:
            rows, columns = struct.unpack_from(">2H", data, place + 5)
            return rows, columns
        elif marker in (_SCAN, _END):
            return None
        else:
            (length,) = struct.unpack_from(">H", data, place + 2)
            place += 2 + length
    return None
