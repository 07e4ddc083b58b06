"""Derived series: identifiers, numbers, and what cannot be written."""

import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from derived_series import HOW, ORIGIN, derived, one_image, series_of, written
from dicom_files import write
from dicom_series import SERIES, along_z, ct_image, enhanced_image, write_series

from tomolearn.dicom import Deidentification, Derivation, DerivedSeries


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
        series[0].write(hounsfield, tmp_path / "out.dcm", padding=padding)
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
    assert one[0].sop_instance_uid != other[0].sop_instance_uid


def test_identifiers_are_valid_and_all_different(tmp_path: Path) -> None:
    write_series(tmp_path, along_z(20))
    series = derived(tmp_path)
    uids = [series.uid, *(series[i].sop_instance_uid for i in range(len(series)))]
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


def test_bytes_of_a_frame_do_not_depend_on_those_written_before(tmp_path: Path) -> None:
    """Headers of files with many frames are remembered, and stay what they are."""
    path = write(tmp_path / "in.dcm", enhanced_image(along_z(3)))
    hide = Deidentification("correct horse battery staple")
    first: dict[tuple[bool, int], bytes] = {}
    for deidentify in (None, hide, hide, None):
        series = DerivedSeries(series_of(path), HOW, deidentify=deidentify)
        for index in (2, 0, 1):
            written(series, tmp_path / "out.dcm", index)
            contents = (tmp_path / "out.dcm").read_bytes()
            assert first.setdefault((deidentify is None, index), contents) == contents


def test_file_appears_complete_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    series = derived(one_image(tmp_path))
    (tmp_path / "out.dcm").write_text("older")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        series[0].write(np.zeros((6, 8)), tmp_path / "out.dcm")
    assert (tmp_path / "out.dcm").read_text() == "older"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.dcm", "out.dcm"]


def test_source_that_changed_or_went_away(tmp_path: Path) -> None:
    path = one_image(tmp_path)
    series = derived(path)
    write(path, ct_image(3, ORIGIN))
    with pytest.raises(ValueError, match=r"in\.dcm: SOPInstanceUID \(0008,0018\): expected"):
        series[0].write(np.zeros((6, 8)), tmp_path / "out.dcm")
    path.write_bytes(b"x" * 500)
    with pytest.raises(ValueError, match=r"in\.dcm: expected a DICOM file"):
        series[0].write(np.zeros((6, 8)), tmp_path / "out.dcm")
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"in\.dcm"):
        series[0].write(np.zeros((6, 8)), tmp_path / "out.dcm")
    with pytest.raises(IndexError):
        series[7].write(np.zeros((6, 8)), tmp_path / "out.dcm")


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


def test_another_patient_identifier_is_another_series(tmp_path: Path) -> None:
    """A run that removes identities would keep the results of an earlier one."""
    source = series_of(one_image(tmp_path))
    key = "a secret that is long enough"
    made = {
        DerivedSeries(source, HOW, deidentify=Deidentification(key, name)).uid
        for name in (None, "A", "B")
    }
    assert len(made) == 3
