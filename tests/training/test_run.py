"""Whole runs: results, time, failures. Kills and processes have a file of their own."""

import json
from datetime import timedelta

import pytest
import torch
from safetensors.torch import load_file
from small_task import small_task

import tomolearn
from tomolearn.data import RandomEllipses, StoredPairs, store_pairs
from tomolearn.tasks import Split, catalogue
from tomolearn.training.callbacks import TimeBudget
from tomolearn.training.config import TrainingConfig
from tomolearn.training.log import read_log
from tomolearn.training.module import NonFiniteError, ReconstructionModule, cosine_factor
from tomolearn.training.run import train

pytestmark = pytest.mark.filterwarnings("ignore:.*GPU.*", "ignore:.*isinstance.treespec.*")

SMALL = {
    "model": "learned-primal-dual",
    "task": "small",
    "model_arguments": {"iterations": 2, "n_primal": 2, "n_dual": 1, "channels": 4},
    "steps": 12,
    "batch_size": 2,
    "learning_rate": 5e-3,
    "validation_every": 5,
    "validation_size": 3,
    "log_every": 1,
    "accelerator": "cpu",
    "threads": 1,
}


@pytest.fixture(autouse=True)
def task(monkeypatch):
    splits = {
        "train": Split(RandomEllipses(), seed=1),
        "validation": Split(RandomEllipses(), seed=2, size=8),
        "test": Split(RandomEllipses(), seed=3, size=8),
    }
    task = small_task(splits=splits)
    monkeypatch.setattr(catalogue, "TASKS", {"small": task})
    return task


@pytest.fixture(autouse=True)
def threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def run(directory, *, resume=False, **changes):
    return train(TrainingConfig(**SMALL | changes), directory, resume=resume, command="tomolearn x")


def test_training_leaves_weights_that_load(tmp_path, task):
    result = run(tmp_path)
    assert result.steps == 12
    model = tomolearn.load(result.weights)
    sinogram, _ = task.pairs("validation")[0]
    found = model(sinogram, task.operator())
    assert torch.equal(found, result.model(sinogram, task.operator()))
    card = json.loads(result.weights.read_text())
    assert card["task"] == "small"
    assert card["training"]["steps"] == 12
    assert card["training"]["pairs_per_step"] == 2
    assert card["training"]["command"] == "tomolearn x"
    assert card["metrics"]["validation_psnr"] == pytest.approx(result.val_psnr)


def test_logs(tmp_path):
    run(tmp_path)
    assert sorted(read_log(tmp_path)) == list(range(12))
    assert len(read_log(tmp_path, "val_psnr")) == 3
    rates = read_log(tmp_path, "learning_rate")
    for step in (0, 6, 11):
        assert rates[step] == pytest.approx(5e-3 * cosine_factor(step / 12, step, 0), rel=1e-6)
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert "loss" in events.Tags()["scalars"]
    assert events.Tags()["images"] == ["truth and reconstruction"]
    with pytest.raises(ValueError, match=r"name: expected one of .*loss"):
        read_log(tmp_path, "accuracy")


@pytest.mark.parametrize(("optimizer", "rate"), [("adam", 5e-3), ("adamw", 5e-3), ("muon", 2e-2)])
def test_training_learns(tmp_path, optimizer, rate):
    changes = {"optimizer": optimizer, "learning_rate": rate, "validation_every": 40}
    result = run(tmp_path, steps=80, train_size=4, **changes)
    losses = list(read_log(tmp_path).values())
    assert sum(losses[-10:]) < 0.7 * sum(losses[:10])
    # validated on the averaged weights, in the task's convention
    assert result.val_psnr == pytest.approx(max(read_log(tmp_path, "val_psnr").values()), abs=1e-4)


def test_same_seed_same_run_other_seed_other(tmp_path):
    curves = [
        run(tmp_path / name, seed=seed, steps=4) and read_log(tmp_path / name)
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    ]
    assert curves[0] == curves[1]
    assert curves[0] != curves[2]


def test_loader_processes_change_nothing(tmp_path):
    run(tmp_path / "a", steps=4)
    run(tmp_path / "b", steps=4, workers=2)
    a, b = (read_log(tmp_path / name) for name in "ab")
    assert a == pytest.approx(b, rel=1e-6)


def test_activation_checkpointing_changes_nothing(tmp_path):
    run(tmp_path / "a", steps=4)
    run(tmp_path / "b", steps=4, checkpoint_activations=True)
    a, b = (read_log(tmp_path / name) for name in "ab")
    assert a == pytest.approx(b, rel=1e-6)


def test_stored_pairs_change_nothing(tmp_path, task):
    store_pairs(task.pairs("train"), tmp_path / "pairs.h5", 8)
    run(tmp_path / "a", steps=6, train_size=8)
    run(tmp_path / "b", steps=6, data=tmp_path / "pairs.h5")
    a, b = (read_log(tmp_path / name) for name in "ab")
    assert a == pytest.approx(b, rel=1e-5)
    with pytest.raises(ValueError, match="train_size: expected at most the 8 stored pairs, got 9"):
        run(tmp_path / "c", data=tmp_path / "pairs.h5", train_size=9)


def test_stored_pairs_of_another_scan(tmp_path, task):
    store_pairs(task.pairs("train"), tmp_path / "pairs.h5", 2)
    assert len(StoredPairs(tmp_path / "pairs.h5")) == 2
    catalogue.TASKS["small"] = small_task(grid=task.grid.refined((8, 8)), splits=dict(task.splits))
    with pytest.raises(ValueError, match="data: expected pairs of small"):
        run(tmp_path / "a", data=tmp_path / "pairs.h5")


def test_a_longer_run_continues_a_shorter_one(tmp_path):
    whole = run(tmp_path / "a", steps=9)
    # the schedule of the first part must be that of the whole
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tomolearn.training.module._progress_of_steps", lambda module, step: step / 9)
        run(tmp_path / "b", steps=4)
        part = run(tmp_path / "b", steps=9, resume=True)
    a, b = (read_log(tmp_path / name) for name in "ab")
    assert a == pytest.approx(b, rel=1e-6)
    assert part.val_psnr == pytest.approx(whole.val_psnr, abs=1e-6)


def test_time_budget_ends_the_run_and_shapes_the_schedule(tmp_path, monkeypatch):
    clock = iter(range(10_000))
    monkeypatch.setattr(TimeBudget, "seconds", property(lambda self: float(next(clock))))
    result = run(tmp_path, steps=None, max_time=timedelta(seconds=40))
    rates = read_log(tmp_path, "learning_rate")
    # one look at the clock per step, and few others
    assert 35 <= result.steps <= 42
    assert rates[0] > 0.95 * 5e-3
    assert rates[result.steps // 2] == pytest.approx(0.5 * 5e-3, rel=0.2)
    assert rates[result.steps - 1] < 0.02 * 5e-3


def test_time_of_earlier_parts_counts():
    budget = TimeBudget(timedelta(minutes=1))
    budget.load_state_dict({"seconds": 45.0})
    assert budget.seconds == 45.0


@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_non_finite_stops_and_keeps_what_explains_it(tmp_path, monkeypatch, where):
    good = {}

    def training_step(self, batch, index):
        if self.trainer.global_step == 3:
            good.update({k: v.clone() for k, v in self.model.state_dict().items()})
            if where == "loss":
                batch[0].fill_(1e30)
        return original(self, batch, index)

    original = ReconstructionModule.training_step
    monkeypatch.setattr(ReconstructionModule, "training_step", training_step)
    if where == "gradient":

        def spoil(self, *args, **kwargs):
            if self.trainer.global_step == 3:
                next(self.model.parameters()).grad[0] = float("nan")
            return clip(self, *args, **kwargs)

        clip = ReconstructionModule.configure_gradient_clipping
        monkeypatch.setattr(ReconstructionModule, "configure_gradient_clipping", spoil)
    with pytest.raises(NonFiniteError, match=f"step 3: {where}: expected a finite"):
        run(tmp_path, ema_decay=None)
    batch = load_file(tmp_path / "failed-batch.safetensors")
    assert batch["sinogram"].shape == (2, 1, 12, 25)
    assert batch["image"].shape == (2, 1, 16, 16)
    kept = tomolearn.load(tmp_path / "weights-before-failure.json").state_dict()
    assert all(torch.equal(kept[name], good[name]) for name in good)


def test_the_best_weights_are_kept(tmp_path, monkeypatch):
    # a learning rate that ruins the network after its first validation
    factor = "tomolearn.training.module.cosine_factor"
    monkeypatch.setattr(factor, lambda progress, step, warmup: 1.0 if step < 5 else 20.0)
    best = run(tmp_path / "best", keep="best")
    last = run(tmp_path / "last", keep="last")
    assert best.val_psnr > last.val_psnr + 1
    found = read_log(tmp_path / "best", "val_psnr")
    assert best.val_psnr == pytest.approx(max(found.values()), abs=1e-5)
    card = json.loads(best.weights.read_text())
    assert card["training"]["weights_of_step"] == 5


def test_a_run_may_begin_with_weights_of_another(tmp_path):
    first = run(tmp_path / "a", steps=40, train_size=4)
    short = {"steps": 1, "learning_rate": 1e-6}
    second = run(tmp_path / "b", **short, initial_weights=first.weights)
    fresh = run(tmp_path / "c", **short)
    assert second.val_psnr == pytest.approx(first.val_psnr, abs=1e-3)
    assert second.val_psnr > fresh.val_psnr + 0.5
    arguments = SMALL["model_arguments"] | {"channels": 3}
    with pytest.raises(ValueError, match="initial_weights: expected those of learned-primal-dual"):
        run(tmp_path / "d", model_arguments=arguments, initial_weights=first.weights)


def test_errors_of_folders(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no run to resume"):
        run(tmp_path / "a", resume=True)
    run(tmp_path / "a", steps=1)
    with pytest.raises(FileExistsError, match="there is a run already"):
        run(tmp_path / "a")
    with pytest.raises(ValueError, match=r"got seed 0 -> 1, learning_rate|learning_rate 0\.005"):
        run(tmp_path / "a", resume=True, learning_rate=1e-3)
