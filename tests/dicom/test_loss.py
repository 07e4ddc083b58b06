"""No slice is lost without a word: it is read, or its series or the index says that it is not."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicom_files import write
from dicom_mutations import KINDS, mutate
from dicom_series import SERIES, along_z, ct_image, enhanced_image, write_series
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag
from pydicom.uid import MRImageStorage, RLELossless, SecondaryCaptureImageStorage

from tomolearn.dicom import (
    Derivation,
    DerivedSeries,
    DicomWarning,
    FindingKind,
    SeriesIndex,
    SkipReason,
    find_series,
)

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

N = 4
SERIES_ELEMENTS = (
    "SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID", "ImageType", "Rows",
    "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "SamplesPerPixel",
    "PhotometricInterpretation", "PixelSpacing", "ImagePositionPatient", "ImageOrientationPatient",
    "RescaleSlope", "RescaleIntercept", "RescaleType", "PixelData",
)  # fmt: skip
FRAME_ELEMENTS = {
    "PlanePositionSequence": "ImagePositionPatient",
    "PlaneOrientationSequence": "ImageOrientationPatient",
    "PixelMeasuresSequence": "PixelSpacing",
    "PixelValueTransformationSequence": "RescaleSlope",
}


def without(value: bytes) -> bytes:
    return b""


def with_letter(value: bytes) -> bytes:
    """Replace the second character by an x, as an editor does; one character stays even."""
    return value[:1] + b"x" + value[2:]


def with_nul(value: bytes) -> bytes:
    return bytes(len(value))


def with_noise(value: bytes) -> bytes:
    return b"\xff" * len(value)


def halved(value: bytes) -> bytes:
    return value[: len(value) // 4 * 2]


GARBLINGS = (without, with_letter, with_nul, with_noise, halved)


def garbled(dataset: Dataset, keyword: str, how: Callable[[bytes], bytes] | None) -> None:
    """Spoil the bytes of one element, or remove it."""
    if how is None:
        del dataset[keyword]
        return
    element = dataset.get_item(keyword, keep_deferred=True)
    assert isinstance(element, RawDataElement)
    value = how(element.value)
    dataset._dict[Tag(keyword)] = element._replace(value=value, length=len(value))


def unaccounted(index: SeriesIndex, n_slices: int) -> int:
    """Return how many slices have neither a result nor somebody who says that they are lost."""
    n_accounted = sum(one.n_slices for one in index.lost)
    for series in index.series:
        lost = {one.path for one in series.lost}
        n_accounted += sum(one.n_slices for one in series.lost if one not in index.lost)
        kinds = {one.kind for one in series.findings}
        assert (FindingKind.LOST_SLICES in kinds) == bool(lost)
        for place, info in enumerate(series.slices):
            try:
                found = series.read(place)
            except ValueError as error:  # lost when it is computed, by name
                named = str(info.path) in str(error)
                assert named, error  # noqa: PT017
            else:
                assert found.hounsfield.shape == info.shape
            n_accounted += 1
    return n_slices - n_accounted


@pytest.mark.parametrize("how", [None, *GARBLINGS], ids=lambda how: getattr(how, "__name__", "no"))
def test_garbled_element_of_a_classic_file(
    how: Callable[[bytes], bytes] | None, tmp_path: Path
) -> None:
    paths = write_series(tmp_path, along_z(N))
    whole = paths[-1].read_bytes()
    for keyword in SERIES_ELEMENTS:
        paths[-1].write_bytes(whole)
        dataset = pydicom.dcmread(paths[-1])
        garbled(dataset, keyword, how)
        dataset.save_as(paths[-1], enforce_file_format=False)
        index = find_series(tmp_path)
        assert unaccounted(index, N) == 0, keyword
        # what has no result of its own, or another identity, costs the series its completeness
        (series,) = [one for one in index.series if len(one) >= N - 1]
        alone = len(index.series) == 2
        assert alone or len(series) == N or series.n_lost == 1, keyword


@pytest.mark.parametrize("how", [None, *GARBLINGS], ids=lambda how: getattr(how, "__name__", "no"))
def test_garbled_element_of_one_frame_costs_that_frame(
    how: Callable[[bytes], bytes] | None, tmp_path: Path
) -> None:
    path = tmp_path / "e.dcm"
    for macro, keyword in FRAME_ELEMENTS.items():
        dataset = enhanced_image(along_z(N))
        shared = dataset.SharedFunctionalGroupsSequence[0]
        if macro in shared:  # to be spoilt in one frame it has to be in each
            for group in dataset.PerFrameFunctionalGroupsSequence:
                setattr(group, macro, shared[macro].value)
            del shared[macro]
        dataset = pydicom.dcmread(write(path, dataset))
        (item,) = dataset.PerFrameFunctionalGroupsSequence[N - 1][macro].value
        garbled(item, keyword, how)
        dataset.save_as(path)
        index = find_series(tmp_path)
        assert unaccounted(index, N) == 0, keyword
        (series,) = index.series
        geometry = keyword != "RescaleSlope"
        assert (len(series), series.n_lost) == ((N - 1, 1) if geometry else (N, 0)), keyword
        for place in range(N - 1):
            assert series.read(place).frame == place
        if not geometry:
            with pytest.raises(ValueError, match="RescaleSlope"):
                series.read(N - 1)


@pytest.mark.parametrize("kind", ["classic", "enhanced", "compressed"])
def test_file_cut_at_any_byte(kind: str, tmp_path: Path) -> None:
    write_series(tmp_path, along_z(3))
    if kind == "enhanced":
        image = enhanced_image(along_z(2, start=0.0))
    else:
        image = ct_image(3, (0.0, 0.0, 0.0))
        if kind == "compressed":
            image.compress(RLELossless)
    path = write(tmp_path / "last.dcm", image)
    whole = path.read_bytes()
    for length in range(0, len(whole), 37 if kind != "enhanced" else 211):
        path.write_bytes(whole[:length])
        index = find_series(tmp_path)
        (series,) = index.series
        assert (len(series), series.findings[0].kind) == (3, FindingKind.LOST_SLICES), length
        assert [one.path for one in series.lost] == [path]
        assert index.lost == series.lost


def test_file_of_nothing_but_zeros(tmp_path: Path) -> None:
    paths = write_series(tmp_path, along_z(N))
    for length in (1, 131, 2000):
        paths[-1].write_bytes(bytes(length))
        (series,) = find_series(tmp_path).series
        assert (len(series), series.n_lost) == (N - 1, 1)


@pytest.mark.parametrize(
    ("name", "content", "is_lost"),
    [
        ("last.dcm", b"", True),
        ("last.DCM", b"just a text", True),
        ("IM000123", b"", True),
        ("1.2.826.0.1.4711", bytes(300), True),
        ("slice.img", b"", False),
        ("readme", b"Put the films here.\n", False),
        ("notes.txt", b"", False),
        (".nomedia", b"", False),
        ("._IM000001.dcm", bytes(300), False),
        ("LOCKFILE", b"", False),
        ("DICOMDIR", b"", False),
        ("viewer.exe", b"MZ" + bytes(300), False),
    ],
)
def test_which_files_may_have_been_slices(
    name: str, content: bytes, is_lost: bool, tmp_path: Path
) -> None:
    """What lies beside a patient's images, and is none, does not make a series incomplete."""
    write_series(tmp_path, along_z(2), ["one.dcm", "two.dcm"])
    (tmp_path / name).write_bytes(content)
    index = find_series(tmp_path)
    assert [one.path.name for one in index.lost] == [name] * is_lost
    assert [one.path.name for one in index.series[0].lost] == [name] * is_lost


def test_names_of_slices_are_what_the_images_beside_them_are_called(tmp_path: Path) -> None:
    write_series(tmp_path, along_z(2), ["one.img", "two.img"])
    (tmp_path / "three.img").touch()
    (tmp_path / "three").touch()
    assert [one.path.name for one in find_series(tmp_path).lost] == ["three.img"]


def test_lost_file_of_several_series_in_a_folder_is_of_none(tmp_path: Path) -> None:
    write_series(tmp_path, along_z(2))
    write_series(tmp_path, along_z(2), ["x", "y"], series=f"{SERIES}.5")
    (tmp_path / "z.dcm").touch()
    index = find_series(tmp_path)
    assert [one.path.name for one in index.lost] == ["z.dcm"]
    assert [one.lost for one in index.series] == [(), ()]


def test_lost_file_of_another_patient_is_not_this_ones(tmp_path: Path) -> None:
    write_series(tmp_path, along_z(2))
    write(tmp_path / "z", ct_image(5, (0, 0, 0), PatientID="B", ImagePositionPatient=None))
    index = find_series(tmp_path)
    assert [one.path.name for one in index.lost] == ["z"]
    assert index.series[0].lost == ()


@pytest.mark.parametrize("storage", [MRImageStorage, "1.2.840.10008.5.1.4.1.1.2x", ""])
def test_class_that_the_file_meta_information_contradicts(storage: str, tmp_path: Path) -> None:
    write_series(tmp_path, along_z(2))
    image = ct_image(2, (0.0, 0.0, 0.0))
    image.SOPClassUID = storage
    image.save_as(tmp_path / "z", enforce_file_format=False)
    (series,) = find_series(tmp_path).series
    assert [one.reason for one in series.lost] == [SkipReason.DAMAGED]


def test_what_is_no_slice_by_intent_is_no_loss(tmp_path: Path) -> None:
    write_series(tmp_path, along_z(2))
    kinds = (
        {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]},
        {"SOPClassUID": SecondaryCaptureImageStorage},
    )
    for number, elements in enumerate(kinds):
        write(tmp_path / f"z{number}", ct_image(5 + number, (0, 0, 0), **elements))
    index = find_series(tmp_path)
    assert index.lost == ()
    assert index.series[0].findings == ()


@pytest.mark.parametrize(("frames", "groups"), [(3, 2), (2, 3), (3, 4)])
def test_functional_groups_that_do_not_fit_the_frames(
    frames: int, groups: int, tmp_path: Path
) -> None:
    dataset = enhanced_image(along_z(max(frames, groups)))
    while len(dataset.PerFrameFunctionalGroupsSequence) > groups:
        dataset.PerFrameFunctionalGroupsSequence.pop()
    dataset.NumberOfFrames = frames
    dataset.PixelData = dataset.PixelData[: frames * 6 * 8 * 2]
    (series,) = find_series(write(tmp_path / "e", dataset)).series
    assert [one.frame for one in series.slices] == [*range(min(frames, groups))]
    assert [one.frame for one in series.lost] == [*range(min(frames, groups), max(frames, groups))]
    with pytest.raises(ValueError, match="lost slices"):
        series.volume()


def test_no_number_of_frames_is_believed_without_frames(tmp_path: Path) -> None:
    dataset = enhanced_image(along_z(3))
    dataset.NumberOfFrames = 10**9
    index = find_series(write(tmp_path / "e", dataset))
    assert [one.n_slices for one in index.lost] == [3]


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("ImagePositionPatient", rb"-150,0\-140,0\10,5"),
        ("PixelSpacing", rb"0,70\0,5"),
        ("ImageOrientationPatient", rb"1,0\0\0\0\1\0"),
        ("RescaleSlope", b"1,0 "),
        ("RescaleIntercept", b"-1024,"),
        ("SliceThickness", b"5,00"),
    ],
)
def test_comma_is_a_decimal_sign_and_a_deviation(
    keyword: str, value: bytes, tmp_path: Path
) -> None:
    good = ct_image(0, (-150.0, -140.0, 10.5))
    (expected,) = find_series(write(tmp_path / "a", good)).series
    dataset = pydicom.dcmread(tmp_path / "a")
    garbled(dataset, keyword, lambda _: value + b" " * (len(value) % 2))
    dataset.save_as(tmp_path / "a")
    (series,) = find_series(tmp_path).series
    assert series.slices == expected.slices
    assert series.lost == ()
    with pytest.warns(DicomWarning, match=rf"{keyword} .*: expected decimal points, got .*,"):
        ct = series.read(0)
    with pytest.raises(ValueError, match="expected decimal points"):
        series.read(0, strict=True)
    DerivedSeries(series, Derivation("x"))[0].write(ct.hounsfield, tmp_path / "made.dcm")
    made = pydicom.dcmread(tmp_path / "made.dcm")
    assert b"," not in made.get_item(keyword, keep_deferred=True).value
    np.testing.assert_array_equal(
        find_series(tmp_path / "made.dcm").series[0].read(0).hounsfield, ct.hounsfield
    )


def test_comma_that_may_be_something_else_is_none(tmp_path: Path) -> None:
    write_series(tmp_path, along_z(2))
    path = write(tmp_path / "z", ct_image(5, (0.0, 0.0, 0.0)))
    for keyword, value in (
        ("PixelSpacing", b"0.7,0.5 "),
        ("ImagePositionPatient", b"-150,-140,10"),
        ("PixelSpacing", b"1,024.5\\1 "),
    ):
        dataset = pydicom.dcmread(write(path, ct_image(5, (0.0, 0.0, 0.0))))
        garbled(dataset, keyword, lambda _, value=value: value)
        dataset.save_as(path)
        (series,) = find_series(tmp_path).series
        assert [one.path for one in series.lost] == [path]


@pytest.mark.parametrize("kind", KINDS)
def test_spoiled_slice_of_a_series_is_accounted_for(kind: str, tmp_path: Path) -> None:
    """Under its own identifiers, so that it would leave a gap if it just vanished."""
    good = write_series(tmp_path, along_z(N))
    whole, rng = good[-1].read_bytes(), np.random.default_rng(KINDS.index(kind))
    for _ in range(8):
        good[-1].write_bytes(whole)
        mutate(good[-1], good[-1], rng, kind, fresh=False)
        index = find_series(tmp_path)
        assert unaccounted(index, N) == 0, index.skipped
