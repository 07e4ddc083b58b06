"""Derived series: what is new, what is taken over, and what a validator says."""

import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
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
from pydicom.dataset import Dataset
from pydicom.uid import (
    CTImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from tomolearn.dicom import (
    HOUNSFIELD_RANGE,
    Derivation,
    DerivedSeries,
    Series,
    example_slice_path,
    find_series,
    read_slice,
)

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
    series.write(index, series.source.read(index).hounsfield, path, **options)
    return pydicom.dcmread(path)


def one_image(tmp_path: Path, **elements: Any) -> Path:
    return write(tmp_path / "in.dcm", ct_image(0, ORIGIN, **elements))


def test_values_come_back_rounded_to_hounsfield_units(tmp_path: Path) -> None:
    series = derived(one_image(tmp_path))
    rng = np.random.default_rng(3)
    hounsfield = rng.uniform(-1500, 4000, (6, 8)).astype(np.float32)
    assert series.write(0, hounsfield, tmp_path / "out.dcm") == 0
    found = read_slice(tmp_path / "out.dcm")
    np.testing.assert_array_equal(found.hounsfield, np.rint(hounsfield))
    assert not found.padding.any()
    assert "PixelPaddingValue" not in pydicom.dcmread(tmp_path / "out.dcm")


def test_beyond_the_range_values_are_clipped_and_counted(tmp_path: Path) -> None:
    series = derived(one_image(tmp_path))
    low, high = HOUNSFIELD_RANGE
    hounsfield = np.zeros((6, 8))
    hounsfield[0] = [low - 0.4, low - 0.6, low, 1e9, high, high + 0.4, high + 0.6, -1e30]
    assert series.write(0, hounsfield, tmp_path / "out.dcm") == 4
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
    assert series.write(0, hounsfield, tmp_path / "out.dcm", padding=padding) == 45
    found = pydicom.dcmread(tmp_path / "out.dcm")
    assert found.PixelPaddingValue == -32768
    np.testing.assert_array_equal(found.pixel_array == -32768, padding)
    np.testing.assert_array_equal(read_slice(tmp_path / "out.dcm").padding, padding)


@pytest.mark.parametrize(
    ("hounsfield", "padding", "error", "message"),
    [
        (np.zeros((8, 6)), None, ValueError, "hounsfield: expected shape (6, 8), got (8, 6)"),
        (
            [[0.0]],
            None,
            TypeError,
            "hounsfield: expected a numpy.ndarray of real numbers, got list",
        ),
        (np.zeros((6, 8), complex), None, TypeError, "real numbers, got dtype complex128"),
        (
            np.full((6, 8), np.nan),
            None,
            ValueError,
            "hounsfield: expected finite numbers, got 48 others, the first nan at row 0, column 0",
        ),
        (np.zeros((6, 8)), np.zeros((2, 2), bool), ValueError, "padding: expected shape (6, 8)"),
        (
            np.zeros((6, 8)),
            np.zeros((6, 8)),
            TypeError,
            "padding: expected a numpy.ndarray of bool",
        ),
    ],
)
def test_arrays_that_cannot_be_written(
    hounsfield: Any, padding: Any, error: type[Exception], message: str, tmp_path: Path
) -> None:
    series = derived(one_image(tmp_path))
    with pytest.raises(error, match=re.escape(message)):
        series.write(0, hounsfield, tmp_path / "out.dcm", padding=padding)
    assert not (tmp_path / "out.dcm").exists()


def test_same_derivation_gives_the_same_bytes(tmp_path: Path) -> None:
    path = one_image(tmp_path)
    written(derived(path), tmp_path / "a.dcm")
    again = Derivation(**(HOW.to_dict() | {"settings": dict(reversed(HOW.settings.items()))}))
    written(pickle.loads(pickle.dumps(derived(path, again))), tmp_path / "b.dcm")
    assert (tmp_path / "a.dcm").read_bytes() == (tmp_path / "b.dcm").read_bytes()


@pytest.mark.parametrize(
    "change",
    [
        {"settings": {"views": 201}}, {"description": "x"}, {"method": "tv"}, {"kernel": None},
        {"number": 2}, {"version": "9"}, {"series_description": None},
    ],
)  # fmt: skip
def test_any_other_derivation_has_other_identifiers(change: dict[str, Any], tmp_path: Path) -> None:
    source = series_of(one_image(tmp_path))
    one = DerivedSeries(source, HOW)
    other = DerivedSeries(source, Derivation(**(HOW.to_dict() | change)))
    assert one.uid != other.uid
    assert one.sop_instance_uid(0) != other.sop_instance_uid(0)


def test_identifiers_are_valid_and_all_different(tmp_path: Path) -> None:
    write_series(tmp_path, along_z(20))
    series = derived(tmp_path)
    uids = [series.uid, *(series.sop_instance_uid(i) for i in range(len(series)))]
    assert len(set(uids)) == 21
    for uid in uids:
        assert re.fullmatch(r"2\.25\.[1-9]\d{0,38}", uid)
        assert len(uid) <= 64
        assert int(uid[5:]) < 2**128


def test_series_derived_from_another_series_has_other_identifiers(tmp_path: Path) -> None:
    one = derived(write(tmp_path / "a", ct_image(0, ORIGIN)))
    other = derived(write(tmp_path / "b", ct_image(0, ORIGIN, series=f"{SERIES}.8")))
    assert one.uid != other.uid


def test_settings_cannot_be_changed_from_outside(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"views": [1, 2]}
    how = Derivation("x", settings)
    before = DerivedSeries(series_of(one_image(tmp_path)), how).uid
    settings["views"].append(3)
    assert DerivedSeries(series_of(tmp_path / "in.dcm"), how).uid == before


def test_what_is_new(tmp_path: Path) -> None:
    series = derived(one_image(tmp_path))
    found = written(series, tmp_path / "out.dcm")
    assert found.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    assert found.file_meta.MediaStorageSOPInstanceUID == found.SOPInstanceUID
    assert found.SOPClassUID == CTImageStorage
    assert found.SOPInstanceUID == series.sop_instance_uid(0)
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
        "ReferencedStudySequence", "PixelPaddingValue",
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
        FrameOfReferenceUID=None,
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
    assert found.identity.patient_id == "PID-0815"
    np.testing.assert_array_equal(found.volume().hounsfield, series.source.volume().hounsfield)


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [("5 3 9", [5, 3, 9]), ("5 5 9", [1, 2, 3]), ("5 3 99999999999", [1, 2, 3])],
)
@pytest.mark.filterwarnings("ignore:Value exceeds:UserWarning")
def test_numbers_of_images(numbers: str, expected: list[int], tmp_path: Path) -> None:
    for index, (number, position) in enumerate(zip(numbers.split(), along_z(3), strict=True)):
        write(tmp_path / f"{index}", ct_image(index, position, InstanceNumber=number))
    series = derived(tmp_path)
    found = [written(series, tmp_path / f"{i}.out", i).InstanceNumber for i in range(3)]
    assert found == expected


@pytest.mark.parametrize(
    ("number", "expected"), [(None, 1), ("2147483", 2147483001), ("9999999", 1)]
)
def test_number_of_the_series(number: str | None, expected: int, tmp_path: Path) -> None:
    path = one_image(tmp_path, SeriesNumber=number)
    assert written(derived(path), tmp_path / "out.dcm").SeriesNumber == expected


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
    uids = {series.sop_instance_uid(index) for index in range(3)}
    assert len(uids) == 3


def test_lossy_compression_is_not_forgotten(tmp_path: Path) -> None:
    path = one_image(
        tmp_path, LossyImageCompression="01", LossyImageCompressionRatio="12.5",
        LossyImageCompressionMethod="ISO_15444_1",
    )  # fmt: skip
    found = written(derived(path), tmp_path / "out.dcm")
    assert (found.LossyImageCompression, found.LossyImageCompressionRatio) == ("01", 12.5)


def test_lossy_encoding_tells_of_loss_if_the_header_does_not(tmp_path: Path) -> None:
    pytest.importorskip("libjpeg")
    lossy = pydicom.dcmread(str(pydicom.data.get_testdata_file("JPGExtended.dcm", download=False)))
    dataset = ct_image(0, ORIGIN, shape=(1024, 256), BitsStored=12, HighBit=11)
    dataset.PixelRepresentation = 0
    dataset.PixelData = lossy.PixelData
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    dataset.file_meta.TransferSyntaxUID = lossy.file_meta.TransferSyntaxUID
    found = written(derived(write(tmp_path / "in.dcm", dataset)), tmp_path / "out.dcm")
    assert found.LossyImageCompression == "01"
    assert found.LossyImageCompressionMethod == "ISO_10918_1"
    assert 2 < found.LossyImageCompressionRatio < 100
    assert errors_of(tmp_path / "out.dcm") == set()


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


def test_file_appears_complete_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    series = derived(one_image(tmp_path))
    (tmp_path / "out.dcm").write_text("older")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        series.write(0, np.zeros((6, 8)), tmp_path / "out.dcm")
    assert (tmp_path / "out.dcm").read_text() == "older"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.dcm", "out.dcm"]


def test_source_that_changed_or_went_away(tmp_path: Path) -> None:
    path = one_image(tmp_path)
    series = derived(path)
    write(path, ct_image(3, ORIGIN))
    with pytest.raises(ValueError, match=r"in\.dcm: SOPInstanceUID \(0008,0018\): expected"):
        series.write(0, np.zeros((6, 8)), tmp_path / "out.dcm")
    path.write_bytes(b"x" * 500)
    with pytest.raises(ValueError, match=r"in\.dcm: expected a DICOM file"):
        series.write(0, np.zeros((6, 8)), tmp_path / "out.dcm")
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"in\.dcm"):
        series.write(0, np.zeros((6, 8)), tmp_path / "out.dcm")
    with pytest.raises(IndexError):
        series.write(7, np.zeros((6, 8)), tmp_path / "out.dcm")


def test_damaged_elements_cost_only_themselves(tmp_path: Path) -> None:
    path = one_image(tmp_path, SeriesNumber="7777", KVP="8888", ProtocolName="kept")
    damaged = path.read_bytes().replace(b"7777", b"inf ").replace(b"8888", b"1\0x ")
    path.write_bytes(damaged.replace(b"LO\x04\0kept", b"LO\x04\0kept"))
    found = written(derived(path), tmp_path / "out.dcm")
    assert found.SeriesNumber == 1
    assert found.ProtocolName == "kept"


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"description": ""}, ValueError, "description: expected what was done, got an empty text"),
        ({"description": "x" * 1025}, ValueError, "description: expected at most 1024 ASCII char"),
        ({"description": "Größe"}, ValueError, "description: expected at most 1024 ASCII"),
        ({"description": 5}, TypeError, "description: expected a text, got 5 (int)"),
        ({"kernel": "x" * 17}, ValueError, "kernel: expected at most 16 ASCII characters"),
        ({"series_description": "a\\b"}, ValueError, "series_description: expected at most 64"),
        ({"method": "a\nb"}, ValueError, "method: expected at most 64 ASCII"),
        ({"number": 0}, ValueError, "number: expected an integer >= 1, got 0"),
        ({"number": 1000}, ValueError, "number: expected 1 to 999, got 1000"),
        ({"settings": {"a": object()}}, TypeError, "settings: expected what JSON can write"),
        ({"settings": {"a": np.nan}}, ValueError, "settings: expected what JSON can write"),
    ],
)
def test_derivations_that_cannot_be_written(
    arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=re.escape(message)):
        Derivation(**({"description": "x"} | arguments))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("in.dcm", HOW), "source: expected a Series, got str"),
        ((None, HOW), "source: expected a Series, got NoneType"),
    ],
)
def test_arguments_of_other_types(arguments: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        DerivedSeries(*arguments)


def test_other_arguments_of_other_types(tmp_path: Path) -> None:
    source = series_of(one_image(tmp_path))
    with pytest.raises(TypeError, match="derivation: expected a Derivation, got dict"):
        DerivedSeries(source, {})  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="deidentify: expected a Deidentification, got bool"):
        DerivedSeries(source, HOW, deidentify=True)  # type: ignore[arg-type]
