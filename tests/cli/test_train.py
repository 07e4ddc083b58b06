"""``tomolearn train``: settings from file and options, the result's card, mistakes."""

import json

import h5py
import numpy as np
import pytest
import torch
from small_task import only_tasks, small_task
from typer.testing import CliRunner

from tomolearn.cli import app
from tomolearn.data import RandomEllipses
from tomolearn.data.files import LoDoPaBFiles
from tomolearn.tasks import Split

SMALL = """
model = "learned-primal-dual"
task = "small"
steps = 3
batch_size = 1
validation_size = 2
accelerator = "cpu"
threads = 1

[model_arguments]
iterations = 1
n_primal = 2
n_dual = 1
channels = 2
"""


@pytest.fixture(autouse=True)
def folder(monkeypatch, tmp_path):
    splits = {
        name: Split(RandomEllipses(), seed=seed, size=3)
        for seed, name in enumerate(("train", "validation", "test"))
    }
    only_tasks(monkeypatch, small_task(splits=splits))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.toml").write_text(SMALL)
    return tmp_path


def train(*arguments):
    return CliRunner().invoke(app, ["train", *map(str, arguments)])


def test_result_is_tested_and_can_be_continued_by_its_names(folder):
    result = train("--config", "small.toml", "--seed", 2, "--set", "learning_rate=1e-2")
    assert result.exit_code == 0, result.output
    out = folder / "runs" / "small-learned-primal-dual-2"
    card = json.loads((out / "weights.json").read_text())
    # no more pairs than the test has
    assert card["metrics"]["test_pairs"] == 3
    assert f"test PSNR {card['metrics']['psnr']:.2f} dB" in result.stdout
    assert card["training"]["settings"]["learning_rate"] == 1e-2
    names = ("learned-primal-dual", "--task", "small", "--seed", 2)
    again = train(*names, "--resume", "--steps", 5, "--test", 0)
    assert again.exit_code == 0, again.output
    assert again.stdout.startswith("5 steps")
    assert len((out / "commands.txt").read_text().splitlines()) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("learned-primal-duel", "--config", "small.toml"), "did you mean learned-primal-dual"),
        (("--config", "small.toml", "--task", "smal"), "did you mean small"),
        (("--config", "small.toml", "--set", "batchsize=2"), "did you mean batch_size"),
        (("--config", "small.toml", "--max-time", "soon"), "--max-time: "),
        (("--task", "small", "--out", "a"), "MODEL: expected one, as an argument"),
        (("--task", "small"), "--out: expected the folder of the run, or a task and a model"),
        (("--out", "none", "--resume"), "none: there is no run to resume"),
        (("--config", "small.toml", "--set", "data=no.h5"), "no.h5: there is no such file"),
        pytest.param(
            ("--config", "small.toml", "--set", "accelerator=gpu"),
            "accelerator, devices",
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU"),
        ),
    ],
)
def test_mistakes(folder, arguments, message):
    result = train(*arguments)
    assert result.exit_code == 2, result.output
    assert message in " ".join(result.stderr.split())
    assert [path.name for path in folder.iterdir()] == ["small.toml"]


def test_a_run_is_not_overwritten(folder):
    assert train("--config", "small.toml", "--out", "a", "--test", 0).exit_code == 0
    before = (folder / "a" / "weights.json").read_text()
    result = train("--config", "small.toml", "--out", "a")
    assert result.exit_code == 2
    assert "a: there is a run already; --resume continues it" in result.stderr
    assert (folder / "a" / "weights.json").read_text() == before


def test_data_of_a_task_that_needs_it(folder, monkeypatch):
    splits = {name: Split(None, seed=0) for name in ("train", "validation", "test")}
    task = small_task(name="stored", splits=splits, files=LoDoPaBFiles())
    only_tasks(monkeypatch, task)
    (folder / "data").mkdir()
    for part, n in (("train", 4), ("validation", 3), ("test", 2)):
        for kind, shape in (("observation", task.scan.shape), ("ground_truth", task.grid.shape)):
            with h5py.File(folder / "data" / f"{kind}_{part}_000.hdf5", "w") as file:
                file["data"] = np.random.default_rng(1).random((n, *shape), np.float32)
    arguments = ("--config", "small.toml", "--task", "stored", "--out", "a")
    without = train(*arguments)
    assert without.exit_code == 2
    assert "data: stored needs the path of its data, the folder of LoDoPaB-CT" in without.stderr
    result = train(*arguments, "--data", "data", "--set", "train_size=2")
    assert result.exit_code == 0, result.output
    card = json.loads((folder / "a" / "weights.json").read_text())
    assert card["training"]["data"] == "the first 2 pairs from data"
    assert card["metrics"]["test_pairs"] == 2
    # a file of training pairs has no others
    simulated = CliRunner().invoke(
        app,
        ["simulate", "--task", "stored", "--data", "data", "--pairs", "3", "--out", "pairs.h5"],
    )
    assert simulated.exit_code == 0, simulated.output
    result = train(*arguments[:-1], "b", "--data", "pairs.h5")
    assert result.exit_code == 2
    assert "data: stored needs the path of its data" in result.stderr
