"""``tomolearn simulate``: the file has the task's pairs."""

import json

import h5py
import pytest
import torch
from small_task import only_tasks, small_task
from typer.testing import CliRunner

from tomolearn.cli import app
from tomolearn.data import NoduleCrops, StoredPairs
from tomolearn.tasks import Split


@pytest.fixture(autouse=True)
def task(monkeypatch):
    task = small_task()
    only_tasks(monkeypatch, task)
    return task


def simulate(*arguments):
    return CliRunner().invoke(app, ["simulate", *map(str, arguments)])


def test_file_has_the_tasks_pairs(task, tmp_path):
    path = tmp_path / "pairs.h5"
    result = simulate("--task", "small", "--pairs", 3, "--out", path)
    assert result.exit_code == 0, result.output
    stored = StoredPairs(path)
    assert len(stored) == 3
    for index in range(3):
        for found, expected in zip(stored[index], task.pairs("train")[index], strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    with h5py.File(path) as file:
        assert json.loads(file.attrs["task"]) == json.loads(json.dumps(task.to_dict()))


def test_labels_are_stored_if_asked_for(monkeypatch, tmp_path):
    task = small_task(splits={"train": Split(NoduleCrops(1), seed=1)})
    only_tasks(monkeypatch, task)
    path = tmp_path / "pairs.h5"
    result = simulate("--task", "small", "--pairs", 2, "--labels", "--out", path)
    assert result.exit_code == 0, result.output
    labels = StoredPairs(path, labels=True)[1][2]
    assert torch.equal(labels, task.pairs("train", labels=True)[1][2])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--task", "smal", "--pairs", 1, "--out", "a.h5"), "small"),
        (("--task", "small", "--pairs", 9, "--split", "test", "--out", "a.h5"), "at most the 4"),
        (("--task", "small", "--pairs", 1, "--split", "all", "--out", "a.h5"), "split: expected"),
        (("--task", "small", "--pairs", 1, "--out", "a.npz"), "a.npz: expected a name that ends"),
        (("--task", "small", "--pairs", 1, "--out", "no/a.h5"), "does not exist"),
        (("--task", "small", "--pairs", 1, "--labels", "--out", "a.h5"), "--labels: expected a so"),
    ],
)
def test_mistakes(arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = simulate(*arguments)
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.split())
    assert list(tmp_path.iterdir()) == []


def test_existing_file_is_kept(tmp_path):
    (tmp_path / "a.h5").write_text("mine")
    assert simulate("--task", "small", "--pairs", 1, "--out", tmp_path / "a.h5").exit_code == 2
    assert (tmp_path / "a.h5").read_text() == "mine"
