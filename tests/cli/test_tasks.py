"""``tomolearn tasks``: all tasks, with all that belongs to them."""

import json

import pytest
from typer.testing import CliRunner

from tomolearn.cli import app
from tomolearn.tasks import TASKS


def run(*arguments):
    return CliRunner(env={"COLUMNS": "300"}).invoke(app, ["tasks", *arguments])


def test_list_has_every_task():
    result = run()
    assert result.exit_code == 0, result.output
    for task in TASKS.values():
        assert f" {task.name} " in result.stdout
        assert task.description in result.stdout
        assert task.convention.name in result.stdout
    assert "image 128 x 128, scan ParallelBeam 30 x 183, noise: Gaussian, 5 %" in result.stdout
    assert "pairs: no end (train), 64 (validation)" in result.stdout


@pytest.mark.parametrize("name", TASKS)
def test_one_task_is_shown_with_all_of_it(name):
    task = TASKS[name]
    result = run(name)
    assert result.exit_code == 0, result.output
    for text in (task.description, task.reference, repr(task.grid), str(task.scan or "none")):
        assert text in result.stdout
    for split in task.splits.values():
        assert f"seed {split.seed}" in result.stdout
    for baseline, method in task.baselines.items():
        line = next(line for line in result.stdout.splitlines() if f"baseline {baseline}" in line)
        assert str(method) in line
    assert f"data range {task.convention.psnr_range} for PSNR" in result.stdout


def test_json_is_complete():
    everything = json.loads(run("--json").stdout)
    assert list(everything) == list(TASKS)
    for name, task in TASKS.items():
        assert everything[name] == json.loads(json.dumps(task.to_dict()))
    assert json.loads(run("ellipses", "--json").stdout) == everything["ellipses"]


def test_unknown_names_are_answered_with_the_nearest():
    result = run("elipses")
    assert result.exit_code == 2
    assert result.stderr.startswith("error: task: expected one of ellipses,")
    assert "did you mean ellipses" in result.stderr
