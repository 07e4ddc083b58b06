"""The DICOM datasets of CT slices and chest radiographs, complete and valid.

Modules follow PS3.3: A.3 CT Image, A.2 Computed Radiography Image, A.26 Digital X-Ray Image.
"""

from __future__ import annotations

from datetime import date

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    UID,
    ComputedRadiographyImageStorage,
    CTImageStorage,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
)

from data_sim.lidc.identity import digits, make_uid
from data_sim.lidc.patient import SyntheticPatient
from data_sim.lidc.radiograph import BITS, Radiograph

DATE = date(2000, 1, 1)
"""The day on which, as published, everything happened."""

_DAY = f"{DATE:%Y%m%d}"
_DEIDENTIFICATION = (
    ("113100", "Basic Application Confidentiality Profile"),
    ("113105", "Clean Descriptors Option"),
    ("113107", "Retain Longitudinal Temporal Information Modified Dates Option"),
    ("113108", "Retain Patient Characteristics Option"),
    ("113109", "Retain Device Identity Option"),
    ("113111", "Retain Safe Private Option"),
)


def ct_dataset(patient: SyntheticPatient, i: int, stored: NDArray[np.integer]) -> FileDataset:
    """Return a CT slice.

    Parameters
    ----------
    patient : SyntheticPatient
        Who.
    i : int
        Which slice.
    stored : numpy.ndarray of int16 or uint16
        From `data_sim.lidc.images.stored_slice`.

    Returns
    -------
    pydicom.dataset.FileDataset
    """
    scan = patient.acquisition
    scanner = scan.scanner
    data = _file(CTImageStorage, patient.sop_instance_uid(i))
    data.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    _add_patient_and_study(data, patient, "study")
    data.AcquisitionDate = _DAY
    data.AcquisitionTime = ""
    data.Modality = "CT"
    data.Manufacturer = scanner.manufacturer
    data.ManufacturerModelName = scanner.model
    data.BodyPartExamined = "CHEST"
    data.ScanOptions = "HELICAL MODE"
    data.SliceThickness = _decimal(scan.thickness)
    data.KVP = str(scan.kvp)
    data.DataCollectionDiameter = "500"
    data.ReconstructionDiameter = _decimal(scan.field)
    data.DistanceSourceToDetector = "949.075"
    data.DistanceSourceToPatient = "541"
    data.GantryDetectorTilt = "0"
    data.TableHeight = _decimal(scan.table_height)
    data.RotationDirection = "CW"
    data.ExposureTime = str(round(1000 * scan.rotation_time))
    data.XRayTubeCurrent = str(scan.current)
    data.Exposure = str(round(scan.current * scan.rotation_time))
    data.FilterType = "BODY FILTER"
    data.ConvolutionKernel = scan.kernel.name
    data.PatientPosition = scan.position
    data.SeriesInstanceUID = patient.series_instance_uid
    data.SeriesNumber = str(series_number(patient.series_instance_uid))
    data.AcquisitionNumber = "1"
    data.InstanceNumber = str(patient.instance_number(i))
    position = patient.position(i)
    data.ImagePositionPatient = [_decimal(value) for value in position]
    # On the back, rows to the patient's left and columns to the back, head first or feet first.
    data.ImageOrientationPatient = ["1", "0", "0", "0", "1", "0"]
    data.FrameOfReferenceUID = patient.uid("frame of reference")
    data.PositionReferenceIndicator = "SN"
    data.SliceLocation = _decimal(position[2])
    data.PixelSpacing = [_decimal(patient.spacing)] * 2
    if scanner.declares_padding:
        vr = "SS" if scanner.signed else "US"
        data.add_new("PixelPaddingValue", vr, scanner.padding)
    data.WindowCenter = "-600"
    data.WindowWidth = "1600"
    data.RescaleIntercept = str(scanner.intercept)
    data.RescaleSlope = "1"
    data.RescaleType = "HU"
    _add_pixels(data, stored, scanner.bits)
    return data


def radiograph_dataset(patient: SyntheticPatient, image: Radiograph) -> FileDataset:
    """Return a patient's radiograph, of the modality that `patient.radiograph` names.

    Parameters
    ----------
    patient : SyntheticPatient
        Who.
    image : Radiograph
        From `data_sim.lidc.radiograph.radiograph`.

    Returns
    -------
    pydicom.dataset.FileDataset
    """
    digital = patient.radiograph == "DX"
    storage = DigitalXRayImageStorageForPresentation if digital else ComputedRadiographyImageStorage
    data = _file(storage, patient.uid("radiograph image", 0))
    data.ImageType = ["ORIGINAL", "PRIMARY", ""] if digital else ["ORIGINAL", "PRIMARY"]
    _add_patient_and_study(data, patient, "radiograph study")
    data.AcquisitionDate = _DAY
    data.Modality = patient.radiograph
    data.Manufacturer = "GE MEDICAL SYSTEMS" if digital else "FUJI PHOTO FILM Co., LTD."
    data.BodyPartExamined = "CHEST"
    data.KVP = "120"
    data.ViewPosition = "PA"
    data.PatientOrientation = ["L", "F"]
    data.ImagerPixelSpacing = [_decimal(image.spacing)] * 2
    data.SeriesInstanceUID = patient.uid("radiograph series")
    data.SeriesNumber = str(series_number(data.SeriesInstanceUID))
    data.InstanceNumber = "1"
    data.WindowCenter = str(2 ** (BITS - 1))
    data.WindowWidth = str(2**BITS)
    if digital:
        _add_digital_x_ray(data)
    _add_pixels(data, image.pixels, BITS)
    return data


def series_number(uid: str) -> int:
    """Return a number of seven digits for a series, such as the published ones have."""
    return 3_000_000 + int(digits(make_uid("series number", uid), 4))


def _file(storage: UID, instance: str) -> FileDataset:
    meta = FileMetaDataset()
    meta.FileMetaInformationVersion = b"\x00\x01"
    meta.MediaStorageSOPClassUID = storage
    meta.MediaStorageSOPInstanceUID = UID(instance)
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = UID(make_uid("data_sim"))
    meta.ImplementationVersionName = "DATA_SIM"
    data = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    data.SpecificCharacterSet = "ISO_IR 100"
    data.SOPClassUID = storage
    data.SOPInstanceUID = instance
    return data


def _add_patient_and_study(data: Dataset, patient: SyntheticPatient, study: str) -> None:
    for moment in ("Study", "Series", "Content"):
        setattr(data, f"{moment}Date", _DAY)
        setattr(data, f"{moment}Time", "")
    data.StudyInstanceUID = patient.uid(study)
    data.StudyID = ""
    data.AccessionNumber = digits(make_uid("accession", data.StudyInstanceUID), 16)
    data.ReferringPhysicianName = ""
    data.PatientName = ""
    data.PatientID = patient.patient_id
    data.PatientBirthDate = ""
    data.PatientSex = ""
    data.PatientIdentityRemoved = "YES"
    data.DeidentificationMethod = "synthetic, nobody was scanned"
    data.DeidentificationMethodCodeSequence = Sequence(
        [_code(value, "DCM", meaning) for value, meaning in _DEIDENTIFICATION]
    )
    data.LongitudinalTemporalInformationModified = "MODIFIED"


def _add_digital_x_ray(data: Dataset) -> None:
    data.PresentationIntentType = "FOR PRESENTATION"
    data.AnatomicRegionSequence = Sequence([_code("51185008", "SCT", "Chest")])
    data.ImageLaterality = "U"
    data.PositionerType = "NONE"
    data.ViewCodeSequence = Sequence([_code("399348003", "SCT", "postero-anterior")])
    data.DetectorType = "SCINTILLATOR"
    data.DetectorActiveShape = "RECTANGLE"
    data.AcquisitionContextSequence = Sequence()
    data.PixelIntensityRelationship = "LOG"
    data.PixelIntensityRelationshipSign = -1
    data.RescaleIntercept = "0"
    data.RescaleSlope = "1"
    data.RescaleType = "US"
    data.PresentationLUTShape = "IDENTITY"
    data.LossyImageCompression = "00"
    data.BurnedInAnnotation = "NO"


def _add_pixels(data: Dataset, stored: NDArray[np.integer], bits: int) -> None:
    data.SamplesPerPixel = 1
    data.PhotometricInterpretation = "MONOCHROME2"
    data.Rows, data.Columns = stored.shape
    data.BitsAllocated = 16
    data.BitsStored = bits
    data.HighBit = bits - 1
    data.PixelRepresentation = 1 if stored.dtype.kind == "i" else 0
    data.add_new("PixelData", "OW", stored.astype(stored.dtype.newbyteorder("<")).tobytes())


def _code(value: str, scheme: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue = value
    item.CodingSchemeDesignator = scheme
    item.CodeMeaning = meaning
    return item


def _decimal(value: float) -> str:
    """Return a DICOM decimal string, which has at most 16 characters."""
    return f"{value:.9f}".rstrip("0").rstrip(".")
