"""Files that appear only when they are complete."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest

from tomolearn.cli.output import check_target, complete_file, write_array, write_text

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".h5", ".HDF5"])
def test_array_comes_back(suffix: str, tmp_path: Path) -> None:
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    path = tmp_path / f"image{suffix}"
    write_array(path, array)
    if suffix == ".npy":
        found = np.load(path)
    elif suffix == ".npz":
        found = np.load(path)["image"]
    else:
        with h5py.File(path) as file:
            found = file["image"][()]
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, array)
    assert list(tmp_path.iterdir()) == [path]


def fail_halfway(path: Path, error: type[BaseException]) -> None:
    with complete_file(path) as stream:
        stream.write(b"half")
        raise error


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_failure_leaves_nothing(error: type[BaseException], tmp_path: Path) -> None:
    with pytest.raises(error):
        fail_halfway(tmp_path / "a.npy", error)
    assert list(tmp_path.iterdir()) == []


def test_failure_leaves_the_older_file_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_text(path, "old")
    with pytest.raises(KeyError):
        fail_halfway(path, KeyError)
    assert path.read_text() == "old"
    write_text(path, "new")
    assert path.read_text() == "new"


def test_killed_process_leaves_no_file_of_that_name(tmp_path: Path) -> None:
    program = (
        "import sys, time; from pathlib import Path\n"
        "from tomolearn.cli.output import complete_file\n"
        f"with complete_file(Path({str(tmp_path / 'a.npy')!r})) as stream:\n"
        "    stream.write(b'half'); stream.flush(); print('ready', flush=True); time.sleep(60)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=60)
    assert not (tmp_path / "a.npy").exists()


def test_permissions_are_those_of_any_new_file(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    write_text(tmp_path / "ours", "text")
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_target_is_checked_before_the_work(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    check_target(path, force=False, suffixes=(".npy",))
    with pytest.raises(ValueError, match=r"a\.npy: expected a name that ends in \.png, got"):
        check_target(path, force=False, suffixes=(".png",))
    with pytest.raises(FileNotFoundError, match=r"the folder .* does not exist"):
        check_target(tmp_path / "no" / "a.npy", force=True)
    path.touch()
    with pytest.raises(FileExistsError, match=r"a\.npy: exists already; --force overwrites it"):
        check_target(path, force=False)
    check_target(path, force=True)
    with pytest.raises(NotADirectoryError, match="is not a folder"):
        check_target(path / "b.npy", force=True)
    with pytest.raises(FileExistsError, match="expected the name of a file, got a folder"):
        check_target(tmp_path, force=True)


def test_data_reach_the_disk_before_the_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    synchronise = os.fsync

    def fsync(number: int) -> None:
        calls.append((tmp_path / "a").exists())
        synchronise(number)

    monkeypatch.setattr(os, "fsync", fsync)
    start = time.time()
    write_text(tmp_path / "a", "text")
    assert calls == [False]
    assert (tmp_path / "a").stat().st_mtime >= start - 60
