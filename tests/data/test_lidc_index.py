"""The index of a tree, held against what the simulation put there."""

import json
import shutil
from collections import Counter

import pytest
from lidc_trees import PATIENTS, SEED, SHAPE, SLICES

from data_sim.lidc import lidc_patient, read, write_lidc
from tomolearn.data.lidc import PatientSplits, build_index
from tomolearn.data.lidc.folders import AnnotationFiles, find_patients, state


@pytest.fixture(scope="module")
def truth():
    """Of each patient, distance of slices, number of nodules, of small marks and of others."""
    found = {}
    for index in range(1, PATIENTS + 1):
        patient = lidc_patient(index, SEED, slices=SLICES, shape=SHAPE)
        readings = read(patient)
        marks = [mark for reading in readings for mark in reading.marks]
        large = {mark.lesion for mark in marks if mark.characteristics}
        found[f"LIDC-IDRI-{index:04d}"] = (
            patient.protocol.interval,
            len(large),
            sum(not mark.characteristics for mark in marks),
            sum(len(reading.non_nodules) for reading in readings),
        )
    return found


def check(index, truth):
    assert index.patients == tuple(truth)
    assert index.problems == ()
    for record in index.records:
        interval, *numbers = truth[record.patient]
        assert [record.n_nodules, record.n_small, record.n_other] == numbers
        assert record.spacing[0] == pytest.approx(interval, abs=2e-3)
        assert (record.n_slices, record.shape) == (SLICES, SHAPE)
        assert record.split == index.splits.split_of(record.patient)
        assert (index.root / record.folder).is_dir()
        assert record.folder.split("/")[-3] == record.patient


def test_classic_layout(lidc_tree, truth):
    told = []
    index = build_index(lidc_tree, progress=lambda *counts: told.append(counts))
    check(index, truth)
    assert told == [(k, PATIENTS) for k in range(1, PATIENTS + 1)]
    radiographs = sum(1 for _ in lidc_tree.rglob("*.dcm")) - PATIENTS * SLICES
    assert radiographs > 0
    # each radiograph with its own XML file, which is about no CT series
    assert Counter(index.left_out) == {"other storage class": radiographs, "not DICOM": radiographs}
    assert sum(record.n_nodules for record in index.records) > 0


def test_descriptive_names_and_annotations_apart(tmp_path, truth):
    write_lidc(
        tmp_path, PATIENTS, SLICES, seed=SEED, shape=SHAPE, layout="nbia", annotations="tree"
    )
    bare = build_index(tmp_path / "LIDC-IDRI")
    assert all(record.xml is None and record.n_nodules is None for record in bare.records)
    index = build_index(tmp_path / "LIDC-IDRI", xml=tmp_path)
    check(index, truth)
    assert all(record.xml.endswith(".xml") for record in index.records)
    # found from the top as well
    assert build_index(tmp_path).patients == index.patients


@pytest.fixture
def two(lidc_tree, tmp_path):
    """The first two patients in a folder that may be changed."""
    for k in (1, 2):
        shutil.copytree(lidc_tree / f"LIDC-IDRI-{k:04d}", tmp_path / "set" / f"LIDC-IDRI-{k:04d}")
    return tmp_path / "set"


def ct_folder(root, k):
    return next(
        path.parent
        for path in (root / f"LIDC-IDRI-{k:04d}").rglob("*.xml")
        if b"<LidcReadMessage" in path.read_bytes()
    )


def test_second_series_of_a_patient(two, lidc_tree):
    # eight patients of the published set have two CT series
    series = ct_folder(lidc_tree, 3)
    target = two / "LIDC-IDRI-0002" / series.parent.name / series.name
    shutil.copytree(series, target)
    for path in target.glob("*.dcm"):
        path.write_bytes(path.read_bytes().replace(b"LIDC-IDRI-0003", b"LIDC-IDRI-0002"))
    index = build_index(two)
    assert [record.patient[-1] for record in index.records] == ["1", "2", "2"]
    assert len({record.series_uid for record in index.records}) == 3
    assert len({record.split for record in index.records[1:]}) == 1


def test_damaged_annotations_are_told(two):
    (path,) = ct_folder(two, 1).glob("*.xml")
    path.write_text(path.read_text().replace("</LidcReadMessage>", ""))
    index = build_index(two)
    (problem,) = index.problems
    assert str(path) in problem
    assert [record.n_nodules is None for record in index.records] == [True, False]


def test_two_annotations_of_one_series_are_told(two):
    (path,) = ct_folder(two, 1).glob("*.xml")
    other = path.with_name("zz.xml")
    shutil.copy(path, other)
    # the published set has some files twice
    assert build_index(two).problems == ()
    # nor does it matter what else they say
    study = build_index(two).records[0].study_uid
    text = other.read_text()
    assert study in text
    other.write_text(text.replace(study, study + ".1"))
    assert build_index(two).problems == ()
    assert "<xCoord>" in text
    other.write_text(text.replace("<xCoord>", "<xCoord>1", 1))
    (problem,) = build_index(two).problems
    assert "zz.xml: expected one file per series, got also" in problem


def test_annotations_next_to_the_series_come_first(two, tmp_path):
    (own,) = ct_folder(two, 1).glob("*.xml")
    apart = tmp_path / "apart"
    apart.mkdir()
    shutil.copy(own, apart / "a.xml")
    folder = find_patients(two)[0]
    catalogue = folder.catalogue()
    (series,) = catalogue.series
    assert AnnotationFiles(apart).of(series, catalogue) == own
    own.unlink()
    assert AnnotationFiles(apart).of(series, folder.catalogue()) == apart / "a.xml"


def test_state_of_a_folder_that_has_links_to_itself(two):
    # each would be entered 40 times over, in all orders
    folder = two / "LIDC-IDRI-0001"
    before = state(folder)
    for name in "abc":
        (folder / name).symlink_to(folder)
    assert state(folder) == before
    linked = folder / "d"
    linked.symlink_to(two / "LIDC-IDRI-0002")
    after = state(folder)
    assert after != before
    next((two / "LIDC-IDRI-0002").rglob("*.xml")).unlink()
    assert state(folder) != after


def test_missing_slice_is_a_finding(two):
    paths = sorted(ct_folder(two, 1).glob("*.dcm"))
    found = build_index(two).records[0]
    paths[1].unlink()
    changed = build_index(two).records[0]
    assert (found.findings, found.n_slices - 1) == ((), changed.n_slices)
    # whichever slice it was: the median distance stays, or the gap is named
    assert changed.findings or changed.spacing == found.spacing


def test_file_is_complete_json(two, tmp_path):
    index = build_index(two, splits=PatientSplits(seed=5))
    index.write(tmp_path / "index.json")
    found = json.loads((tmp_path / "index.json").read_text())
    assert found["split"] == {"seed": 5, "fractions": dict(index.splits.fractions)}
    assert [one["series_uid"] for one in found["series"]] == [r.series_uid for r in index.records]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["index.json", "set"]


def test_folders_that_are_called_otherwise(two, tmp_path):
    two.rename(tmp_path / "other")
    for k in (1, 2):
        (tmp_path / "other" / f"LIDC-IDRI-{k:04d}").rename(tmp_path / "other" / f"case {k}")
    assert [folder.name for folder in find_patients(tmp_path / "other")] == ["case 1", "case 2"]
    assert build_index(tmp_path / "other").patients == ("LIDC-IDRI-0001", "LIDC-IDRI-0002")
    # a file at the top: all is one folder
    (tmp_path / "other" / "readme.txt").write_text("x")
    assert [folder.name for folder in find_patients(tmp_path / "other")] == ["."]


def test_errors(tmp_path, two):
    with pytest.raises(NotADirectoryError, match="none: expected a folder of LIDC-IDRI"):
        build_index(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"empty: expected CT series, got none \(nothing\)"):
        build_index(tmp_path / "empty")
    with pytest.raises(NotADirectoryError, match="no: expected a folder of XML files"):
        build_index(two, xml=tmp_path / "no")
    with pytest.raises(ValueError, match="got 1 that are not: LIDC-IDRI-0009"):
        build_index(two, splits=PatientSplits(lists={"train": {"LIDC-IDRI-0009"}}))
