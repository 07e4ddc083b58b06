"""Runs that end before their time: the last step is kept, and a continuation changes nothing."""

import os
import random
import signal

import numpy as np
import pytest
import torch
from small_task import only_tasks, small_task
from typer.testing import CliRunner

from tomolearn.cli import app
from tomolearn.data import RandomEllipses
from tomolearn.tasks import Split
from tomolearn.training.checkpointing import step_of
from tomolearn.training.config import TrainingConfig
from tomolearn.training.log import read_log
from tomolearn.training.module import ReconstructionModule
from tomolearn.training.run import train

pytestmark = pytest.mark.filterwarnings("ignore:.*GPU.*", "ignore:.*isinstance.treespec.*")

SMALL = {
    "model": "fbp-unet",
    "task": "small",
    "model_arguments": {"channels": [4, 4], "first_convolutions": 1},
    "steps": 12,
    "batch_size": 2,
    "validation_every": 4,
    "validation_size": 3,
    "log_every": 1,
    "accelerator": "cpu",
    "threads": 1,
}


TASK = small_task(
    splits={
        "train": Split(RandomEllipses(), seed=1),
        "validation": Split(RandomEllipses(), seed=2, size=8),
        "test": Split(RandomEllipses(), seed=3, size=8),
    }
)


@pytest.fixture(autouse=True)
def task(monkeypatch):
    only_tasks(monkeypatch, TASK)


def run(directory, *, resume=False, **changes):
    return train(TrainingConfig(**SMALL | changes), directory, resume=resume)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    directory = tmp_path_factory.mktemp("run") / "whole"
    with pytest.MonkeyPatch.context() as patch:
        only_tasks(patch, TASK)
        result = run(directory)
    return directory, result


def signal_in(monkeypatch, method, call, *numbers):
    """Send signals to this process in the middle of a step or a batch of a validation."""
    calls = iter(range(1000))
    original = getattr(ReconstructionModule, method)

    def signalled(self, batch, index):
        found = original(self, batch, index)
        if next(calls) == call:
            for number in numbers:
                os.kill(os.getpid(), number)
        return found

    monkeypatch.setattr(ReconstructionModule, method, signalled)


@pytest.mark.parametrize(
    ("number", "error"), [("SIGINT", KeyboardInterrupt), ("SIGTERM", SystemExit)]
)
@pytest.mark.parametrize(
    ("method", "call", "kept"),
    # validations have two batches, after steps 4, 8 and 12
    [("training_step", 5, 6), ("training_step", 7, 8), ("validation_step", 2, 8)],
)
def test_every_end_keeps_the_last_step(
    whole, tmp_path, monkeypatch, number, error, method, call, kept
):
    handlers = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
    with monkeypatch.context() as patch:
        signal_in(patch, method, call, getattr(signal, number))
        with pytest.raises(error) as caught:
            run(tmp_path)
    if error is SystemExit:
        assert caught.value.code == 143
    assert step_of(tmp_path / "last.ckpt") == kept
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)] == handlers
    continued_as(whole, tmp_path)


def continued_as(whole, directory):
    undisturbed, expected = whole
    found = run(directory, resume=True)
    for name in ("loss", "val_psnr"):
        assert read_log(directory, name) == pytest.approx(read_log(undisturbed, name), rel=1e-6)
    assert found.steps == expected.steps
    assert found.validation == pytest.approx(expected.validation, abs=1e-6)
    for name, tensor in expected.model.state_dict().items():
        torch.testing.assert_close(found.model.state_dict()[name], tensor)


def test_a_second_interrupt_does_not_wait(tmp_path, monkeypatch):
    signal_in(monkeypatch, "training_step", 5, signal.SIGINT, signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path)
    assert step_of(tmp_path / "last.ckpt") is None


@pytest.mark.parametrize("step", [4, 6])
def test_an_error_keeps_the_step_before_it(whole, tmp_path, monkeypatch, step):
    original = ReconstructionModule.training_step

    def training_step(self, batch, index):
        # the forward pass has changed the running means by then
        loss = original(self, batch, index)
        if self.trainer.global_step == step and not (tmp_path / "failed").exists():
            (tmp_path / "failed").touch()
            raise OSError("the disk of the images is gone")
        return loss

    monkeypatch.setattr(ReconstructionModule, "training_step", training_step)
    with pytest.raises(OSError, match="is gone"):
        run(tmp_path)
    assert step_of(tmp_path / "last.ckpt") == step
    continued_as(whole, tmp_path)


@pytest.mark.parametrize(
    ("method", "call", "said"),
    [("training_step", 5, "step 6 is kept"), ("validation_step", 0, "step 4 is kept")],
)
def test_the_command_says_which_step_is_kept(tmp_path, monkeypatch, method, call, said):
    signal_in(monkeypatch, method, call, signal.SIGINT)
    sets = [
        f"{k}={v}".replace("'", '"')
        for k, v in SMALL.items()
        if k not in ("model", "task", "steps")
    ]
    arguments = ["train", "fbp-unet", "--task", "small", "--steps", "12", "--out", str(tmp_path)]
    result = CliRunner().invoke(app, [*arguments, *(x for s in sets for x in ("--set", s))])
    assert result.exit_code == 130
    assert f"{said}; --out {tmp_path} --resume continues the run" in result.output


SEEDS = (torch.manual_seed, np.random.seed, random.seed)


def test_random_numbers_of_the_caller_go_on(tmp_path):
    def drawn():
        return torch.rand(1).item(), np.random.rand(), random.random()  # noqa: NPY002

    for seed in SEEDS:
        seed(5)
    expected = [drawn(), drawn()]
    for seed in SEEDS:
        seed(5)
    found = [drawn()]
    before = dict(os.environ)
    run(tmp_path, steps=1, validation_size=1)
    assert [*found, drawn()] == expected
    assert dict(os.environ) == before


def test_variables_of_a_cluster_do_not_disturb_one_process(tmp_path, monkeypatch):
    for name, value in {
        "SLURM_NTASKS": "4",
        "SLURM_JOB_ID": "17",
        "SLURM_JOB_NAME": "train",
    }.items():
        monkeypatch.setenv(name, value)
    assert run(tmp_path, steps=2, validation_size=1).steps == 2


def test_a_short_run_has_a_log(tmp_path):
    run(tmp_path, steps=3, validation_size=1, log_every=50)
    assert read_log(tmp_path)
