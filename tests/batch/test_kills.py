"""Runs that are killed, or whose input kills workers: nothing is lost."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from batch_trees import preload, results, uid, write_series

from tomolearn.batch import LEDGER, read_ledger

ROOT = Path(__file__).resolve().parents[2]
KILLS = 20
# A few tenths of a second for a chunk on these images.
OPTIONS = ("--method", "tv", "--iterations", "500", "--views", "90", "--photons", "100000")


def command(source: Path, out: Path, *options: str) -> list[str]:
    return [sys.executable, "-m", "tomolearn", "dicom", str(source), str(out), *OPTIONS, *options]


def start(source: Path, out: Path, **options: Any) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command(source, out, "--workers", "2"),
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        **options,
    )


def finish(source: Path, out: Path, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(source, out, "--workers", "2"),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        **options,
    )


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("source")
    for name in "abc":
        write_series(root / name, name, 10)
    return root


@pytest.fixture(scope="module")
def undisturbed(source: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    done = finish(source, out)
    assert done.returncode == 0, done.stderr
    return results(out)


def workers_of(run: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """Return the workers, and the process that they are copies of."""
    try:
        children = psutil.Process(run.pid).children(recursive=True)
        return [one for one in children if "forkserver" in " ".join(one.cmdline())]
    except psutil.Error:
        return []


def kill_something(run: subprocess.Popen[bytes], rng: random.Random) -> bool:
    """Kill a worker, or with the fifth part of the chances the run with all its processes."""
    workers = workers_of(run)
    if workers and rng.random() < 0.8:
        try:
            rng.choice(workers).kill()
        except psutil.NoSuchProcess:
            return False
        return True
    if not workers or run.poll() is not None:
        return False
    os.killpg(run.pid, signal.SIGKILL)
    run.wait()
    # workers have sessions of their own or not: none may outlive the test
    for worker in workers:
        if worker.is_running():
            worker.kill()
    return True


@pytest.mark.slow
def test_twenty_kills_change_nothing(
    source: Path, undisturbed: dict[str, str], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    rng = random.Random(20)
    kills = whole = 0
    run = start(source, out)
    deadline = time.monotonic() + 240
    while kills < KILLS:
        assert time.monotonic() < deadline, f"{kills} kills only"
        time.sleep(rng.uniform(0.05, 1.2))
        kills += kill_something(run, rng)
        if run.poll() is not None:
            whole += run.returncode == -signal.SIGKILL
            run = start(source, out)
    run.wait(timeout=240)
    last = finish(source, out)
    assert last.returncode == 0, last.stderr
    assert whole > 0
    assert results(out) == undisturbed
    # nothing is left behind: no half file, no unfinished work
    assert [path.name for path in (out / ".tomolearn").iterdir()] == ["lock"]
    statuses = {r["series"]: r["status"] for r in read_ledger(out / LEDGER) if "status" in r}
    assert statuses == dict.fromkeys((uid(name) for name in "abc"), "done")


def test_a_run_that_is_told_to_end_ends_and_is_continued(
    source: Path, undisturbed: dict[str, str], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    run = start(source, out)
    deadline = time.monotonic() + 120
    while not list(out.glob(".tomolearn/run-*/*/chunk-*.json")):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    run.terminate()
    assert run.wait(timeout=60) == 143
    assert finish(source, out).returncode == 0
    assert results(out) == undisturbed


POISON = """
import os
from tomolearn.batch import work

real = getattr(work.process, "real", work.process)

def process(slices, settings):
    if any(ct.sop_instance_uid == {poison!r} for ct in slices):
        os.kill(os.getpid(), 9)
    return real(slices, settings)

process.real = real
work.process = process
"""


def test_a_slice_that_kills_its_worker_costs_only_itself(
    source: Path, undisturbed: dict[str, str], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    poison = POISON.format(poison=uid("b", 6))
    hurt = finish(source, out, env=preload(tmp_path, poison))
    assert hurt.returncode == 1, hurt.stderr
    found = results(out)
    missing = undisturbed.keys() - found.keys()
    assert [Path(name).name for name in missing] == ["00007.dcm"]
    assert found.items() < undisturbed.items()
    (lost,) = (one for r in read_ledger(out / LEDGER) for one in r.get("lost", ()))
    assert lost["path"] == "b/b-006.dcm"
    assert "killed its worker again and again" in lost["reason"]
    # what killed a worker may have been the machine: the next run tries again
    assert finish(source, out).returncode == 0
    assert results(out) == undisturbed


def test_a_folder_that_cannot_be_written_to(source: Path, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file")
    done = finish(source, tmp_path / "out")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "out" in done.stderr
