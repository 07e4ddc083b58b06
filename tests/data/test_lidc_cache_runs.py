"""Runs that make a cache of slices: what changed meanwhile, what is odd, two at once."""

import shutil

import h5py
import pydicom
import pytest
from lidc_trees import PATIENTS

from tomolearn.data.lidc import (
    PatientSplits,
    Preparation,
    SliceSelection,
    cache,
    cache_file,
    write_slices,
)

SPLIT = PatientSplits(seed=2, fractions={"train": 0.6, "test": 0.4})
SMALL = Preparation(128)


class Stopped(Exception):
    """What ends a run."""


def first_xml(root):
    return sorted(root.rglob("*.xml"))[0]


def test_files_that_came_since_are_seen(lidc_tree, tmp_path):
    """A split that was written before its patient's folder was complete is made again."""
    root = shutil.copytree(lidc_tree, tmp_path / "tree")
    patient = sorted(root.iterdir())[0]
    (series,) = {path.parent for path in patient.rglob("*.xml")}
    late = sorted(series.glob("*.dcm"))[-2:]
    for path in late:
        path.rename(tmp_path / path.name)

    def stop(done, total):
        if done == 2:
            raise Stopped

    options = {"preparation": SMALL, "splits": SPLIT}
    with pytest.raises(Stopped):
        write_slices(root, tmp_path / "a.h5", progress=stop, **options)
    for path in late:
        (tmp_path / path.name).rename(path)
    continued = write_slices(root, tmp_path / "a.h5", **options)
    fresh = write_slices(root, tmp_path / "b.h5", **options)
    assert continued.n_slices == fresh.n_slices
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


def test_annotations_that_come_later_are_seen(lidc_tree, tmp_path):
    root = shutil.copytree(lidc_tree, tmp_path / "tree")
    taken = {path: path.read_bytes() for path in root.rglob("*.xml")}
    for path in taken:
        path.unlink()
    options = {"preparation": SMALL, "selection": SliceSelection(nodules=True), "splits": SPLIT}
    with pytest.raises(
        ValueError, match=r"none that are wanted.* expected annotations that can be"
    ):
        write_slices(root, tmp_path / "a.h5", **options)
    assert [path.name for path in tmp_path.iterdir()] == ["tree"]
    for path, content in taken.items():
        path.write_bytes(content)
    assert sum(write_slices(root, tmp_path / "a.h5", **options).n_slices.values()) > 0


def test_annotations_apart_that_changed_are_seen(lidc_tree, tmp_path):
    root, xml = shutil.copytree(lidc_tree, tmp_path / "tree"), tmp_path / "xml"
    xml.mkdir()
    for number, path in enumerate(sorted(root.rglob("*.xml"))):
        path.rename(xml / f"{number}.xml")
    nodules = SliceSelection(nodules=True)
    options = {"preparation": SMALL, "selection": nodules, "splits": SPLIT, "xml": xml}

    def stop(done, total):
        if done == total:
            raise Stopped

    with pytest.raises(Stopped):
        write_slices(root, tmp_path / "a.h5", progress=stop, **options)
    for path in xml.iterdir():
        path.write_text(path.read_text().replace("<inclusion>TRUE", "<inclusion>FALSE"))
    for name in ("a.h5", "b.h5"):
        write_slices(root, tmp_path / name, **options)
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


def test_annotations_apart_that_cannot_be_read_are_told(lidc_tree, tmp_path):
    root, xml = shutil.copytree(lidc_tree, tmp_path / "tree"), tmp_path / "xml"
    xml.mkdir()
    for number, path in enumerate(sorted(root.rglob("*.xml"))):
        path.rename(xml / f"{number}.xml")
    damaged = xml / "0.xml"
    damaged.write_bytes(damaged.read_bytes()[:500])
    selection = SliceSelection(nodules=True)
    report = write_slices(
        root, tmp_path / "a.h5", preparation=SMALL, selection=selection, splits=SPLIT, xml=xml
    )
    assert f"{damaged}: expected XML" in report.left_out[0]
    assert "expected annotations that can be read" in report.left_out[1]


def test_a_slice_of_another_size_costs_its_series(lidc_tree, tmp_path):
    root = shutil.copytree(lidc_tree, tmp_path / "tree")
    odd = sorted(first_xml(root).parent.glob("*.dcm"))[0]
    dataset = pydicom.dcmread(odd)
    dataset.Rows = dataset.Columns = 16
    dataset.PixelData = dataset.PixelData[: 16 * 16 * 2]
    dataset.save_as(odd)
    for selection in (SliceSelection(nodules_only=True), SliceSelection(nodules=True)):
        report = write_slices(
            root, tmp_path / "a.h5", preparation=SMALL, selection=selection, splits=SPLIT
        )
        (line,) = report.left_out
        assert "expected slices of one size for masks, got 128 x 128 and also 16 x 16" in line


def test_masks_that_cannot_be_made_cost_their_series(lidc_tree, tmp_path, monkeypatch):
    whole, series = cache.slice_mask, []

    def cut(nodules, index, shape, **options):
        if not series or nodules is series[0]:
            series[:] = [nodules] if nodules else []
            shape = (1, 1)
        return whole(nodules, index, shape, **options)

    monkeypatch.setattr(cache, "slice_mask", cut)
    report = write_slices(
        lidc_tree,
        tmp_path / "a.h5",
        preparation=SMALL,
        selection=SliceSelection(nodules_only=True),
        splits=SPLIT,
    )
    (line,) = report.left_out
    assert "shape: expected at least" in line
    assert sum(report.n_slices.values()) > 0


def test_agreement_and_number_of_readers_are_those_asked_for(lidc_tree, tmp_path):
    def voxels(**options):
        selection = SliceSelection(nodules=True, **options)
        write_slices(lidc_tree, tmp_path / "a.h5", selection=selection, splits=SPLIT)
        with h5py.File(tmp_path / "a.h5") as file:
            return int(file["nodules"][()].sum())

    some, all_of_them, four = (
        voxels(consensus_level=0.01),
        voxels(consensus_level=1.0),
        voxels(min_readers=4),
    )
    assert some > voxels() > all_of_them > 0
    assert 0 < four < voxels()


def test_joining_needs_no_room_for_all_twice(lidc_tree, tmp_path, monkeypatch):
    """Parts go as they are copied; stopped in between, the result is the same."""
    options = {"preparation": SMALL, "selection": SliceSelection(nodules=True), "splits": SPLIT}
    write_slices(lidc_tree, tmp_path / "whole.h5", **options)
    copy, left = cache_file._copy, []

    def stop(*arguments):
        left.append(len(list((tmp_path / ".a.h5.parts").glob("*.h5"))))
        if len(left) == 3:
            raise Stopped
        copy(*arguments)

    monkeypatch.setattr(cache_file, "_copy", stop)
    with pytest.raises(Stopped):
        write_slices(lidc_tree, tmp_path / "a.h5", **options)
    monkeypatch.undo()
    assert left == [PATIENTS, PATIENTS - 1, PATIENTS - 2]
    assert not (tmp_path / "a.h5").exists()
    write_slices(lidc_tree, tmp_path / "a.h5", **options)
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "whole.h5").read_bytes()


def test_two_runs_at_once(lidc_tree, tmp_path):
    options = {"preparation": SMALL, "splits": SPLIT}

    def other(done, total):
        with pytest.raises(BlockingIOError, match="another run is at work in this folder"):
            write_slices(lidc_tree, tmp_path / "a.h5", **options)

    write_slices(lidc_tree, tmp_path / "a.h5", progress=other, **options)
