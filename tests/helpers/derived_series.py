"""What tests of derived series make them with."""

from pathlib import Path
from typing import Any

import pydicom
from dicom_files import write
from dicom_series import ct_image
from pydicom.dataset import Dataset

from tomolearn.dicom import Derivation, DerivedSeries, Series, find_series

ORIGIN = (0.0, 0.0, 0.0)
HOW = Derivation(
    "Reconstructed by filtered back-projection from 200 simulated views.",
    {"views": 200, "photons": 1e4, "filter": "hann"},
    method="fbp",
    series_description="FBP 200 views",
    kernel="HANN",
)


def series_of(path: Path) -> Series:
    (one,) = find_series(path).series
    return one


def derived(path: Path, how: Derivation = HOW) -> DerivedSeries:
    return DerivedSeries(series_of(path), how)


def written(series: DerivedSeries, path: Path, index: int = 0, **options: Any) -> Dataset:
    """Write the pixels of the source and return the file's contents."""
    series[index].write(series.source.read(index).hounsfield, path, **options)
    return pydicom.dcmread(path)


def one_image(tmp_path: Path, **elements: Any) -> Path:
    return write(tmp_path / "in.dcm", ct_image(0, ORIGIN, **elements))
