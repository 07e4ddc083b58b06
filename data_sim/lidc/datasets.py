"""DICOM datasets of CT slices and chest radiographs, complete and valid.

Modules follow PS3.3: A.3 CT Image, A.2 Computed Radiography Image.
"""

from __future__ import annotations

from datetime import date
from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import UID, ComputedRadiographyImageStorage, CTImageStorage

from data_sim.lidc.images import RADIOGRAPH_SPACING, radiograph, stored_slice
from data_sim.lidc.patient import SyntheticPatient

DATE = date(2000, 1, 1)
"""The day on which, as published, everything happened."""

_DAY = f"{DATE:%Y%m%d}"
_EMPTY = (
    *("StudyTime", "SeriesTime", "ContentTime", "StudyID", "ReferringPhysicianName"),
    *("PatientName", "PatientBirthDate", "PatientSex"),
)


def ct_dataset(patient: SyntheticPatient, i: int) -> Dataset:
    """Return CT slice `i` of a patient."""
    protocol, scanner = patient.protocol, patient.protocol.scanner
    position = patient.position(i)
    data = _dataset(
        patient,
        CTImageStorage,
        patient.sop_instance_uid(i),
        ImageType=["ORIGINAL", "PRIMARY", "AXIAL"],
        StudyInstanceUID=patient.study_instance_uid,
        AcquisitionDate=_DAY,
        Modality="CT",
        Manufacturer=scanner.manufacturer,
        ManufacturerModelName=scanner.model,
        ScanOptions="HELICAL MODE",
        SliceThickness=protocol.thickness,
        KVP=protocol.kvp,
        DataCollectionDiameter=500,
        ReconstructionDiameter=protocol.field,
        GantryDetectorTilt=0,
        TableHeight=protocol.table_height,
        RotationDirection="CW",
        ExposureTime=round(1000 * protocol.rotation_time),
        XRayTubeCurrent=protocol.current,
        Exposure=round(protocol.current * protocol.rotation_time),
        FilterType="BODY FILTER",
        ConvolutionKernel=protocol.kernel.name,
        PatientPosition=protocol.position,
        SeriesInstanceUID=patient.series_instance_uid,
        AcquisitionNumber=1,
        InstanceNumber=patient.instance_number(i),
        ImagePositionPatient=list(position),
        # On the back, rows to the patient's left and columns to the back, head or feet first.
        ImageOrientationPatient=[1, 0, 0, 0, 1, 0],
        FrameOfReferenceUID=patient.uid("frame of reference"),
        PositionReferenceIndicator="SN",
        SliceLocation=position[2],
        PixelSpacing=[patient.spacing, patient.spacing],
        WindowCenter=-600,
        WindowWidth=1600,
        RescaleIntercept=scanner.intercept,
        RescaleSlope=1,
        RescaleType="HU",
    )
    if scanner.declares_padding:
        data.add_new("PixelPaddingValue", "SS" if scanner.signed else "US", scanner.padding)
    bits = 16 if scanner.signed else 12
    data.set_pixel_data(stored_slice(patient, i), "MONOCHROME2", bits, generate_instance_uid=False)
    return data


def radiograph_dataset(patient: SyntheticPatient) -> Dataset:
    """Return a patient's radiograph."""
    data = _dataset(
        patient,
        ComputedRadiographyImageStorage,
        patient.uid("radiograph image"),
        ImageType=["ORIGINAL", "PRIMARY"],
        StudyInstanceUID=patient.uid("radiograph study"),
        Modality="CR",
        Manufacturer="FUJI PHOTO FILM Co., LTD.",
        ViewPosition="PA",
        PatientOrientation=["L", "F"],
        ImagerPixelSpacing=[RADIOGRAPH_SPACING, RADIOGRAPH_SPACING],
        SeriesInstanceUID=patient.uid("radiograph series"),
        InstanceNumber=1,
    )
    data.set_pixel_data(radiograph(patient), "MONOCHROME2", 12, generate_instance_uid=False)
    return data


def series_number(uid: str) -> int:
    """Return a number of seven digits for a series, such as the published ones have."""
    return 3_000_000 + int(uid[-4:])


def _dataset(patient: SyntheticPatient, storage: UID, instance: str, **values: Any) -> Dataset:
    """Return a dataset without pixels, with what all images of a patient have."""
    dates = dict.fromkeys(("StudyDate", "SeriesDate", "ContentDate"), _DAY)
    empty = dict.fromkeys(_EMPTY, "")
    common = {
        "SpecificCharacterSet": "ISO_IR 100",
        "SOPClassUID": storage,
        "SOPInstanceUID": instance,
        "AccessionNumber": values["StudyInstanceUID"][-16:],
        "PatientID": patient.patient_id,
        "PatientIdentityRemoved": "YES",
        "DeidentificationMethod": "synthetic, nobody was scanned",
        "BodyPartExamined": "CHEST",
        "SeriesNumber": series_number(values["SeriesInstanceUID"]),
    }
    data = Dataset()
    for keyword, value in (dates | empty | common | values).items():
        setattr(data, keyword, value)
    return data
