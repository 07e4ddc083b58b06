"""``tomolearn bench``: its options, its JSON file, its errors."""

import json

import pytest
from typer.testing import CliRunner

from tomolearn import Grid, ParallelBeam
from tomolearn.cli import app
from tomolearn.evaluation import speed


@pytest.fixture
def tiny_cases(monkeypatch):
    grid = Grid((16, 16))
    case = speed.Case("tiny", grid, ParallelBeam.covering(grid, 8), (1,))
    monkeypatch.setattr(speed, "CASES", {"tiny": case})


def run(*arguments):
    return CliRunner().invoke(app, ["bench", *arguments])


def test_figures_are_shown_and_written(tiny_cases, tmp_path):
    out = tmp_path / "bench.json"
    result = run("--rounds", "1", "--no-methods", "--no-peers", "--out", str(out))
    assert result.exit_code == 0, result.output
    assert "joseph" in result.output
    found = json.loads(out.read_text())
    assert {t["contender"] for t in found["timings"]} >= {"joseph", "astra"}
    assert found["versions"]["torch"]
    assert found["rounds"] == 1
    assert list(tmp_path.iterdir()) == [out]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--case", "no such"), "--case: expected one of tiny, got 'no such'"),
        (("--device", "tpu"), "--device: expected cpu or cuda, got 'tpu'"),
        (("--out", "figures.txt"), "expected a name that ends in .json"),
    ],
)
def test_mistakes_are_one_line(tiny_cases, arguments, message):
    result = run("--rounds", "1", *arguments)
    assert result.exit_code == 2
    assert result.stderr.startswith("error: ")
    assert message in result.stderr
    assert "Traceback" not in result.stderr
