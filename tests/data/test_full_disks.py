"""Disks that are full: one error that names the file, no crash, nothing left behind."""

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).resolve().parents[1] / "helpers" / "writers.py"


def written(folder: Path, tree: Path, *how: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(PROGRAM), str(folder), str(tree), *how]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_every_writer_with_too_little_room(lidc_tree: Path, tmp_path: Path) -> None:
    done = written(tmp_path, lidc_tree, "rlimit")
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="mounts a disk of a few MiB")
def test_a_disk_that_is_full(lidc_tree: Path, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=6m", "none", str(disk)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("only root may mount a disk")
    try:
        done = written(disk, lidc_tree, "fill", "npy", "h5", "pairs", "slices")
    finally:
        subprocess.run(["umount", str(disk)], check=True)
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr
