"""Zeiss (Xradia): .txrm, a compound file of Microsoft with a stream for each view and setting."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from tomolearn._core.errors import TomolearnError
from tomolearn._core.telling import warn_user
from tomolearn.measurements.readers.angles import in_radians
from tomolearn.measurements.readers.frames import Frames, frames_of, frames_of_pages
from tomolearn.measurements.readers.packages import needed
from tomolearn.measurements.readers.reader import Reader
from tomolearn.measurements.readers.recording import Recording, noted
from tomolearn.measurements.report import MeasurementWarning

_DTYPES = {3: "<u1", 5: "<u2", 10: "<f4"}
_CONE = 1  # ImageInfo/XrayGeometry
_IN_A_FOLDER = 100  # views in one of ImageData1, ImageData2, ...
_NOTES = {
    "voltage": ("ImageInfo/Voltage", "<f4"),
    "current": ("ImageInfo/Current", "<f4"),
    "energy": ("ImageInfo/Energy", "<f4"),
    "optical_magnification": ("ImageInfo/OpticalMagnification", "<f4"),
    "center_shift": ("ReconSettings/CenterShift", "<f4"),
}
_SHIFTS = ("Alignment/X-Shifts", "Alignment/Y-Shifts")


@contextmanager
def _opened(path: Path) -> Iterator[Recording]:
    olefile = needed("olefile", "reading files of Zeiss")
    with path.open("rb") as stream:
        if not olefile.isOleFile(stream):
            raise TomolearnError(f"{path}: expected a compound file, as .txrm is, got another")
    try:
        with olefile.OleFileIO(path) as file:
            yield _recording(_Streams(path, file))
    # olefile's own errors are of this class
    except OSError as error:
        raise TomolearnError(f"{path}: expected a complete .txrm, got {error}") from error


class _Streams:
    """Streams of a compound file as numbers."""

    def __init__(self, path: Path, file: Any) -> None:
        self.path, self._file = path, file

    def has(self, name: str) -> bool:
        return bool(self._file.exists(name))

    def array(self, name: str, dtype: str, count: int) -> np.ndarray:
        """Return the first `count` numbers of a stream."""
        if not self.has(name):
            raise TomolearnError(f"{self.path}: expected a stream {name}, got none")
        # all of it: olefile finds a stream that is cut off when the sectors are read
        content = self._file.openstream(name).read()
        size = count * np.dtype(dtype).itemsize
        if len(content) < size:
            raise TomolearnError(
                f"{self.path}: expected {count} numbers in {name}, got {len(content)} bytes"
            )
        return np.frombuffer(content[:size], dtype)

    def number(self, name: str, dtype: str) -> Any:
        return self.array(name, dtype, 1)[0].item()

    def count(self, name: str) -> int:
        found = self.number(name, "<i4")
        if found < 1:
            raise TomolearnError(f"{self.path}: expected {name} of at least 1, got {found}")
        return int(found)


def _recording(streams: _Streams) -> Recording:
    path = streams.path
    shape = streams.count("ImageInfo/ImageHeight"), streams.count("ImageInfo/ImageWidth")
    # a scan that was stopped has fewer images than were planned
    taken = "ImageInfo/ImagesTaken"
    count = streams.count(taken if streams.has(taken) else "ImageInfo/NoOfImages")
    dtype = _dtype(streams, "ImageInfo/DataType")

    def page(number: int) -> np.ndarray:
        name = f"ImageData{number // _IN_A_FOLDER + 1}/Image{number + 1}"
        return streams.array(name, dtype, math.prod(shape)).reshape(shape)

    pixel = streams.number("ImageInfo/PixelSize", "<f4") / 1000  # in µm, at the object
    kind = "ImageInfo/XrayGeometry"
    has_source = not streams.has(kind) or streams.number(kind, "<i4") == _CONE
    isocenter = detector = None
    if has_source:
        isocenter, rest = (
            abs(float(streams.array(f"ImageInfo/{name}", "<f4", count)[0]))
            for name in ("StoRADistance", "DtoRADistance")
        )
        if isocenter == 0:
            raise TomolearnError(f"{path}: expected ImageInfo/StoRADistance of some mm, got 0")
        detector = isocenter + rest
        pixel *= detector / isocenter
    degrees = streams.array("ImageInfo/Angles", "<f4", count)
    _warn_of_shifts(streams, count)
    return Recording(
        frames_of_pages(count, page, shape, dtype, str(path)),
        flats=_flats(streams, shape),
        # the scanner turns by minus these; rows begin at the bottom
        angles=-in_radians(degrees, "degree", f"{path}: ImageInfo/Angles"),
        has_source=has_source,
        detector_spacing=(pixel, pixel) if pixel > 0 else None,
        source_to_isocenter=isocenter,
        source_to_detector=detector,
        notes={"format": "zeiss"}
        | {
            key: noted(streams.number(*place))
            for key, place in _NOTES.items()
            if streams.has(place[0])
        },
    )


def _dtype(streams: _Streams, name: str) -> str:
    code = streams.number(name, "<i4")
    if code not in _DTYPES:
        known = ", ".join(map(str, _DTYPES))
        raise TomolearnError(f"{streams.path}: expected {name} among {known}, got {code}")
    return _DTYPES[code]


def _flats(streams: _Streams, shape: tuple[int, int]) -> Frames | None:
    name = "ReferenceData/Image"
    if not streams.has(name):
        return None
    own = "ReferenceData/DataType"
    dtype = _dtype(streams, own) if streams.has(own) else "<f4"
    image = streams.array(name, dtype, math.prod(shape)).reshape(1, *shape)
    return frames_of(image, f"{streams.path}: {name}")


def _warn_of_shifts(streams: _Streams, count: int) -> None:
    found = {name: streams.array(name, "<f4", count) for name in _SHIFTS if streams.has(name)}
    largest = max((float(abs(one).max()) for one in found.values()), default=0.0)
    if largest > 0:
        warn_user(
            f"{streams.path}: not in the scan: {', '.join(found)}, up to {largest:.3g} pixels",
            MeasurementWarning,
        )


READER = Reader((".txrm",), _opened)
