"""Nikon (X-Tek): a text file of settings, .xtekct, and a TIFF file for each view."""

from __future__ import annotations

import configparser
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from tomolearn._core.errors import TomolearnError
from tomolearn._core.files import resolved
from tomolearn._core.reading import read_bytes
from tomolearn._core.telling import warn_user
from tomolearn.measurements.readers.frames import frames_of_number
from tomolearn.measurements.readers.pictures import SUFFIXES, frames_of_files
from tomolearn.measurements.readers.reader import Reader
from tomolearn.measurements.readers.recording import Recording
from tomolearn.measurements.report import MeasurementWarning

_SECTION = "XTekCT"
_NEEDED = (
    *("SrcToObject", "SrcToDetector", "DetectorPixelsX", "DetectorPixelsY"),
    *("DetectorPixelSizeX", "DetectorPixelSizeY", "Projections", "AngularStep"),
)
# Of the scanner, and not in our scan: told, if they are not zero.
_LEFT_OUT = ("ObjectTilt", "ObjectRoll", "DetectorOffsetX", "DetectorOffsetY")


@contextmanager
def _opened(path: Path) -> Iterator[Recording]:
    told = _settings(path)
    lacking = [key for key in _NEEDED if key not in told]
    if lacking:
        raise TomolearnError(f"{path}: expected {', '.join(lacking)} in [{_SECTION}], got none")
    number = {key: _number(path, told, key) for key in _NEEDED}
    count = int(number["Projections"])
    shape = int(number["DetectorPixelsY"]), int(number["DetectorPixelsX"])
    frames = frames_of_files(_files(path, told, count), str(path))
    if frames.shape[1:] != shape:
        raise TomolearnError(
            f"{path}: expected views of {shape} pixels (DetectorPixelsY, DetectorPixelsX), got "
            f"{frames.shape[1:]}"
        )
    white = _number(path, told, "WhiteLevel", 0.0)
    # The object turns clockwise seen from above, rows begin at the top, columns at the right seen
    # from the source. Seen upside down that is a turn against our sense, and an image with the top
    # slice first; nothing is mirrored.
    steps = _number(path, told, "InitialAngle", 0.0) + number["AngularStep"] * np.arange(count)
    _warn(path, told)
    yield Recording(
        frames,
        flats=frames_of_number(white, shape, f"{path}: WhiteLevel") if white > 0 else None,
        angles=np.deg2rad(180.0 - steps),
        has_source=True,
        detector_spacing=(number["DetectorPixelSizeY"], number["DetectorPixelSizeX"]),
        source_to_isocenter=number["SrcToObject"],
        source_to_detector=number["SrcToDetector"],
        detector_offset=(0.0, -_axis_on_detector(path, told, number)),
        notes={"format": "nikon"} | told,
    )


def _settings(path: Path) -> dict[str, str]:
    parser = configparser.ConfigParser(interpolation=None, strict=False, delimiters=("=",))
    parser.optionxform = str  # type: ignore[method-assign, assignment]
    try:
        # Windows' own code page; no key is outside of ASCII
        parser.read_string(read_bytes(path).decode("utf-8-sig", "replace"))
    except configparser.Error as error:
        raise TomolearnError(f"{path}: expected [{_SECTION}] and settings, got {error}") from error
    if not parser.has_section(_SECTION):
        listed = ", ".join(parser.sections()) or "no section"
        raise TomolearnError(f"{path}: expected a section [{_SECTION}], got {listed}")
    return dict(parser[_SECTION])


def _number(path: Path, told: dict[str, str], key: str, default: float | None = None) -> float:
    text = told.get(key, "")
    if not text and default is not None:
        return default
    try:
        value = float(text)
    except ValueError as error:
        raise TomolearnError(f"{path}: expected a number as {key}, got {text!r}") from error
    if not np.isfinite(value):
        raise TomolearnError(f"{path}: expected a finite number as {key}, got {text!r}")
    return value


def _axis_on_detector(path: Path, told: dict[str, str], number: dict[str, Any]) -> float:
    """Return where the axis is seen, in mm from the detector's middle, to the left of the beam."""
    if told.get("ObjectOffsetX"):
        magnification = number["SrcToDetector"] / number["SrcToObject"]
        return float(_number(path, told, "ObjectOffsetX") * magnification)
    ends = (_number(path, told, f"CentreOfRotation{end}", 0.0) for end in ("Top", "Bottom"))
    return sum(ends) / 2


def _files(path: Path, told: dict[str, str], count: int) -> list[Path]:
    """Return the file of each view, numbered from 1 (or 0) and filled with zeros to four digits."""
    folder = resolved(path.parent / told.get("InputFolderName", "").replace("\\", "/"))
    if not folder.is_relative_to(resolved(path.parent)):
        raise TomolearnError(
            f"{path}: expected an InputFolderName beside the file, got {told['InputFolderName']!r}"
        )
    stem = told.get("Name", path.stem) + told.get("InputSeparator", "_")
    present = {one.name.lower(): one for one in folder.iterdir()} if folder.is_dir() else {}
    for first in (1, 0):
        names = [f"{stem}{number:04d}".lower() for number in range(first, first + count)]
        for suffix in SUFFIXES:
            files = [present.get(name + suffix) for name in names]
            if all(files):
                return [one for one in files if one is not None]
    raise TomolearnError(
        f"{path}: expected {count} views (Projections) in {folder}, {stem}0001.tif and so on, got "
        f"{sum(name.startswith(stem.lower()) for name in present)} files that begin so"
    )


def _warn(path: Path, told: dict[str, str]) -> None:
    left_out = {key: _number(path, told, key, 0.0) for key in _LEFT_OUT}
    left_out = {key: value for key, value in left_out.items() if value != 0}
    if not told.get("ObjectOffsetX"):
        top, bottom = (told.get(f"CentreOfRotation{end}", "0") for end in ("Top", "Bottom"))
        if top != bottom:
            left_out["CentreOfRotationTop, CentreOfRotationBottom"] = f"{top}, {bottom}"  # type: ignore[assignment]
    if left_out:
        listed = "; ".join(f"{key} = {value}" for key, value in left_out.items())
        warn_user(f"{path}: not in the scan: {listed}", MeasurementWarning)


READER = Reader((".xtekct",), _opened)
