"""Reading of a CT slice: Hounsfield units, padding and deviations of the file."""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tomolearn._core.errors import TomolearnError
from tomolearn.dicom.elements import DicomWarning, element_error, text
from tomolearn.dicom.headers import Header, opened_header
from tomolearn.dicom.pixels import hounsfield_units, pixels_of
from tomolearn.dicom.slices import (
    SliceInfo,
    SourceChangedError,
    check_listed,
    optional_integer,
    pixel_spacing,
)


@dataclass(frozen=True, eq=False)
class CTSlice:
    """A CT slice: Hounsfield units, and what its file says of it.

    Parameters
    ----------
    hounsfield : numpy.ndarray of float32, shape (rows, columns)
        Hounsfield units; -1000, air, where `padding` holds.
    spacing : (float, float)
        Distances in mm of neighbouring rows and of neighbouring columns.
    padding : numpy.ndarray of bool, shape (rows, columns)
        Where the file says that nothing was measured.
    patient_id, study_uid, series_uid, sop_instance_uid : str
        Who, which study, which series and which image; empty where the file does not say.
    instance_number : int or None
        The image's number within the series.
    frame : int or None
        Which image of an enhanced file it is, counted from 0; None if the file has just one.
    path : pathlib.Path or None
        The file that it was read from.
    deviations : tuple of str
        What deviates from the standard in the file and was read all the same, with tag and value.
    """

    hounsfield: NDArray[np.float32]
    spacing: tuple[float, float]
    padding: NDArray[np.bool_]
    patient_id: str = ""
    study_uid: str = ""
    series_uid: str = ""
    sop_instance_uid: str = ""
    instance_number: int | None = None
    frame: int | None = None
    path: Path | None = None
    deviations: tuple[str, ...] = ()


def read_slice(
    path: str | os.PathLike[str],
    *,
    frame: int | None = None,
    strict: bool = False,
    assume_hu: bool = False,
) -> CTSlice:
    """Read a CT slice from a DICOM file.

    Stored values become Hounsfield units by RescaleSlope and RescaleIntercept. Pixels at
    PixelPaddingValue, or between it and PixelPaddingRangeLimit, become air, and are marked in
    `CTSlice.padding`; a padding value written with the wrong sign is understood. MONOCHROME1 says
    how an image is shown and changes no value. Values without a unit (RescaleType US) are taken as
    Hounsfield units if they look like it, with air near -1000 and water near 0.

    Parameters
    ----------
    path : path
        A file of the class CT Image Storage, Enhanced CT Image Storage, or Legacy Converted
        Enhanced CT Image Storage.
    frame : int, optional
        Which image of an enhanced file, counted from 0; may be left out if there is just one.
    strict : bool
        Whether a deviation from the standard that does not hinder reading is an error instead of a
        warning.
    assume_hu : bool
        Whether values of an unstated unit are taken as Hounsfield units, whatever they look like.

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        If it is no DICOM file, damaged, of another class, a localizer, has no such frame, lacks
        what is needed, has values that are no Hounsfield units, or needs a decoder that is not
        installed. The message names file, tag and found value.

    Warns
    -----
    DicomWarning
        For each deviation, with file, tag and value, unless `strict`.
    """
    ct = _read(path, frame, None, assume_hu)
    _tell_deviations(ct, path, strict=strict)
    return ct


def read_listed(one: SliceInfo, *, strict: bool = False) -> CTSlice:
    """Read a slice of a series, see `Series.read`."""
    reasons: list[OSError | ValueError] = []
    for candidate in (one, *one.copies):
        try:
            ct = _read(candidate.path, candidate.frame, candidate, bool(one.unit))
        except (OSError, ValueError) as error:
            reasons.append(error)
            continue
        if reasons:
            deviation = f"read from this copy, since of another one, {reasons[0]}"
            ct = replace(ct, deviations=(*ct.deviations, deviation))
        _tell_deviations(ct, candidate.path, strict=strict)
        return ct
    raise reasons[0]


def _tell_deviations(ct: CTSlice, path: str | os.PathLike[str], *, strict: bool) -> None:
    for deviation in ct.deviations:
        if strict:
            raise TomolearnError(f"{path}: {deviation}")
        warnings.warn(f"{path}: {deviation}", DicomWarning, stacklevel=3)


def has_hounsfield_units(one: SliceInfo) -> bool:
    """Return whether a slice without a unit can be read, and looks like Hounsfield units."""
    try:
        _read(one.path, one.frame, one, False)
    except (OSError, ValueError):
        return False
    return True


def _read(
    path: str | os.PathLike[str], frame: int | None, listed: SliceInfo | None, assume_hu: bool
) -> CTSlice:
    try:
        with opened_header(path) as header:
            return replace(_slice(header, frame, listed, assume_hu), path=Path(path))
    except SourceChangedError as error:
        raise SourceChangedError(f"{path}: {error}") from error
    except ValueError as error:
        raise TomolearnError(f"{path}: {error}") from error


def _slice(header: Header, frame: int | None, listed: SliceInfo | None, assume_hu: bool) -> CTSlice:
    if frame is None and header.frames != 1:
        raise element_error("NumberOfFrames", "one frame", header.frames)
    if frame is not None and not 0 <= frame < header.frames:
        raise TomolearnError(f"frame: expected 0 to {header.frames - 1}, got {frame}")
    index = frame or 0
    pixels = pixels_of(header)
    if listed is not None:
        check_listed(header, pixels.shape, listed)
    spacing = pixel_spacing(header, index)
    hounsfield, padding = hounsfield_units(header, pixels, index, assume_hu=assume_hu)
    return CTSlice(
        hounsfield,
        spacing,
        padding,
        patient_id=text(header.dataset, "PatientID"),
        study_uid=text(header.dataset, "StudyInstanceUID"),
        series_uid=text(header.dataset, "SeriesInstanceUID"),
        sop_instance_uid=text(header.dataset, "SOPInstanceUID"),
        instance_number=optional_integer(header, "InstanceNumber"),
        frame=index if header.enhanced else None,
        deviations=tuple(header.deviations),
    )
