"""Faults of the machine end a run in one line; they are not counted slice by slice."""

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from batch_settings import settings_of
from batch_trees import preload, slice_dataset, write_series
from dicom_files import write
from typer.testing import CliRunner, Result

import tomolearn.batch
import tomolearn.batch.work
from tomolearn.batch import LEDGER, read_ledger
from tomolearn.cli import app
from tomolearn.dicom import DerivedSlice

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = settings_of("fbp", views=8)
run_batch = partial(tomolearn.batch.run_batch, workers=0)


def dicom(source: Path, out: Path, *options: Any) -> Result:
    arguments = ["dicom", str(source), str(out), "--views", "8", "--workers", "0"]
    return CliRunner().invoke(app, [*arguments, *map(str, options)])


def failing(error: Exception | None, calls: list[int]) -> Callable[..., Any]:
    def fail(*_: Any, **__: Any) -> Any:
        calls.append(1)
        raise error

    return fail


FAULTS = {
    "full disk": OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/cache/kernel"),
    "no permission": PermissionError(errno.EACCES, os.strerror(errno.EACCES), "/cache"),
    "a missing library": ImportError("libsomething.so: cannot open shared object file"),
    "memory": MemoryError("unable to allocate"),
    "memory of torch": RuntimeError("DefaultCPUAllocator: can't allocate memory"),
    "a bug": TypeError("a bug that every slice meets"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_that_every_slice_meets_ends_the_run(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for series in "abc":
        write_series(tmp_path / "in" / series, series, 9)
    calls: list[int] = []
    with monkeypatch.context() as patch:
        patch.setattr(tomolearn.batch.work, "process", failing(FAULTS[name], calls))
        result = dicom(tmp_path / "in", tmp_path / "out")
    assert result.exit_code == 2
    (line,) = (one for one in result.stderr.splitlines() if one.startswith("error:"))
    assert str(FAULTS[name].args[0] if name != "full disk" else "No space left") in line or (
        name == "no permission" and "/cache: Permission denied" in line
    )
    # of the first series and of the second one as many as it takes to tell, slices and pairs
    assert len(calls) <= 16 + 8
    assert list((tmp_path / "out").glob("*/*/*.dcm")) == []
    if name == "memory":  # it goes on
        done = dicom(tmp_path / "in", tmp_path / "out")
        assert done.exit_code == 0, done.output
        assert len(list((tmp_path / "out").glob("*/*/*.dcm"))) == 27


@pytest.mark.parametrize("number", [errno.EIO, errno.EACCES, errno.ENOENT, errno.ESTALE])
def test_files_that_all_cannot_be_read(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when a share is gone; but one file alone is a slice that is lost."""
    write_series(tmp_path / "in", "a", 12)
    real = DerivedSlice.read_source

    def read(self: DerivedSlice, *, bad: str = "") -> Any:
        if bad in self.source.path.name:
            raise OSError(number, os.strerror(number), str(self.source.path))
        return real(self)

    with monkeypatch.context() as patch:
        patch.setattr(DerivedSlice, "read_source", read)
        result = dicom(tmp_path / "in", tmp_path / "out")
        assert result.exit_code == 2
        assert f"{os.strerror(number)}" in result.stderr
        patch.setattr(DerivedSlice, "read_source", lambda self: read(self, bad="a-003"))
        result = dicom(tmp_path / "in", tmp_path / "out")
        assert result.exit_code == 1
        assert "incomplete: patient-a series a, 11 of 12 slices" in result.stderr
    # and it is tried again without being asked
    assert dicom(tmp_path / "in", tmp_path / "out").exit_code == 0


def test_a_series_that_is_too_large_costs_itself_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in "abc":
        write_series(tmp_path / "in" / name, name, 12)
    real, calls = tomolearn.batch.work.process, []

    def process(slices: Any, *others: Any) -> Any:
        if any("b-" in str(ct.path) for ct in slices):
            calls.append(1)
            raise MemoryError
        return real(slices, *others)

    monkeypatch.setattr(tomolearn.batch.work, "process", process)
    report = run_batch(tmp_path / "in", tmp_path / "out", SETTINGS)
    status = {one["patient"]: one["status"] for one in report.records}
    assert status == {"patient-a": "done", "patient-b": "failed", "patient-c": "done"}
    assert len(calls) <= 12  # eight slices, and the pairs that they were in
    (lost,) = (one["lost"] for one in report.records if one["status"] == "failed")
    assert len(lost) == report.n_lost == 12
    assert lost[0]["reason"] == "MemoryError"
    assert lost[-1]["reason"] == "not tried, after many with: MemoryError"


def test_bad_files_are_no_fault_of_the_machine(tmp_path: Path) -> None:
    """However many there are: each is lost for what it holds."""
    for name in "abc":
        for index in range(12):
            slope = "1" if (name, index) == ("c", 11) else "1e30"
            path = tmp_path / "in" / f"{name}{index}.dcm"
            path.parent.mkdir(exist_ok=True)
            write(path, slice_dataset(name, index, RescaleSlope=slope))
    report = run_batch(tmp_path / "in", tmp_path / "out", SETTINGS)
    assert (report.n_written, report.n_lost) == (1, 35)


def run(*arguments: Any, setup: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    program = f"import os, sys\n{setup}\nfrom tomolearn.cli import main\nmain()\n"
    return subprocess.run(
        [sys.executable, "-c", program, "dicom", *map(str, arguments), "--views", "8"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        check=False,
    )


def test_long_names_of_the_folder_for_temporary_files(tmp_path: Path) -> None:
    write_series(tmp_path / "in", "a", 2)
    folder = tmp_path / ("x" * 100) / ("y" * 100)
    folder.mkdir(parents=True)
    done = run(tmp_path / "in", tmp_path / "out", "--workers", 1, TMPDIR=str(folder))
    assert done.returncode == 0, done.stderr


def test_few_files_may_be_open(tmp_path: Path) -> None:
    write_series(tmp_path / "in", "a", 4)
    few = "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (32, 32))"
    done = run(tmp_path / "in", tmp_path / "out", "--workers", 2, setup=few)
    assert done.returncode == 0, done.stderr
    assert "4 slices in" in done.stdout


SHARE = """
import errno, fcntl, os, stat
real = os.fsync

def fsync(descriptor):
    if stat.S_ISDIR(os.fstat(descriptor).st_mode):
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
    real(descriptor)

def flock(*_):
    raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

os.fsync, fcntl.flock = fsync, flock
"""


def test_shares_without_locks_and_without_flushing_of_folders(tmp_path: Path) -> None:
    write_series(tmp_path / "in", "a", 2)
    environment = preload(tmp_path, SHARE)
    for n_slices in (2, 0):
        done = run(tmp_path / "in", tmp_path / "out", "--workers", 0, **environment)
        assert done.returncode == 0, done.stderr
        assert f"{n_slices} slices in" in done.stdout
    assert [path.name for path in (tmp_path / "out" / ".tomolearn").iterdir()] == ["lock"]


@pytest.mark.parametrize("what", ["ledger.jsonl", "chunk-", "00001.dcm", "summary.html"])
def test_errors_of_the_system_name_the_file(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_series(tmp_path / "in", "a", 2)
    real = os.fsync

    def full(descriptor: int) -> None:
        if what in os.readlink(f"/proc/self/fd/{descriptor}"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    result = dicom(tmp_path / "in", tmp_path / "out")
    assert result.exit_code == 2
    (line,) = (one for one in result.stderr.splitlines() if one.startswith("error:"))
    assert what in line
    assert line.endswith(": No space left on device")


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX's")
def test_what_names_patients_is_its_owners_alone(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        _private(tmp_path)
    finally:
        os.umask(before)


def _private(tmp_path: Path) -> None:
    source, out = tmp_path / "Alpha^Anna", tmp_path / "out"
    write_series(source / "secret-folder", "a", 2)
    cut = source / "secret-folder" / "cut.dcm"
    write(cut, slice_dataset("a", 2))
    cut.write_bytes(cut.read_bytes()[:700])
    key = tmp_path / "key"
    key.write_text("a secret that is long enough")
    key.chmod(0o600)
    # what an earlier run has left open
    assert dicom(source, out).exit_code == 1
    assert (out / LEDGER).stat().st_mode & 0o777 == 0o644
    result = dicom(source, out, "--deidentify", key)
    assert result.exit_code == 1
    for path, mode in ((LEDGER, 0o600), ("summary.html", 0o600), (".tomolearn", 0o700)):
        assert (out / path).stat().st_mode & 0o777 == mode, path
    for secret in ("patient-a", "Name^a", "secret-folder", "cut.dcm"):
        assert secret not in result.output
    record = next(one for one in reversed(read_ledger(out / LEDGER)) if one["event"] == "series")
    assert f"{record['derived']}, 2 of" in result.stderr
    # a rewriting of the ledger keeps it so
    cut.unlink()
    assert dicom(source, out, "--deidentify", key).exit_code == 0
    assert (out / LEDGER).stat().st_mode & 0o777 == 0o600
