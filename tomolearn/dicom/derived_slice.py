"""Derived CT slice: elements, stored values and file."""

from __future__ import annotations

import io
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    CTImageStorage,
    ExplicitVRLittleEndian,
)
from pydicom.valuerep import format_number_as_ds

from tomolearn._core.errors import TomolearnError, TomolearnTypeError
from tomolearn._core.files import complete_file
from tomolearn.dicom.deidentification import Deidentification
from tomolearn.dicom.derivation import Derivation
from tomolearn.dicom.element_copy import code_item, copy_elements, keep_raw_encoding, set_elements
from tomolearn.dicom.elements import DAMAGE, message, text, texts
from tomolearn.dicom.enhanced import copy_frame_elements
from tomolearn.dicom.headers import Header, opened_header
from tomolearn.dicom.identity import Identity
from tomolearn.dicom.pixels import can_lose, lossy_method, pixels_of
from tomolearn.dicom.provenance import IMPLEMENTATION, MANUFACTURER
from tomolearn.dicom.reading import CTSlice, read_listed
from tomolearn.dicom.slices import SliceInfo, SourceChangedError, check_listed
from tomolearn.dicom.uids import derived_uid

INTERCEPT: Final = -1024
"""Hounsfield units of a stored zero."""

PADDING: Final = -32768
"""Stored value of pixels where nothing was measured; no other pixel has it."""

HOUNSFIELD_RANGE: Final = (PADDING + 1 + INTERCEPT, 32767 + INTERCEPT)
"""Lowest and highest value that can be stored, in Hounsfield units."""

# Elements that a CT image must have, be they empty (type 2).
_TYPE_2: Final = (
    "StudyDate", "StudyTime", "AccessionNumber", "Manufacturer", "ReferringPhysicianName",
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyID",
    "PositionReferenceIndicator", "SliceThickness", "KVP", "AcquisitionNumber", "PatientPosition",
)  # fmt: skip
_CODE_STRING: Final = re.compile(r"[A-Z0-9_ ]{1,16}")


@dataclass(frozen=True)
class DerivedSlice:
    """A slice of a `DerivedSeries`; small, and can be sent to another process by itself.

    Parameters
    ----------
    source : SliceInfo
        Of which it is made.
    identity : Identity
        Patient and study of the series, before identities are removed.
    series : str
        Identifier of the new series, before identities are removed.
    series_number, instance_number : int
        Its numbers.
    derivation : Derivation
        How it is made.
    deidentify : Deidentification, optional
        Removes the patient's identity.
    n_temporal_positions : int
        How many phases its series has, by number.
    """

    source: SliceInfo
    identity: Identity
    series: str
    series_number: int
    instance_number: int
    derivation: Derivation
    deidentify: Deidentification | None = None
    n_temporal_positions: int = 0

    @property
    def sop_instance_uid(self) -> str:
        """SOPInstanceUID of the new slice."""
        one = self.source
        return self._replaced(derived_uid("image", self.series, one.sop_instance_uid, one.frame))

    def read_source(self) -> CTSlice:
        """Read the slice of which it is made.

        Raises
        ------
        OSError, ValueError
            As `Series.read`.
        """
        return read_listed(self.source)

    def write(
        self,
        hounsfield: NDArray[Any],
        path: str | os.PathLike[str],
        *,
        padding: NDArray[np.bool_] | None = None,
        path_of_source: Path | None = None,
    ) -> int:
        """Write the slice; the file appears under its name when it is complete.

        Parameters
        ----------
        hounsfield : numpy.ndarray, shape (rows, columns)
            Hounsfield units, rounded to whole ones.
        path : path
            The file; one that is there is replaced.
        padding : numpy.ndarray of bool, shape (rows, columns), optional
            Where nothing was measured. There the file has its PixelPaddingValue, whatever
            `hounsfield` is.
        path_of_source : pathlib.Path, optional
            Which of several copies of the source was read, see `CTSlice.path`; its elements are
            taken over. Default: the first.

        Returns
        -------
        int
            How many pixels outside `padding` were beyond `HOUNSFIELD_RANGE` and were clipped.

        Raises
        ------
        OSError
            If the source cannot be read or the file not be written.
        TypeError, ValueError
            If an array is none; if an array has another shape than the source's slice, or values
            that are not finite, if the source is damaged, or another file than when the series was
            found (`SourceChangedError`). The message names the argument, or file and tag.
        """
        copies = (self.source, *self.source.copies)
        one = next((one for one in copies if one.path == path_of_source), self.source)
        stored, clipped = _stored(hounsfield, padding, one.shape)
        try:
            with opened_header(one.path) as header:
                check_listed(header, one.shape, one)
                dataset = self._dataset(header)
        except SourceChangedError as error:
            raise SourceChangedError(f"{one.path}: {error}") from error
        except ValueError as error:
            raise TomolearnError(f"{one.path}: {error}") from error
        if (stored == PADDING).any():
            dataset.add_new("PixelPaddingValue", "SS", PADDING)
        dataset.add_new("PixelData", "OW", stored.astype("<i2").tobytes())
        try:
            buffer = io.BytesIO()
            pydicom.dcmwrite(buffer, dataset, enforce_file_format=True)
        except DAMAGE as error:
            detail = f"expected writable elements, got {message(error)}"
            raise TomolearnError(f"{one.path}: {detail}") from error
        with complete_file(Path(path)) as file:
            file.write(buffer.getbuffer())
        return clipped

    def _dataset(self, header: Header) -> Dataset:
        """Return all elements but the pixels."""
        try:
            dataset = copy_elements(header.dataset)
            if header.enhanced:
                copy_frame_elements(dataset, header, self.source.frame or 0)
                if self.n_temporal_positions and "TemporalPositionIdentifier" in dataset:
                    set_elements(dataset, NumberOfTemporalPositions=self.n_temporal_positions)
        except DAMAGE as error:
            raise TomolearnError(f"expected a complete DICOM file, got {message(error)}") from error
        _complete(dataset, header, self)
        if self.deidentify is not None:
            self.deidentify.apply(dataset, self.identity)
        self._stamp(dataset, header)
        dataset.file_meta = _file_meta(dataset, self.derivation.version)
        return keep_raw_encoding(dataset)

    def _stamp(self, dataset: Dataset, header: Header) -> None:
        """Set the elements that the new slice does not have from its source."""
        one, how = self.source, self.derivation
        kinds = texts(header.dataset, "ImageType")
        given = kinds[2] if len(kinds) > 2 and not header.enhanced else ""
        plane = given if _CODE_STRING.fullmatch(given) else "AXIAL"
        equipment = dataset.get("ContributingEquipmentSequence") or []
        set_elements(
            dataset,
            SOPClassUID=CTImageStorage,
            SOPInstanceUID=self.sop_instance_uid,
            SeriesInstanceUID=self._replaced(self.series),
            SeriesNumber=self.series_number,
            InstanceNumber=self.instance_number,
            ImageType=["DERIVED", "SECONDARY", plane],
            DerivationDescription=how.description,
            SourceImageSequence=[self._reference(header)],
            ContributingEquipmentSequence=[*equipment, _equipment(how)],
            RescaleSlope="1",
            RescaleIntercept=str(INTERCEPT),
            RescaleType="HU",
            SamplesPerPixel=1,
            PhotometricInterpretation=text(header.dataset, "PhotometricInterpretation"),
            Rows=one.shape[0],
            Columns=one.shape[1],
            BitsAllocated=16,
            BitsStored=16,
            HighBit=15,
            PixelRepresentation=1,
        )
        own = {"SeriesDescription": how.series_description, "ConvolutionKernel": how.kernel}
        set_elements(dataset, **{key: text for key, text in own.items() if text is not None})

    def _reference(self, header: Header) -> Dataset:
        one, item = self.source, Dataset()
        item.ReferencedSOPClassUID = header.storage
        item.ReferencedSOPInstanceUID = self._replaced(one.sop_instance_uid)
        if one.frame is not None:
            item.ReferencedFrameNumber = one.frame + 1
        item.SpatialLocationsPreserved = "YES"
        purpose = code_item("121322", "Source image for image processing operation")
        item.PurposeOfReferenceCodeSequence = [purpose]
        return item

    def _replaced(self, uid: str) -> str:
        return uid if self.deidentify is None else self.deidentify.uid(uid)


def _stored(
    hounsfield: NDArray[Any], padding: NDArray[np.bool_] | None, shape: tuple[int, int]
) -> tuple[NDArray[np.int16], int]:
    """Return stored values, and how many had to be clipped."""
    outside = np.zeros(shape, dtype=bool) if padding is None else padding
    for name, array, kinds, expected in (
        ("hounsfield", hounsfield, "iuf", "real numbers"),
        ("padding", outside, "b", "bool"),
    ):
        if not isinstance(array, np.ndarray) or array.dtype.kind not in kinds:
            kind = f"dtype {array.dtype}" if isinstance(array, np.ndarray) else type(array).__name__
            raise TomolearnTypeError(f"{name}: expected a numpy.ndarray of {expected}, got {kind}")
        if array.shape != shape:
            raise TomolearnError(f"{name}: expected shape {shape}, got {array.shape}")
    values = np.where(outside, 0, hounsfield).astype(np.float64)
    bad = np.flatnonzero(~np.isfinite(values))
    if bad.size:
        row, column = divmod(int(bad[0]), shape[1])
        raise TomolearnError(
            f"hounsfield: expected finite numbers, got {bad.size} others, the first "
            f"{values[row, column]} at row {row}, column {column}"
        )
    rounded = np.rint(values)
    low, high = HOUNSFIELD_RANGE
    clipped = int(((rounded < low) | (rounded > high)).sum())
    stored = (np.clip(rounded, low, high) - INTERCEPT).astype(np.int16)
    stored[outside] = PADDING
    return stored, clipped


def _complete(dataset: Dataset, header: Header, made: DerivedSlice) -> None:
    """Add what a CT image must have and the source lacks, and its geometry if it was unreadable."""
    set_elements(dataset, Modality="CT")
    for keyword in _TYPE_2:
        if keyword not in dataset:
            set_elements(dataset, **{keyword: None})
    series = text(header.dataset, "SeriesInstanceUID")
    for keyword, identifier in (
        ("PatientID", made.identity.patient_id),
        ("StudyInstanceUID", made.identity.study_uid),
        ("FrameOfReferenceUID", derived_uid("FrameOfReferenceUID", series)),
    ):
        if identifier and not text(dataset, keyword):
            set_elements(dataset, **{keyword: identifier})
    for keyword, values in (
        ("PixelSpacing", made.source.spacing),
        ("ImagePositionPatient", made.source.position),
        ("ImageOrientationPatient", made.source.orientation),
    ):
        if keyword not in dataset:
            set_elements(dataset, **{keyword: [format_number_as_ds(value) for value in values]})
    if text(dataset, "LossyImageCompression") != "01":
        _tell_loss(dataset, header)


def _tell_loss(dataset: Dataset, header: Header) -> None:
    """Set the elements of lossy compression where the source's encoding alone tells of it."""
    if not can_lose(header.transfer_syntax):
        return
    pixels = pixels_of(header)
    method = lossy_method(header.transfer_syntax, pixels)
    if method is None:
        return
    size = pixels.shape[0] * pixels.shape[1] * pixels.bits_allocated // 8 * pixels.frames
    set_elements(
        dataset,
        LossyImageCompression="01",
        LossyImageCompressionMethod=method,
        LossyImageCompressionRatio=f"{size / pixels.length:.2f}",
    )


def _equipment(how: Derivation) -> Dataset:
    item = Dataset()
    item.Manufacturer = MANUFACTURER
    if how.method:
        item.ManufacturerModelName = how.method
    item.SoftwareVersions = how.version
    item.ContributionDescription = "Image processing"
    item.PurposeOfReferenceCodeSequence = [code_item("109102", "Processing Equipment")]
    return item


def _file_meta(dataset: Dataset, version: str) -> FileMetaDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    # pydicom would name itself and its version, and the bytes would change with it.
    meta.ImplementationClassUID = IMPLEMENTATION
    meta.ImplementationVersionName = f"TOMOLEARN {version}"[:16]
    return meta
