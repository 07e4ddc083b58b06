"""The simplest lossless JPEG, ITU-T T.81 process 14: nobody else writes one in Python."""

import struct

import numpy as np

__all__ = ["jpeg_lossless"]

_CATEGORIES = 17  # differences of 16 bits have 0 to 16 significant bits; each has a code of 5 bits


def jpeg_lossless(image: np.ndarray, *, predictor: int = 1, bits: int = 16) -> bytes:
    """Encode grey values of up to 16 unsigned bits, predicted by the left (1) or upper (2) one."""
    values = image.astype(np.int64)
    rows, columns = values.shape
    predicted = np.empty_like(values)
    predicted[0, 0] = 2 ** (bits - 1)
    # The first row is always predicted from the left, the first column from above.
    predicted[0, 1:] = values[0, :-1]
    predicted[1:, 0] = values[:-1, 0]
    predicted[1:, 1:] = values[1:, :-1] if predictor == 1 else values[:-1, 1:]
    differences = (values - predicted + 2**15) % 2**16 - 2**15

    stream = "".join(_coded(int(difference)) for difference in differences.ravel())
    stream += "1" * (-len(stream) % 8)
    packed = int(stream, 2).to_bytes(len(stream) // 8, "big").replace(b"\xff", b"\xff\x00")

    frame = struct.pack(">BHHBBBB", bits, rows, columns, 1, 1, 0x11, 0)
    lengths = bytes(_CATEGORIES if length == 5 else 0 for length in range(1, 17))
    table = b"\x00" + lengths + bytes(range(_CATEGORIES))
    scan = struct.pack(">BBBBBB", 1, 1, 0x00, predictor, 0, 0)
    parts = (
        b"\xff\xd8", _segment(0xC3, frame), _segment(0xC4, table), _segment(0xDA, scan), packed,
        b"\xff\xd9",
    )  # fmt: skip
    return b"".join(parts)


def _coded(difference: int) -> str:
    size = abs(difference).bit_length()
    code = f"{size:05b}"
    if size in (0, 16):  # -32768 is category 16, which has no further bits
        return code
    extra = difference if difference > 0 else difference + 2**size - 1
    return code + f"{extra:0{size}b}"


def _segment(marker: int, contents: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(contents) + 2) + contents
