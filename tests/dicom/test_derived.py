"""Files of derived series: what is new, what is taken over, and what a validator says."""

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from derived_series import HOW, ORIGIN, derived, one_image, series_of, written
from dicom_files import write
from dicom_series import (
    SERIES,
    along_z,
    code,
    ct_image,
    enhanced_image,
    item,
    tilted,
    write_series,
)
from dicom_validation import errors_of
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    CTImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from tomolearn.dicom import (
    HOUNSFIELD_RANGE,
    Derivation,
    example_slice_path,
    read_slice,
)


def test_values_come_back_rounded_to_hounsfield_units(tmp_path: Path) -> None:
    series = derived(one_image(tmp_path))
    rng = np.random.default_rng(3)
    hounsfield = rng.uniform(-1500, 4000, (6, 8)).astype(np.float32)
    assert series[0].write(hounsfield, tmp_path / "out.dcm") == 0
    found = read_slice(tmp_path / "out.dcm")
    np.testing.assert_array_equal(found.hounsfield, np.rint(hounsfield))
    assert not found.padding.any()
    assert "PixelPaddingValue" not in pydicom.dcmread(tmp_path / "out.dcm")


def test_beyond_the_range_values_are_clipped_and_counted(tmp_path: Path) -> None:
    series = derived(one_image(tmp_path))
    low, high = HOUNSFIELD_RANGE
    hounsfield = np.zeros((6, 8))
    hounsfield[0] = [low - 0.4, low - 0.6, low, 1e9, high, high + 0.4, high + 0.6, -1e30]
    assert series[0].write(hounsfield, tmp_path / "out.dcm") == 4
    found = pydicom.dcmread(tmp_path / "out.dcm")
    values = found.pixel_array[0].astype(float) - 1024
    np.testing.assert_array_equal(values, [low, low, low, high, high, high, high, low])
    # the lowest value of the type is left to the padding
    assert low == -32767 - 1024


def test_padding_is_padding_whatever_is_there(tmp_path: Path) -> None:
    series = derived(one_image(tmp_path))
    hounsfield = np.full((6, 8), -40000.0)
    padding = np.zeros((6, 8), dtype=bool)
    hounsfield[1, 2:5] = np.nan, np.inf, 12
    padding[1, 2:5] = True
    assert series[0].write(hounsfield, tmp_path / "out.dcm", padding=padding) == 45
    found = pydicom.dcmread(tmp_path / "out.dcm")
    assert found.PixelPaddingValue == -32768
    np.testing.assert_array_equal(found.pixel_array == -32768, padding)
    np.testing.assert_array_equal(read_slice(tmp_path / "out.dcm").padding, padding)


def test_what_is_new(tmp_path: Path) -> None:
    series = derived(one_image(tmp_path))
    found = written(series, tmp_path / "out.dcm")
    assert found.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    assert found.file_meta.MediaStorageSOPInstanceUID == found.SOPInstanceUID
    assert found.SOPClassUID == CTImageStorage
    assert found.SOPInstanceUID == series[0].sop_instance_uid
    assert found.SeriesInstanceUID == series.uid
    assert list(found.ImageType) == ["DERIVED", "SECONDARY", "AXIAL"]
    assert found.DerivationDescription == HOW.description
    assert (found.SeriesNumber, found.InstanceNumber) == (4001, 1)
    assert (found.SeriesDescription, found.ConvolutionKernel) == ("FBP 200 views", "HANN")
    assert (found.RescaleSlope, found.RescaleIntercept, found.RescaleType) == (1, -1024, "HU")
    assert (found.BitsAllocated, found.BitsStored, found.HighBit) == (16, 16, 15)
    assert found.PixelRepresentation == 1
    (source,) = found.SourceImageSequence
    assert source.ReferencedSOPClassUID == CTImageStorage
    assert source.ReferencedSOPInstanceUID == f"{SERIES}.1"
    assert source.PurposeOfReferenceCodeSequence[0].CodeValue == "121322"
    (equipment,) = found.ContributingEquipmentSequence
    assert (equipment.Manufacturer, equipment.ManufacturerModelName) == ("tomolearn", "fbp")
    assert equipment.SoftwareVersions == HOW.version
    assert equipment.PurposeOfReferenceCodeSequence[0].CodeValue == "109102"


def test_what_is_taken_over_byte_by_byte(tmp_path: Path) -> None:
    path = one_image(
        tmp_path,
        ImagePositionPatient=["-150.10", "+2.50E+01", "1.0"],
        ProtocolName="Thörax",
        ContrastBolusAgent="Ultravist 370",
        ReferencedImageSequence=[
            item(ReferencedSOPClassUID=CTImageStorage, ReferencedSOPInstanceUID="1.2.3")
        ],
        AnatomicRegionSequence=[code("51185008", "SCT", "Thorax, ganz")],
    )
    source, found = pydicom.dcmread(path), written(derived(path), tmp_path / "out.dcm")
    new = {
        "SOPInstanceUID", "SeriesInstanceUID", "SeriesNumber", "ImageType", "SeriesDescription",
        "ConvolutionKernel",
    }  # fmt: skip
    for element in source:
        if element.keyword not in new:
            assert found[element.tag] == element, element.keyword
    raw = (tmp_path / "out.dcm").read_bytes()
    for text in ("-150.10\\+2.50E+01\\1.0", "Müller^Grete", "Thörax", "Spital Grünwald"):
        assert text.encode() in raw


def test_what_is_not_taken_over(tmp_path: Path) -> None:
    dataset = ct_image(
        0,
        ORIGIN,
        InstanceCreationDate="20240102",
        SmallestImagePixelValue=3,
        ModalityLUTSequence=[item(LUTExplanation="old")],
        DerivationDescription="old",
        SourceImageSequence=[item(ReferencedSOPInstanceUID="1.2.3")],
        IconImageSequence=[item(Rows=1)],
        ReferencedStudySequence=[item(ReferencedSOPClassUID="1.2.3")],
        ContributingEquipmentSequence=[
            item(
                Manufacturer="somebody",
                PurposeOfReferenceCodeSequence=[code("109101", "DCM", "Acquisition Equipment")],
            )
        ],
    )
    dataset.add_new("PixelPaddingValue", "SS", -2000)
    dataset.add_new("PixelPaddingRangeLimit", "SS", -1990)
    dataset.add_new(0x60000010, "US", 6)
    dataset.add_new(0x50000005, "US", 1)
    block = dataset.private_block(0x0029, "ACME RAW", create=True)
    block.add_new(1, "LO", "secret")
    dataset.ContributingEquipmentSequence[0].private_block(0x29, "ACME", create=True).add_new(
        1, "LO", "secret"
    )
    found = written(derived(write(tmp_path / "in.dcm", dataset)), tmp_path / "out.dcm")
    for keyword in (
        "InstanceCreationDate", "SmallestImagePixelValue", "IconImageSequence",
        "ReferencedStudySequence", "PixelPaddingValue", "PixelPaddingRangeLimit",
        "ModalityLUTSequence",
    ):  # fmt: skip
        assert keyword not in found
    assert not [one.tag for one in found if one.tag.is_private or one.tag.group in (0x5000, 0x6000)]
    assert found.DerivationDescription == HOW.description
    assert found.SourceImageSequence[0].ReferencedSOPInstanceUID == f"{SERIES}.1"
    # who contributed before is still there
    assert [one.Manufacturer for one in found.ContributingEquipmentSequence] == [
        "somebody",
        "tomolearn",
    ]
    assert b"secret" not in (tmp_path / "out.dcm").read_bytes()
    assert errors_of(tmp_path / "out.dcm") == set()


def test_texts_may_be_left_to_the_source(tmp_path: Path) -> None:
    path = one_image(tmp_path)
    found = written(derived(path, Derivation("Denoised.")), tmp_path / "out.dcm")
    assert (found.SeriesDescription, found.ConvolutionKernel) == ("Thorax 5 mm weich", "B30f")


@pytest.mark.parametrize(
    ("syntax", "implicit", "little"),
    [(ImplicitVRLittleEndian, True, True), (ExplicitVRBigEndian, False, False)],
)
def test_source_in_another_encoding_gives_the_same_file(
    syntax: str, implicit: bool, little: bool, tmp_path: Path
) -> None:
    dataset = ct_image(
        0, ORIGIN, RevolutionTime=0.5, DataCollectionCenterPatient=[1.0, 2.0, 3.0],
        AnatomicRegionSequence=[code("51185008", "SCT", "Thorax")],
    )  # fmt: skip
    dataset.add_new("SelectorUSValue", "US", [1, 2, 3])
    dataset.add_new("FrameIncrementPointer", "AT", [0x00181063])
    dataset.add_new("SelectorATValue", "AT", [0x00181063, 0x00280010])
    written(derived(write(tmp_path / "in.dcm", dataset)), tmp_path / "a.dcm")
    if not little:
        dataset.PixelData = np.frombuffer(dataset.PixelData, "<i2").byteswap().tobytes()
    dataset.file_meta.TransferSyntaxUID = syntax
    pydicom.dcmwrite(
        tmp_path / "in.dcm", dataset, implicit_vr=implicit, little_endian=little,
        enforce_file_format=True,
    )  # fmt: skip
    found = written(derived(tmp_path / "in.dcm"), tmp_path / "b.dcm")
    assert found.SelectorUSValue == [1, 2, 3]
    assert found.SelectorATValue == [0x00181063, 0x00280010]
    assert found.DataCollectionCenterPatient == [1.0, 2.0, 3.0]
    assert (tmp_path / "a.dcm").read_bytes() == (tmp_path / "b.dcm").read_bytes()


def test_elements_that_the_source_lacks_are_there_and_empty(tmp_path: Path) -> None:
    path = one_image(
        tmp_path, PatientBirthDate=None, PatientSex=None, KVP=None, StudyID=None,
        AcquisitionNumber=None, PositionReferenceIndicator=None, StudyInstanceUID=None,
        FrameOfReferenceUID=None, PatientPosition=None,
    )  # fmt: skip
    assert errors_of(path)
    found = written(derived(path), tmp_path / "out.dcm")
    assert found["PatientSex"].is_empty
    # made from the series, so that all its slices have the same
    assert found.StudyInstanceUID.startswith("2.25.")
    assert found.FrameOfReferenceUID.startswith("2.25.")
    assert errors_of(tmp_path / "out.dcm") == set()


def test_geometry_is_that_of_the_source(tmp_path: Path) -> None:
    write_series(tmp_path / "in", along_z(5), orientation=tilted(12.5), GantryDetectorTilt="12.5")
    series = derived(tmp_path / "in")
    (tmp_path / "out").mkdir()
    for index in range(5):
        written(series, tmp_path / "out" / f"{index}.dcm", index)
    found = series_of(tmp_path / "out")
    assert found.uid == series.uid
    np.testing.assert_array_equal(found.affine, series.source.affine)
    assert found.findings == series.source.findings
    assert found.patient_id == "PID-0815"
    np.testing.assert_array_equal(found.volume().hounsfield, series.source.volume().hounsfield)


@pytest.mark.parametrize("legacy", [False, True])
def test_frame_of_an_enhanced_image_becomes_a_classic_image(legacy: bool, tmp_path: Path) -> None:
    path = write(tmp_path / "e.dcm", enhanced_image(along_z(3), tilted(10), legacy=legacy))
    series = derived(path, Derivation("Denoised."))
    found = written(series, tmp_path / "out.dcm", 2)
    assert errors_of(tmp_path / "out.dcm") == set()
    assert list(found.ImagePositionPatient) == [-150, -140, -90]
    np.testing.assert_allclose(found.ImageOrientationPatient, tilted(10), atol=1e-9)
    assert (list(found.PixelSpacing), found.SliceThickness) == ([0.7, 0.5], 5)
    assert (found.KVP, found.WindowCenter, found.WindowWidth) == (120, 40, 400)
    assert list(found.ImageType) == ["DERIVED", "SECONDARY", "AXIAL"]
    assert found.InstanceNumber == 3
    (source,) = found.SourceImageSequence
    assert (source.ReferencedSOPInstanceUID, source.ReferencedFrameNumber) == (f"{SERIES}.77", 3)
    assert found.PatientName == "Müller^Grete"
    assert not [x for x in found if "FunctionalGroups" in x.keyword or "Dimension" in x.keyword]
    if not legacy:
        assert (found.ConvolutionKernel, found.GantryDetectorTilt) == ("B30f", 0)
        assert (found.XRayTubeCurrent, found.ExposureTime, found.Exposure) == (200, 500, 100)
        assert (found.AcquisitionDate, found.AcquisitionTime) == ("20240102", "101113.25")
        assert (found.AcquisitionNumber, found.CTDIvol) == (3, 7.25)
        assert found.AnatomicRegionSequence[0].CodeMeaning == "Chest"
    uids = {one.sop_instance_uid for one in series}
    assert len(uids) == 3


def test_lossy_compression_is_not_forgotten(tmp_path: Path) -> None:
    path = one_image(
        tmp_path, LossyImageCompression="01", LossyImageCompressionRatio="12.5",
        LossyImageCompressionMethod="ISO_15444_1",
    )  # fmt: skip
    found = written(derived(path), tmp_path / "out.dcm")
    assert (found.LossyImageCompression, found.LossyImageCompressionRatio) == ("01", 12.5)


def encoded_as(name: str, tmp_path: Path, **elements: Any) -> Path:
    """Return a CT file with the pixels of one of pydicom's, that says nothing of a loss."""
    lossy = pydicom.dcmread(str(pydicom.data.get_testdata_file(name, download=False)))
    bits = {key: lossy[key].value for key in ("BitsAllocated", "BitsStored", "HighBit")}
    dataset = ct_image(0, ORIGIN, shape=(lossy.Rows, lossy.Columns), **(bits | elements))
    dataset.PixelRepresentation = lossy.PixelRepresentation
    dataset.PixelData = lossy.PixelData
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    dataset.file_meta.TransferSyntaxUID = lossy.file_meta.TransferSyntaxUID
    return write(tmp_path / "in.dcm", dataset)


@pytest.mark.parametrize(
    ("name", "method", "decoder"),
    [
        ("JPGExtended.dcm", "ISO_10918_1", "libjpeg"),
        ("JPEGLSNearLossless_08.dcm", "ISO_14495_1", "libjpeg"),
        ("JPEG2000.dcm", "ISO_15444_1", "openjpeg"),
        ("MR_small_jp2klossless.dcm", None, "openjpeg"),
    ],
)
def test_lossy_encoding_tells_of_loss_if_the_header_does_not(
    name: str, method: str | None, decoder: str, tmp_path: Path
) -> None:
    pytest.importorskip(decoder)
    found = written(derived(encoded_as(name, tmp_path)), tmp_path / "out.dcm")
    assert found.get("LossyImageCompressionMethod") == method
    if method is not None:
        assert found.LossyImageCompression == "01"
        assert found.LossyImageCompressionRatio > 1
    assert errors_of(tmp_path / "out.dcm") == set()


def test_reversible_wavelets_in_an_encoding_that_may_lose_have_lost_nothing(
    tmp_path: Path,
) -> None:
    pytest.importorskip("openjpeg")
    path = encoded_as("MR_small_jp2klossless.dcm", tmp_path)
    dataset = pydicom.dcmread(path)
    dataset.file_meta.TransferSyntaxUID = JPEG2000
    dataset.save_as(path)
    assert "LossyImageCompression" not in written(derived(path), tmp_path / "out.dcm")


def test_loss_of_high_throughput_wavelets_has_its_own_standard(tmp_path: Path) -> None:
    path = encoded_as("JPEG2000.dcm", tmp_path)
    dataset = pydicom.dcmread(path)
    dataset.file_meta.TransferSyntaxUID = HTJ2K  # of the same form, up to the coding of blocks
    dataset.save_as(path)
    derived(path)[0].write(np.zeros((dataset.Rows, dataset.Columns)), tmp_path / "out.dcm")
    assert pydicom.dcmread(tmp_path / "out.dcm").LossyImageCompressionMethod == "ISO_15444_15"


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("AXIAL", "AXIAL"), ("HELIX_1", "HELIX_1"), ("axial", "AXIAL"), ("", "AXIAL")],
)
def test_the_plane_is_that_of_the_source_if_it_is_valid(
    kind: str, expected: str, tmp_path: Path
) -> None:
    path = one_image(tmp_path, ImageType=["ORIGINAL", "PRIMARY", "UNKNOWN"])
    path.write_bytes(path.read_bytes().replace(b"UNKNOWN", kind.encode().ljust(7)))
    assert written(derived(path), tmp_path / "out.dcm").ImageType[2] == expected


def test_valid_in_valid_out(tmp_path: Path) -> None:
    path = one_image(tmp_path)
    assert errors_of(path) == set()
    written(derived(path), tmp_path / "out.dcm", padding=np.eye(6, 8, dtype=bool))
    assert errors_of(tmp_path / "out.dcm") == set()


def test_validator_finds_what_is_wrong(tmp_path: Path) -> None:
    errors = errors_of(one_image(tmp_path, PatientSex=None, RescaleType="XX"))
    assert any("PatientSex" in error for error in errors)


def test_example_of_pydicom_gets_no_new_errors(tmp_path: Path) -> None:
    written(derived(example_slice_path()), tmp_path / "out.dcm")
    assert errors_of(tmp_path / "out.dcm") <= errors_of(example_slice_path())


@pytest.mark.parametrize("folder", ["chest-1", "head-ge"])
def test_real_series_get_no_new_errors(folder: str, real_data: Path, tmp_path: Path) -> None:
    series = derived(real_data / folder)
    for index in (0, len(series) // 2):
        written(series, tmp_path / "out.dcm", index)
        source = series.source.slices[index].path
        assert errors_of(tmp_path / "out.dcm") <= errors_of(source)
        np.testing.assert_array_equal(
            read_slice(tmp_path / "out.dcm").hounsfield, read_slice(source).hounsfield
        )


def test_damaged_elements_cost_only_themselves(tmp_path: Path) -> None:
    path = one_image(tmp_path, SeriesNumber="7777", KVP="8888", ProtocolName="kept")
    damaged = path.read_bytes().replace(b"7777", b"inf ").replace(b"8888", b"1\0x ")
    path.write_bytes(damaged.replace(b"LO\x04\0kept", b"LO\x04\0kept"))
    found = written(derived(path), tmp_path / "out.dcm")
    assert found.SeriesNumber == 1
    assert found.ProtocolName == "kept"
