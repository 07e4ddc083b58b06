"""The lock of a folder."""

import fcntl

import pytest

from tomolearn._core.files import locked


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
