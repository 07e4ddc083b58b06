"""Files that declare, or become, more than they are: each is lost by itself, and cheaply."""

import struct
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from batch_settings import settings_of
from batch_trees import slice_dataset, write_series as write_bodies
from dicom_files import write
from dicom_series import along_z, ct_image, enhanced_image, stored_values, write_series
from pydicom.dataset import Dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, JPEG2000Lossless, RLELossless

from tomolearn.batch import run_batch
from tomolearn.dicom import (
    Deidentification,
    FindingKind,
    Series,
    SkipReason,
    find_series,
    opening,
    read_slice,
)
from tomolearn.dicom.codestreams import codestream_size

MIB = 2**20
ORIGIN = (0.0, 0.0, 0.0)


def deflated(path: Path, dataset: Dataset) -> Path:
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    return write(path, dataset)


@contextmanager
def at_most(mib: float) -> Iterator[None]:
    """Hold what is allocated within against a bound."""
    tracemalloc.start()
    try:
        yield
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < mib * MIB, f"{peak / MIB:.0f} MiB"


def only_lost(folder: Path, name: str) -> Series:
    """Return the series of the good slices, of which the named file is lost and nothing else."""
    index = find_series(folder)
    (series,) = index.series
    assert [one.path.name for one in index.lost] == [name]
    assert series.lost == index.lost
    assert series.findings[0].kind == FindingKind.LOST_SLICES
    return series


@pytest.mark.parametrize("where", ["pixels", "header", "number of frames"])
def test_deflated_bomb(where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """40 MiB in 40 KB, and the bound does not grow with that."""
    monkeypatch.setattr(opening, "LARGEST_HEADER", 4 * MIB)
    monkeypatch.setattr(opening, "LARGEST_INFLATED", 6 * MIB)
    write_series(tmp_path, along_z(3))
    image = ct_image(3, ORIGIN)
    zeros = bytes(40 * MIB)
    if where == "header":
        image.add_new(0x00091001, "UN", zeros)
    else:
        image.PixelData = zeros
        image["PixelData"].VR = "OW"
    if where == "number of frames":
        image.NumberOfFrames = str(40 * MIB // 96)
    path = deflated(tmp_path / "bomb.dcm", image)
    assert path.stat().st_size < MIB
    with at_most(20):
        series = only_lost(tmp_path, "bomb.dcm")
        with pytest.raises(ValueError, match=r"bomb\.dcm: .*bytes after inflation"):
            read_slice(path)
    assert len(series) == 3
    assert "bytes after inflation" in series.lost[0].detail


def test_large_image_is_no_bomb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is inflated as far as its header says that it goes."""
    monkeypatch.setattr(opening, "LARGEST_HEADER", 4096)
    image = ct_image(0, ORIGIN, shape=(1024, 1024), PixelData=bytes(2 * MIB))
    (series,) = find_series(deflated(tmp_path / "a", image)).series
    assert series.read(0).hounsfield.shape == (1024, 1024)


def test_deflated_frames(tmp_path: Path) -> None:
    (series,) = find_series(deflated(tmp_path / "a", enhanced_image(along_z(4)))).series
    for _ in range(2):
        for place in range(4):
            expected = stored_values(place) - 1024.0
            np.testing.assert_array_equal(series.read(place).hounsfield, expected)


def test_deflated_file_cut_or_spoilt_at_any_byte(tmp_path: Path) -> None:
    write_series(tmp_path, along_z(3))
    path = deflated(tmp_path / "z.dcm", ct_image(3, ORIGIN))
    whole = path.read_bytes()
    for place in range(140, len(whole) - 2, 29):
        path.write_bytes(whole[:place])
        only_lost(tmp_path, "z.dcm")
        path.write_bytes(whole[:place] + b"\xff\xff\xff\xff" + whole[place + 4 :])
        index = find_series(tmp_path)
        assert sum(map(len, index.series)) + len(index.lost) == 4, place


@pytest.mark.parametrize("frames", [10**9, 2**31 - 1, 10**30])
@pytest.mark.parametrize("kind", ["classic", "enhanced", "compressed"])
def test_number_of_frames_alone_costs_nothing(kind: str, frames: int, tmp_path: Path) -> None:
    write_series(tmp_path, along_z(2))
    image = ct_image(5, ORIGIN) if kind != "enhanced" else enhanced_image(along_z(3))
    if kind == "compressed":
        image.compress(RLELossless, generate_instance_uid=False)
    image.add_new("NumberOfFrames", "LO", str(frames))
    write(tmp_path / "z.dcm", image)
    with at_most(20):
        only_lost(tmp_path, "z.dcm")


def test_pixels_for_frames_without_groups(tmp_path: Path) -> None:
    image = enhanced_image(along_z(2), shape=(1, 1))
    image.NumberOfFrames = 200_000
    image.PixelData = bytes(400_000)
    with at_most(20):
        index = find_series(write(tmp_path / "a", image))
    assert [one.n_slices for one in index.lost] == [2]


@pytest.mark.parametrize("size", [65535, 8000])
def test_code_stream_that_declares_more_than_the_file(size: int, tmp_path: Path) -> None:
    image = ct_image(0, ORIGIN, shape=(64, 64), PixelRepresentation=0)
    image.compress(JPEG2000Lossless, generate_instance_uid=False)
    data = bytearray(image.PixelData)
    place = data.index(b"\xff\x4f\xff\x51") + 8
    data[place : place + 8] = struct.pack(">2I", size, size)
    image.PixelData = bytes(data)
    path = write(tmp_path / "a", image)
    with (
        at_most(20),
        pytest.raises(
            ValueError, match=rf"expected an image of 64 x 64, got one of {size} x {size}"
        ),
    ):
        read_slice(path)


def test_sizes_in_code_streams() -> None:
    frame = struct.pack(">HBHHB", 11, 8, 480, 640, 1)
    for marker in (0xC0, 0xC1, 0xC3, 0xF7):
        stream = b"\xff\xd8\xff\xe0\0\x04ab\xff\xff" + bytes([marker]) + frame
        assert codestream_size(stream) == (480, 640)
    assert codestream_size(b"\xff\xd8\xff\xda\0\x04ab") is None
    assert codestream_size(b"\xff\xd8\xff\xc0\0") is None
    size = b"\xff\x4f\xff\x51" + struct.pack(">2H4I", 41, 0, 650, 490, 10, 10)
    assert codestream_size(b"\0\0\0\x0cjP  " + size) == (480, 640)
    assert codestream_size(b"rubbish") is None


def nested(depth: int, *, undefined: bool) -> bytes:
    """Return the bytes of a sequence in a sequence, and so on: ReferencedImageSequence."""
    content = b""
    for _ in range(depth):
        length = 0xFFFFFFFF if undefined else len(content)
        end = b"\xfe\xff\x0d\xe0\0\0\0\0" if undefined else b""
        element = b"\xfe\xff\x00\xe0" + struct.pack("<I", length) + content + end
        length = 0xFFFFFFFF if undefined else len(element)
        end = b"\xfe\xff\xdd\xe0\0\0\0\0" if undefined else b""
        content = b"\x08\0\x40\x11SQ\0\0" + struct.pack("<I", length) + element + end
    return content


@pytest.mark.parametrize("undefined", [False, True])
@pytest.mark.parametrize("depth", [30, 150, 400, 3000])
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_sequences_in_sequences(depth: int, undefined: bool, tmp_path: Path) -> None:
    """However deep they are, the other slices of the series have their results."""
    paths = write_bodies(tmp_path / "in", "a", 3)
    whole = paths[1].read_bytes()
    place = whole.index(b"\x10\0\x20\0LO")
    paths[1].write_bytes(whole[:place] + nested(depth, undefined=undefined) + whole[place:])
    settings: dict[str, Any] = {"workers": 0}
    if undefined:
        settings["deidentification"] = Deidentification("correct horse battery staple")
    report = run_batch(tmp_path / "in", tmp_path / "out", settings_of("fbp", views=12), **settings)
    (record,) = report.records
    assert record["slices"] == 3
    assert record["written"] + sum(1 for _ in record["lost"]) == 3
    assert record["written"] >= 2
    assert not any("report" in one["reason"] or "\n" in one["reason"] for one in record["lost"])
    for path in (tmp_path / "out" / record["output"]).iterdir():
        assert pydicom.dcmread(path).Rows == 32


def test_a_bomb_is_one_line_of_a_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "LARGEST_HEADER", MIB)
    paths = write_bodies(tmp_path / "in", "a", 3)
    deflated(paths[2], slice_dataset("a", 2, PixelData=bytes(4 * MIB)))
    report = run_batch(tmp_path / "in", tmp_path / "out", settings_of("fbp", views=12), workers=0)
    (record,) = report.records
    assert (record["status"], record["written"], record["slices"]) == ("incomplete", 2, 3)
    assert "bytes after inflation" in record["lost"][0]["reason"]
    assert [one.reason for one in report.series_index.lost] == [SkipReason.DAMAGED]
