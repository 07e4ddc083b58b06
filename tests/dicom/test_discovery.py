"""Series in a tree of files: what belongs to which, and where files are looked for."""

import os
import pickle
import shutil
from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicom_files import write
from dicom_series import (
    SERIES,
    STUDY,
    along_z,
    ct_image,
    enhanced_image,
    item,
    stored_values,
    tilted,
    write_series,
)

from tomolearn.dicom import (
    Derivation,
    DerivedSeries,
    FindingKind,
    find_series,
)

ORIGIN = (0.0, 0.0, 0.0)


def test_a_series_is_what_has_its_identifier_wherever_it_lies(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    names = [f"x{number}" for number in rng.permutation(6)]
    write_series(tmp_path / "a", along_z(6), names)
    os.renames(tmp_path / "a" / names[3], tmp_path / "elsewhere" / "deep" / "IM")
    write_series(tmp_path / "a", along_z(3, 2.0), ["p", "q", "r"], series=f"{SERIES}.5")
    series_index = find_series(tmp_path)
    assert series_index.n_files == 9
    assert series_index.skipped == ()
    assert [(one.uid, len(one)) for one in series_index.series] == [(SERIES, 6), (f"{SERIES}.5", 3)]
    one = series_index.series[0]
    assert [s.position for s in one.slices] == along_z(6)
    assert [s.instance_number for s in one.slices] == [1, 2, 3, 4, 5, 6]
    assert (one.study_uid, one.patient_id, one.series_number) == (STUDY, "PID-0815", 4)
    assert (one.description, one.study_description) == ("Thorax 5 mm weich", "Thorax nativ")
    assert (one.body_part, one.manufacturer, one.model) == ("CHEST", "ACME", "Roentgenator 3")
    assert (one.kernel, one.findings, one.spacing) == ("B30f", (), (5.0, 0.7, 0.5))
    assert one.frame_of_reference_uid


def test_a_single_file_is_a_tree_too(tmp_path: Path) -> None:
    (path,) = write_series(tmp_path, [ORIGIN])
    series_index = find_series(path)
    assert (series_index.root, series_index.n_files) == (path, 1)
    assert series_index.series[0].slices[0].path == path


def test_volume_has_the_pixels_of_the_files_in_order(tmp_path: Path) -> None:
    write_series(tmp_path, along_z(4)[::-1])
    volume = find_series(tmp_path).series[0].volume()
    assert volume.hounsfield.shape == (4, 6, 8)
    assert volume.hounsfield.dtype == np.float32
    for index in range(4):
        np.testing.assert_array_equal(volume.hounsfield[index], stored_values(3 - index) - 1024.0)
    assert not volume.padding.any()
    np.testing.assert_allclose(volume.affine @ [2, 0, 0, 1], (-150, -140, -90, 1))


def test_irregular_series_is_read_slice_by_slice_but_is_no_volume(tmp_path: Path) -> None:
    write_series(tmp_path, [*along_z(3), (-150, -140, 7)])
    one = find_series(tmp_path).series[0]
    assert one.read(3).hounsfield.shape == (6, 8)
    with pytest.raises(ValueError, match="uneven spacing"):
        one.volume()


def test_catalogue_can_be_sent_to_another_process_and_is_small(tmp_path: Path) -> None:
    write_series(tmp_path, along_z(50))
    series_index = find_series(tmp_path)
    sent = pickle.dumps(series_index.series[0])
    assert pickle.loads(sent) == series_index.series[0]
    assert len(sent) < 50 * 500


def test_progress_is_told_for_each_file(tmp_path: Path) -> None:
    write_series(tmp_path, along_z(3))
    (tmp_path / "notes.txt").write_text("x" * 300)
    told: list[tuple[int, int]] = []
    find_series(tmp_path, progress=lambda done, total: told.append((done, total)))
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]


@pytest.mark.parametrize("legacy", [False, True])
def test_frames_of_an_enhanced_file_are_slices(legacy: bool, tmp_path: Path) -> None:
    positions = along_z(5)
    order = [3, 0, 4, 1, 2]
    dataset = enhanced_image([positions[i] for i in order], legacy=legacy)
    series_index = find_series(write(tmp_path / "e.dcm", dataset))
    (one,) = series_index.series
    assert one.findings == ()
    assert [s.position for s in one.slices] == positions
    assert [s.frame for s in one.slices] == [order.index(i) for i in range(5)]
    assert one.spacing == (5.0, 0.7, 0.5)
    for index in range(5):
        ct = one.read(index)
        np.testing.assert_array_equal(
            ct.hounsfield, stored_values(order.index(index)).astype(float) - 1024
        )
        assert ct.frame == order.index(index)
    if not legacy:
        assert (one.kernel, one.slices[0].tilt, one.slices[0].thickness) == ("B30f", 0.0, 5.0)


def test_localizer_among_the_frames_of_an_enhanced_file(tmp_path: Path) -> None:
    dataset = enhanced_image(along_z(3))
    dataset.PerFrameFunctionalGroupsSequence[1].CTImageFrameTypeSequence = [
        item(FrameType=["ORIGINAL", "PRIMARY", "LOCALIZER", "NONE"])
    ]
    (one,) = find_series(write(tmp_path / "e.dcm", dataset)).series
    assert [s.frame for s in one.slices] == [0, 2]


def test_copies_are_left_out_and_named(tmp_path: Path) -> None:
    paths = write_series(tmp_path / "a", along_z(3))
    for path in paths:
        (tmp_path / "b").mkdir(exist_ok=True)
        shutil.copy(path, tmp_path / "b")
    series_index = find_series(tmp_path)
    assert [len(one) for one in series_index.series] == [3]
    assert series_index.counts == {"identical copy": 3}
    assert str(paths[0]) in series_index.skipped[0].detail
    assert all(one.path.parent.name == "b" for one in series_index.skipped)


def test_one_identifier_for_different_images_is_no_copy(tmp_path: Path) -> None:
    write_series(tmp_path, along_z(4), SOPInstanceUID="1.2.3.4")
    series_index = find_series(tmp_path)
    assert [len(one) for one in series_index.series] == [1]
    assert series_index.counts == {"identifier used twice": 3}
    assert "which has another position, instance number" in series_index.skipped[0].detail
    assert series_index.lost == series_index.skipped


def test_a_copy_that_says_something_else_is_no_copy(tmp_path: Path) -> None:
    write(tmp_path / "a", ct_image(0, ORIGIN))
    write(tmp_path / "b", ct_image(0, ORIGIN, StudyDescription="other"))
    series_index = find_series(tmp_path)
    assert series_index.counts == {"identifier used twice": 1}
    assert series_index.skipped[0].detail.endswith("which has another study description")


@pytest.mark.parametrize(
    "other", [{"PatientID": "B"}, {"StudyInstanceUID": "1.2.9"}], ids=["patient", "study"]
)
def test_patients_and_studies_are_never_mixed(other: dict[str, str], tmp_path: Path) -> None:
    """Even if somebody gave them the same identifiers, of images too."""
    write_series(tmp_path / "a", along_z(4))
    write_series(tmp_path / "b", along_z(3), **other)
    series_index = find_series(tmp_path)
    assert series_index.skipped == ()
    assert sorted(len(one) for one in series_index.series) == [3, 4]
    for one in series_index.series:
        assert len({info.path.parent for info in one.slices}) == 1
        assert [finding.kind for finding in one.findings] == [FindingKind.SHARED_IDENTIFIER]
        assert "is that of 2 series" in one.findings[0].detail
    first, second = (DerivedSeries(one, Derivation("x")) for one in series_index.series)
    assert first.uid != second.uid
    assert first[0].sop_instance_uid != second[0].sop_instance_uid


@pytest.mark.parametrize(
    "unsaid",
    [
        ["StudyInstanceUID"],
        ["PatientID"],
        ["PatientID", "StudyInstanceUID"],
    ],
)
def test_a_file_is_of_the_patient_and_study_of_the_others(
    unsaid: list[str], tmp_path: Path
) -> None:
    write_series(tmp_path, along_z(3))
    nothing = dict.fromkeys(unsaid)
    write(tmp_path / "0-first", ct_image(5, (0.0, 0.0, 50.0), **nothing))
    (one,) = find_series(tmp_path).series
    assert (len(one), one.patient_id, one.study_uid) == (4, "PID-0815", STUDY)
    assert FindingKind.SHARED_IDENTIFIER not in {finding.kind for finding in one.findings}
    made = DerivedSeries(one, Derivation("x"))
    for index in range(4):
        made[index].write(one.read(index).hounsfield, tmp_path / "out.dcm")
        written = pydicom.dcmread(tmp_path / "out.dcm")
        assert (written.PatientID, written.StudyInstanceUID) == ("PID-0815", STUDY)


def test_files_that_say_less_are_joined_step_by_step(tmp_path: Path) -> None:
    for index, nothing in enumerate(
        (["PatientID", "StudyInstanceUID"], ["PatientID"], ["StudyInstanceUID"], [])
    ):
        image = ct_image(index, (0.0, 0.0, 5.0 * index), **dict.fromkeys(nothing))
        write(tmp_path / str(index), image)
    (one,) = find_series(tmp_path).series
    assert (len(one), one.patient_id, one.study_uid) == (4, "PID-0815", STUDY)


def test_a_file_that_may_be_of_two_patients_is_of_neither(tmp_path: Path) -> None:
    write_series(tmp_path / "a", along_z(3))
    write_series(tmp_path / "b", along_z(3), PatientID="B")
    write(tmp_path / "c", ct_image(5, (0.0, 0.0, 50.0), PatientID=None))
    assert [len(one) for one in find_series(tmp_path).series] == [1, 3, 3]


def test_a_file_of_another_patient_is_not_joined_for_want_of_a_study(tmp_path: Path) -> None:
    write_series(tmp_path / "a", along_z(3))
    write(tmp_path / "b", ct_image(5, (0.0, 0.0, 50.0), PatientID="B", StudyInstanceUID=None))
    assert [len(one) for one in find_series(tmp_path).series] == [1, 3]


def test_an_identifier_is_used_once_in_what_was_joined(tmp_path: Path) -> None:
    """Or two derived images would have one identifier, and one would replace the other."""
    write(tmp_path / "0", ct_image(0, ORIGIN, StudyInstanceUID=None))
    (path,) = write_series(tmp_path, [ORIGIN])
    series_index = find_series(tmp_path)
    assert [info.path for one in series_index.series for info in one.slices] == [path]
    assert series_index.counts == {"identifier used twice": 1}
    assert series_index.skipped[0].path == tmp_path / "0"
    assert series_index.skipped[0].detail.endswith("which has another study uid")


def test_an_identifier_of_a_series_for_each_slice_is_hinted_at(tmp_path: Path) -> None:
    for index, position in enumerate(along_z(5)):
        write(tmp_path / f"{index}", ct_image(index, position, series=f"{SERIES}.{index + 1}"))
    for index in range(5):  # scans of one place, one after the other, are nothing special
        uids = {"series": f"{SERIES}.9.{index + 1}", "study": f"{STUDY}.8"}
        write(tmp_path / f"same{index}", ct_image(index, ORIGIN, **uids))
    series = find_series(tmp_path).series
    hinted = [one for one in series if one.study_uid == STUDY]
    for one in hinted:
        assert [finding.kind for finding in one.findings] == [FindingKind.SERIES_PER_SLICE]
        assert "5 series of this study have one slice each" in one.findings[0].detail
        assert one.spacing[0] == 5
    assert {one.findings for one in series if one not in hinted} == {()}


def test_a_folder_is_left_out_by_whatever_link_it_is_reached(tmp_path: Path) -> None:
    source, out = tmp_path / "store" / "in", tmp_path / "store" / "out"
    write_series(source, along_z(2))
    write_series(out / "deep", along_z(3), series=f"{SERIES}.1")
    (source / "results").symlink_to(out, target_is_directory=True)
    (source / "a-part").symlink_to(out / "deep", target_is_directory=True)
    (source / "a-file").symlink_to(out / "deep" / "000.dcm")
    (source / "above").symlink_to(tmp_path / "store", target_is_directory=True)
    assert len(find_series(source).series) == 2
    series_index = find_series(source, without=out)
    assert [one.uid for one in series_index.series] == [SERIES]
    skipped = {one.path.relative_to(source).as_posix() for one in series_index.skipped}
    assert skipped == {"results", "a-part", "a-file", "above/out"}
    assert series_index.counts == {"excluded": 4}
    assert series_index.lost == ()
    assert len(find_series(source, without=tmp_path / "nowhere").series) == 2


def test_links_are_followed_once(tmp_path: Path) -> None:
    real = tmp_path / "data" / "real"
    write_series(real, along_z(3))
    (tmp_path / "data" / "again").symlink_to(real, target_is_directory=True)
    (real / "up").symlink_to(tmp_path, target_is_directory=True)
    (real / "self").symlink_to(real, target_is_directory=True)
    (tmp_path / "broken").symlink_to(tmp_path / "nowhere")
    series_index = find_series(tmp_path)
    assert [len(one) for one in series_index.series] == [3]
    # a folder keeps its own name
    assert series_index.series[0].slices[0].path.parent == real
    assert series_index.counts == {"unreadable": 1}
    assert series_index.skipped[0].path.name == "broken"


def test_files_behind_links_are_read(tmp_path: Path) -> None:
    (target,) = write_series(tmp_path / "store", [ORIGIN])
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "a.dcm").symlink_to(target)
    assert len(find_series(tmp_path / "tree").series) == 1


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_what_may_not_be_read(tmp_path: Path) -> None:
    write_series(tmp_path / "open", along_z(2))
    write_series(tmp_path / "closed", along_z(2))
    (tmp_path / "closed").chmod(0)
    (tmp_path / "open" / "000.dcm").chmod(0)
    try:
        assert find_series(tmp_path).counts == {"unreadable": 2}
    finally:
        (tmp_path / "closed").chmod(0o700)


def test_file_that_cannot_be_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_series(tmp_path, along_z(2))

    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("tomolearn.dicom.discovery.opened", refuse)
    series_index = find_series(tmp_path)
    assert series_index.counts == {"unreadable": 2}
    assert "Permission denied" in series_index.skipped[0].detail


def test_root_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        find_series(tmp_path / "nowhere")


def test_empty_folder(tmp_path: Path) -> None:
    series_index = find_series(tmp_path)
    assert (series_index.series, series_index.skipped, series_index.n_files) == ((), (), 0)
    assert series_index.counts == {}


def test_series_whose_file_was_replaced_is_not_read(tmp_path: Path) -> None:
    (path,) = write_series(tmp_path, [ORIGIN])
    (one,) = find_series(tmp_path).series
    write(path, ct_image(5, ORIGIN))
    with pytest.raises(
        ValueError, match=r"000\.dcm: SOPInstanceUID \(0008,0018\): expected .*\.1,"
    ):
        one.read(0)
    path.unlink()
    with pytest.raises(FileNotFoundError):
        one.read(0)


@pytest.mark.filterwarnings("ignore:Expected explicit VR:UserWarning")  # wrong on purpose
def test_all_of_pydicoms_files_are_accounted_for() -> None:
    root = Path(pydicom.__file__).parent / "data" / "test_files"
    series_index = find_series(root)
    in_series = [s.path for one in series_index.series for s in one.slices]
    assert len(in_series) + len(series_index.skipped) == series_index.n_files
    assert sorted([*in_series, *(x.path for x in series_index.skipped)]) == sorted(
        path for path in root.rglob("*") if path.is_file()
    )
    assert sum(path.name == "CT_small.dcm" for path in in_series) == 1


def test_real_series(real_data: Path) -> None:
    chest, head = find_series(real_data).series
    assert (chest.patient_id, len(chest), chest.findings) == ("CHEST-1", 48, ())
    assert chest.spacing == (5.0, 0.5703125, 0.5703125)
    assert len(head) == 28
    assert [one.kind for one in head.findings] == [
        FindingKind.UNEVEN_SPACING,
        FindingKind.GANTRY_TILT,
    ]
    assert "1.08 to 7.00 mm apart" in head.findings[0].detail
    assert "sheared by 18.50 degrees" in head.findings[1].detail
    # the tilt that this orientation is one of
    np.testing.assert_allclose(np.abs(head.slices[0].orientation), np.abs(tilted(18.5)), atol=1e-6)
