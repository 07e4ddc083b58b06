"""Small valid CT series, classic and enhanced, in any geometry."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from dicom_files import write
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.tag import Tag
from pydicom.uid import (
    CTImageStorage,
    EnhancedCTImageStorage,
    ExplicitVRLittleEndian,
    LegacyConvertedEnhancedCTImageStorage,
)

SHAPE = (6, 8)
AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
STUDY = "1.2.826.0.1.3680043.8.498.1"
SERIES = "1.2.826.0.1.3680043.8.498.1.1"
FRAME = "1.2.826.0.1.3680043.8.498.1.9"


def tilted(degrees: float) -> tuple[float, ...]:
    """Orientation of a gantry tilted about the patient's left-right axis."""
    angle = np.radians(degrees)
    return (1.0, 0.0, 0.0, 0.0, float(np.cos(angle)), float(-np.sin(angle)))


def stored_values(index: int, shape: tuple[int, int] = SHAPE) -> np.ndarray:
    """Return an image that no other slice has: a ramp from about -1024 to a few hundred HU."""
    return (np.arange(shape[0] * shape[1], dtype=np.int16) * 17 + index).reshape(shape)


def common(series: str = SERIES, study: str = STUDY) -> dict[str, Any]:
    """Return the elements that all images of a series share."""
    return {
        "SpecificCharacterSet": "ISO_IR 192",
        "SOPClassUID": CTImageStorage,
        "StudyDate": "20240102",
        "SeriesDate": "20240102",
        "AcquisitionDate": "20240102",
        "ContentDate": "20240102",
        "StudyTime": "101112",
        "SeriesTime": "101112",
        "AcquisitionTime": "101112",
        "ContentTime": "101112",
        "AccessionNumber": "ACC-4711",
        "Modality": "CT",
        "Manufacturer": "ACME",
        "InstitutionName": "Spital Grünwald",
        "ReferringPhysicianName": "Überweiser^Jörg",
        "StationName": "CT-ROOM-3",
        "StudyDescription": "Thorax nativ",
        "SeriesDescription": "Thorax 5 mm weich",
        "ManufacturerModelName": "Roentgenator 3",
        "PatientName": "Müller^Grete",
        "PatientID": "PID-0815",
        "PatientBirthDate": "19500607",
        "PatientSex": "F",
        "PatientAge": "073Y",
        "BodyPartExamined": "CHEST",
        "SliceThickness": "5",
        "KVP": "120",
        "DeviceSerialNumber": "SN-99887",
        "SoftwareVersions": "1.0",
        "XRayTubeCurrent": "200",
        "ConvolutionKernel": "B30f",
        "PatientPosition": "HFS",
        "StudyInstanceUID": study,
        "SeriesInstanceUID": series,
        "StudyID": "S1",
        "SeriesNumber": "4",
        "AcquisitionNumber": "1",
        "FrameOfReferenceUID": FRAME,
        "PositionReferenceIndicator": "",
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "PixelSpacing": ["0.7", "0.5"],
        "BitsAllocated": 16,
        "BitsStored": 16,
        "HighBit": 15,
        "PixelRepresentation": 1,
        "WindowCenter": "40",
        "WindowWidth": "400",
        "RescaleIntercept": "-1024",
        "RescaleSlope": "1",
        "RescaleType": "HU",
    }


def ct_image(
    index: int,
    position: Sequence[float],
    orientation: Sequence[float] = AXIAL,
    *,
    shape: tuple[int, int] = SHAPE,
    series: str = SERIES,
    study: str = STUDY,
    **elements: Any,
) -> Dataset:
    """Return a valid CT image; elements by keyword replace its own, None removes one."""
    values = common(series, study) | {
        "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
        "SOPInstanceUID": f"{series}.{index + 1}",
        "InstanceNumber": str(index + 1),
        "ImagePositionPatient": [f"{x:.10g}" for x in position],
        "ImageOrientationPatient": [f"{x:.10g}" for x in orientation],
        "Rows": shape[0],
        "Columns": shape[1],
        "PixelData": stored_values(index, shape).tobytes(),
    }
    dataset = Dataset()
    for keyword, value in (values | elements).items():
        if value is not None:
            setattr(dataset, keyword, value)
    dataset["PixelData"].VR = "OW"
    return with_meta(dataset)


def with_meta(dataset: Dataset) -> Dataset:
    """Give a data set the file meta information that belongs to it."""
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    return dataset


def write_series(
    folder: Path, positions: Iterable[Sequence[float]], names: Sequence[str] = (), **options: Any
) -> list[Path]:
    """Write a classic series, one file for each position; `options` are those of `ct_image`."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for index, position in enumerate(positions):
        name = names[index] if names else f"{index:03d}.dcm"
        paths.append(write(folder / name, ct_image(index, position, **options)))
    return paths


def along_z(n: int, step: float = 5.0, start: float = -100.0) -> list[tuple[float, float, float]]:
    """Return the positions of a regular axial stack."""
    return [(-150.0, -140.0, start + step * index) for index in range(n)]


def enhanced_image(
    positions: Sequence[Sequence[float]],
    orientation: Sequence[float] = AXIAL,
    *,
    legacy: bool = False,
    shape: tuple[int, int] = SHAPE,
    series: str = SERIES,
) -> Dataset:
    """Return an enhanced CT image with a frame for each position."""
    values = common(series)
    for keyword in (
        "SliceThickness", "KVP", "PixelSpacing", "WindowCenter", "WindowWidth", "RescaleIntercept",
        "RescaleSlope", "RescaleType", "ConvolutionKernel", "XRayTubeCurrent", "AcquisitionDate",
        "AcquisitionTime",
    ):  # fmt: skip
        del values[keyword]
    dataset = Dataset()
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    storage = LegacyConvertedEnhancedCTImageStorage if legacy else EnhancedCTImageStorage
    dataset.SOPClassUID = storage
    dataset.SOPInstanceUID = f"{series}.77"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    dataset.InstanceNumber = "1"
    dataset.NumberOfFrames = len(positions)
    dataset.AcquisitionDateTime = "20240102101112.5"
    dataset.Rows, dataset.Columns = shape
    dataset.BurnedInAnnotation = "NO"
    dataset.LossyImageCompression = "00"
    dataset.PresentationLUTShape = "IDENTITY"
    dataset.AcquisitionDuration = 2.5
    dataset.ContentQualification = "PRODUCT"
    dataset.PixelPresentation = "MONOCHROME"
    dataset.VolumetricProperties = "VOLUME"
    dataset.VolumeBasedCalculationTechnique = "NONE"
    dataset.AcquisitionContextSequence = []
    dataset.DimensionOrganizationSequence = [item(DimensionOrganizationUID=f"{STUDY}.6")]
    dataset.DimensionIndexSequence = [
        item(
            DimensionIndexPointer=Tag(keyword),
            FunctionalGroupPointer=Tag("FrameContentSequence"),
            DimensionOrganizationUID=f"{STUDY}.6",
        )
        for keyword in ("StackID", "InStackPositionNumber")
    ]
    dataset.SharedFunctionalGroupsSequence = [_shared(orientation, legacy)]
    dataset.PerFrameFunctionalGroupsSequence = [
        _frame(index, position, legacy) for index, position in enumerate(positions)
    ]
    pixels = np.stack([stored_values(index, shape) for index in range(len(positions))])
    dataset.PixelData = pixels.tobytes()
    dataset["PixelData"].VR = "OW"
    return with_meta(dataset)


def item(**elements: Any) -> Dataset:
    """Return an item of a sequence."""
    dataset = Dataset()
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    return dataset


def code(value: str, scheme: str, meaning: str) -> Dataset:
    """Return a coded term."""
    return item(CodeValue=value, CodingSchemeDesignator=scheme, CodeMeaning=meaning)


def _shared(orientation: Sequence[float], legacy: bool) -> Dataset:
    flavour = {
        "PixelPresentation": "MONOCHROME",
        "VolumetricProperties": "VOLUME",
        "VolumeBasedCalculationTechnique": "NONE",
    }
    groups = item(
        PixelMeasuresSequence=[item(PixelSpacing=["0.7", "0.5"], SliceThickness="5")],
        PlaneOrientationSequence=[item(ImageOrientationPatient=[f"{x:.10g}" for x in orientation])],
        FrameVOILUTSequence=[item(WindowCenter="40", WindowWidth="400")],
        CTImageFrameTypeSequence=[
            item(FrameType=["ORIGINAL", "PRIMARY", "VOLUME", "NONE"], **flavour)
        ],
    )
    if legacy:
        groups.UnassignedSharedConvertedAttributesSequence = [item(KVP="120")]
        return groups
    for keyword, values in {
        "FrameAnatomySequence": {
            "FrameLaterality": "U",
            "AnatomicRegionSequence": [code("51185008", "SCT", "Chest")],
        },
        "IrradiationEventIdentificationSequence": {"IrradiationEventUID": f"{STUDY}.5"},
        "CTAcquisitionTypeSequence": {
            "AcquisitionType": "SEQUENCED", "ConstantVolumeFlag": "NO",
            "FluoroscopyFlag": "NO",
        },
        "CTAcquisitionDetailsSequence": {
            "RotationDirection": "CW", "RevolutionTime": 0.5, "SingleCollimationWidth": 1.2,
            "TotalCollimationWidth": 19.2, "TableHeight": "150", "GantryDetectorTilt": "0",
            "DataCollectionDiameter": "500",
        },
        "CTTableDynamicsSequence": {},
        "CTPositionSequence": {
            "DataCollectionCenterPatient": [0.0, 1.0, 2.0],
            "ReconstructionTargetCenterPatient": [3.0, 4.0, 5.0],
            "TablePosition": 12.5,
        },
        "CTGeometrySequence": {
            "DistanceSourceToDetector": "1085.6",
            "DistanceSourceToDataCollectionCenter": 595.0,
        },
        "CTReconstructionSequence": {
            "ReconstructionAlgorithm": "FILTER_BACK_PROJ", "ConvolutionKernel": "B30f",
            "ConvolutionKernelGroup": "SOFT_TISSUE", "ReconstructionDiameter": "350",
            "ReconstructionPixelSpacing": [0.7, 0.5], "ReconstructionAngle": 360.0,
            "ImageFilter": "NONE",
        },
        "CTExposureSequence": {
            "XRayTubeCurrentInmA": 199.6, "ExposureTimeInms": 500.4,
            "ExposureInmAs": 99.9, "ExposureModulationType": "NONE", "CTDIvol": 7.25,
        },
        "CTXRayDetailsSequence": {
            "KVP": "120", "FocalSpots": "1.2", "FilterType": "WEDGE", "FilterMaterial": "ALUMINUM",
        },
    }.items():  # fmt: skip
        setattr(groups, keyword, [item(**values)])
    return groups


def _frame(index: int, position: Sequence[float], legacy: bool) -> Dataset:
    content: dict[str, Any] = {
        "StackID": "1",
        "InStackPositionNumber": index + 1,
        "DimensionIndexValues": [1, index + 1],
    }
    if not legacy:
        content |= {
            "FrameAcquisitionNumber": 3,
            "FrameAcquisitionDateTime": "20240102101113.25",
            "FrameReferenceDateTime": "20240102101113.25",
            "FrameAcquisitionDuration": 500.0,
        }
    groups = item(
        PlanePositionSequence=[item(ImagePositionPatient=[f"{x:.10g}" for x in position])],
        PixelValueTransformationSequence=[
            item(RescaleIntercept="-1024", RescaleSlope="1", RescaleType="HU")
        ],
        FrameContentSequence=[item(**content)],
    )
    if legacy:
        groups.UnassignedPerFrameConvertedAttributesSequence = [item(InstanceNumber=str(index + 1))]
    return groups
