"""Every encoding of pixels, and values that are no Hounsfield units."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from dicom_files import write
from dicom_jpeg import jpeg_lossless
from dicom_series import ct_image, enhanced_image, write_series
from pydicom.data import get_testdata_file
from pydicom.encaps import encapsulate, encapsulate_extended
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEGLossless,
    JPEGLosslessSV1,
    RLELossless,
)

from tomolearn.dicom import DicomWarning, SkipReason, find_series, read_slice

ORIGIN = (0.0, 0.0, 0.0)


def noise(dtype: Any = np.int16, shape: tuple[int, int] = (20, 13)) -> np.ndarray:
    """Return values that use all bits of their type."""
    limits = np.iinfo(dtype)
    rng = np.random.default_rng(7)
    return rng.integers(limits.min, limits.max, shape, dtype, endpoint=True)


def image(stored: np.ndarray, **elements: Any) -> pydicom.Dataset:
    bits = 8 * stored.itemsize
    own = {
        "PixelData": stored.tobytes(),
        "BitsAllocated": bits,
        "BitsStored": bits,
        "HighBit": bits - 1,
        "PixelRepresentation": int(stored.dtype.kind == "i"),
    }
    return ct_image(0, ORIGIN, shape=stored.shape, **(own | elements))


def check(path: Path, stored: np.ndarray) -> None:
    """Check that a file has these stored values, and that the search keeps it."""
    expected = (stored.astype(float) - 1024).astype(np.float32)
    np.testing.assert_array_equal(read_slice(path).hounsfield, expected)
    (one,) = find_series(path).series
    np.testing.assert_array_equal(one.read(0).hounsfield, expected)


@pytest.mark.parametrize(
    ("syntax", "implicit", "little"),
    [
        (ImplicitVRLittleEndian, True, True),
        (ExplicitVRBigEndian, False, False),
        (DeflatedExplicitVRLittleEndian, False, True),
    ],
)
@pytest.mark.parametrize("dtype", [np.int16, np.uint16])
def test_uncompressed_encodings(
    syntax: str, implicit: bool, little: bool, dtype: Any, tmp_path: Path
) -> None:
    stored = noise(dtype)
    dataset = image(stored)
    dataset.file_meta.TransferSyntaxUID = syntax
    if not little:
        dataset.PixelData = stored.byteswap().tobytes()
    path = tmp_path / "a.dcm"
    pydicom.dcmwrite(
        path, dataset, implicit_vr=implicit, little_endian=little, enforce_file_format=True
    )
    check(path, stored)


@pytest.mark.parametrize("dtype", [np.int16, np.uint16, np.uint8])
def test_run_lengths(dtype: Any, tmp_path: Path) -> None:
    stored = noise(dtype)
    dataset = image(stored)
    dataset.compress(RLELossless)
    check(write(tmp_path / "a.dcm", dataset), stored)


@pytest.mark.parametrize(("syntax", "predictor"), [(JPEGLosslessSV1, 1), (JPEGLossless, 2)])
@pytest.mark.parametrize("dtype", [np.int16, np.uint16])
def test_lossless_jpeg(syntax: str, predictor: int, dtype: Any, tmp_path: Path) -> None:
    pytest.importorskip("libjpeg")
    stored = noise(dtype)
    dataset = image(stored)
    dataset.PixelData = encapsulate([jpeg_lossless(stored.view(np.uint16), predictor=predictor)])
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    dataset.file_meta.TransferSyntaxUID = syntax
    check(write(tmp_path / "a.dcm", dataset), stored)


@pytest.mark.parametrize(
    ("name", "package"),
    [
        ("MR_small_RLE.dcm", "pydicom"),
        ("MR_small_jpeg_ls_lossless.dcm", "libjpeg"),
        ("MR_small_jp2klossless.dcm", "openjpeg"),
        ("MR_small_bigendian.dcm", "pydicom"),
        ("MR_small_implicit.dcm", "pydicom"),
    ],
)
def test_one_image_in_many_encodings_of_others(name: str, package: str, tmp_path: Path) -> None:
    pytest.importorskip(package)
    original = pydicom.dcmread(str(get_testdata_file("MR_small.dcm", download=False)))
    stored = np.frombuffer(original.PixelData, "<i2").reshape(64, 64)
    dataset = pydicom.dcmread(str(get_testdata_file(name, download=False)))
    dataset.SOPClassUID = ct_image(0, ORIGIN).SOPClassUID
    dataset.RescaleSlope, dataset.RescaleIntercept = "1", "-1024"
    if "PixelPaddingValue" in dataset:
        del dataset.PixelPaddingValue
    path = tmp_path / "a.dcm"
    dataset.save_as(path)
    check(path, stored)


@pytest.mark.parametrize("extended", [False, True])
def test_frames_of_a_compressed_enhanced_file(extended: bool, tmp_path: Path) -> None:
    dataset = enhanced_image([(0, 0, z) for z in range(4)])
    frames = dataset.pixel_array
    encoder = pydicom.pixels.get_encoder(RLELossless)
    encoded = [
        encoder.encode(
            frame, rows=6, columns=8, samples_per_pixel=1, number_of_frames=1, bits_allocated=16,
            bits_stored=16, pixel_representation=1, photometric_interpretation="MONOCHROME2",
        )
        for frame in frames
    ]  # fmt: skip
    if extended:
        dataset.PixelData, table, lengths = encapsulate_extended(encoded)
        dataset.ExtendedOffsetTable, dataset.ExtendedOffsetTableLengths = table, lengths
    else:
        dataset.PixelData = encapsulate(encoded, has_bot=False)
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    dataset.file_meta.TransferSyntaxUID = RLELossless
    (one,) = find_series(write(tmp_path / "e.dcm", dataset)).series
    for index in range(4):
        np.testing.assert_array_equal(one.read(index).hounsfield, frames[index] - 1024.0)


def test_missing_decoder_names_encoding_and_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Absent:
        is_available = False

    dataset = image(noise())
    dataset.compress(RLELossless)
    path = write(tmp_path / "a.dcm", dataset)
    monkeypatch.setattr("tomolearn.dicom.pixels.get_decoder", lambda uid: Absent())
    message = (
        f"{path}: TransferSyntaxUID (0002,0010): expected an encoding for which a decoder is "
        "installed (remedy: pip install 'tomolearn[dicom]'), got RLE Lossless"
    )
    with pytest.raises(ValueError, match=re.escape(message)):
        read_slice(path)


@pytest.mark.parametrize("compressed", [True, False])
def test_encoding_that_nobody_knows(compressed: bool, tmp_path: Path) -> None:
    """It is named before its pixels are looked at, be they in fragments or plain."""
    dataset = image(noise())
    if compressed:
        dataset.compress(RLELossless)
    path = write(tmp_path / "a.dcm", dataset)
    known = str(dataset.file_meta.TransferSyntaxUID).encode()
    unknown = b"1.2.3.4.5.6.7.8.9.0.1"[: len(known)]
    path.write_bytes(path.read_bytes().replace(known, unknown))
    message = "TransferSyntaxUID (0002,0010): expected an encoding that pydicom knows, got 1.2.3."
    with pytest.raises(ValueError, match=re.escape(f"{path}: {message}")):
        read_slice(path)
    (skipped,) = find_series(path).lost
    assert skipped.reason == SkipReason.UNREADABLE
    assert skipped.detail.startswith(message)


def test_damage_of_compressed_pixels(tmp_path: Path) -> None:
    dataset = image(noise())
    dataset.compress(RLELossless)
    path = write(tmp_path / "a.dcm", dataset)
    contents = bytearray(path.read_bytes())
    header = contents.index(b"\x02\0\0\0\x40\0\0\0")  # of the run lengths: two segments, at 64 ...
    contents[header : header + 4] = b"\x0f\0\0\0"
    path.write_bytes(contents)
    with pytest.raises(ValueError, match=r"PixelData \(7FE0,0010\): expected a complete image"):
        read_slice(path)


def test_encapsulated_pixels_in_a_file_that_says_otherwise(tmp_path: Path) -> None:
    dataset = image(noise())
    dataset.compress(RLELossless)
    path = write(tmp_path / "a.dcm", dataset)
    plain = write(tmp_path / "b.dcm", image(noise()))
    rle, native = b"1.2.840.10008.1.2.5\0", b"1.2.840.10008.1.2.1\0"
    path.write_bytes(path.read_bytes().replace(rle, native))
    plain.write_bytes(plain.read_bytes().replace(native, rle))
    with pytest.raises(ValueError, match=r"PixelData \(7FE0,0010\): expected a complete image"):
        read_slice(path)
    with pytest.raises(ValueError, match="expected fragments of RLE Lossless, got 520 plain bytes"):
        read_slice(plain)


@pytest.mark.parametrize("legal", ["MONOCHROME1", "MONOCHROME2"])
def test_polarity_of_display_changes_no_value(legal: str, tmp_path: Path) -> None:
    stored = noise()
    check(write(tmp_path / "a.dcm", image(stored, PhotometricInterpretation=legal)), stored)


def test_twelve_bits_with_an_overlay_in_the_four_above(tmp_path: Path) -> None:
    stored = noise(np.uint16)
    dataset = image(stored, BitsStored=12, HighBit=11)
    dataset.add_new(0x60000100, "US", 16)
    path = write(tmp_path / "a.dcm", dataset)
    dataset = pydicom.dcmread(path)
    assert (dataset.BitsStored, dataset.HighBit) == (12, 11)
    np.testing.assert_array_equal(read_slice(path).hounsfield, (stored & 0x0FFF) - 1024.0)


@pytest.mark.parametrize(
    ("elements", "message"),
    [
        ({"RescaleSlope": "1e30"}, "RescaleSlope (0028,1053): expected 0.001 to 100 HU, got 1e+30"),
        ({"RescaleSlope": "-1"}, "RescaleSlope (0028,1053): expected 0.001 to 100 HU, got -1"),
        ({"RescaleSlope": "1e-9"}, "RescaleSlope (0028,1053): expected 0.001 to 100 HU, got 1e-09"),
        ({"RescaleIntercept": "-1e9"}, "RescaleIntercept (0028,1052): expected at most 65536 HU"),
        (
            {"RescaleSlope": "50"},
            "RescaleSlope (0028,1053): expected Hounsfield units from -65536 to 65536, got -1.63",
        ),
    ],
)
def test_values_that_are_no_hounsfield_units(
    elements: dict[str, Any], message: str, tmp_path: Path
) -> None:
    path = write(tmp_path / "a.dcm", image(noise(), **elements))
    with pytest.raises(ValueError, match=re.escape(f"{path}: {message}")):
        read_slice(path)


@pytest.mark.parametrize(
    "written", [b"nan ", b"inf ", b"1_0 ", b"abc ", b"1\\2 ", b"0x10", b"--1 "]
)
def test_text_that_is_no_number(written: bytes, tmp_path: Path) -> None:
    path = write(tmp_path / "a.dcm", image(noise(), RescaleSlope="7777"))
    path.write_bytes(path.read_bytes().replace(b"7777", written))
    with pytest.raises(ValueError, match=r"a\.dcm: RescaleSlope \(0028,1053\): expected"):
        read_slice(path)


def test_padding_beyond_all_hounsfield_units_is_no_error(tmp_path: Path) -> None:
    stored = np.array([[-32768, 0], [24, 1024]], np.int16)
    dataset = image(stored, RescaleSlope="2", RescaleIntercept="-20000")
    dataset.add_new("PixelPaddingValue", "SS", -32768)
    ct = read_slice(write(tmp_path / "a.dcm", dataset))
    np.testing.assert_array_equal(ct.padding, [[True, False], [False, False]])
    assert ct.hounsfield[0, 0] == -1000


def test_numbers_written_in_another_type_are_read(tmp_path: Path) -> None:
    dataset = image(noise())
    dataset["Rows"].VR = dataset["Columns"].VR = "UL"
    dataset.add_new("PixelSpacing", "FD", [0.75, 0.5])
    dataset.add_new("RescaleIntercept", "FL", -1024.0)
    path = write(tmp_path / "a.dcm", dataset)
    check(path, noise())
    assert read_slice(path).spacing == (0.75, 0.5)


def test_more_pixels_than_needed_are_a_warning_or_an_error(tmp_path: Path) -> None:
    stored = noise()
    dataset = image(stored)
    dataset.PixelData += bytes(64)
    path = write(tmp_path / "a.dcm", dataset)
    message = re.escape(f"{path}: PixelData (7FE0,0010): expected 520 bytes, got 584")
    with pytest.warns(DicomWarning, match=message):
        ct = read_slice(path)
    np.testing.assert_array_equal(ct.hounsfield, stored - 1024.0)
    assert ct.deviations == ("PixelData (7FE0,0010): expected 520 bytes, got 584",)
    with pytest.raises(ValueError, match=message):
        read_slice(path, strict=True)
    (one,) = find_series(path).series
    with pytest.warns(DicomWarning, match=message):
        one.read(0)
    with pytest.raises(ValueError, match=message):
        one.read(0, strict=True)
    with pytest.raises(ValueError, match=message):
        one.volume(strict=True)


def test_number_of_an_image_that_is_none_is_a_deviation(tmp_path: Path) -> None:
    path = write(tmp_path / "a.dcm", image(noise(), InstanceNumber="7777"))
    path.write_bytes(path.read_bytes().replace(b"7777", b"7a7 "))
    with pytest.warns(DicomWarning, match=r"InstanceNumber \(0020,0013\): expected an integer"):
        assert read_slice(path).instance_number is None


def test_which_frame(tmp_path: Path) -> None:
    enhanced = write(tmp_path / "e.dcm", enhanced_image([(0, 0, 0), (0, 0, 1)]))
    with pytest.raises(ValueError, match="expected one frame, got 2"):
        read_slice(enhanced)
    assert read_slice(enhanced, frame=1).frame == 1
    (classic,) = write_series(tmp_path, [ORIGIN])
    assert read_slice(classic, frame=0).frame is None
    for frame in (-1, 1):
        with pytest.raises(ValueError, match=f"frame: expected 0 to 0, got {frame}"):
            read_slice(classic, frame=frame)


@pytest.mark.parametrize("limit", [None, 1], ids=["value", "range"])
@pytest.mark.parametrize(("dtype", "padding"), [(np.uint16, 63536), (np.int16, -3024)])
@pytest.mark.parametrize("big", [False, True], ids=["little", "big"])
def test_padding_may_have_bits_that_are_not_stored(
    dtype: Any, padding: int, limit: int | None, big: bool, tmp_path: Path
) -> None:
    """Decoders cut them off: what is outside of the field of view would become bone."""
    stored = np.array([[padding, 100, 2047], [0, 7, padding]], dtype)
    dataset = image(stored, BitsStored=12, HighBit=11)
    vr = "US" if stored.dtype.kind == "u" else "SS"
    dataset.add_new("PixelPaddingValue", vr, padding)
    if limit is not None:
        dataset.add_new("PixelPaddingRangeLimit", vr, padding + limit)
    path = write(tmp_path / "a.dcm", dataset)
    if big:
        dataset.PixelData = stored.byteswap().tobytes()
        dataset.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
        pydicom.dcmwrite(
            path, dataset, implicit_vr=False, little_endian=False, enforce_file_format=True
        )
    ct = read_slice(path)
    np.testing.assert_array_equal(ct.padding, stored == padding)
    np.testing.assert_array_equal(
        ct.hounsfield, np.where(stored == padding, -1000, stored.astype(float) - 1024)
    )


def test_values_of_more_bits_than_are_stored_are_told(tmp_path: Path) -> None:
    stored = np.array([[5000, 100], [4095, 0]], np.uint16)
    path = write(tmp_path / "a.dcm", image(stored, BitsStored=12, HighBit=11))
    with pytest.warns(DicomWarning, match=r"BitsStored \(0028,0101\): expected values of 12 bits"):
        read_slice(path)
    # the sign of negative values is no deviation
    signed = np.array([[-5, 100], [-2048, 2047]], np.int16)
    ct = read_slice(write(tmp_path / "c.dcm", image(signed, BitsStored=12, HighBit=11)))
    np.testing.assert_array_equal(ct.hounsfield, signed - 1024.0)


@pytest.mark.parametrize(("longer", "readable"), [(0, True), (1, True), (10, False)])
def test_a_run_length_code_that_gives_more_than_the_image_is_damaged(
    tmp_path: Path, longer: int, readable: bool
) -> None:
    dataset = image(np.full((20, 13), 100, np.int16))
    dataset.compress(RLELossless)
    content = bytearray(dataset.PixelData)
    # basic offset table, item, header of 64 bytes: then the first run, of 13 equal bytes
    first = content.index(b"\x02\x00\x00\x00", 8) + 64
    assert content[first] == 257 - 13
    content[first] -= longer
    dataset.PixelData = bytes(content)
    (one,) = find_series(write(tmp_path / "a.dcm", dataset)).series
    if readable:
        assert one.read(0).hounsfield.shape == (20, 13)
    else:
        with pytest.raises(
            ValueError, match="a complete image, got a segment of 270 bytes for 260"
        ):
            one.read(0)
