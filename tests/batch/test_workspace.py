"""The output folder: one run at a time, and what an earlier run left."""

from pathlib import Path

import pytest

from tomolearn.batch.workspace import HIDDEN, Workspace, files_of


def test_a_finished_series_has_its_place_and_nothing_else_is_left(tmp_path: Path) -> None:
    with Workspace(tmp_path / "out") as workspace:
        folder = workspace.begin("1.2")
        (files_of(folder) / "00001.dcm").write_text("image")
        (files_of(folder) / ".00002.dcm.77.partial").write_text("half")
        (folder / "chunk.json").write_text("{}")
        workspace.finish("1.2", tmp_path / "out" / "study" / "1.2")
    series = tmp_path / "out" / "study" / "1.2"
    assert [path.name for path in series.iterdir()] == ["00001.dcm"]
    assert [path.name for path in (tmp_path / "out" / HIDDEN).iterdir()] == ["lock"]


def test_unfinished_work_is_taken_over_under_another_name(tmp_path: Path) -> None:
    with Workspace(tmp_path) as workspace:
        before = workspace.begin("1.2")
        (files_of(before) / "00001.dcm").write_text("image")
        (files_of(before) / ".00002.dcm.77.partial").write_text("half")
    with Workspace(tmp_path) as workspace:
        after = workspace.begin("1.2")
        # who still works for the dead run finds nowhere to write
        assert not before.exists()
        assert [path.name for path in files_of(after).iterdir()] == ["00001.dcm"]
        workspace.discard("1.2")
        assert not after.exists()


def test_a_result_is_replaced(tmp_path: Path) -> None:
    target = tmp_path / "study" / "1.2"
    for text in ("old", "new"):
        with Workspace(tmp_path) as workspace:
            (files_of(workspace.begin("1.2")) / f"{text}.dcm").write_text(text)
            workspace.finish("1.2", target)
    assert [path.name for path in target.iterdir()] == ["new.dcm"]


def test_death_between_the_two_renames_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "study" / "1.2"
    with Workspace(tmp_path) as workspace:
        (files_of(workspace.begin("1.2")) / "old.dcm").write_text("old")
        workspace.finish("1.2", target)
    rename = Path.rename

    def die(path: Path, new: Path) -> Path:
        if new == target:
            raise KeyboardInterrupt
        return rename(path, new)

    with Workspace(tmp_path) as workspace:
        (files_of(workspace.begin("1.2")) / "new.dcm").write_text("new")
        monkeypatch.setattr(Path, "rename", die)
        with pytest.raises(KeyboardInterrupt):
            workspace.finish("1.2", target)
        monkeypatch.undo()
    with Workspace(tmp_path) as workspace:
        folder = workspace.begin("1.2")
        assert [path.name for path in files_of(folder).iterdir()] == ["new.dcm"]
        workspace.finish("1.2", target)
    assert [path.name for path in target.iterdir()] == ["new.dcm"]


def test_one_run_at_a_time(tmp_path: Path) -> None:
    with (
        Workspace(tmp_path),
        pytest.raises(BlockingIOError, match="another run is at work in this folder"),
        Workspace(tmp_path),
    ):
        pass
    with Workspace(tmp_path):
        pass


def test_a_folder_that_is_a_file(tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.write_text("")
    with pytest.raises(NotADirectoryError), Workspace(path):
        pass
