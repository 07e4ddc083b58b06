"""Conversion of a frame of an enhanced image to the elements of a classic one."""

from __future__ import annotations

from typing import Final

from pydicom.dataset import Dataset
from pydicom.tag import Tag
from pydicom.valuerep import format_number_as_ds

from tomolearn.dicom.dimensions import UNASSIGNED
from tomolearn.dicom.element_copy import copy_element, set_elements
from tomolearn.dicom.elements import LARGEST_INTEGER, number, text
from tomolearn.dicom.headers import Header

# Functional groups, and what of them a classic CT image has too.
_MACROS: Final = {
    "PixelMeasuresSequence": ("PixelSpacing", "SliceThickness"),
    "PlanePositionSequence": ("ImagePositionPatient",),
    "PlaneOrientationSequence": ("ImageOrientationPatient",),
    "FrameVOILUTSequence": ("WindowCenter", "WindowWidth", "WindowCenterWidthExplanation"),
    "FrameAnatomySequence": ("AnatomicRegionSequence",),
    "FrameContentSequence": ("FrameComments",),
    "IrradiationEventIdentificationSequence": ("IrradiationEventUID",),
    "CTAcquisitionDetailsSequence": (
        "RotationDirection", "RevolutionTime", "SingleCollimationWidth", "TotalCollimationWidth",
        "TableHeight", "GantryDetectorTilt", "DataCollectionDiameter",
    ),
    "CTTableDynamicsSequence": ("TableSpeed", "TableFeedPerRotation", "SpiralPitchFactor"),
    "CTPositionSequence": ("DataCollectionCenterPatient", "ReconstructionTargetCenterPatient"),
    "CTGeometrySequence": ("DistanceSourceToDetector",),
    "CTReconstructionSequence": ("ConvolutionKernel", "ReconstructionDiameter"),
    "CTExposureSequence": ("ExposureModulationType", "EstimatedDoseSaving", "CTDIvol"),
    "CTXRayDetailsSequence": ("KVP", "FocalSpots", "FilterType"),
    "TemporalPositionSequence": ("TemporalPositionTimeOffset",),
    "CardiacSynchronizationSequence": (
        "NominalPercentageOfCardiacPhase", "NominalCardiacTriggerDelayTime",
        "ActualCardiacTriggerDelayTime",
    ),
    "RespiratorySynchronizationSequence": (
        "NominalPercentageOfRespiratoryPhase", "NominalRespiratoryTriggerDelayTime",
        "ActualRespiratoryTriggerDelayTime",
    ),
}  # fmt: skip

# The same quantities under another name, as whole numbers: group, name there, name here.
_ROUNDED: Final = (
    ("CTExposureSequence", "ExposureTimeInms", "ExposureTime"),
    ("CTExposureSequence", "XRayTubeCurrentInmA", "XRayTubeCurrent"),
    ("CTExposureSequence", "ExposureInmAs", "Exposure"),
    ("FrameContentSequence", "FrameAcquisitionNumber", "AcquisitionNumber"),
    ("FrameContentSequence", "TemporalPositionIndex", "TemporalPositionIdentifier"),
)

# Groups that a classic image has as they are.
_WHOLE: Final = ("MultienergyCTCharacteristicsSequence", "MultienergyCTProcessingSequence")


def copy_frame_elements(dataset: Dataset, header: Header, frame: int) -> None:
    """Copy the functional groups of one frame, as far as a classic image has them."""
    for macro, keywords in _MACROS.items():
        for place in _places(header, frame, macro):
            for keyword in keywords:
                copy_element(dataset, place, Tag(keyword))
    for macro in UNASSIGNED:
        for place in _places(header, frame, macro):
            for tag in sorted(place.keys()):
                copy_element(dataset, place, tag)
    for macro, there, here in _ROUNDED:
        for place in _places(header, frame, macro):
            value = _whole(place, there)
            if value is not None:
                set_elements(dataset, **{here: value})
    for macro in _WHOLE:
        group = Dataset()
        set_elements(group, **{macro: list(_places(header, frame, macro))})
        if group[macro].value:
            copy_element(dataset, group, Tag(macro))
    _put_trigger_time(dataset)
    _put_moment(dataset, header, frame)


def _places(header: Header, frame: int, macro: str) -> tuple[Dataset, ...]:
    """Return the items of a functional group, the frame's own last, to have the last word."""
    # The last place of all is the file itself, of which everything is already there.
    return tuple(reversed(header.places(frame, macro)[:-1]))


def _put_trigger_time(dataset: Dataset) -> None:
    """Set the delay after the R wave in ms as classic images have it."""
    try:
        delay = number(dataset, "NominalCardiacTriggerDelayTime")
    except ValueError:
        return
    if delay is not None and "TriggerTime" not in dataset:
        set_elements(dataset, TriggerTime=format_number_as_ds(delay))


def _put_moment(dataset: Dataset, header: Header, frame: int) -> None:
    """Split the frame's moment, or that of the whole acquisition, into date and time."""
    for place in header.places(frame, "FrameContentSequence"):
        moment = text(place, "FrameAcquisitionDateTime") or text(place, "AcquisitionDateTime")
        digits = moment.split("+")[0].split("-")[0]
        if len(digits) >= 14 and digits[:14].isdigit():
            set_elements(dataset, AcquisitionDate=digits[:8], AcquisitionTime=digits[8:])
            return


def _whole(place: Dataset, keyword: str) -> int | None:
    """Return a number that is good to know as a whole one; none if it cannot be read."""
    try:
        value = number(place, keyword)
    except ValueError:
        return None
    return None if value is None or abs(value) > LARGEST_INTEGER else round(value)
