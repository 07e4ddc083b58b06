"""One CT slice from one DICOM file."""

from __future__ import annotations

import math
import os
import struct
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.tag import Tag
from pydicom.uid import CTImageStorage, EnhancedCTImageStorage

__all__ = ["AIR", "CTSlice", "read_slice"]

AIR = -1000.0
"""Air in Hounsfield units, which stands for what a scanner did not measure."""

# What pydicom raises for damaged files, besides OSError for those that cannot be read at all.
_DAMAGE = (
    AttributeError,
    BytesLengthException,
    EOFError,
    KeyError,
    NotImplementedError,
    RuntimeError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)


@dataclass(frozen=True, eq=False)
class CTSlice:
    """One CT slice.

    Parameters
    ----------
    hounsfield : numpy.ndarray of float32, shape (rows, columns)
        Hounsfield units; -1000, air, where `padding` holds.
    spacing : (float, float)
        Distances in mm of neighbouring rows and of neighbouring columns.
    padding : numpy.ndarray of bool, shape (rows, columns)
        Where the file says that nothing was measured.
    patient_id, study_instance_uid, series_instance_uid, sop_instance_uid : str
        Who, which study, which series and which image; empty where the file does not say.
    instance_number : int or None
        The image's number within the series.
    """

    hounsfield: NDArray[np.float32]
    spacing: tuple[float, float]
    padding: NDArray[np.bool_]
    patient_id: str = ""
    study_instance_uid: str = ""
    series_instance_uid: str = ""
    sop_instance_uid: str = ""
    instance_number: int | None = None


def read_slice(path: str | os.PathLike[str]) -> CTSlice:
    """Read a CT slice from a DICOM file.

    Stored values become Hounsfield units by RescaleSlope and RescaleIntercept. Pixels at
    PixelPaddingValue, or between it and PixelPaddingRangeLimit, become air, and are marked in
    `CTSlice.padding`; a padding value written with the wrong sign is understood.

    Parameters
    ----------
    path : path
        A file of the class CT Image Storage, or Enhanced CT Image Storage with one frame.

    Returns
    -------
    CTSlice

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        If it is no DICOM file, damaged, of another class, a localizer, has several frames, or
        lacks what is needed. The message names file, tag and found value.
    """
    try:
        dataset = pydicom.dcmread(path)
    except InvalidDicomError as error:
        raise ValueError(f"{path}: expected a DICOM file, got one without its header") from error
    except _DAMAGE as error:
        raise ValueError(f"{path}: expected a complete DICOM file, got {error}") from error
    try:
        return _slice(dataset)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _slice(dataset: Dataset) -> CTSlice:
    _check_kind(dataset)
    spacing = _spacing(dataset)
    slope, intercept = _rescaling(dataset)
    stored = _stored_values(dataset)
    padding = _padding(dataset, stored)
    hounsfield = (stored * slope + intercept).astype(np.float32)
    hounsfield[padding] = AIR
    return CTSlice(
        hounsfield,
        spacing,
        padding,
        patient_id=_text(dataset, "PatientID"),
        study_instance_uid=_text(dataset, "StudyInstanceUID"),
        series_instance_uid=_text(dataset, "SeriesInstanceUID"),
        sop_instance_uid=_text(dataset, "SOPInstanceUID"),
        instance_number=_integer(dataset, "InstanceNumber"),
    )


def _check_kind(dataset: Dataset) -> None:
    storage = _find(dataset, "SOPClassUID")
    if storage not in (CTImageStorage, EnhancedCTImageStorage):
        found = "nothing" if storage is None else getattr(storage, "name", storage)
        raise _wrong("SOPClassUID", "CT Image Storage", found)
    kind = _find(dataset, "ImageType") or ()
    if "LOCALIZER" in kind:
        raise _wrong("ImageType", "an axial image", "\\".join(kind))
    frames = _integer(dataset, "NumberOfFrames")
    if frames not in (None, 1):
        raise _wrong("NumberOfFrames", "one frame", frames)
    samples = _find(dataset, "SamplesPerPixel")
    if samples != 1:
        raise _wrong("SamplesPerPixel", "1, grey values", samples)


def _spacing(dataset: Dataset) -> tuple[float, float]:
    found = _find(dataset, "PixelSpacing", "PixelMeasuresSequence")
    try:
        rows, columns = (float(length) for length in found)
    except (TypeError, ValueError):
        rows = columns = math.nan
    if not (0 < rows < math.inf and 0 < columns < math.inf):
        raise _wrong("PixelSpacing", "two positive lengths in mm", found)
    return rows, columns


def _rescaling(dataset: Dataset) -> tuple[float, float]:
    macro = "PixelValueTransformationSequence"
    unit = _find(dataset, "RescaleType", macro)
    if unit not in (None, "", "HU"):
        raise _wrong("RescaleType", "HU", unit)
    numbers = []
    for keyword in ("RescaleSlope", "RescaleIntercept"):
        found = _find(dataset, keyword, macro)
        try:
            number = float(found)
        except (TypeError, ValueError):
            number = math.nan
        if not math.isfinite(number) or (keyword == "RescaleSlope" and number == 0):
            raise _wrong(keyword, "a finite number", found)
        numbers.append(number)
    return numbers[0], numbers[1]


def _stored_values(dataset: Dataset) -> NDArray[Any]:
    if "PixelData" not in dataset:
        raise _wrong("PixelData", "the image", None)
    try:
        stored = dataset.pixel_array
    except _DAMAGE as error:
        raise ValueError(f"{_tag('PixelData')}: expected a complete image, got {error}") from error
    return stored


def _padding(dataset: Dataset, stored: NDArray[Any]) -> NDArray[np.bool_]:
    value = _integer(dataset, "PixelPaddingValue")
    if value is None:
        return np.zeros(stored.shape, dtype=bool)
    limit = _integer(dataset, "PixelPaddingRangeLimit")
    low, high = sorted(
        _as_stored(bound, stored.dtype) for bound in (value, value if limit is None else limit)
    )
    return (stored >= low) & (stored <= high)


def _as_stored(value: int, dtype: np.dtype[Any]) -> int:
    """Return the value that the same bits have in the pixels' type, if it is beyond their range."""
    limits = np.iinfo(dtype)
    if limits.min <= value <= limits.max:
        return value
    bits = 2**limits.bits
    return (value - int(limits.min)) % bits + int(limits.min)


def _find(dataset: Dataset, keyword: str, macro: str | None = None) -> Any:
    """Return an element's value, in enhanced files that of their functional group, or None."""
    places = [dataset]
    if macro is not None:
        for groups in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
            for group in (dataset.get(groups) or ())[:1]:
                places.extend((group.get(macro) or ())[:1])
    for place in places:
        try:
            value = place.get(keyword)
        except _DAMAGE as error:
            raise ValueError(f"{_tag(keyword)}: expected a readable value, got {error}") from error
        if value is not None:
            return value
    return None


def _integer(dataset: Dataset, keyword: str) -> int | None:
    found = _find(dataset, keyword)
    if found is None or found == "":
        return None
    try:
        return int(found)
    except (TypeError, ValueError) as error:
        raise _wrong(keyword, "an integer", found) from error


def _text(dataset: Dataset, keyword: str) -> str:
    value = _find(dataset, keyword)
    return "" if value is None else str(value)


def _tag(keyword: str) -> str:
    return f"{keyword} {Tag(tag_for_keyword(keyword) or 0)}"


def _wrong(keyword: str, expected: str, found: Any) -> ValueError:
    return ValueError(
        f"{_tag(keyword)}: expected {expected}, got {'nothing' if found is None else found}"
    )
