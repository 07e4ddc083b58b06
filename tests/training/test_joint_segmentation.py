"""Whole trainings on samples with labels: together, and one after the other."""

from dataclasses import replace

import h5py
import pytest
import torch
from safetensors.torch import load_file
from small_task import only_tasks

import tomolearn as tl
from tomolearn import TomolearnError
from tomolearn.data import NoduleCrops, store_pairs
from tomolearn.tasks import TASKS, Split
from tomolearn.training.config import TrainingConfig
from tomolearn.training.module import NonFiniteError
from tomolearn.training.run import train

pytestmark = pytest.mark.filterwarnings("ignore:.*GPU.*", "ignore:.*isinstance.treespec.*")

SMALL = {
    "model": "task-adapted",
    "model_arguments": {
        "network_arguments": {"iterations": 1, "n_primal": 2, "n_dual": 1, "channels": 4},
        "channels": [4, 8],
    },
    "task": "nodules",
    "objective": "joint-segmentation",
    "metric": "objective",
    "steps": 3,
    "batch_size": 2,
    "validation_every": 2,
    "validation_size": 3,
    "log_every": 1,
    "accelerator": "cpu",
    "threads": 1,
}
SOURCE = NoduleCrops(2)


@pytest.fixture(autouse=True)
def task(monkeypatch):
    splits = {
        name: Split(SOURCE, seed=k, size=None if name == "train" else 4)
        for k, name in enumerate(("train", "validation", "test"))
    }
    task = replace(TASKS["chest-nodules"], name="nodules", splits=splits)
    only_tasks(monkeypatch, task)
    return task


@pytest.fixture(autouse=True)
def threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def run(directory, *, resume=False, **changes):
    return train(TrainingConfig(**SMALL | changes), directory, resume=resume)


def test_trained_together_and_resumed(tmp_path, task):
    whole = run(tmp_path / "whole", steps=4)
    run(tmp_path / "parts", steps=2)
    parts = run(tmp_path / "parts", steps=4, resume=True)
    found, expected = (load_file(one.weights.with_suffix(".safetensors")) for one in (parts, whole))
    assert found.keys() == expected.keys()
    sinogram, _, labels = task.pairs("test", labels=True)[0]
    image, probability = tl.load(whole.weights).segment(sinogram, task.operator())
    assert image.shape == probability.shape == labels.shape


def test_one_after_the_other(tmp_path):
    first = run(tmp_path / "first", objective_arguments={"task_weight": 0.0})
    settings = {"task_weight": 1.0, "freeze_reconstruction": True}
    second = run(
        tmp_path / "second", objective_arguments=settings, initial_weights=str(first.weights)
    )
    before, after = (load_file(one.weights.with_suffix(".safetensors")) for one in (first, second))
    same = {name: torch.equal(before[name], after[name]) for name in before}
    assert all(same[name] for name in same if name.startswith("network."))
    assert not any(same[name] for name in same if name.startswith("segmenter.last"))


def test_stored_samples_train_alike(tmp_path, task):
    store_pairs(task.pairs("train", labels=True), tmp_path / "pairs.h5", 6)
    found = run(tmp_path / "stored", data=tmp_path / "pairs.h5")
    assert found.steps == 3


def test_a_task_without_labels_is_refused(tmp_path):
    with pytest.raises(TomolearnError, match=r"labels: expected a source whose images have labels"):
        run(tmp_path / "run", task=TASKS["ellipses"])


def test_the_batch_that_failed_is_kept_with_its_labels(tmp_path, task):
    store_pairs(task.pairs("train", labels=True), tmp_path / "pairs.h5", 2)
    with h5py.File(tmp_path / "pairs.h5", "r+") as file:
        file["image"][:, 3, 4] = float("nan")
    with pytest.raises(NonFiniteError, match="batch: expected finite values"):
        run(tmp_path / "run", data=tmp_path / "pairs.h5")
    kept = load_file(tmp_path / "run" / "failed-batch.safetensors")
    assert kept.keys() == {"sinogram", "image", "labels"}
