"""RescaleType US: values that may be Hounsfield units."""

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from dicom_files import write
from dicom_series import SERIES, along_z, ct_image, enhanced_image
from pydicom.dataset import Dataset

from tomolearn.dicom import (
    Derivation,
    DerivedSeries,
    DicomWarning,
    FindingKind,
    SkipReason,
    find_series,
    read_slice,
)

BODY = np.where(np.arange(48).reshape(6, 8) % 4 == 0, 40, -1000).astype(np.int16)  # air and tissue
LUNG = np.where(BODY > 0, -700, -1000).astype(np.int16)
MAP = np.arange(48, dtype=np.int16).reshape(6, 8)  # of iodine, perfusion, anything


def image(index: int, hounsfield: np.ndarray, **elements: Any) -> Dataset:
    dataset = ct_image(index, along_z(9)[index], **{"RescaleType": "US"} | elements)
    dataset.PixelData = (hounsfield + 1024).astype(np.int16).tobytes()
    return dataset


def put(folder: Path, images: list[np.ndarray], **elements: Any) -> None:
    folder.mkdir(exist_ok=True)
    for index, hounsfield in enumerate(images):
        write(folder / f"{index}", image(index, hounsfield, **elements))


@pytest.mark.parametrize("unit", ["US", "us", "UNSPECIFIED"])
def test_values_that_look_like_hounsfield_units_are_taken_and_noted(
    unit: str, tmp_path: Path
) -> None:
    put(tmp_path, [BODY, BODY, BODY], RescaleType=unit)
    index = find_series(tmp_path)
    (one,) = index.series
    assert [finding.kind for finding in one.findings] == [FindingKind.UNSTATED_UNIT]
    assert f"is {unit} of 3 of 3 slices" in one.findings[0].detail
    expected = rf"0: RescaleType \(0028,1054\): expected HU, got {unit}; values are taken as Houns"
    with pytest.warns(DicomWarning, match=expected):
        np.testing.assert_array_equal(one.read(0).hounsfield, BODY)
    with pytest.warns(DicomWarning, match="values are taken as Hounsfield units"):
        assert one.volume().hounsfield.shape == (3, 6, 8)
    with pytest.warns(DicomWarning, match=expected):
        read_slice(tmp_path / "0")
    with pytest.raises(ValueError, match="values are taken as Hounsfield units"):
        one.read(0, strict=True)
    DerivedSeries(one, Derivation("x"))[0].write(BODY, tmp_path / "out")
    assert pydicom.dcmread(tmp_path / "out").RescaleType == "HU"


def test_one_slice_of_a_series_is_evidence_for_all(tmp_path: Path) -> None:
    """Slices of nothing but lung, and of nothing at all, are of the same series."""
    put(tmp_path, [LUNG, LUNG, BODY, LUNG, np.full_like(LUNG, -1000)])
    (one,) = find_series(tmp_path).series
    assert len(one) == 5
    for index in range(5):
        with pytest.warns(DicomWarning):
            one.read(index)


@pytest.mark.parametrize("values", [MAP, MAP - 1024, LUNG, np.full_like(MAP, 40)])
def test_other_values_are_refused_with_a_remedy(values: np.ndarray, tmp_path: Path) -> None:
    put(tmp_path, [values, values])
    index = find_series(tmp_path)
    assert index.series == ()
    assert index.counts == {"no Hounsfield units": 2}
    assert index.lost == ()
    for said in ("expected HU, got US, unspecified", "assume_hu=True", "--assume-hu"):
        assert said in index.skipped[0].detail
    with pytest.raises(ValueError, match=r"0: RescaleType .* got US, .* --assume-hu"):
        read_slice(tmp_path / "0")
    (one,) = find_series(tmp_path, assume_hu=True).series
    with pytest.warns(DicomWarning, match="values are taken as Hounsfield units"):
        np.testing.assert_array_equal(one.read(1).hounsfield, values)
    with pytest.warns(DicomWarning, match="values are taken as Hounsfield units"):
        read_slice(tmp_path / "0", assume_hu=True)


@pytest.mark.parametrize("unit", ["Z_EFF", "ED", "EDW", "MGML", "PCT", "OD"])
def test_values_that_are_something_else_are_never_taken(unit: str, tmp_path: Path) -> None:
    put(tmp_path, [BODY], RescaleType=unit)
    for assumed in (False, True):
        index = find_series(tmp_path, assume_hu=assumed)
        assert index.skipped[0].reason is SkipReason.NO_HOUNSFIELD_UNITS
        assert "assume" not in index.skipped[0].detail


def test_unknown_units_are_taken_if_one_says_so(tmp_path: Path) -> None:
    put(tmp_path, [BODY], RescaleType="HOUNSFIELD")
    index = find_series(tmp_path)
    assert "got HOUNSFIELD: if values are in it" in index.skipped[0].detail
    assert "--assume-hu" in index.skipped[0].detail
    assert len(find_series(tmp_path, assume_hu=True).series) == 1


@pytest.mark.parametrize("keyword", ["RescaleSlope", "RescaleIntercept"])
def test_without_rescaling_nothing_is_taken(keyword: str, tmp_path: Path) -> None:
    put(tmp_path, [BODY], **{keyword: None})
    assert find_series(tmp_path).series == ()


@pytest.mark.parametrize("unstated", [range(4), (2,)])
def test_frames_of_an_enhanced_file(unstated: range | tuple[int, ...], tmp_path: Path) -> None:
    """DICOM's own sample has US in each frame; one frame must not cost the others."""
    for name, values in (("body", BODY), ("map", MAP)):
        dataset = enhanced_image(along_z(4))
        for index in unstated:
            groups = dataset.PerFrameFunctionalGroupsSequence[index]
            groups.PixelValueTransformationSequence[0].RescaleType = "US"
        dataset.PixelData = (np.stack([values] * 4) + 1024).astype(np.int16).tobytes()
        (tmp_path / name).mkdir()
        write(tmp_path / name / "e", dataset)
    (one,) = find_series(tmp_path / "body").series
    assert (len(one), one.lost) == (4, ())
    index = find_series(tmp_path / "map")
    if len(unstated) == 4:
        assert index.series == ()
        assert index.counts == {"no Hounsfield units": 1}
    else:
        assert [info.frame for info in index.series[0].slices] == [0, 1, 3]
        assert [(lost.reason, lost.frame) for lost in index.series[0].lost] == [
            (SkipReason.NO_HOUNSFIELD_UNITS, 2)
        ]


def test_a_file_of_another_unit_is_lost_from_a_series(tmp_path: Path) -> None:
    put(tmp_path, [BODY, BODY, BODY], RescaleType="HU")
    write(tmp_path / "1", image(1, MAP, SOPInstanceUID=f"{SERIES}.2"))
    index = find_series(tmp_path)
    assert len(index.series[0]) == 2
    assert [one.path.name for one in index.lost] == ["1"]
    assert [one.path.name for one in index.series[0].lost] == ["1"]
