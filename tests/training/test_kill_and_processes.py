"""Runs of the command itself: killed and resumed, and on two processes."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tomolearn.training.log import read_log

SETTINGS = {
    "model_arguments.iterations": 2,
    "model_arguments.channels": 4,
    "batch_size": 2,
    "validation_every": 15,
    "validation_size": 2,
    "log_every": 1,
    "accelerator": "cpu",
    "threads": 1,
}
STEPS = 40


def command(out: Path, *options: str, **changes: object) -> list[str]:
    settings = {**SETTINGS, **changes}
    return [
        *(sys.executable, "-m", "tomolearn", "train", "learned-primal-dual"),
        *("--task", "ellipses", "--out", str(out), "--steps", str(STEPS)),
        *(part for name, value in settings.items() for part in ("--set", f"{name}={value}")),
        *options,
    ]


def run(out: Path, *options: str, **changes: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(out, *options, **changes), capture_output=True, text=True, timeout=300, check=False
    )


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run") / "whole"
    result = run(out)
    assert result.returncode == 0, result.stderr
    return out


@pytest.mark.slow
def test_killed_and_resumed_run_is_the_undisturbed_one(whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "killed"
    # a checkpoint after nearly every step
    often = {"checkpoint_minutes": 0.001}
    process = subprocess.Popen(
        command(out, **often), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    log = out / "csv" / "part-0" / "metrics.csv"
    limit = time.monotonic() + 120
    # two lines per step: of the loss, and of the learning rate
    while not (log.exists() and log.read_text().count("\n") > 2 * STEPS // 3):
        assert process.poll() is None, "it ended before it was killed"
        assert time.monotonic() < limit
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    before = len(read_log(out))
    assert before < STEPS

    result = run(out, "--resume", **often)
    assert result.returncode == 0, result.stderr
    first_again = min(read_log_of_part(out, 1))
    assert 0 < first_again <= before, "it has to continue from a checkpoint"
    found, expected = read_log(out), read_log(whole)
    # a kill between a checkpoint and the entry of its step in the log loses the entry
    assert set(expected) - set(found) <= {first_again - 1}
    assert found == pytest.approx({step: expected[step] for step in found}, rel=1e-6)
    assert read_log(out, "val_psnr") == pytest.approx(read_log(whole, "val_psnr"), rel=1e-6)


@pytest.mark.slow
def test_run_that_is_told_to_end_can_be_resumed(whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "ended"
    process = subprocess.Popen(command(out), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    log = out / "csv" / "part-0" / "metrics.csv"
    limit = time.monotonic() + 120
    while not (log.exists() and log.read_text().count("\n") > STEPS // 2):
        assert process.poll() is None, "it ended before it was told to"
        assert time.monotonic() < limit
        time.sleep(0.01)
    process.terminate()
    _, message = process.communicate(timeout=60)
    assert process.returncode == 143
    assert f"--out {out} --resume continues the run" in message.decode()
    result = run(out, "--resume")
    assert result.returncode == 0, result.stderr
    for name in ("loss", "val_psnr"):
        assert read_log(out, name) == pytest.approx(read_log(whole, name), rel=1e-6)


def read_log_of_part(out: Path, part: int) -> list[int]:
    lines = (out / "csv" / f"part-{part}" / "metrics.csv").read_text().splitlines()
    column = lines[0].split(",").index("step")
    return [int(line.split(",")[column]) for line in lines[1:]]


@pytest.mark.slow
def test_two_processes_train_like_one_with_twice_the_batch(whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "two"
    result = run(out, "--devices", "2", batch_size=1)
    assert result.returncode == 0, result.stderr
    found, expected = read_log(out), read_log(whole)
    assert len(found) == STEPS
    # float32 sums in another order, over forty steps
    assert found == pytest.approx(expected, rel=1e-4)
