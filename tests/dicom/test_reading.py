"""One CT slice from one file: values, geometry, and every way in which a file can be wrong."""

import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from dicom_files import COLUMNS, ROWS, ct_dataset, write, write_ct
from dicom_series import along_z, enhanced_image, stored_values
from pydicom.dataset import Dataset
from pydicom.uid import EnhancedCTImageStorage, MRImageStorage

from tomolearn.dicom import CTSlice, DicomWarning, example_slice_path, read_slice


def test_values_spacing_and_names_are_those_of_the_file(tmp_path: Path) -> None:
    stored = np.arange(ROWS * COLUMNS, dtype=np.int16).reshape(ROWS, COLUMNS) * 100 - 300
    path = write_ct(tmp_path / "a.dcm", stored, RescaleSlope=0.5, RescaleIntercept=-1000)
    ct = read_slice(path)
    assert ct.hounsfield.dtype == np.float32
    np.testing.assert_array_equal(ct.hounsfield, stored / 2 - 1000)
    # rows first: an image with tall pixels must not come out with wide ones
    assert ct.spacing == (0.5, 0.75)
    assert not ct.padding.any()
    assert (ct.patient_id, ct.study_uid) == ("anonymous", "1.2.3")
    assert (ct.series_uid, ct.instance_number) == ("1.2.3.4", 7)
    assert ct.sop_instance_uid == pydicom.dcmread(path).SOPInstanceUID


def test_a_slice_may_be_nameless(tmp_path: Path) -> None:
    ct = read_slice(write_ct(tmp_path / "a.dcm", PatientID=None, InstanceNumber=None))
    assert (ct.patient_id, ct.instance_number) == ("", None)


@pytest.mark.parametrize("dtype", [np.int16, np.uint16, np.uint8, np.int32])
def test_signed_and_unsigned_values_of_any_width(dtype: Any, tmp_path: Path) -> None:
    # of 32 bits only as many as can be Hounsfield units
    limits = np.iinfo(dtype if np.dtype(dtype).itemsize < 4 else np.int16)
    stored = np.array([[limits.min, limits.max], [1, 100]], dtype=dtype)
    ct = read_slice(write_ct(tmp_path / "a.dcm", stored, RescaleIntercept=-1024))
    np.testing.assert_array_equal(ct.hounsfield, (stored.astype(float) - 1024).astype("f4"))


def test_twelve_signed_bits_in_sixteen_are_sign_extended(tmp_path: Path) -> None:
    # -256 and 255 in 12 bits, the four bits above them zero
    stored = np.array([[0x0F00, 0x00FF]], dtype=np.uint16)
    path = write_ct(tmp_path / "a.dcm", stored, PixelRepresentation=1, BitsStored=12, HighBit=11)
    np.testing.assert_array_equal(read_slice(path).hounsfield, [[-256, 255]])


@pytest.mark.parametrize(
    ("dtype", "written", "vr", "found"),
    [
        (np.int16, -2000, "SS", -2000),
        (np.int16, 63536, "US", -2000),  # the wrong sign, as some scanners write it
        (np.uint16, 63536, "US", 63536),
        (np.uint16, -2000, "SS", 63536),
    ],
)
def test_padding_becomes_air(dtype: Any, written: int, vr: str, found: int, tmp_path: Path) -> None:
    stored = np.array([[found, 24], [1024, found]], dtype=dtype)
    dataset = ct_dataset(stored, RescaleIntercept=-1024)
    dataset.add_new("PixelPaddingValue", vr, written)
    ct = read_slice(write(tmp_path / "a.dcm", dataset))
    np.testing.assert_array_equal(ct.padding, [[True, False], [False, True]])
    np.testing.assert_array_equal(ct.hounsfield, [[-1000, -1000], [0, -1000]])


@pytest.mark.parametrize(("value", "limit"), [(-2000, -1500), (-1500, -2000)])
def test_padding_may_be_a_range_with_both_ends(value: int, limit: int, tmp_path: Path) -> None:
    stored = np.array([[-2001, -2000, -1700, -1500, -1499]], dtype=np.int16)
    dataset = ct_dataset(stored)
    dataset.add_new("PixelPaddingValue", "SS", value)
    dataset.add_new("PixelPaddingRangeLimit", "SS", limit)
    padding = read_slice(write(tmp_path / "a.dcm", dataset)).padding
    np.testing.assert_array_equal(padding, [[False, True, True, True, False]])


@pytest.mark.parametrize(("dtype", "vr"), [(np.int16, "SS"), (np.uint16, "US")])
def test_of_several_padding_values_the_first_is_taken(dtype: Any, vr: str, tmp_path: Path) -> None:
    stored = np.array([[2000, 5], [2001, 0]], dtype)
    dataset = ct_dataset(stored, BitsStored=12, HighBit=11)
    dataset.add_new("PixelPaddingValue", vr, [2000, 5])
    path = write(tmp_path / "a.dcm", dataset)
    with pytest.warns(DicomWarning) as warned:
        ct = read_slice(path)
    np.testing.assert_array_equal(ct.padding, stored == 2000)
    assert [str(one.message) for one in warned] == [
        f"{path}: PixelPaddingValue (0028,0120): expected one number, got 2000\\5, of which the "
        "first is taken"
    ]


def test_enhanced_file_of_one_frame_keeps_its_numbers_in_groups(tmp_path: Path) -> None:
    measures, transformation, shared, frame = Dataset(), Dataset(), Dataset(), Dataset()
    measures.PixelSpacing = [0.25, 0.5]
    transformation.RescaleSlope, transformation.RescaleIntercept = 2, -10
    transformation.RescaleType = "HU"
    shared.PixelMeasuresSequence = [measures]
    frame.PixelValueTransformationSequence = [transformation]
    path = write_ct(
        tmp_path / "a.dcm",
        SOPClassUID=EnhancedCTImageStorage,
        NumberOfFrames=1,
        PixelSpacing=None,
        RescaleSlope=None,
        RescaleIntercept=None,
        SharedFunctionalGroupsSequence=[shared],
        PerFrameFunctionalGroupsSequence=[frame],
    )
    ct = read_slice(path)
    assert ct.spacing == (0.25, 0.5)
    np.testing.assert_array_equal(ct.hounsfield.ravel(), np.arange(12) * 2 - 10)


@pytest.mark.parametrize(
    ("elements", "message"),
    [
        (
            {"SOPClassUID": MRImageStorage},
            r"SOPClassUID (0008,0016): expected CT Image Storage, got MR Image Storage",
        ),
        ({"SOPClassUID": None}, "SOPClassUID (0008,0016): expected CT Image Storage, got nothing"),
        (
            {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]},
            r"ImageType (0008,0008): expected an axial image, got ORIGINAL\PRIMARY\LOCALIZER",
        ),
        ({"NumberOfFrames": 2}, "NumberOfFrames (0028,0008): expected one frame, got 2"),
        ({"SamplesPerPixel": 3}, "SamplesPerPixel (0028,0002): expected 1, grey values, got 3"),
        (
            {"PixelSpacing": None},
            "PixelSpacing (0028,0030): expected two positive lengths in mm, got nothing",
        ),
        ({"PixelSpacing": [0.5, 0]}, "PixelSpacing (0028,0030): expected two positive lengths"),
        ({"PixelSpacing": 0.5}, "PixelSpacing (0028,0030): expected two positive lengths"),
        (
            {"RescaleSlope": None},
            "RescaleSlope (0028,1053): expected a finite number, got nothing",
        ),
        ({"RescaleSlope": 0}, "RescaleSlope (0028,1053): expected 0.001 to 100 HU, got 0"),
        ({"RescaleIntercept": None}, "RescaleIntercept (0028,1052): expected a finite number"),
        ({"RescaleType": "US"}, "RescaleType (0028,1054): expected HU, got US"),
        ({"PixelData": None}, "PixelData (7FE0,0010): expected the image, got nothing"),
        ({"PixelData": bytes(8)}, "PixelData (7FE0,0010): expected a complete image, got"),
        ({"BitsAllocated": None}, "BitsAllocated (0028,0100): expected an integer, got nothing"),
    ],
)
def test_error_names_file_tag_and_value(
    elements: dict[str, Any], message: str, tmp_path: Path
) -> None:
    path = write_ct(tmp_path / "wrong.dcm", **elements)
    with pytest.raises(ValueError, match=re.escape(f"{path}: {message}")):
        read_slice(path)


def test_frames_of_a_file_share_its_header(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parsed once for all frames, and again if the file is another one."""
    dataset = enhanced_image(along_z(4))
    dataset.PixelData += bytes(2)  # which is a deviation of each frame, and told once
    path = write(tmp_path / "e.dcm", dataset)
    parsed = []
    parse = pydicom.dcmread

    def counted(*arguments: Any, **options: Any) -> Any:
        parsed.append(arguments)
        return parse(*arguments, **options)

    monkeypatch.setattr(pydicom, "dcmread", counted)
    for frame in (2, 0, 2, 3):
        with pytest.warns(DicomWarning) as warned:
            ct = read_slice(path, frame=frame)
        assert len(warned) == 1
        np.testing.assert_array_equal(ct.hounsfield, stored_values(frame) - 1024.0)
    assert len(parsed) == 1
    # as long as before, and written later
    dataset.PatientID = "PID-4711"
    changed = path.stat().st_mtime_ns + 1
    write(path, dataset)
    os.utime(path, ns=(changed, changed))
    with pytest.warns(DicomWarning):
        assert read_slice(path, frame=1).patient_id == "PID-4711"
    assert len(parsed) == 2


def test_file_that_is_not_dicom(tmp_path: Path) -> None:
    path = tmp_path / "notes.dcm"
    path.write_text("not a scan\n" * 100)
    with pytest.raises(ValueError, match=r"notes\.dcm: expected a DICOM file"):
        read_slice(path)


def test_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_slice(tmp_path / "missing.dcm")
    with pytest.raises(OSError, match=re.escape(str(tmp_path))):
        read_slice(tmp_path)


@pytest.mark.filterwarnings("ignore:Invalid value for VR:UserWarning")
def test_no_truncated_file_is_read_as_an_image(tmp_path: Path) -> None:
    complete = write_ct(tmp_path / "a.dcm").read_bytes()
    path = tmp_path / "cut.dcm"
    for length in range(0, len(complete), 2):
        path.write_bytes(complete[:length])
        with pytest.raises(ValueError, match=r"cut\.dcm: "):
            read_slice(path)
    path.write_bytes(complete)
    assert isinstance(read_slice(path), CTSlice)


def test_example_that_comes_with_pydicom() -> None:
    ct = read_slice(example_slice_path())
    raw = pydicom.dcmread(example_slice_path())
    # a stretch of the pixel data, unpacked by hand: 16 bits, little endian, intercept -1024
    row = np.frombuffer(raw.PixelData, dtype="<i2")[64 * 128 : 65 * 128]
    np.testing.assert_array_equal(ct.hounsfield[64], row - 1024.0)
    assert ct.hounsfield.shape == (128, 128)
    assert ct.spacing == (0.661468, 0.661468)


def test_missing_example_is_an_error_and_not_a_download(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tomolearn.dicom.example._NAME", "no-such-file.dcm")
    with pytest.raises(FileNotFoundError, match=r"no-such-file\.dcm: expected it among pydicom's"):
        example_slice_path()


def test_every_slice_of_the_real_series(real_data: Path) -> None:
    paths = sorted(real_data.glob("*/*.dcm"))
    assert paths
    for path in paths:
        ct = read_slice(path)
        assert ct.hounsfield.shape == (512, 512)
        inside = ct.hounsfield[~ct.padding]
        assert -1100 < inside.min() < -900
        assert 800 < inside.max() < 3100
        # The head scanner writes -1500 outside its circle, which is an integer part of the square.
        assert ct.padding.any() == (path.parent.name == "head-ge")
