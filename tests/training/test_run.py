"""Whole runs: results, time, failures. Kills and processes have a file of their own."""

import errno
import json
from datetime import timedelta

import lightning
import pytest
import torch
from lightning.pytorch.loggers import CSVLogger
from safetensors.torch import load_file
from small_task import only_tasks, small_task

import tomolearn
from tomolearn.data import RandomEllipses, StoredPairs, store_pairs
from tomolearn.tasks import Split
from tomolearn.training import run as run_module
from tomolearn.training.callbacks import TimeBudget
from tomolearn.training.config import TrainingConfig, changes_of_learning
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
    only_tasks(monkeypatch, task)
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
    assert card["metrics"]["validation_psnr"] == pytest.approx(result.validation, abs=1e-3)


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
    assert result.validation == pytest.approx(
        max(read_log(tmp_path, "val_psnr").values()), abs=1e-4
    )


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
    with pytest.raises(ValueError, match="size: expected at most the 8 pairs of"):
        run(tmp_path / "c", data=tmp_path / "pairs.h5", train_size=9)


def test_stored_pairs_of_another_scan(tmp_path, task, monkeypatch):
    store_pairs(task.pairs("train"), tmp_path / "pairs.h5", 2)
    assert len(StoredPairs(tmp_path / "pairs.h5")) == 2
    other = small_task(grid=task.grid.refined((8, 8)), splits=dict(task.splits))
    only_tasks(monkeypatch, other)
    with pytest.raises(ValueError, match="expected pairs of small"):
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
    assert part.validation == pytest.approx(whole.validation, abs=1e-6)


def test_time_budget_ends_the_run_and_shapes_the_schedule(tmp_path, monkeypatch):
    clock = iter(range(10_000))
    monkeypatch.setattr(TimeBudget, "seconds", property(lambda self: next(clock) / 2))
    result = run(tmp_path, steps=None, max_time=timedelta(seconds=40))
    rates = read_log(tmp_path, "learning_rate")
    # two looks at the clock per step, and few others
    assert 35 <= result.steps <= 42
    assert rates[0] > 0.95 * 5e-3
    assert rates[result.steps // 2] == pytest.approx(0.5 * 5e-3, rel=0.2)
    assert rates[result.steps - 1] < 0.02 * 5e-3


def test_the_last_validation_is_within_the_time(tmp_path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr("tomolearn.training.callbacks.time.monotonic", lambda: now[0])
    for name, seconds in (("training_step", 1.0), ("validation_step", 5.0)):
        original = getattr(ReconstructionModule, name)

        def takes_time(self, batch, index, original=original, seconds=seconds):
            now[0] += seconds
            return original(self, batch, index)

        monkeypatch.setattr(ReconstructionModule, name, takes_time)
    # two batches of validation pairs: 10 seconds, at step 8 and at the end
    result = run(tmp_path, steps=None, max_time=timedelta(seconds=60), validation_every=8)
    assert max(read_log(tmp_path, "val_psnr")) == result.steps - 1
    assert 50 < now[0] <= 60


def test_time_of_earlier_parts_counts():
    budget = TimeBudget(timedelta(minutes=1))
    budget.load_state_dict({"seconds": 45.0})
    assert budget.seconds == 45.0


@pytest.mark.filterwarnings("ignore:sinogram. expected line integrals")
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
    monkeypatch.setattr(factor, lambda progress, step, *others: 1.0 if step < 5 else 20.0)
    best = run(tmp_path / "best", keep="best")
    last = run(tmp_path / "last", keep="last")
    assert best.validation > last.validation + 1
    found = read_log(tmp_path / "best", "val_psnr")
    assert best.validation == pytest.approx(max(found.values()), abs=1e-5)
    card = json.loads(best.weights.read_text())
    assert card["training"]["weights_of_step"] == 5


def test_a_run_may_begin_with_weights_of_another(tmp_path):
    first = run(tmp_path / "a", steps=40, train_size=4)
    short = {"steps": 1, "learning_rate": 1e-6}
    second = run(tmp_path / "b", **short, initial_weights=str(first.weights))
    fresh = run(tmp_path / "c", **short)
    assert second.validation == pytest.approx(first.validation, abs=1e-3)
    assert second.validation > fresh.validation + 0.5
    arguments = SMALL["model_arguments"] | {"channels": 3}
    with pytest.raises(ValueError, match="initial_weights: expected those of learned-primal-dual"):
        run(tmp_path / "d", model_arguments=arguments, initial_weights=str(first.weights))


def test_averaged_weights_are_those_of_a_loop_by_hand(tmp_path, monkeypatch):
    seen = []
    step = ReconstructionModule.optimizer_step

    def remember(self, *args, **kwargs):
        step(self, *args, **kwargs)
        seen.append([p.detach().clone() for p in self.model.parameters()])

    monkeypatch.setattr(ReconstructionModule, "optimizer_step", remember)
    result = run(tmp_path, ema_decay=0.8, keep="last")
    averaged = seen[0]
    for n, weights in enumerate(seen[1:], start=1):
        decay = min(0.8, (1 + n) / (10 + n))
        averaged = [decay * a + (1 - decay) * w for a, w in zip(averaged, weights, strict=True)]
    for found, expected in zip(result.model.parameters(), averaged, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "muon"])
def test_vectors_may_have_a_learning_rate_of_their_own(tmp_path, optimizer):
    settings = {"optimizer": optimizer, "ema_decay": None, "keep": "last", "warmup_steps": 0}
    first = run(tmp_path / "still", **settings, learning_rate=1e-12, vector_learning_rate=1e-12)
    found = run(tmp_path / "run", **settings, vector_learning_rate=1e-12)
    pairs = zip(first.model.parameters(), found.model.parameters(), strict=True)
    for before, after in pairs:
        moved = float((after - before).detach().abs().max())
        assert (moved > 1e-4) == (after.ndim >= 2)


def test_gradients_are_clipped(tmp_path, monkeypatch):
    norms = []
    step = torch.optim.Adam.step

    def remember(self, *args, **kwargs):
        result = step(self, *args, **kwargs)
        gradients = [p.grad for p in self.param_groups[0]["params"]]
        norms.append(torch.stack([g.norm() for g in gradients]).norm().item())
        return result

    monkeypatch.setattr(torch.optim.Adam, "step", remember)
    run(tmp_path, gradient_clip=1e-3)
    assert norms
    assert max(norms) <= 1.001e-3


def test_best_weights_and_time_survive_a_resumption(tmp_path, monkeypatch):
    # the learning rate ruins the network after its first validation, and the run is cut later
    factor = "tomolearn.training.module.cosine_factor"
    monkeypatch.setattr(factor, lambda progress, step, *others: 1.0 if step < 5 else 20.0)
    first = run(tmp_path, steps=8)
    second = run(tmp_path, steps=12, resume=True)
    assert second.validation == pytest.approx(
        max(read_log(tmp_path, "val_psnr").values()), abs=1e-5
    )
    assert json.loads(second.weights.read_text())["training"]["weights_of_step"] == 5
    assert second.hours > first.hours
    # three validations in all: of steps 5 and 10, and of the ends
    assert {5, 8, 10, 12} <= {step + 1 for step in read_log(tmp_path, "val_psnr")} | {8, 12}


@pytest.mark.parametrize("last", [5, 6])
def test_a_checkpoint_at_any_step_loses_no_validation(tmp_path, monkeypatch, last):
    whole = run(tmp_path / "whole")
    original = ReconstructionModule.training_step

    def stop(self, batch, index):
        if self.trainer.global_step == last:
            raise RuntimeError("killed")
        return original(self, batch, index)

    with monkeypatch.context() as patch:
        patch.setattr(ReconstructionModule, "training_step", stop)
        with pytest.raises(RuntimeError, match="killed"):
            run(tmp_path / "parts", checkpoint_minutes=1e-9)
    again = run(tmp_path / "parts", resume=True)
    for name in ("loss", "val_psnr"):
        found, expected = (read_log(tmp_path / part, name) for part in ("parts", "whole"))
        assert found == pytest.approx(expected, rel=1e-6)
    assert again.validation == pytest.approx(whole.validation, abs=1e-6)


def test_processes_may_be_traded_for_pairs(tmp_path):
    config = TrainingConfig(**SMALL)
    other = TrainingConfig(**SMALL | {"batch_size": 1, "devices": 2})
    assert changes_of_learning(config, other) == []
    more = TrainingConfig(**SMALL | {"devices": 2})
    assert changes_of_learning(config, more) == ["pairs per step, of all processes, 2 -> 4"]


def test_a_start_that_failed_leaves_the_folder_free(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no such file"):
        run(tmp_path / "a", data=tmp_path / "missing.h5")
    assert run(tmp_path / "a", steps=1).steps == 1


def test_pairs_of_another_task_or_split(tmp_path, task):
    for attributes, message in (
        ({"task": '{"name": "other"}'}, "expected pairs of small, got those of other"),
        ({"split": "test"}, "expected pairs of the train split, got those of test"),
    ):
        store_pairs(task.pairs("train"), tmp_path / "p.h5", 2, attributes=attributes)
        with pytest.raises(ValueError, match=message):
            run(tmp_path / "a", data=tmp_path / "p.h5")


def test_errors_of_folders(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no run to resume"):
        run(tmp_path / "a", resume=True)
    run(tmp_path / "a", steps=1)
    with pytest.raises(FileExistsError, match="there is a run already"):
        run(tmp_path / "a")
    with pytest.raises(ValueError, match=r"got learning_rate 0\.005 -> 0\.001"):
        run(tmp_path / "a", resume=True, learning_rate=1e-3)


SUPERVISED = {"objective": "supervised", "objective_arguments": {}}
DENOISER = {
    "model": "de-gradient",
    "model_arguments": {"depth": 2, "channels": 4, "lipschitz": 2.0, "tolerance": 1e-2},
    "objective": "denoising",
    "objective_arguments": {"noise_levels": (0.1, 0.2)},
}


def test_denoising_learns_to_denoise(tmp_path, task):
    changes = {**DENOISER, "steps": 80, "learning_rate": 3e-2, "validation_every": 40}
    before = run(tmp_path / "none", **{**changes, "steps": 1, "learning_rate": 1e-9})
    after = run(tmp_path / "some", **changes)
    assert after.validation > before.validation + 3
    # what is measured is the denoiser, at noise of the levels that were asked for
    x = torch.stack([task.pairs("test")[i][1] for i in range(8)])
    generator = torch.Generator().manual_seed(0)
    noise = 0.15 * torch.randn(x.shape, generator=generator)
    errors = [
        float((tomolearn.load(found.weights).denoiser()(x + noise) - x).square().mean())
        for found in (before, after)
    ]
    assert errors[1] < errors[0] / 2
    assert errors[1] < 0.15**2


def test_denoising_draws_the_same_noise_after_an_interruption(tmp_path):
    still = {**DENOISER, "learning_rate": 1e-12, "vector_learning_rate": 1e-12}
    run(tmp_path / "whole", **still)
    run(tmp_path / "parts", **{**still, "steps": 5})
    run(tmp_path / "parts", resume=True, **still)
    losses = list(read_log(tmp_path / "whole").values())
    assert list(read_log(tmp_path / "parts").values()) == pytest.approx(losses, rel=1e-5)
    assert len(set(losses)) == 12


def test_a_denoiser_starts_a_reconstruction(tmp_path):
    denoiser = run(tmp_path / "denoiser", **DENOISER)
    result = run(
        tmp_path / "run",
        **{
            **DENOISER,
            **SUPERVISED,
            "initial_weights": str(denoiser.weights),
            # on which no weight's shape depends
            "model_arguments": {**DENOISER["model_arguments"], "backward": "jfb"},
            "steps": 1,
            "learning_rate": 1e-12,
        },
    )
    for name, weights in load_file(denoiser.weights.with_suffix(".safetensors")).items():
        assert torch.allclose(result.model.state_dict()[name], weights, atol=1e-6), name


def test_solvers_are_logged(tmp_path):
    run(tmp_path, **{**DENOISER, **SUPERVISED})
    assert all(iterations >= 1 for iterations in read_log(tmp_path, "model/iterations").values())
    for name in ("model/converged", "model/backward_converged"):
        assert set(read_log(tmp_path, name).values()) == {1.0}


def test_divergence_keeps_batch_and_weights(tmp_path):
    arguments = {**DENOISER["model_arguments"], "solver": "picard", "step": 50.0}
    arguments["max_iterations"] = 500
    changes = {**DENOISER, **SUPERVISED, "model_arguments": arguments}
    with pytest.raises(NonFiniteError, match="not finite"):
        run(tmp_path, **changes)
    assert (tmp_path / "failed-batch.safetensors").exists()


@pytest.mark.parametrize("resume", [False, True])
def test_two_trainings_do_not_share_a_folder(tmp_path, monkeypatch, resume):
    out = tmp_path / "run"
    if resume:
        run(out, steps=2, validation_every=2)
    seen, fit = [], lightning.Trainer.fit

    def second(trainer, *arguments, **options):
        if not seen:
            seen.append(sorted(path.name for path in out.iterdir()))
            error = BlockingIOError if resume else FileExistsError
            with pytest.raises(error, match=r"another run is at work|there is a run already"):
                run(out, resume=resume, steps=4, validation_every=2)
            assert sorted(path.name for path in out.iterdir()) == seen[0]
        return fit(trainer, *arguments, **options)

    monkeypatch.setattr(lightning.Trainer, "fit", second)
    run(out, resume=resume, steps=4, validation_every=2)
    assert len(read_log(out)) == 4
    assert not (out / ".lock").exists()


def test_two_trainings_that_begin_at_once_do_not_share_a_folder(tmp_path, monkeypatch):
    """Both have looked at the folder before either has entered it."""
    out = tmp_path / "run"
    check, seen = run_module.check_folder, []

    def late(*arguments, **options):
        check(*arguments, **options)
        if not seen:
            seen.append(1)
            run(out, steps=2, validation_every=2)

    monkeypatch.setattr(run_module, "check_folder", late)
    with pytest.raises(FileExistsError, match="there is a run already"):
        run(out, steps=2, validation_every=2)
    assert (out / "commands.txt").read_text().count("\n") == 1


def test_a_full_disk_is_named_by_the_folder_of_the_run(tmp_path, monkeypatch):
    """Those who write the logs name no file."""

    def full(*arguments, **options):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(CSVLogger, "save", full)
    with pytest.raises(OSError, match=r"No space left on device: '.*run'"):
        run(tmp_path / "run")
