"""Single elements of damaged files, and files that are opened with care."""

import errno
import re
import struct
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from dicom_files import write
from dicom_series import along_z, ct_image, enhanced_image
from pydicom.dataset import Dataset

from tomolearn.dicom import SkipReason, find_series, read_slice
from tomolearn.dicom.elements import (
    integer,
    message,
    number,
    numbers,
    reraise_io,
    sequence_items,
    text,
    texts,
)
from tomolearn.dicom.opening import opened
from tomolearn.dicom.uids import derived_uid, keyed_uid

ORIGIN = (0.0, 0.0, 0.0)


def read(path: Path) -> Dataset:
    return pydicom.dcmread(path)


def test_values_of_elements_of_a_file(tmp_path: Path) -> None:
    dataset = read(write(tmp_path / "a", ct_image(0, ORIGIN, StudyTime="", ImageComments="   ")))
    assert numbers(dataset, "PixelSpacing") == (0.7, 0.5)
    assert number(dataset, "KVP") == 120
    assert integer(dataset, "Rows") == 6
    assert texts(dataset, "ImageType") == ("ORIGINAL", "PRIMARY", "AXIAL")
    assert text(dataset, "InstitutionName") == "Spital Grünwald"
    # absent, empty and blank are all nothing
    for keyword in ("ProtocolName", "StudyTime", "ImageComments"):
        assert text(dataset, keyword) == ""
    assert numbers(dataset, "Exposure") is None
    assert sequence_items(dataset, "SourceImageSequence") == ()


def test_values_of_elements_in_memory() -> None:
    dataset = ct_image(0, ORIGIN, StudyTime="")
    assert numbers(dataset, "PixelSpacing") == (0.7, 0.5)
    assert texts(dataset, "ImageType") == ("ORIGINAL", "PRIMARY", "AXIAL")
    assert text(dataset, "StudyTime") == ""
    assert integer(dataset, "InstanceNumber") == 1
    with pytest.raises(ValueError, match=r"PatientID \(0010,0020\): expected numbers, got PID-081"):
        numbers(dataset, "PatientID")


@pytest.mark.parametrize(("charset", "codec"), [("ISO_IR 100", "latin-1"), ("ISO_IR 192", "utf-8")])
def test_texts_in_their_character_set(charset: str, codec: str, tmp_path: Path) -> None:
    dataset = ct_image(0, ORIGIN, SpecificCharacterSet=charset, PatientID="PLACE-HOLDER")
    path = write(tmp_path / "a", dataset)
    encoded = "Größe-42".encode(codec).ljust(12)
    path.write_bytes(path.read_bytes().replace(b"PLACE-HOLDER", encoded))
    assert text(read(path), "PatientID") == "Größe-42"
    assert find_series(path).series[0].patient_id == "Größe-42"


def test_japanese(tmp_path: Path) -> None:
    dataset = ct_image(0, ORIGIN, PatientID="x")
    dataset.SpecificCharacterSet = ["", "ISO 2022 IR 87"]
    dataset.SeriesDescription = "山田^太郎"
    assert text(read(write(tmp_path / "a", dataset)), "SeriesDescription") == "山田^太郎"


def test_blank_bytes_of_a_number_are_a_number(tmp_path: Path) -> None:
    dataset = ct_image(0, ORIGIN)
    dataset.add_new("PixelPaddingValue", "SS", 0x2020)
    assert integer(read(write(tmp_path / "a", dataset)), "PixelPaddingValue") == 0x2020


def test_number_that_ends_in_the_middle(tmp_path: Path) -> None:
    path = write(tmp_path / "a", ct_image(0, ORIGIN))
    contents = path.read_bytes()
    place = contents.index(b"\x28\0\x10\0US")
    # two rows of bytes are needed for 16 bits, three are there
    spoiled = contents[: place + 6] + struct.pack("<H", 3) + b"\6\0\0" + contents[place + 10 :]
    path.write_bytes(spoiled)
    with pytest.raises(
        ValueError, match=r"a: Rows \(0028,0010\): expected an integer, got 3 bytes"
    ):
        read_slice(path)


@pytest.mark.parametrize(
    ("keyword", "vr", "value", "shown"),
    [
        ("Rows", "US", [6, 25000], "an integer, got 6\\25000"),
        ("Rows", "UL", [70000, 1], "an integer, got 70000\\1"),
        ("RescaleSlope", "FD", [1.5, 0.25], "one number, got 1.5\\0.25"),
        ("RescaleSlope", "FD", float("nan"), "finite numbers, got nan"),
        ("Rows", "OB", b"\6\0\1\0", "an integer, got '\\x06\\x00\\x01'"),
    ],
)
def test_binary_values_are_shown_as_numbers(
    keyword: str, vr: str, value: Any, shown: str, tmp_path: Path
) -> None:
    dataset = ct_image(0, ORIGIN)
    dataset.add_new(keyword, vr, value)
    with pytest.raises(ValueError, match=re.escape(f"expected {shown}")):
        read_slice(write(tmp_path / "a", dataset))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_binary_numbers_that_are_none(value: float, tmp_path: Path) -> None:
    dataset = ct_image(0, ORIGIN)
    dataset.add_new("RescaleIntercept", "FL", value)
    message = r"a: RescaleIntercept \(0028,1052\): expected finite numbers"
    with pytest.raises(ValueError, match=message):
        read_slice(write(tmp_path / "a", dataset))


def test_file_that_ends_in_an_element_is_damaged(tmp_path: Path) -> None:
    path = write(tmp_path / "a", ct_image(0, ORIGIN))
    contents = path.read_bytes()
    end = contents.index(b"\x08\0\x16\0UI") + 20
    path.write_bytes(contents[:end])
    (one,) = find_series(path).skipped
    assert one.reason == SkipReason.DAMAGED
    assert one.detail == "SOPClassUID (0008,0016): expected 26 bytes, got 12: the file ends in it"


def test_broken_sequences_are_damage_and_not_a_broken_disc(tmp_path: Path) -> None:
    dataset = enhanced_image(along_z(2))
    for keyword in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        dataset[keyword].is_undefined_length = True
    path = write(tmp_path / "a", dataset)
    contents = path.read_bytes()
    start = contents.index(b"\x00\x52\x29\x92SQ")
    for length in range(start, len(contents), 9):
        path.write_bytes(contents[:length])
        (one,) = find_series(path).skipped
        assert one.reason in (SkipReason.DAMAGED, SkipReason.NO_IMAGE, SkipReason.NO_GEOMETRY), one
        with pytest.raises(ValueError, match=r"a: "):
            read_slice(path, frame=0)


def test_no_read_asks_for_more_than_there_is(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"x" * 5000)
    with opened(path) as stream:
        assert stream.read(10) == b"x" * 10
        # of 32 TB no machine would even try
        assert stream.read(2**45) == b"x" * 4990
        assert stream.read(2**45) == b""


def test_error_of_the_disc_is_passed_on_with_the_files_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "a", ct_image(0, ORIGIN))

    def broken(stream: object, *arguments: object, **options: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("tomolearn.dicom.headers.pydicom.dcmread", broken)
    with pytest.raises(OSError, match="Input/output error") as caught:
        read_slice(path)
    assert str(path) in str(caught.value)
    (one,) = find_series(path).skipped
    assert one.reason == SkipReason.UNREADABLE
    assert str(path) in one.detail


def test_only_errors_of_the_disc_are_raised_again() -> None:
    reraise_io(OSError("No tag to read"))
    reraise_io(ValueError("x"))
    with pytest.raises(OSError, match="full"):
        reraise_io(OSError(errno.ENOSPC, "full"))


def test_what_errors_say_fits_on_a_line() -> None:
    assert message(ValueError("one:\n  two\n\tthree")) == "one: two three"
    assert message(KeyError()) == "KeyError"


def test_identifiers_depend_on_every_part_and_its_place() -> None:
    parts = [("a", "b"), ("b", "a"), ("ab",), ("a", ["b"]), ("a", "b", ""), ("a", {"b": 1})]
    assert len({derived_uid(*one) for one in parts}) == len(parts)
    assert derived_uid({"x": 1, "y": 2}) == derived_uid({"y": 2, "x": 1})
    assert len({keyed_uid(key, uid) for key in "ab" for uid in ("1.2", "1.3")}) == 4
    with pytest.raises(ValueError, match="JSON"):
        derived_uid(float("nan"))


def test_identifiers_are_uuids() -> None:
    for number_ in range(50):
        found = uuid.UUID(int=int(derived_uid(number_).removeprefix("2.25.")))
        assert (found.variant, found.version) == (uuid.RFC_4122, 5)
