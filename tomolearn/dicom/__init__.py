"""CT slices from DICOM files, and Hounsfield units against attenuation."""

from tomolearn.dicom.example import example_slice_path
from tomolearn.dicom.reading import CTSlice, read_slice
from tomolearn.dicom.units import (
    MU_WATER,
    attenuation_to_hounsfield,
    hounsfield_to_attenuation,
    mu_water_at,
)

__all__ = [
    "MU_WATER",
    "CTSlice",
    "attenuation_to_hounsfield",
    "example_slice_path",
    "hounsfield_to_attenuation",
    "mu_water_at",
    "read_slice",
]
