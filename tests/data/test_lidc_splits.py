"""Splits by patient: disjoint, fixed, and what is wrong with lists."""

import json
from pathlib import Path

import pytest

from tomolearn.data.lidc import SPLITS, PatientSplits, read_patients

PATIENTS = [f"LIDC-IDRI-{k:04d}" for k in range(1, 1013)]


def assigned(splits, patients=PATIENTS):
    return {patient: splits.split_of(patient) for patient in patients}


def test_sizes_are_the_fractions_up_to_chance():
    found = list(assigned(PatientSplits(seed=3)).values())
    for split, fraction in (("train", 0.8), ("validation", 0.1), ("test", 0.1)):
        # five standard deviations of a binomial
        spread = 5 * (fraction * (1 - fraction) / len(PATIENTS)) ** 0.5
        assert found.count(split) / len(PATIENTS) == pytest.approx(fraction, abs=spread)
    assert None not in found


def test_other_patients_change_nothing():
    splits = PatientSplits(seed=1)
    alone = {patient: PatientSplits(seed=1).split_of(patient) for patient in PATIENTS[::7]}
    together = assigned(splits)
    assert all(together[patient] == split for patient, split in alone.items())
    assert assigned(splits, reversed(PATIENTS)) == together
    # of this seed, in any process and version: a change would mix training with test patients
    assert [splits.split_of(patient)[:2] for patient in PATIENTS[:20]] == PINNED.split()


PINNED = "tr tr tr tr tr tr tr tr te tr te tr tr tr tr tr tr tr tr tr"


def test_seeds_differ():
    assert assigned(PatientSplits(seed=1)) != assigned(PatientSplits(seed=2))


def test_growing_a_part_moves_none_out_of_it():
    small = assigned(PatientSplits(fractions={"train": 0.5, "test": 0.2}))
    large = assigned(PatientSplits(fractions={"train": 0.6, "test": 0.2}))
    assert all(large[patient] == "train" for patient, split in small.items() if split == "train")
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
    files = [write(tmp_path / f"ids_{split}.txt", f"P-{split}\n") for split in SPLITS]
    splits = PatientSplits.from_files(files)
    assert [splits.split_of(f"P-{split}") for split in SPLITS] == list(SPLITS)
    assert splits.split_of("LIDC-IDRI-0001") is None
    both = write(tmp_path / "all.json", json.dumps({"train": ["a/x.dcm"], "test": ["b", "c"]}))
    splits = PatientSplits.from_files([both])
    assert [splits.split_of(patient) for patient in "abc"] == ["train", "test", "test"]
    assert splits.names == ("train", "test")
    assert splits.to_dict() == {"lists": {"train": ["a"], "test": ["b", "c"]}}


def test_unknown_patients():
    splits = PatientSplits(lists={"train": {"a", "z"}, "test": {"b", "y"}})
    splits.check_known("abyzx")
    with pytest.raises(ValueError, match="to be in the data, got 2 that are not: y, z"):
        splits.check_known("abx")
    PatientSplits().check_known([])


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda p: PatientSplits(seed=-1), ValueError, "seed: expected an integer >= 0"),
        (lambda p: PatientSplits(fractions={"train": 1.2}), ValueError, "sum above 0 and up to 1"),
        (lambda p: PatientSplits(fractions={"train": -1, "test": 1}), ValueError, r"\[train\]"),
        (
            lambda p: PatientSplits(lists={"train": {"a", "b"}, "test": {"b"}}),
            ValueError,
            "each patient in one split, got b in train and test",
        ),
        (lambda p: read_patients(p / "no.txt"), FileNotFoundError, r"no\.txt"),
        (lambda p: read_patients(write(p / "a.txt", "")), ValueError, "expected a list of patient"),
        (lambda p: read_patients(write(p / "a.csv", "a,b\n1,2\n")), ValueError, "column PatientID"),
        (lambda p: read_patients(write(p / "a.json", "{")), ValueError, "expected JSON"),
        (lambda p: read_patients(write(p / "a.json", "[3]")), ValueError, "got 3"),
        (
            lambda p: PatientSplits.from_files(
                [write(p / "patient_ids_rand_train.csv", "17\n3\n")]
            ),
            ValueError,
            "got '17'; LoDoPaB-CT's patient_ids_rand files number the samples' patients at random",
        ),
        (
            lambda p: PatientSplits.from_files([write(p / "a.txt", "x")]),
            ValueError,
            r"a\.txt: expected one file for each of train, validation, test",
        ),
        (
            lambda p: PatientSplits.from_files([write(p / "a.json", '["x"]')]),
            ValueError,
            "expected an object with a list of patients per split, got list",
        ),
        (
            lambda p: PatientSplits.from_files([write(p / "a.json", '{"train": "x"}')]),
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
