"""``python -m data_sim lidc``."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from lidc_trees import contents

from data_sim import write_lidc
from data_sim.__main__ import main

ROOT = Path(__file__).resolve().parents[2]
SMALL = ["--patients", "2", "--slices", "2", "--size", "48", "--jobs", "1"]


def run(*arguments, cwd):
    return subprocess.run(
        [sys.executable, "-m", "data_sim", *arguments],
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_writes_what_the_function_writes(tmp_path):
    options = ["--patients", "3", "--slices", "2", "--size", "48", "--seed", "74", "--jobs", "2"]
    result = run("lidc", "tree", *options, "--layout", "nbia", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    line = r"tree: 3 patients, 6 CT slices, 1 radiograph, 4 XML files in \d+\.\d s\n"
    assert re.fullmatch(line, result.stdout)
    same = write_lidc(tmp_path / "same", 3, 2, seed=74, layout="nbia", shape=(48, 48))
    assert contents(tmp_path / "tree") == contents(same.root)


def test_errors_are_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    result = run("lidc", "file", *SMALL, cwd=tmp_path)
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr == "python -m data_sim: error: file: expected a folder, got a file\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--patients", "0", "--slices", "1"], "patients: expected an integer >= 1, got 0"),
        (["--patients", "1", "--slices", "301"], "slices: expected 1 to 300"),
        (
            ["--patients", "1", "--slices", "1", "--size", "8"],
            "shape[0]: expected an integer >= 32",
        ),
        (["--patients", "1", "--slices", "1", "--seed", "-3"], "seed: expected an integer >= 0"),
        (["--patients", "1", "--slices", "1", "--jobs", "0"], "jobs: expected an integer >= 1"),
    ],
)
def test_wrong_numbers(tmp_path, capsys, arguments, message):
    assert main(["lidc", str(tmp_path / "out"), *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["lidc"],
        ["lidc", "out"],
        ["lidc", "out", "--patients", "1"],
        ["lidc", "out", "--patients", "one", "--slices", "1"],
        ["lidc", "out", "--pat", "1", "--slices", "1"],
        ["lidc", "out", *SMALL, "--layout", "flat"],
        ["nlst", "out"],
    ],
)
def test_wrong_usage(tmp_path, monkeypatch, capsys, arguments):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    assert "usage: python -m data_sim" in capsys.readouterr().err
    assert not any(tmp_path.iterdir())


def test_resume(tmp_path, capsys):
    assert main(["lidc", str(tmp_path), *SMALL]) == 0
    before = contents(tmp_path)
    assert main(["lidc", str(tmp_path), *SMALL]) == 2
    assert "resume keeps what is there" in capsys.readouterr().err
    assert main(["lidc", str(tmp_path), *SMALL, "--resume"]) == 0
    assert contents(tmp_path) == before
    assert "2 patients, 4 CT slices" in capsys.readouterr().out


def test_errors_of_the_system_name_the_file(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main(["lidc", str(tmp_path / "file" / "below"), *SMALL]) == 2
    assert capsys.readouterr().err == (
        f"python -m data_sim: error: {tmp_path / 'file' / 'below'}: Not a directory\n"
    )


def test_progress_on_a_terminal(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert main(["lidc", str(tmp_path), *SMALL]) == 0
    assert capsys.readouterr().err == "\r1 of 2 patients\r2 of 2 patients\n"


def test_interrupts_are_told(tmp_path, monkeypatch, capsys):
    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("data_sim.__main__.write_lidc", interrupted)
    assert main(["lidc", str(tmp_path), *SMALL]) == 130
    assert "interrupted; --resume continues" in capsys.readouterr().err
