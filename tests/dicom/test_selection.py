"""Filters of files and series: what is taken, and why the rest is not."""

import gzip
import io
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest
from batch_trees import uid, write_series

from tomolearn import TomolearnError
from tomolearn.dicom import SeriesFilter, SkipReason, find_series


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Three series of two patients in two folders."""
    root = tmp_path / "in"
    soft = {"ConvolutionKernel": "B30f", "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"]}
    sharp = {"ConvolutionKernel": "B70f", "ImageType": ["DERIVED", "SECONDARY", "MPR"]}
    write_series(root / "first", "a", 3, SeriesDescription="Thorax soft", **soft)
    write_series(root / "first", "b", 2, SeriesDescription="Thorax sharp", **sharp)
    write_series(root / "second", "c", 1, SeriesDescription="", **soft)
    return root


def found(root: Path, **conditions: Any) -> str:
    """Return the names of the series that are taken; every file is accounted for."""
    index = find_series(root, select=SeriesFilter(**conditions))
    names = {uid(name): name for name in "abc"}
    kept = {info.path for one in index.series for info in one.slices}
    skipped = {one.path for one in index.skipped}
    assert not kept & skipped
    assert len(kept | skipped) == index.n_files
    assert not index.lost
    assert all(
        one.reason in (SkipReason.FILTERED, SkipReason.EXCLUDED)
        and any(one.detail.startswith(f"{name}: expected ") for name in conditions)
        for one in index.skipped
    )
    return "".join(sorted(names[one.uid] for one in index.series))


@pytest.mark.parametrize(
    ("conditions", "taken"),
    [
        ({}, "abc"),
        ({"include": ["first/*"]}, "ab"),
        ({"include": ["SECOND"]}, "c"),
        ({"include": ["b-*.dcm", "c-*"]}, "bc"),
        ({"exclude": ["first"]}, "c"),
        ({"include": ["first"], "exclude": ["a-*"]}, "b"),
        ({"description": ["thorax*"]}, "ab"),
        ({"description": ["*soft", "*sharp"]}, "ab"),
        ({"description": ["!*sharp"]}, "ac"),
        ({"description": ["thorax*", "!*sharp"]}, "a"),
        ({"kernel": ["b30?"]}, "ac"),
        ({"image_type": ["original"]}, "ac"),
        ({"image_type": ["DERIVED\\SECONDARY\\*"]}, "b"),
        ({"image_type": ["!axial"]}, "b"),
        ({"patient": ["patient-[bc]"]}, "bc"),
        ({"minimum_slices": 2}, "ab"),
        ({"minimum_slices": 3, "kernel": ["B30f"]}, "a"),
        ({"minimum_slices": 4}, ""),
    ],
)
def test_what_is_taken(conditions: dict[str, Any], taken: str, tree: Path) -> None:
    assert found(tree, **conditions) == taken


def test_a_root_that_is_a_file_is_named_by_itself(tree: Path) -> None:
    path = tree / "second" / "c-000.dcm"
    assert len(find_series(path, select=SeriesFilter(include=["c-*"])).series) == 1
    assert not find_series(path, select=SeriesFilter(exclude=["*.dcm"])).series


def test_damage_in_a_series_that_nobody_asked_for_is_no_loss(tree: Path) -> None:
    path = tree / "first" / "b-001.dcm"
    path.write_bytes(path.read_bytes()[:-9])
    assert [one.path for one in find_series(tree).lost] == [path]
    for conditions in ({"kernel": ["B30f"]}, {"minimum_slices": 3}):
        index = find_series(tree, select=SeriesFilter(**conditions))
        assert not index.lost
        assert {one.path: one.reason for one in index.skipped}[path] is SkipReason.FILTERED


def test_lost_slices_count_for_the_smallest_number(tree: Path) -> None:
    path = tree / "first" / "a-001.dcm"
    path.write_bytes(path.read_bytes()[:-9])
    (one,) = find_series(tree, select=SeriesFilter(minimum_slices=3)).series
    assert (len(one), one.n_lost) == (2, 1)


@pytest.mark.parametrize(
    ("conditions", "message"),
    [
        ({"kernel": "B30f"}, "kernel: expected a list of texts, got 'B30f'"),
        ({"include": [""]}, "include: expected a pattern, got ''"),
        ({"exclude": ["!"]}, "exclude: expected a pattern, got '!'"),
        ({"minimum_slices": 0}, "minimum_slices: expected"),
    ],
)
def test_mistakes(conditions: dict[str, Any], message: str) -> None:
    with pytest.raises(TomolearnError, match=message):
        SeriesFilter(**conditions)


def test_conditions_as_json() -> None:
    assert SeriesFilter().to_dict() == {}
    conditions = {"kernel": ["B*"], "minimum_slices": 4}
    assert SeriesFilter(**conditions).to_dict() == conditions


def _tar() -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("a.dcm"), io.BytesIO())
    return stream.getvalue()


def _zip() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("a.dcm", b"DICM")
    return stream.getvalue()


@pytest.mark.parametrize(
    ("contents", "kind"),
    [(_zip(), "ZIP"), (_tar(), "tar"), (gzip.compress(b"DICM"), "gzip")],
    ids=["zip", "tar", "gzip"],  # contents have the time
)
def test_archives_are_named_as_such(contents: bytes, kind: str, tmp_path: Path) -> None:
    (tmp_path / "scans.bin").write_bytes(contents)
    (one,) = find_series(tmp_path).skipped
    assert one.reason is SkipReason.ARCHIVE
    assert one.detail == (
        f"expected a DICOM file, got a {kind} archive: unpack it, and give the folder"
    )
    assert not one.is_lost


def test_an_archive_with_the_name_of_a_slice_is_a_loss(tree: Path) -> None:
    """As any other file among slices that is not one of them."""
    (tree / "first" / "a-009.dcm").write_bytes(gzip.compress(b"DICM"))
    (one,) = find_series(tree).lost
    assert one.reason is SkipReason.ARCHIVE
