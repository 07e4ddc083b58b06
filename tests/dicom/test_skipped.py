"""Every reason to leave a file out of all series."""

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dicom_files import write
from dicom_series import along_z, ct_image, enhanced_image, stored_values, write_series
from pydicom.data import get_testdata_file
from pydicom.uid import (
    ComprehensiveSRStorage,
    GrayscaleSoftcopyPresentationStateStorage,
    MRImageStorage,
    MultiFrameTrueColorSecondaryCaptureImageStorage,
    OphthalmicPhotography8BitImageStorage,
    RLELossless,
    SecondaryCaptureImageStorage,
    VLMicroscopicImageStorage,
    VLPhotographicImageStorage,
    VLWholeSlideMicroscopyImageStorage,
)

from tomolearn.dicom import DicomWarning, SkipReason as Reason, find_series, read_slice

ORIGIN = (0.0, 0.0, 0.0)


def skipped(path: Path) -> tuple[Reason, str]:
    """Return why the only file below `path` is in no series."""
    series_index = find_series(path)
    assert series_index.series == ()
    (one,) = series_index.skipped
    assert series_index.counts == {str(one.reason): 1}
    return one.reason, one.detail


@pytest.mark.parametrize(
    ("elements", "reason", "detail"),
    [
        (
            {"SOPClassUID": SecondaryCaptureImageStorage},
            Reason.SECONDARY_CAPTURE,
            "SOPClassUID (0008,0016): expected CT Image Storage, got Secondary Capture Image Stor",
        ),
        (
            {"SOPClassUID": ComprehensiveSRStorage},
            Reason.STRUCTURED_REPORT,
            "got Comprehensive SR",
        ),
        (
            {"SOPClassUID": GrayscaleSoftcopyPresentationStateStorage},
            Reason.PRESENTATION_STATE,
            "got Grayscale Softcopy",
        ),
        ({"SOPClassUID": MRImageStorage}, Reason.OTHER_CLASS, "got MR Image Storage"),
        ({"SOPClassUID": "1.2.3.4"}, Reason.OTHER_CLASS, "got 1.2.3.4"),
        *(
            ({"SOPClassUID": uid}, Reason.OTHER_CLASS, f"got {uid.name}")
            for uid in (
                VLMicroscopicImageStorage,
                VLPhotographicImageStorage,
                OphthalmicPhotography8BitImageStorage,
                VLWholeSlideMicroscopyImageStorage,
            )
        ),
        *(
            ({"SOPClassUID": uid}, Reason.SECONDARY_CAPTURE, f"got {uid.name}")
            for uid in (
                SecondaryCaptureImageStorage,
                MultiFrameTrueColorSecondaryCaptureImageStorage,
            )
        ),
        (
            {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]},
            Reason.LOCALIZER,
            r"ImageType (0008,0008): expected an axial image, got ORIGINAL\PRIMARY\LOCALIZER",
        ),
        (
            {"ImageType": ["DERIVED", "SECONDARY", "SCREEN SAVE"]},
            Reason.SECONDARY_CAPTURE,
            "SCREE",
        ),
        (
            {"SamplesPerPixel": 3},
            Reason.NO_IMAGE,
            "SamplesPerPixel (0028,0002): expected 1, grey",
        ),
        (
            {"NumberOfFrames": "2"},
            Reason.NO_IMAGE,
            "NumberOfFrames (0028,0008): expected one frame",
        ),
        (
            {"Rows": 0},
            Reason.NO_IMAGE,
            "Rows (0028,0010): expected an image of 1 to 67108864 pix",
        ),
        ({"Rows": 65535, "Columns": 65535}, Reason.NO_IMAGE, "got 65535 x 65535"),
        (
            {"BitsAllocated": 12},
            Reason.NO_IMAGE,
            "BitsAllocated (0028,0100): expected 8, 16 or 32",
        ),
        (
            {"BitsStored": 17},
            Reason.NO_IMAGE,
            "BitsStored (0028,0101): expected 1 to 16, got 17",
        ),
        ({"HighBit": 11}, Reason.NO_IMAGE, "HighBit (0028,0102): expected 15, got 11"),
        (
            {"PixelRepresentation": 2},
            Reason.NO_IMAGE,
            "PixelRepresentation (0028,0103): expected",
        ),
        (
            {"PhotometricInterpretation": "PALETTE COLOR"},
            Reason.NO_IMAGE,
            "PhotometricInterpretation (0028,0004): expected MONOCHROME1 or MONOCHROME2, got PAL",
        ),
        (
            {"SeriesInstanceUID": None},
            Reason.NO_IDENTIFIER,
            "SeriesInstanceUID (0020,000E): expe",
        ),
        (
            {"ImagePositionPatient": None},
            Reason.NO_GEOMETRY,
            "ImagePositionPatient (0020,0032)",
        ),
        (
            {"ImagePositionPatient": ["0", "0", "1e6"]},
            Reason.NO_GEOMETRY,
            r"expected three coordinates in mm, got 0\0\1e+06",
        ),
        (
            {"ImageOrientationPatient": ["1", "0", "0", "1", "0", "0"]},
            Reason.NO_GEOMETRY,
            "ImageOrientationPatient (0020,0037): expected two perpendicular unit vectors, got 1",
        ),
        (
            {"ImageOrientationPatient": ["1", "0", "0"]},
            Reason.NO_GEOMETRY,
            "ImageOrientationPat",
        ),
        (
            {"PixelSpacing": ["0.7", "-0.5"]},
            Reason.NO_GEOMETRY,
            r"two positive lengths in mm, got",
        ),
        ({"PixelSpacing": ["1e5", "1e5"]}, Reason.NO_GEOMETRY, r"PixelSpacing (0028,0030)"),
        (
            {"RescaleType": "US"},
            Reason.NO_HOUNSFIELD_UNITS,
            "RescaleType (0028,1054): expected HU, got US",
        ),
    ],
)
def test_reasons_to_leave_a_dicom_file_out(
    elements: dict[str, Any], reason: Reason, detail: str, tmp_path: Path
) -> None:
    found, said = skipped(write(tmp_path / "a.dcm", ct_image(0, ORIGIN, **elements)))
    assert found == reason
    assert detail in said


def test_a_frame_in_another_unit_is_found_before_it_is_read(tmp_path: Path) -> None:
    dataset = enhanced_image(along_z(3))
    frame = dataset.PerFrameFunctionalGroupsSequence[2]
    frame.PixelValueTransformationSequence[0].RescaleType = "Z_EFF"
    (series,) = find_series(write(tmp_path / "a.dcm", dataset)).series
    assert [one.frame for one in series.slices] == [0, 1]
    assert [(one.reason, one.frame) for one in series.lost] == [(Reason.NO_HOUNSFIELD_UNITS, 2)]
    assert series.lost[0].detail.endswith("expected HU, got Z_EFF")


def test_a_series_in_another_unit_is_what_it_ought_to_be(tmp_path: Path) -> None:
    dataset = enhanced_image(along_z(3))
    for frame in dataset.PerFrameFunctionalGroupsSequence:
        frame.PixelValueTransformationSequence[0].RescaleType = "Z_EFF"
    found, said = skipped(write(tmp_path / "a.dcm", dataset))
    assert (found, find_series(tmp_path).lost) == (Reason.NO_HOUNSFIELD_UNITS, ())
    assert said.endswith("expected HU, got Z_EFF")


@pytest.mark.parametrize("unit", ["HU", "hu", None])
def test_hounsfield_units_by_any_name(unit: str | None, tmp_path: Path) -> None:
    path = write(tmp_path / "a.dcm", ct_image(0, ORIGIN, RescaleType=unit))
    (one,) = find_series(path).series
    np.testing.assert_array_equal(one.read(0).hounsfield, stored_values(0).astype(float) - 1024)


@pytest.mark.filterwarnings("ignore:Unknown encoding:UserWarning")
@pytest.mark.parametrize(
    "contents",
    [b"", b"\0", b"x" * 131, b"just a text\n" * 50, b"\x08\0\x05\0garbage"],
)
def test_files_that_are_no_dicom(contents: bytes, tmp_path: Path) -> None:
    path = tmp_path / "looks-like.dcm"
    path.write_bytes(contents)
    assert skipped(path)[0] == Reason.NOT_DICOM


def test_directory_of_dicom_files(tmp_path: Path) -> None:
    source = get_testdata_file("dicomdirtests/DICOMDIR", download=False)
    assert skipped(Path(shutil.copy(source, tmp_path)))[0] == Reason.DICOMDIR


def test_file_that_ends_early_is_found_without_reading_its_pixels(tmp_path: Path) -> None:
    (path,) = write_series(tmp_path, [ORIGIN])
    complete = path.read_bytes()
    path.write_bytes(complete[:-10])
    reason, detail = skipped(path)
    assert reason == Reason.DAMAGED
    assert detail == "PixelData (7FE0,0010): expected a complete image, got 86 of 96 bytes"


def test_compressed_file_that_ends_early(tmp_path: Path) -> None:
    dataset = ct_image(0, ORIGIN)
    dataset.compress(RLELossless)
    path = write(tmp_path / "a.dcm", dataset)
    complete = path.read_bytes()
    assert len(find_series(path).series) == 1
    for lost in (1, 8, 9, 40):
        path.write_bytes(complete[:-lost])
        assert skipped(path)[0] == Reason.DAMAGED


@pytest.mark.filterwarnings("ignore:Unknown encoding:UserWarning")
def test_no_end_of_a_file_can_be_lost_unseen(tmp_path: Path) -> None:
    (path,) = write_series(tmp_path, [ORIGIN])
    complete = path.read_bytes()
    for length in range(0, len(complete), 7):
        path.write_bytes(complete[:length])
        series_index = find_series(path)
        assert (len(series_index.series), len(series_index.skipped)) == (0, 1)


def test_data_set_without_preamble_is_read(tmp_path: Path) -> None:
    (path,) = write_series(tmp_path, [ORIGIN])
    whole = path.read_bytes()
    for start in (132, whole.index(b"\x08\0\x05\0CS")):  # with and without file meta information
        path.write_bytes(whole[start:])
        (one,) = find_series(path).series
        with pytest.warns(DicomWarning, match="expected 128 bytes and DICM before the data set"):
            ct = one.read(0)
        np.testing.assert_array_equal(ct.hounsfield, stored_values(0).astype(float) - 1024)


def test_pipe_does_not_stop_the_search(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    reason, detail = skipped(tmp_path)
    assert reason == Reason.UNREADABLE
    assert "expected a file, got a pipe, socket or device" in detail
    with pytest.raises(OSError, match="pipe: expected a file"):
        read_slice(tmp_path / "pipe")
