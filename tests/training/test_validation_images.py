"""Validation images of a training: looked at before the first step, and never in a step's way."""

import h5py
import numpy as np
import pytest
import torch
from small_task import only_tasks, small_task

from tomolearn import SkippedImagesWarning
from tomolearn.data import RandomEllipses
from tomolearn.metrics import psnr
from tomolearn.tasks import Split
from tomolearn.training.config import TrainingConfig
from tomolearn.training.log import read_log
from tomolearn.training.module import ReconstructionModule
from tomolearn.training.objectives import Supervised
from tomolearn.training.run import train

pytestmark = pytest.mark.filterwarnings("ignore:.*GPU.*", "ignore:.*isinstance.treespec.*")

SMALL = {
    "model": "learned-primal-dual",
    "task": "small",
    "model_arguments": {"iterations": 1, "n_primal": 2, "n_dual": 1, "channels": 4},
    "steps": 2,
    "batch_size": 2,
    "validation_every": 1,
    "validation_size": 5,
    "log_every": 1,
    "accelerator": "cpu",
    "threads": 1,
}


@pytest.fixture(autouse=True)
def task(monkeypatch):
    names = ("train", "validation", "test")
    splits = {name: Split(RandomEllipses(), seed, 8) for seed, name in enumerate(names)}
    task = small_task(splits=splits)
    only_tasks(monkeypatch, task)
    return task


@pytest.fixture(autouse=True)
def threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def stored(task, path, blank=()):
    pairs = [task.pairs("validation")[index] for index in range(5)]
    images = np.stack([image[0].numpy() for _, image in pairs])
    images[list(blank)] = 0.2
    with h5py.File(path, "w") as file:
        file["sinogram"] = np.stack([sinogram[0].numpy() for sinogram, _ in pairs])
        file["image"] = images
    return path


def run(directory, **changes):
    return train(TrainingConfig(**SMALL | changes), directory)


def test_images_without_contrast_are_skipped_before_the_first_step(task, tmp_path):
    # both of a batch, and one of the next
    path = stored(task, tmp_path / "pairs.h5", blank=(0, 1, 3))
    with pytest.warns(SkippedImagesWarning, match="skipped 3 of 5 .* the first of them 0: image w"):
        result = run(tmp_path / "run", validation=path)
    assert len(read_log(tmp_path / "run", "val_psnr")) == 2
    errors = []
    for index in (2, 4):
        y, x = task.pairs("validation")[index]
        with torch.no_grad():
            found = result.model(y, task.operator())
        errors.append(psnr(found, x, data_range="reference").item())
    assert result.validation == pytest.approx(np.mean(errors), abs=1e-3)


def test_nothing_but_images_without_contrast_is_told_before_the_first_step(task, tmp_path):
    path = stored(task, tmp_path / "pairs.h5", blank=range(5))
    with pytest.raises(ValueError, match="validation: expected pairs with contrast, got 5 of 5"):
        run(tmp_path / "run", validation=path)
    assert not (tmp_path / "run").exists()


def test_a_metric_that_fails_for_one_image_does_not_end_a_training(task, tmp_path):
    (tmp_path / "mine.py").write_text(
        "def mine(image, truth):\n"
        "    if truth.mean() > THRESHOLD:\n"
        "        raise ValueError('not this one')\n"
        "    return 7.0\n".replace("THRESHOLD", str(task.pairs("validation")[0][1].mean().item()))
    )
    metric = f"{tmp_path / 'mine.py'}:mine"
    with pytest.warns(SkippedImagesWarning, match="mine: no value of a validation image: not this"):
        result = run(tmp_path / "run", metric=metric, best_is="largest")
    assert result.validation == 7.0


class Spoils(Supervised):
    def estimate(self, network, batch, operator, rng):
        found = super().estimate(network, batch, operator, rng)
        for tensor in batch:
            tensor.zero_()
        return found


def test_an_objective_that_writes_into_its_batch_is_judged_on_the_batch(task):
    config = TrainingConfig(**SMALL)
    module = ReconstructionModule(config).eval()
    pairs = [task.pairs("validation")[index] for index in range(2)]
    batch = tuple(torch.stack(part) for part in zip(*pairs, strict=True))
    before = [part.clone() for part in batch]
    expected = module.estimate(batch, 0)
    module.objective = Spoils()
    assert torch.equal(module.estimate(batch, 0), expected)
    assert all(torch.equal(*pair) for pair in zip(batch, before, strict=True))
