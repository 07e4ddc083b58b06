"""CT series from DICOM files, derived series, and Hounsfield units against attenuation."""

from tomolearn.dicom.body import body_mask
from tomolearn.dicom.deidentification import Deidentification
from tomolearn.dicom.derivation import Derivation
from tomolearn.dicom.derived import DerivedSeries
from tomolearn.dicom.derived_slice import HOUNSFIELD_RANGE, DerivedSlice
from tomolearn.dicom.discovery import Catalogue, LeftOut, find_series
from tomolearn.dicom.elements import DicomWarning
from tomolearn.dicom.example import example_slice_path
from tomolearn.dicom.geometry import IRREGULAR, Finding, FindingKind
from tomolearn.dicom.headers import Reason
from tomolearn.dicom.reading import CTSlice, read_slice
from tomolearn.dicom.series import Series, Volume
from tomolearn.dicom.slices import SliceInfo
from tomolearn.dicom.units import (
    MU_WATER,
    attenuation_to_hounsfield,
    hounsfield_to_attenuation,
    mu_water_at,
)

__all__ = [
    "HOUNSFIELD_RANGE",
    "IRREGULAR",
    "MU_WATER",
    "CTSlice",
    "Catalogue",
    "Deidentification",
    "Derivation",
    "DerivedSeries",
    "DerivedSlice",
    "DicomWarning",
    "Finding",
    "FindingKind",
    "LeftOut",
    "Reason",
    "Series",
    "SliceInfo",
    "Volume",
    "attenuation_to_hounsfield",
    "body_mask",
    "example_slice_path",
    "find_series",
    "hounsfield_to_attenuation",
    "mu_water_at",
    "read_slice",
]
