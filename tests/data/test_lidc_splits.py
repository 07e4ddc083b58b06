"""Splits by patient: disjoint, fixed, and what is wrong with lists."""

import json
from pathlib import Path

import pytest

from tomolearn.data.lidc import PARTS, PatientSplit, read_patients

PATIENTS = [f"LIDC-IDRI-{k:04d}" for k in range(1, 1013)]


def parts(split, patients=PATIENTS):
    return {patient: split.part(patient) for patient in patients}


def test_sizes_are_the_fractions_up_to_chance():
    found = list(parts(PatientSplit(seed=3)).values())
    for part, fraction in (("train", 0.8), ("validation", 0.1), ("test", 0.1)):
        # five standard deviations of a binomial
        spread = 5 * (fraction * (1 - fraction) / len(PATIENTS)) ** 0.5
        assert found.count(part) / len(PATIENTS) == pytest.approx(fraction, abs=spread)
    assert None not in found


def test_other_patients_change_nothing():
    split = PatientSplit(seed=1)
    alone = {patient: PatientSplit(seed=1).part(patient) for patient in PATIENTS[::7]}
    together = parts(split)
    assert all(together[patient] == part for patient, part in alone.items())
    assert parts(split, reversed(PATIENTS)) == together
    # of this seed, in any process and version: a change would mix training with test patients
    assert [split.part(patient)[:2] for patient in PATIENTS[:20]] == PINNED.split()


PINNED = "tr tr tr tr tr tr tr tr te tr te tr tr tr tr tr tr tr tr tr"


def test_seeds_differ():
    assert parts(PatientSplit(seed=1)) != parts(PatientSplit(seed=2))


def test_growing_a_part_moves_none_out_of_it():
    small = parts(PatientSplit(fractions={"train": 0.5, "test": 0.2}))
    large = parts(PatientSplit(fractions={"train": 0.6, "test": 0.2}))
    assert all(large[patient] == "train" for patient, part in small.items() if part == "train")
    assert list(small.values()).count(None) > 200


def write(path, text):
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("p.txt", "LIDC-IDRI-0001\n\nLIDC-IDRI-0002 \nLIDC-IDRI-0001\n"),
        ("p.csv", "LIDC-IDRI-0001\nLIDC-IDRI-0002\n"),
        ("p.csv", "PatientID\nLIDC-IDRI-0001\nLIDC-IDRI-0002\n"),
        ("p.csv", "age,Patient,site\n61,LIDC-IDRI-0001,a\n,LIDC-IDRI-0002,b\n"),
        ("p.json", '["LIDC-IDRI-0001", "LIDC-IDRI-0002"]'),
        ("p.json", '["LIDC-IDRI-0001/a/b.dcm", "LIDC-IDRI-0002/a/c.dcm", "LIDC-IDRI-0001/d.dcm"]'),
    ],
)
def test_lists(tmp_path, name, text):
    found = read_patients(write(tmp_path / name, text))
    assert found == ("LIDC-IDRI-0001", "LIDC-IDRI-0002")


def test_split_by_files(tmp_path):
    files = [write(tmp_path / f"ids_{part}.txt", f"P-{part}\n") for part in PARTS]
    split = PatientSplit.from_files(files)
    assert [split.part(f"P-{part}") for part in PARTS] == list(PARTS)
    assert split.part("LIDC-IDRI-0001") is None
    both = write(tmp_path / "all.json", json.dumps({"train": ["a/x.dcm"], "test": ["b", "c"]}))
    split = PatientSplit.from_files([both])
    assert [split.part(patient) for patient in "abc"] == ["train", "test", "test"]
    assert split.parts == ("train", "test")
    assert split.to_dict() == {"lists": {"train": ["a"], "test": ["b", "c"]}}


def test_unknown_patients():
    split = PatientSplit(lists={"train": {"a", "z"}, "test": {"b", "y"}})
    split.check_known("abyzx")
    with pytest.raises(ValueError, match="to be in the data, got 2 that are not: y, z"):
        split.check_known("abx")
    PatientSplit().check_known([])


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda p: PatientSplit(seed=-1), ValueError, "seed: expected an integer >= 0"),
        (lambda p: PatientSplit(fractions={"train": 1.2}), ValueError, "sum above 0 and up to 1"),
        (lambda p: PatientSplit(fractions={"train": -1, "test": 1}), ValueError, r"\[train\]"),
        (
            lambda p: PatientSplit(lists={"train": {"a", "b"}, "test": {"b"}}),
            ValueError,
            "each patient in one part, got b in train and test",
        ),
        (lambda p: read_patients(p / "no.txt"), FileNotFoundError, r"no\.txt"),
        (lambda p: read_patients(write(p / "a.txt", "")), ValueError, "expected a list of patient"),
        (lambda p: read_patients(write(p / "a.csv", "a,b\n1,2\n")), ValueError, "column PatientID"),
        (lambda p: read_patients(write(p / "a.json", "{")), ValueError, "expected JSON"),
        (lambda p: read_patients(write(p / "a.json", "[3]")), ValueError, "got 3"),
        (
            lambda p: PatientSplit.from_files([write(p / "patient_ids_rand_train.csv", "17\n3\n")]),
            ValueError,
            "got '17'; LoDoPaB-CT's patient_ids_rand files number the samples' patients at random",
        ),
        (
            lambda p: PatientSplit.from_files([write(p / "a.txt", "x")]),
            ValueError,
            r"a\.txt: expected one file for each of train, validation, test",
        ),
        (
            lambda p: PatientSplit.from_files([write(p / "a.json", '["x"]')]),
            ValueError,
            "expected an object with a list of patients per part, got list",
        ),
        (
            lambda p: PatientSplit.from_files([write(p / "a.json", '{"train": "x"}')]),
            ValueError,
            "expected a list of patient IDs, got 'x'",
        ),
    ],
)
def test_errors(tmp_path, make, error, words):
    with pytest.raises(error, match=words):
        make(Path(tmp_path))


def test_file_that_is_no_text(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(ValueError, match="expected text in UTF-8"):
        read_patients(tmp_path / "a.txt")
