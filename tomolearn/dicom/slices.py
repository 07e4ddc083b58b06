"""Slices and series attributes in the header of a file."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from tomolearn._core.errors import TomolearnError
from tomolearn.dicom.dimensions import Dimensions, dimensions_of
from tomolearn.dicom.elements import element_error, integer, number, numbers, tag_name, text, texts
from tomolearn.dicom.headers import Header
from tomolearn.dicom.identity import Identity, stated_identity
from tomolearn.dicom.pixels import Pixels, unit_of
from tomolearn.dicom.skipping import NotASlice, SkippedFile, SkipReason

FARTHEST: Final = 1e5
"""Largest coordinate in mm that is believed: a hundred metres."""

_COSINES = 1e-3  # direction cosines are written with three decimals at least
# A number of frames beyond these and twice the functional groups is no number of lost slices.
_FEW_FRAMES: Final = 1000
_PIXELS = (1e-3, 100.0)  # mm: micro-CT has micrometres


class SourceChangedError(TomolearnError):
    """A file of a series is another one than when the series was found."""


@dataclass(frozen=True, slots=True)
class SliceInfo:
    """One slice of a series: where to find it, and where it lies in the patient.

    Parameters
    ----------
    path : pathlib.Path
        Its file.
    frame : int or None
        Which image of an enhanced file, counted from 0; None for a file of a single image.
    sop_instance_uid : str
        Identifier of the file.
    position : (float, float, float)
        Centre of its first pixel in mm, in the patient's coordinates: x to the left, y to the back,
        z to the head.
    orientation : tuple of 6 floats
        Direction of increasing columns, then of increasing rows, as unit vectors.
    shape : (int, int)
        Rows and columns.
    spacing : (float, float)
        Distances in mm of neighbouring rows and of neighbouring columns.
    instance_number : int or None
        Its number in the series.
    thickness : float or None
        Slice thickness in mm, where the file says it.
    tilt : float or None
        GantryDetectorTilt in degrees, where the file says it.
    frame_of_reference_uid : str
        FrameOfReferenceUID: coordinates of different ones cannot be compared.
    dimensions : Dimensions
        Time, energy, kernel and acquisition.
    unit : str
        RescaleType, if it leaves open whether values are Hounsfield units, which they are then
        taken to be.
    attributes : SeriesAttributes, optional
        What the file says of series, study and patient.
    version : (int, int), optional
        Size of the file in bytes and time of its last change in ns.
    copies : tuple of SliceInfo
        The same slice in other files, which are read if this one cannot be.
    """

    path: Path
    frame: int | None
    sop_instance_uid: str
    position: tuple[float, float, float]
    orientation: tuple[float, float, float, float, float, float]
    shape: tuple[int, int]
    spacing: tuple[float, float]
    instance_number: int | None = None
    thickness: float | None = None
    tilt: float | None = None
    frame_of_reference_uid: str = ""
    dimensions: Dimensions = field(default=Dimensions())
    unit: str = ""
    attributes: SeriesAttributes | None = field(default=None, repr=False, compare=False)
    version: tuple[int, int] | None = field(default=None, repr=False, compare=False)
    copies: tuple[SliceInfo, ...] = field(default=(), repr=False, compare=False)

    @property
    def label(self) -> str:
        """The slice's name in messages."""
        return str(self.path) if self.frame is None else f"{self.path}, frame {self.frame}"


@dataclass(frozen=True, slots=True)
class SeriesAttributes:
    """Attributes that the slices of a series share; empty where the file does not say.

    Parameters
    ----------
    uid, study_uid : str
        SeriesInstanceUID and StudyInstanceUID.
    patient_id, frame_of_reference_uid : str
        PatientID and FrameOfReferenceUID.
    storage : str
        SOPClassUID.
    series_number : int or None
        SeriesNumber.
    description, study_description, body_part : str
        SeriesDescription, StudyDescription and BodyPartExamined.
    manufacturer, model, kernel : str
        Manufacturer, ManufacturerModelName and ConvolutionKernel.
    identity : Identity
        Whose it is, by all elements that say so.
    """

    uid: str
    study_uid: str = ""
    patient_id: str = ""
    frame_of_reference_uid: str = ""
    storage: str = ""
    series_number: int | None = None
    description: str = ""
    study_description: str = ""
    body_part: str = ""
    manufacturer: str = ""
    model: str = ""
    kernel: str = ""
    identity: Identity = field(default=Identity(), repr=False)


def series_attributes(header: Header) -> SeriesAttributes:
    """Return the attributes of the series that a file belongs to."""
    dataset = header.dataset
    for keyword in ("SeriesInstanceUID", "SOPInstanceUID"):
        if not text(dataset, keyword):
            error = element_error(keyword, "an identifier", None)
            raise NotASlice(SkipReason.NO_IDENTIFIER, error)
    identity = stated_identity(dataset)
    return SeriesAttributes(
        text(dataset, "SeriesInstanceUID"),
        study_uid=identity.study_uid,
        patient_id=identity.patient_id,
        frame_of_reference_uid=text(dataset, "FrameOfReferenceUID"),
        storage=header.storage,
        series_number=optional_integer(header, "SeriesNumber"),
        description=text(dataset, "SeriesDescription"),
        study_description=text(dataset, "StudyDescription"),
        body_part=text(dataset, "BodyPartExamined"),
        manufacturer=text(dataset, "Manufacturer"),
        model=text(dataset, "ManufacturerModelName"),
        kernel=header.first(text, "ConvolutionKernel", 0, "CTReconstructionSequence") or "",
        identity=identity,
    )


def slices_of(
    header: Header,
    pixels: Pixels,
    path: Path,
    attributes: SeriesAttributes,
    *,
    assume_hu: bool = False,
) -> tuple[tuple[SliceInfo, ...], tuple[SkippedFile, ...]]:
    """Return the slices in a file, and the frames of an enhanced one that cannot be used.

    Localizers among the frames are neither.

    Raises
    ------
    NotASlice
        If there is no slice.
    """
    found: list[SliceInfo] = []
    lost: list[SkippedFile] = []
    version = version_of(header)
    if header.enhanced and header.frames > _FEW_FRAMES + 2 * header.n_frames:
        expected = f"{header.n_frames}, that of functional groups"
        error = element_error("NumberOfFrames", expected, header.frames)
        raise NotASlice(SkipReason.DAMAGED, error, n_slices=header.n_frames)
    for frame in range(max(header.frames, header.n_frames)):
        try:
            one = slice_of(header, pixels.shape, path, frame, assume_hu=assume_hu)
            found.append(replace(one, attributes=attributes, version=version))
        except NotASlice as error:
            if error.reason is SkipReason.LOCALIZER:
                continue
            lost.append(SkippedFile(path, error.reason, error.detail, frame=frame, is_lost=True))
    if not found and lost:
        raise NotASlice(lost[0].reason, lost[0].detail, n_slices=len(lost))
    if not found:
        raise NotASlice(SkipReason.LOCALIZER, f"{tag_name('FrameType')}: expected an axial image")
    return tuple(found), tuple(lost)


def slice_of(
    header: Header, shape: tuple[int, int], path: Path, frame: int, *, assume_hu: bool = False
) -> SliceInfo:
    """Return one slice of a file.

    Raises
    ------
    NotASlice
        If it is a localizer, its geometry cannot be read, or it is in another unit.
    """
    if frame >= header.frames:
        expected = f"{header.n_frames}, that of functional groups"
        error = element_error("NumberOfFrames", expected, header.frames)
        raise NotASlice(SkipReason.DAMAGED, error)
    try:
        if _is_scout(header, frame):
            detail = f"{tag_name('FrameType')}: expected an axial image"
            raise NotASlice(SkipReason.LOCALIZER, detail)
        return SliceInfo(
            path,
            frame if header.enhanced else None,
            text(header.dataset, "SOPInstanceUID"),
            _position(header, frame),
            _orientation(header, frame),
            shape,
            pixel_spacing(header, frame),
            optional_integer(header, "InstanceNumber"),
            _number(header, frame, "SliceThickness", "PixelMeasuresSequence"),
            _number(header, frame, "GantryDetectorTilt", "CTAcquisitionDetailsSequence"),
            # one object for all slices of a series, which is sent from process to process
            sys.intern(text(header.dataset, "FrameOfReferenceUID")),
            dimensions_of(header, frame),
            unit_of(header, frame, assume_hu=assume_hu),
        )
    except NotASlice:
        raise
    except ValueError as error:
        raise NotASlice(SkipReason.NO_GEOMETRY, error) from error


def version_of(header: Header) -> tuple[int, int]:
    """Return size in bytes and time of the last change in ns of the open file."""
    status = os.fstat(header.stream.fileno())
    return status.st_size, status.st_mtime_ns


def check_listed(header: Header, shape: tuple[int, int], one: SliceInfo) -> None:
    """Check that a file is the one in which a slice was found.

    Raises
    ------
    SourceChangedError
        If patient, study, series, image or geometry are other ones, or the file was written since;
        the message says what differs.
    """
    try:
        now = slice_of(header, shape, one.path, one.frame or 0, assume_hu=bool(one.unit))
        # what deviates there is no matter of this slice
        attributes = series_attributes(replace(header, deviations=[]))
    except NotASlice as error:
        raise SourceChangedError(f"{error}, but not when the series was found") from error
    if now.sop_instance_uid != one.sop_instance_uid:
        expected = f"{one.sop_instance_uid}, as when the series was found"
        raise SourceChangedError(
            str(element_error("SOPInstanceUID", expected, now.sop_instance_uid))
        )
    differing = differing_fields(now, one)
    if one.attributes is not None:
        if others := attributes.identity.contradictions(one.attributes.identity):
            expected = "that of its series, as when the series was found"
            raise SourceChangedError(str(element_error(others[0], expected, "another one")))
        differing += differing_fields(attributes, one.attributes)
    if one.version is not None and version_of(header) != one.version:
        differing.append("size or time of change")
    if differing:
        raise SourceChangedError(
            "expected the file as it was when the series was found, got one with another "
            + ", ".join(differing)
        )


def differing_fields(one: Any, other: Any) -> list[str]:
    """Return the names of the fields in which two values of one class differ."""
    names = [field.name for field in fields(one) if field.compare]
    return [name.replace("_", " ") for name in names if getattr(one, name) != getattr(other, name)]


def pixel_spacing(header: Header, frame: int) -> tuple[float, float]:
    """Return the distances in mm of neighbouring rows and of neighbouring columns."""
    found = header.first(numbers, "PixelSpacing", frame, "PixelMeasuresSequence")
    if found is None or len(found) != 2 or not all(_PIXELS[0] <= d <= _PIXELS[1] for d in found):
        raise element_error("PixelSpacing", "two positive lengths in mm", found)
    return found[0], found[1]


def optional_integer(header: Header, keyword: str) -> int | None:
    """Return an integer; one that cannot be read is none, and a deviation."""
    try:
        return integer(header.dataset, keyword)
    except ValueError as error:
        header.note(str(error))
        return None


def _position(header: Header, frame: int) -> tuple[float, float, float]:
    found = header.first(numbers, "ImagePositionPatient", frame, "PlanePositionSequence")
    if found is None or len(found) != 3 or not all(abs(x) <= FARTHEST for x in found):
        raise element_error("ImagePositionPatient", "three coordinates in mm", found)
    return found[0], found[1], found[2]


def _orientation(header: Header, frame: int) -> tuple[float, float, float, float, float, float]:
    found = header.first(numbers, "ImageOrientationPatient", frame, "PlaneOrientationSequence")
    if found is not None and len(found) == 6:
        along_row, along_column = np.array(found[:3]), np.array(found[3:])
        products = (
            along_row @ along_row - 1, along_column @ along_column - 1, along_row @ along_column,
        )  # fmt: skip
        if all(abs(product) <= 2 * _COSINES for product in products):
            return found[0], found[1], found[2], found[3], found[4], found[5]
    raise element_error("ImageOrientationPatient", "two perpendicular unit vectors", found)


def _is_scout(header: Header, frame: int) -> bool:
    if not header.enhanced:
        return False
    kinds = header.first(texts, "FrameType", frame, "CTImageFrameTypeSequence")
    return kinds is not None and "LOCALIZER" in kinds


def _number(header: Header, frame: int, keyword: str, macro: str) -> float | None:
    """Return a number that is good to know; an unreadable one is a deviation."""
    try:
        return header.first(number, keyword, frame, macro)
    except ValueError as error:
        header.note(str(error))
        return None
