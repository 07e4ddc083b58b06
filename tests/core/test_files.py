"""Files that appear together when they are complete, and the lock of a folder."""

import errno
import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tomolearn._core.files import complete_files, is_partial, locked

ROOT = Path(__file__).resolve().parents[2]


def test_files_get_their_names_in_order_when_all_are_on_the_disk(tmp_path, monkeypatch):
    paths = [tmp_path / name for name in "bac"]
    events, fsync, replace = [], os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda number: events.append("disk") or fsync(number))
    monkeypatch.setattr(
        Path, "replace", lambda self, path: events.append(path.name) or replace(self, path)
    )
    with complete_files(*paths) as streams:
        for stream, path in zip(streams, paths, strict=True):
            stream.write(path.name.encode())
        partials = list(tmp_path.iterdir())
        assert len(partials) == 3
        assert all(map(is_partial, partials))
    assert events == ["disk"] * 3 + ["b", "a", "c"]
    assert sorted(tmp_path.iterdir()) == sorted(paths)
    assert all(path.read_text() == path.name for path in paths)


def test_of_files_that_belong_together_a_failure_leaves_none(tmp_path, monkeypatch):
    def full(number):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"), complete_files(tmp_path / "a", tmp_path / "b"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_one_run_at_a_time(tmp_path):
    lock = tmp_path / "lock"
    message = "another run is at work in this folder: .*place"
    with (
        locked(lock, tmp_path / "place"),
        pytest.raises(BlockingIOError, match=message),
        locked(lock, tmp_path / "place"),
    ):
        pytest.fail("locked twice")
    with locked(lock, tmp_path / "place"):
        pass


def test_a_lock_that_was_removed_meanwhile_is_none(tmp_path, monkeypatch):
    """A run that ends removes its lock after another has opened it."""
    lock, flock = tmp_path / "lock", fcntl.flock

    def late(*arguments):
        lock.unlink()
        flock(*arguments)

    monkeypatch.setattr(fcntl, "flock", late)
    with pytest.raises(BlockingIOError, match="another run is at work"), locked(lock, tmp_path):
        pytest.fail("locked a file that is gone")


def test_a_killed_run_holds_no_lock(tmp_path):
    program = (
        "import os; from pathlib import Path; from tomolearn._core.files import locked\n"
        f"with locked(Path({str(tmp_path / 'lock')!r}), Path('.')):\n    os.abort()\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, stderr=subprocess.DEVNULL)
    assert done.returncode < 0
    assert (tmp_path / "lock").exists()
    with locked(tmp_path / "lock", tmp_path):
        pass


def test_where_there_are_no_locks_this_is_said(tmp_path, monkeypatch):
    def none(*arguments):
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", none)
    with pytest.raises(OSError, match="not implemented"), locked(tmp_path / "lock", tmp_path):
        pytest.fail("locked without locks")
