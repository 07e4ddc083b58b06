"""Copies: files with one SOPInstanceUID, told by their pixels, and which of them is read."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from dicom_files import write
from dicom_series import along_z, ct_image, enhanced_image, stored_values, write_series
from pydicom.dataset import Dataset
from pydicom.uid import JPEG2000, RLELossless

from tomolearn.dicom import (
    Derivation,
    DerivedSeries,
    DicomWarning,
    Series,
    SeriesIndex,
    SkipReason,
    find_series,
)

ORIGIN = (0.0, 0.0, 0.0)


def hounsfield(series: Series, place: int = 0) -> np.ndarray:
    return series.read(place).hounsfield


def brighter(image: Dataset, by: int) -> Dataset:
    image.PixelData = (np.frombuffer(image.PixelData, "<i2") + by).astype("<i2").tobytes()
    image["PixelData"].VR = "OW"
    return image


def compressed(image: Dataset) -> Dataset:
    image.compress(RLELossless, generate_instance_uid=False)
    return image


def two(folder: Path, first: Dataset, second: Dataset) -> tuple[SeriesIndex, Series]:
    """Write two files, and find the one series that they are of."""
    write(folder / "a.dcm", first)
    write(folder / "b.dcm", second)
    index = find_series(folder)
    (series,) = index.series
    return index, series


@pytest.mark.parametrize(
    "other",
    [
        lambda: brighter(ct_image(0, ORIGIN), 300),
        lambda: compressed(brighter(ct_image(0, ORIGIN), 1)),
        lambda: ct_image(0, ORIGIN, RescaleIntercept="-724"),
        lambda: ct_image(0, ORIGIN, RescaleSlope="1.01"),
        lambda: ct_image(0, ORIGIN, PixelPaddingValue=17),
    ],
    ids=["pixels", "compressed pixels", "intercept", "slope", "padding"],
)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_other_pixels_are_no_copy(other: Any, tmp_path: Path) -> None:
    index, series = two(tmp_path, ct_image(0, ORIGIN), other())
    assert index.counts == {"identifier used twice": 1}
    assert index.skipped[0].detail.endswith("which has another image")
    assert series.lost == index.lost == index.skipped
    assert series.slices[0].copies == ()


@pytest.mark.parametrize(
    "other",
    [
        lambda: ct_image(0, ORIGIN),
        lambda: compressed(ct_image(0, ORIGIN)),
        lambda: brighter(ct_image(0, ORIGIN, RescaleIntercept="-1025"), 1),
        lambda: ct_image(0, ORIGIN, PatientComments="another header"),
    ],
    ids=["same", "compressed", "other zero", "other comment"],
)
def test_same_pixels_are_a_copy_however_they_are_written(other: Any, tmp_path: Path) -> None:
    index, series = two(tmp_path, ct_image(0, ORIGIN), other())
    assert index.counts == {"identical copy": 1}
    assert index.lost == series.lost == ()
    assert [one.path.name for one in series.slices[0].copies] == ["b.dcm"]


def spoilt(image: Dataset) -> Dataset:
    """Compress an image, and break its only segment."""
    image.compress(RLELossless, generate_instance_uid=False)
    data = bytearray(image.PixelData)
    data[-20:] = b"\x80" * 20  # nothing to do
    image.PixelData = bytes(data)
    return image


def test_whole_copy_goes_before_a_broken_one(tmp_path: Path) -> None:
    index, series = two(tmp_path, spoilt(ct_image(0, ORIGIN)), ct_image(0, ORIGIN))
    assert series.slices[0].path.name == "b.dcm"
    assert index.counts == {"damaged copy": 1}
    assert index.lost == series.lost == ()
    np.testing.assert_array_equal(hounsfield(series), stored_values(0) - 1024.0)


def test_slice_without_geometry_is_no_loss_beside_its_whole_copy(tmp_path: Path) -> None:
    index, series = two(
        tmp_path, ct_image(0, ORIGIN, ImagePositionPatient=None), ct_image(0, ORIGIN)
    )
    assert (index.counts, series.findings) == ({"damaged copy": 1}, ())


def test_all_copies_broken(tmp_path: Path) -> None:
    index, series = two(tmp_path, spoilt(ct_image(0, ORIGIN)), spoilt(ct_image(0, ORIGIN)))
    assert series.slices[0].path.name == "a.dcm"
    assert index.lost == ()  # it is lost when it is computed
    with pytest.raises(ValueError, match=r"a\.dcm: PixelData"):
        series.read(0)


def smooth(by: int = 0) -> Dataset:
    """Return a larger image without edges, which compression changes little."""
    rows, columns = np.mgrid[:32, :32]
    image = ct_image(0, ORIGIN, shape=(32, 32), PixelRepresentation=0)
    stored = 1000 + 500 * np.sin(rows / 5) + 400 * np.cos(columns / 6)
    image.PixelData = (stored + by).astype("<i2").tobytes()
    image["PixelData"].VR = "OW"
    return image


def lossy(image: Dataset) -> Dataset:
    image.compress(JPEG2000, j2k_psnr=[80], generate_instance_uid=False)
    return image


def test_lossless_copy_goes_before_a_lossy_one(tmp_path: Path) -> None:
    compressed_image = lossy(smooth())
    decoded = compressed_image.pixel_array.astype(int)
    assert 0 < np.abs(decoded - smooth().pixel_array).max() < 30
    index, series = two(tmp_path, compressed_image, smooth())
    assert series.slices[0].path.name == "b.dcm"
    assert index.counts == {"identical copy": 1}
    assert "with lossy compression" in index.skipped[0].detail
    assert [one.path.name for one in series.slices[0].copies] == ["a.dcm"]


def test_lossy_copy_of_another_image_is_none(tmp_path: Path) -> None:
    index, _ = two(tmp_path, lossy(smooth(300)), smooth())
    assert index.counts == {"identifier used twice": 1}


def test_copy_is_read_where_the_first_one_fails_since(tmp_path: Path) -> None:
    write_series(tmp_path / "a", along_z(2))
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    (series,) = find_series(tmp_path).series
    path = series.slices[1].path
    whole = path.read_bytes()
    path.write_bytes(whole[:-10])
    with pytest.warns(DicomWarning, match="read from this copy, since of another one, .*PixelData"):
        ct = series.read(1)
    assert ct.path == tmp_path / "b" / path.name
    np.testing.assert_array_equal(ct.hounsfield, stored_values(1) - 1024.0)
    path.unlink()
    derived = DerivedSeries(series, Derivation("x"))[1]
    with pytest.warns(DicomWarning, match="No such file"):
        ct = derived.read_source()
    derived.write(ct.hounsfield, tmp_path / "out.dcm", path_of_source=ct.path)
    assert pydicom.dcmread(tmp_path / "out.dcm").PatientID == "PID-0815"


def test_enhanced_file_with_all_frames_goes_before_one_with_a_bad_frame(tmp_path: Path) -> None:
    bad = enhanced_image(along_z(3))
    del bad.PerFrameFunctionalGroupsSequence[1].PlanePositionSequence
    index, series = two(tmp_path, bad, enhanced_image(along_z(3)))
    assert [one.path.name for one in series.slices] == ["b.dcm"] * 3
    assert [len(one.copies) for one in series.slices] == [1, 0, 1]
    assert (index.lost, series.lost) == ((), ())


def test_pixels_are_compared_only_where_identifiers_collide(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_series(tmp_path, along_z(3))
    monkeypatch.setattr("tomolearn.dicom.discovery.choose_copy", None)
    assert len(find_series(tmp_path).series[0]) == 3


def test_damaged_copies_are_of_the_series_that_has_the_whole_one(tmp_path: Path) -> None:
    paths = write_series(tmp_path, along_z(3))
    whole = paths[1].read_bytes()
    part = tmp_path / "001_part.dcm"
    for length in (0, 100, 140, *range(200, len(whole), 150)):
        part.write_bytes(whole[:length])
        index = find_series(tmp_path)
        assert (index.lost, index.series[0].findings) == ((), ()), length
        assert [one.reason for one in index.skipped] == [SkipReason.DAMAGED_COPY]


@pytest.mark.parametrize(
    ("name", "is_lost"),
    [("001.dcm.part", False), ("001-tmp.dcm", False), ("001 (partial).dcm", False),
     ("0011.dcm", True), ("001_1.dcm", True), ("002_part.dcm", True)],
)  # fmt: skip
def test_beginning_of_a_file_beside_it(name: str, is_lost: bool, tmp_path: Path) -> None:
    """Cut off before its identifiers, which say whose copy it is."""
    paths = write_series(tmp_path, along_z(2))
    (tmp_path / name).write_bytes(paths[1].read_bytes()[:180])
    assert bool(find_series(tmp_path).lost) == is_lost
