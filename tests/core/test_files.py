"""Files that appear together when they are complete, and the lock of a folder."""

import errno
import fcntl
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from tomolearn._core.files import (
    complete_file,
    complete_files,
    is_partial,
    locked,
    only_writer,
    resolved,
    sync_folder,
    write_bytes,
)

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


@pytest.mark.parametrize("place", ["open", "write", "fsync", "replace"])
def test_errors_of_the_system_name_the_file(tmp_path, monkeypatch, place):
    def fails(*arguments):
        raise OSError(errno.EDQUOT, "Disk quota exceeded")

    path = tmp_path / "a.json"
    if place == "open":
        path = tmp_path / "missing" / "a.json"
    elif place == "replace":
        monkeypatch.setattr(Path, "replace", fails)
    elif place == "fsync":
        monkeypatch.setattr(os, "fsync", fails)
    else:
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (10, hard))
    try:
        with pytest.raises(OSError, match=r"exceeded|No such file|too large") as error:
            write_bytes(path, b"x" * 100)
    finally:
        if place == "write":
            resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    assert error.value.filename == str(path)
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_run_left_of_a_file_is_removed_by_the_next(tmp_path):
    path = tmp_path / "a.h5"
    program = (
        "import os; from pathlib import Path; from tomolearn._core.files import complete_file\n"
        f"with complete_file(Path({str(path)!r})) as stream:\n"
        "    stream.write(b'half'); stream.flush(); os.kill(os.getpid(), 9)\n"
    )
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=False)
    assert len(list(tmp_path.iterdir())) == 1
    (tmp_path / ".b.h5.77.partial").write_text("of another")
    write_bytes(path, b"whole")
    assert sorted(one.name for one in tmp_path.iterdir()) == [".b.h5.77.partial", "a.h5"]


def test_what_another_run_is_writing_stays(tmp_path):
    path = tmp_path / "a.h5"
    with complete_file(path) as stream:
        write_bytes(path, b"second")
        stream.write(b"first")
    assert path.read_bytes() == b"first"
    assert list(tmp_path.iterdir()) == [path]


def test_links_in_a_shared_folder_lead_nowhere(tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("mine")
    folder = tmp_path / "shared"
    folder.mkdir()
    for name in (".scan.json.partial", "scan.json.partial", ".scan.json.0.partial"):
        (folder / name).symlink_to(victim)
    write_bytes(folder / "scan.json", b"{}")
    assert victim.read_text() == "mine"
    assert (folder / "scan.json").read_bytes() == b"{}"


def test_a_partial_that_was_taken_for_abandoned_is_made_again(tmp_path, monkeypatch):
    """Another process may lock it, and remove it, before its own does."""
    flock, calls = fcntl.flock, []

    def late(*arguments):
        calls.append(arguments)
        if len(calls) == 1:
            next(tmp_path.iterdir()).unlink()
        if len(calls) == 2:
            raise BlockingIOError(errno.EAGAIN, "locked")
        flock(*arguments)

    monkeypatch.setattr(fcntl, "flock", late)
    write_bytes(tmp_path / "a", b"whole")
    assert (tmp_path / "a").read_bytes() == b"whole"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert len(calls) == 3


def test_files_are_written_where_there_are_no_locks(tmp_path, monkeypatch):
    def none(*arguments):
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", none)
    (tmp_path / ".a.77.partial").write_text("nobody knows whose")
    write_bytes(tmp_path / "a", b"whole")
    assert sorted(one.name for one in tmp_path.iterdir()) == [".a.77.partial", "a"]


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


NO_LOCKS = (
    "import errno, fcntl, os\n"
    "from pathlib import Path\n"
    "def none(*arguments): raise OSError(errno.{error}, os.strerror(errno.{error}))\n"
    "fcntl.flock = none\n"
    "from tomolearn._core.files import locked\n"
    "with locked(Path({folder!r}, 'lock'), Path({folder!r})):\n    os.abort()\n"
)


@pytest.mark.parametrize("error", ["ENOSYS", "EOPNOTSUPP", "ENOLCK"])
def test_where_there_are_no_locks_a_file_stands_for_them(error, tmp_path, monkeypatch):
    def none(*arguments):
        raise OSError(getattr(errno, error), os.strerror(getattr(errno, error)))

    monkeypatch.setattr(fcntl, "flock", none)
    program = NO_LOCKS.format(error=error, folder=str(tmp_path))

    def another():
        command = [sys.executable, "-c", program]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)

    with locked(tmp_path / "lock", tmp_path):
        refused = another()
    assert "another run is at work in this folder" in refused.stderr
    assert f"{tmp_path / 'lock-owner'} says which" in refused.stderr
    # killed: what it leaves counts for nothing
    assert another().returncode < 0
    assert (tmp_path / "lock-owner").exists()
    with locked(tmp_path / "lock", tmp_path):
        pass


@pytest.mark.parametrize("error", [errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP])
def test_folders_that_cannot_be_flushed(error, tmp_path, monkeypatch):
    def fail(descriptor, number=error):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fail)
    sync_folder(tmp_path)
    monkeypatch.setattr(os, "fsync", lambda descriptor: fail(descriptor, errno.EIO))
    with pytest.raises(OSError, match="Input/output error") as caught:
        sync_folder(tmp_path)
    assert caught.value.filename == str(tmp_path)


def test_links_in_a_circle_are_a_path(tmp_path):
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    assert resolved(tmp_path / "a" / "deeper").is_absolute()
    assert resolved(tmp_path / "c" / "..") == resolved(tmp_path)


def test_one_writer_of_a_file_at_a_time(tmp_path):
    path = tmp_path / "a.h5"
    with only_writer(path):
        with pytest.raises(BlockingIOError, match=r"another run is at work.*a\.h5"):
            only_writer(path).__enter__()
        with only_writer(tmp_path / "b.h5"):
            pass
    with only_writer(path):
        pass
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(FileNotFoundError, match=r"missing.a\.h5"):
        only_writer(tmp_path / "missing" / "a.h5").__enter__()
    assert list(tmp_path.iterdir()) == []
