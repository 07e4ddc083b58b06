"""``tomolearn bench``: its options, its JSON file, its errors."""

import json

import pytest
from typer.testing import CliRunner

from tomolearn import Grid, ParallelBeam
from tomolearn.benchmarks import speed, training as training_speed
from tomolearn.benchmarks.timing import Timing
from tomolearn.cli import app


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


def test_training_and_memory_are_measured_on_request(tiny_cases, monkeypatch, tmp_path):
    given = {}

    def times(**arguments):
        given["training"] = arguments
        yield Timing("ellipses", 5, "training step", "joseph, float32", 1234.5, "ms", None)

    def memory(**arguments):
        given["memory"] = arguments
        yield Timing("parallel", 1, "training step, peak memory", "all", 2803.9, "MiB", None)

    monkeypatch.setattr(training_speed, "measure_training", times)
    monkeypatch.setattr(training_speed, "measure_training_memory", memory)
    out = tmp_path / "bench.json"
    only = ("--no-projectors", "--no-methods", "--rounds", "2", "--out", str(out), "--force")
    result = run(*only, "--training", "--memory", "--no-peers")
    assert result.exit_code == 0, result.output
    assert given == {
        "training": {"rounds": 2, "device": "cpu", "peers": False},
        "memory": {"device": "cpu"},
    }
    assert [t["what"] for t in json.loads(out.read_text())["timings"]] == [
        "training step",
        "training step, peak memory",
    ]
    assert "1230 ms" in result.output
    assert "2800 MiB" in result.output
    for one in ("training", "memory"):
        given.clear()
        assert run(*only, f"--{one}").exit_code == 0
        assert list(given) == [one]
        assert len(json.loads(out.read_text())["timings"]) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--no-projectors", "--no-methods"), "expected something to measure"),
        (("--no-projectors", "--case", "tiny"), "--case: expected none with --no-projectors"),
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
