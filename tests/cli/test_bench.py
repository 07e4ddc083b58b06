"""``tomolearn bench``: its commands, its JSON file, its errors."""

import json

import pytest
from typer.testing import CliRunner

from tomolearn import Grid, ParallelBeam
from tomolearn.benchmarks import batch, equilibrium, methods, projectors, training
from tomolearn.benchmarks.timing import Timing
from tomolearn.cli import app

STEP = Timing("ellipses", 5, "training step", "joseph, float32", 1234.5, "ms", 2.04)


@pytest.fixture
def tiny_cases(monkeypatch):
    grid = Grid((16, 16))
    case = projectors.Case("tiny", grid, ParallelBeam.covering(grid, 8), (1,))
    monkeypatch.setattr(projectors, "CASES", {"tiny": case})


def run(*arguments):
    return CliRunner().invoke(app, ["bench", *map(str, arguments)])


def test_figures_are_shown_and_written(tiny_cases, tmp_path):
    out = tmp_path / "bench.json"
    result = run("projectors", "--rounds", 1, "--no-rivals", "--out", out)
    assert result.exit_code == 0, result.output
    assert "joseph" in result.output
    found = json.loads(out.read_text())
    assert {t["contender"] for t in found["timings"]} >= {"joseph", "astra"}
    assert found["machine"]["versions"]["torch"]
    assert found["command"].split()[0] == "tomolearn"
    assert (found["rounds"], found["device"]) == (1, "cpu")
    assert list(tmp_path.iterdir()) == [out]


@pytest.mark.parametrize(
    ("arguments", "module", "function", "expected"),
    [
        (("methods", "--iterations", 7), methods, "measure_methods", {"iterations": 7}),
        (
            ("training", "--no-rivals"),
            training,
            "measure_training",
            {"device": "cpu", "rivals": False},
        ),
        (("training", "--memory"), training, "measure_training_memory", {"device": "cpu"}),
        (
            ("training", "--memory", "--volume"),
            training,
            "measure_volume_memory",
            {"device": "cpu"},
        ),
        (("equilibrium",), equilibrium, "measure_backward", {"device": "cpu"}),
        (("equilibrium", "--memory"), equilibrium, "measure_equilibrium_memory", {"device": "cpu"}),
        (("batch", "folder", "--no-tv"), batch, "measure_batch", {"tv": False}),
    ],
)
def test_each_command_measures_one_thing(
    arguments, module, function, expected, monkeypatch, tmp_path
):
    given = {}

    def measure(*_, **settings):
        given.update(settings)
        yield STEP

    monkeypatch.setattr(module, function, measure)
    out = tmp_path / "bench.json"
    result = run(*arguments, "--rounds", 2, "--out", out)
    assert result.exit_code == 0, result.output
    assert given == ({} if "--memory" in arguments else {"rounds": 2}) | expected
    assert json.loads(out.read_text())["timings"] == [STEP.to_dict()]
    assert "1230 ms" in result.output
    assert "2.0x" in result.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("projectors", "--case", "no such"), "--case: expected one of tiny, got 'no such'"),
        (("training", "--device", "tpu"), "--device: expected cpu, cuda or cuda:<number>, got"),
        (("training", "--volume"), "--volume: expected with --memory, got it alone"),
        (("methods", "--out", "figures.txt"), "expected a name that ends in .json"),
        (("batch", "no-such-folder"), "no-such-folder"),
    ],
)
def test_mistakes_are_one_line(tiny_cases, arguments, message):
    result = run(*arguments, "--rounds", 1)
    assert result.exit_code == 2
    assert result.stderr.startswith("error: ")
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
