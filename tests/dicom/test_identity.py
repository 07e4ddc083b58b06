"""Identity of patients: which files are of one, and what results say of whose they are."""

import itertools
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from dicom_files import write
from dicom_series import SERIES, ct_image, item

from tomolearn.dicom import (
    Deidentification,
    Derivation,
    DerivedSeries,
    FindingKind,
    find_series,
)
from tomolearn.dicom.identity import Identity, identity_groups, stated_identity

KEY = "correct horse battery staple"
HOW = Derivation("x")
NOTHING = dict.fromkeys(
    ("StudyInstanceUID", "PatientID", "PatientName", "PatientBirthDate", "PatientSex")
)
# What a file may state of each element: nothing, or one of two contradicting values.
VALUES: Mapping[str, tuple[str | None, ...]] = {
    "PatientID": (None, "P1", "P2"),
    "IssuerOfPatientID": (None, "SITE-A", "SITE-B"),
    "PatientName": (None, "Alpha^Anna", "Beta^Bert"),
    "PatientBirthDate": (None, "19500101", "19770707"),
    "PatientSex": (None, "F", "M"),
    "StudyInstanceUID": (None, "1.2.3", "1.2.4"),
}
Stated = Mapping[str, str | None]


def put(folder: Path, stated: Iterable[Stated], order: Iterable[int] | None = None) -> None:
    """Write one slice of one series for each, with file names in this order."""
    folder.mkdir(parents=True, exist_ok=True)
    patients = list(stated)
    names = range(len(patients)) if order is None else order
    for index, (name, one) in enumerate(zip(names, patients, strict=True)):
        image = ct_image(index, (0.0, 0.0, 5.0 * index), **NOTHING | dict(one))
        write(folder / f"{name}.dcm", image)


def made(folder: Path, deidentify: Deidentification | None = None) -> dict[int, Any]:
    """Return the result of each slice, by its place, with the number of its series."""
    found = {}
    for number, one in enumerate(find_series(folder).series):
        derived = DerivedSeries(one, HOW, deidentify=deidentify)
        for made, info in zip(derived, one.slices, strict=True):
            made.write(np.zeros(info.shape), folder.parent / "result")
            result = pydicom.dcmread(folder.parent / "result", stop_before_pixels=True)
            found[round(info.position[2] / 5)] = number, result
    return found


def identity(stated: Stated) -> Identity:
    return stated_identity(item(**{key: value for key, value in stated.items() if value}))


def contradict(one: Stated, other: Stated, keywords: Iterable[str] = VALUES) -> bool:
    return any(
        one.get(key) and other.get(key) and one.get(key) != other.get(key) for key in keywords
    )


def check(folder: Path, stated: list[Stated], order: Iterable[int] | None = None) -> list[int]:
    """Check results of one file for each of `stated`; return which are together."""
    put(folder, stated, order)
    plain, hidden = made(folder), made(folder, Deidentification(KEY))
    assert sorted(plain) == sorted(hidden) == list(range(len(stated)))
    for place, (_, result) in plain.items():
        own = stated[place]
        for key in VALUES:
            if own.get(key):
                assert str(result[key].value) == own[key]
            elif key not in ("PatientID", "StudyInstanceUID"):
                assert not result.get(key)
    person = [key for key in VALUES if key != "StudyInstanceUID"]
    for one, other in itertools.combinations(range(len(stated)), 2):
        (series, result), (series_other, result_other) = plain[one], plain[other]
        uids = result.SeriesInstanceUID, result_other.SeriesInstanceUID
        assert (series == series_other) == (uids[0] == uids[1])
        assert result.SOPInstanceUID != result_other.SOPInstanceUID
        pseudonyms = [hidden[k][1].PatientID for k in (one, other)]
        if contradict(stated[one], stated[other]):
            assert series != series_other
        if series == series_other:
            assert result.PatientID == result_other.PatientID
            assert pseudonyms[0] == pseudonyms[1]
        if contradict(stated[one], stated[other], person):
            assert pseudonyms[0] != pseudonyms[1]
    for place, (series, result) in plain.items():
        if not stated[place].get("PatientID") and result.PatientID:
            givers = [
                k for k, (s, _) in plain.items() if s == series and stated[k].get("PatientID")
            ]
            assert givers
            assert not any(contradict(stated[place], stated[k]) for k in givers)
    return [plain[place][0] for place in range(len(stated))]


def test_pairs_are_together_unless_they_contradict(tmp_path: Path) -> None:
    """Of two elements each is absent, the same or different in two files, in each combination."""
    kinds = ((None, None), (None, 1), (1, 1), (1, 2))
    for number, (first, second) in enumerate(itertools.combinations(VALUES, 2)):
        stated: list[Stated] = []
        for one, other in itertools.product(kinds, repeat=2):
            for turned in (other, other[::-1]):
                stated += [
                    {first: VALUES[first][i or 0], second: VALUES[second][j or 0]}
                    for i, j in zip(one, turned, strict=True)
                ]
        for place in range(0, len(stated), 2):
            pair = stated[place : place + 2]
            apart = len(identity_groups(map(identity, pair))) == 2
            assert apart == contradict(*pair)
        folder = tmp_path / str(number) / "in"
        pair = [{first: VALUES[first][k], second: VALUES[second][1]} for k in (1, 2)]
        together = check(folder, [*pair, {second: VALUES[second][1]}])
        assert len(set(together)) == 3
        for one in find_series(folder).series:
            assert one.findings[0].kind is FindingKind.SHARED_IDENTIFIER


def test_random_sets_never_join_what_contradicts(numpy_rng: np.random.Generator) -> None:
    for _ in range(500):
        size = int(numpy_rng.integers(2, 8))
        chosen = numpy_rng.integers(3, size=(size, len(VALUES)))
        chosen[numpy_rng.random(chosen.shape) < 0.4] = 0
        stated = [
            {key: values[k] for (key, values), k in zip(VALUES.items(), row, strict=True)}
            for row in chosen
        ]
        known = {identity(one): one for one in stated}
        groups = identity_groups(known)
        turned = identity_groups(reversed(known))
        assert {frozenset(members) for _, members in groups} == {
            frozenset(members) for _, members in turned
        }
        assert len({joined for joined, _ in groups}) == len(groups)
        for _, members in groups:
            assert not any(
                contradict(known[i], known[j]) for i, j in itertools.combinations(members, 2)
            )
        if not any(contradict(i, j) for i, j in itertools.combinations(stated, 2)):
            assert len(groups) == 1


def test_results_of_random_sets_in_any_order(
    tmp_path: Path, numpy_rng: np.random.Generator
) -> None:
    for number in range(8):
        stated: list[Stated] = [
            {key: v[numpy_rng.integers(3)] for key, v in VALUES.items() if numpy_rng.random() < 0.4}
            for _ in range(4)
        ]
        first = check(tmp_path / f"{number}a" / "in", stated)
        again = check(tmp_path / f"{number}b" / "in", stated, numpy_rng.permutation(4).tolist())
        pairs = list(itertools.combinations(range(4), 2))
        assert [first[i] == first[j] for i, j in pairs] == [again[i] == again[j] for i, j in pairs]


@pytest.mark.parametrize("order", [(0, 1, 2), (1, 2, 0), (2, 1, 0)])
def test_what_fits_two_patients_is_of_neither(order: tuple[int, ...], tmp_path: Path) -> None:
    """By name it is of one and by study of the other, who are not the same."""
    stated = [
        {"PatientID": "P1", "PatientName": "Alpha^Anna"},
        {"PatientID": "P2", "StudyInstanceUID": "1.2.3"},
        {"PatientName": "Alpha^Anna", "StudyInstanceUID": "1.2.3"},
    ]
    assert len(set(check(tmp_path / "in", stated, order))) == 3
    assert made(tmp_path / "in")[2][1].PatientID == ""


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"PatientName": "ALPHA^ANNA"}, {"PatientName": "Alpha^Anna^^^ "}),
        ({"PatientName": "Alpha^Anna"}, {"PatientName": "Alpha, Anna"}),
        ({"PatientName": "Alpha^Anna"}, {"PatientName": "Alpha^Anna^^Dr."}),
        ({"PatientName": "Yamada^Tarou"}, {"PatientName": "Yamada^Tarou=山田^太郎=やまだ^たろう"}),
        ({"PatientName": "=山田^太郎"}, {"PatientName": "Yamada^Tarou=山田^太郎"}),
        ({"PatientBirthDate": "19500101"}, {"PatientBirthDate": "19500000"}),
        ({"PatientBirthDate": "19500101"}, {"PatientBirthDate": "00000000"}),
        ({"PatientSex": "F"}, {"PatientSex": "O"}),
        ({"IssuerOfPatientID": "SITE-A"}, {"IssuerOfPatientID": "site-a "}),
    ],
)
@pytest.mark.filterwarnings("ignore:Invalid value for VR DA:UserWarning")
def test_one_patient_is_written_in_several_ways(
    one: dict[str, str], other: dict[str, str], tmp_path: Path
) -> None:
    put(tmp_path / "in", [one, other])
    assert len(find_series(tmp_path / "in").series) == 1
    for key in (None, Deidentification(KEY)):
        assert len({result.PatientID for _, result in made(tmp_path / "in", key).values()}) == 1


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"PatientName": "Alpha^Anna^^^Sr."}, {"PatientName": "Alpha^Anna^^^Jr."}),
        ({"PatientName": "Yamada^Tarou=山田^太郎"}, {"PatientName": "Yamada^Tarou=山田^次郎"}),
        ({"PatientBirthDate": "19500101"}, {"PatientBirthDate": "1951"}),
        ({"PatientBirthDate": "19500101"}, {"PatientBirthDate": "19500102"}),
        (
            {"IssuerOfPatientIDQualifiersSequence": [item(UniversalEntityID="1.2.3")]},
            {"IssuerOfPatientIDQualifiersSequence": [item(UniversalEntityID="1.2.4")]},
        ),
    ],
)
@pytest.mark.filterwarnings("ignore:Invalid value for VR DA:UserWarning")
def test_two_patients_that_are_much_alike(
    one: dict[str, Any], other: dict[str, Any], tmp_path: Path
) -> None:
    put(tmp_path / "in", [{"PatientID": "1001"} | one, {"PatientID": "1001"} | other])
    series = find_series(tmp_path / "in").series
    assert len(series) == 2
    pseudonyms = [
        result.PatientID for _, result in made(tmp_path / "in", Deidentification(KEY)).values()
    ]
    assert len(set(pseudonyms)) == 2


def test_finding_names_elements_and_no_patient(tmp_path: Path) -> None:
    alpha, beta = (
        {key: values[k] for key, values in VALUES.items() if key in ("PatientName", "PatientSex")}
        for k in (1, 2)
    )
    put(tmp_path / "in", [alpha, beta])
    index = find_series(tmp_path / "in")
    for one in index.series:
        assert one.findings[0].detail == (
            f"SeriesInstanceUID (0020,000E) {SERIES} is that of 2 series, of different patients or "
            "studies: files of it differ in PatientName (0010,0010), PatientSex (0010,0040)."
        )
        assert "lpha" not in repr(one)


def test_issuers_of_one_number_are_different_patients_across_series(tmp_path: Path) -> None:
    """Their pseudonyms depend on nothing but what their own files state."""
    found = []
    for site in "AB":
        put(tmp_path / site / "in", [{"PatientID": "1001", "IssuerOfPatientID": site}])
        found.append(made(tmp_path / site / "in", Deidentification(KEY))[0][1].PatientID)
    assert found[0] != found[1]


def test_a_file_that_became_another_patients_is_not_written(tmp_path: Path) -> None:
    put(tmp_path / "in", [{"PatientName": "Alpha^Anna"}])
    (one,) = find_series(tmp_path / "in").series
    put(tmp_path / "in", [{"PatientName": "Beta^Bert"}])
    with pytest.raises(ValueError, match=r"PatientName \(0010,0010\): expected that of its series"):
        DerivedSeries(one, HOW)[0].write(np.zeros((6, 8)), tmp_path / "out")


def test_many_patients_of_one_identifier(tmp_path: Path) -> None:
    """A template's identifiers: each patient has a series of his own, without comparing all."""
    put(tmp_path / "in", [{"PatientID": f"P{k}"} for k in range(60)])
    assert len(find_series(tmp_path / "in").series) == 60
