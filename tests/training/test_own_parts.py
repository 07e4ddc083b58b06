"""Trainings of a user's own network, task, objective and metric: by value, by file."""

import json
import subprocess
import sys

import pytest
import torch
from small_task import small_task

import tomolearn as tl
from tomolearn.data import RandomEllipses, store_pairs
from tomolearn.models import LearnedPrimalDual
from tomolearn.tasks import Split
from tomolearn.training.config import TrainingConfig
from tomolearn.training.folder import SourceChangedWarning, read_run
from tomolearn.training.log import read_log
from tomolearn.training.objectives import Supervised
from tomolearn.training.run import train

pytestmark = pytest.mark.filterwarnings("ignore:.*GPU.*", "ignore:.*isinstance.treespec.*")

OWN = """
from dataclasses import dataclass

import torch

import tomolearn as tl
from tomolearn.data import RandomEllipses
from tomolearn.metrics import MetricConvention
from tomolearn.simulation import Acquisition, GaussianNoise
from tomolearn.tasks import Split, Task
from tomolearn.training.objectives import Objective

GRID = tl.Grid((16, 16))


class Net(tl.models.ReconstructionModel):
    def __init__(self, *, scale: float = 0.1):
        super().__init__({"scale": scale})
        self.factor = torch.nn.Parameter(torch.tensor(scale))

    def reconstruct(self, sinogram, operator):
        return self.factor * operator.adjoint(sinogram)


def task():
    return Task(
        name="mine",
        grid=GRID,
        acquisition=Acquisition(tl.ParallelBeam.covering(GRID, 12), GaussianNoise(0.05)),
        splits={
            name: Split(RandomEllipses(), seed=seed, size=4)
            for seed, name in enumerate(("train", "validation", "test"))
        },
        convention=MetricConvention("own", psnr_range=1.0, ssim_range=1.0),
    )


@dataclass(frozen=True)
class Absolute(Objective):
    power: float = 1.0

    def estimate(self, network, batch, operator, rng):
        return network(batch[0], operator)

    def loss(self, network, batch, operator, rng):
        found = self.estimate(network, batch, operator, rng)
        return (found - batch[1]).abs().pow(self.power).mean()


def largest_error(image, truth):
    return (image - truth).abs().max()
"""
SETTINGS = {
    "steps": 4,
    "batch_size": 2,
    "learning_rate": 1e-3,
    "validation_every": 2,
    "validation_size": 2,
    "log_every": 1,
    "accelerator": "cpu",
    "threads": 1,
}


@pytest.fixture(autouse=True)
def threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def own(tmp_path, monkeypatch):
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "mine.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "code" / "mine.py"


def everything(own, **changes):
    parts = {"model": "Net", "task": "task", "objective": "Absolute", "metric": "largest_error"}
    found = {name: f"{own}:{attribute}" for name, attribute in parts.items()}
    return SETTINGS | found | {"best_is": "smallest"} | changes


def test_all_parts_of_a_file(own, tmp_path):
    # as it is typed, relative to where one is
    relative = everything("code/mine.py", objective_arguments={"power": 2.0})
    result = train(TrainingConfig(**relative), tmp_path / "run")
    card = json.loads(result.weights.read_text())
    assert card["model"] == "mine.py:Net"
    assert card["task"] == "mine"
    assert card["metrics"] == {"validation_largest_error": round(result.validation, 3)}
    model = tl.load(result.weights, model=f"{own}:Net")
    assert float(model.factor.detach()) == pytest.approx(float(result.model.factor.detach()))
    # the metric is that of the file, on the validation pairs, and the smallest is the best
    task = TrainingConfig(**everything(own)).find_task()
    errors = [
        float((model(y, task.operator()) - x).abs().max())
        for y, x in (task.pairs("validation")[k] for k in range(2))
    ]
    assert result.validation == pytest.approx(sum(errors) / 2, rel=1e-5)
    logged = read_log(tmp_path / "run", "val_metric")
    assert result.validation == pytest.approx(min(logged.values()), rel=1e-5)


def test_the_objective_of_a_file_is_what_is_learned(own, tmp_path):
    for power in (1.0, 2.0):
        train(
            TrainingConfig(**everything(own, objective_arguments={"power": power})),
            tmp_path / f"{power}",
        )
    train(TrainingConfig(**everything(own, objective="supervised")), tmp_path / "mse")
    first, second, squares = (read_log(tmp_path / name) for name in ("1.0", "2.0", "mse"))
    assert second == pytest.approx(squares, rel=1e-6)
    assert first[0] ** 2 < second[0]  # the mean of squares is above the square of the mean


def test_values_in_place_of_names(tmp_path):
    splits = {
        name: Split(RandomEllipses(), seed=seed, size=4)
        for seed, name in enumerate(("train", "validation", "test"))
    }
    settings = SETTINGS | {
        "model": LearnedPrimalDual,
        "model_arguments": {"iterations": 1, "n_primal": 2, "n_dual": 1, "channels": 2},
        "objective": Supervised(),
        "metric": "ssim",
        "task": small_task(splits=splits),
    }
    config = TrainingConfig(**settings)
    assert (config.model, config.objective) == ("learned-primal-dual", "supervised")
    train(config, tmp_path)
    with pytest.raises(ValueError, match="was made in Python, where it can be resumed"):
        read_run(tmp_path)
    again = train(TrainingConfig(**settings | {"steps": 5}), tmp_path, resume=True)
    assert again.steps == 5
    other = small_task(splits=splits, description="another")
    with pytest.raises(ValueError, match="the settings of the run that is resumed, got another ta"):
        train(TrainingConfig(**settings | {"task": other}), tmp_path, resume=True)


def test_a_changed_source_is_told(own, tmp_path):
    train(TrainingConfig(**everything(own)), tmp_path / "run")
    sources = json.loads((tmp_path / "run" / "sources.json").read_text())
    assert set(sources) == {"model", "task", "objective", "metric"}
    assert sources["model"]["file"] == str(own)
    own.write_text(OWN + "\n# a thought\n")
    with pytest.warns(SourceChangedWarning, match=rf"{own} has changed since the run began"):
        train(TrainingConfig(**everything(own, steps=5)), tmp_path / "run", resume=True)


def test_a_file_of_validation_pairs(own, tmp_path):
    task = TrainingConfig(**everything(own)).find_task()
    store_pairs(task.pairs("test"), tmp_path / "own.h5", 3)
    settings = everything(own, metric="psnr", model_arguments={"scale": 0.2}, steps=1)
    given = train(TrainingConfig(**settings, validation=tmp_path / "own.h5"), tmp_path / "a")
    drawn = train(TrainingConfig(**settings), tmp_path / "b")
    assert given.validation != pytest.approx(drawn.validation, abs=1e-3)


def test_a_denoiser_is_trained_as_one(tmp_path):
    splits = {
        name: Split(RandomEllipses(), seed=seed, size=4)
        for seed, name in enumerate(("train", "validation", "test"))
    }
    config = TrainingConfig(
        **SETTINGS,
        model="spectral-denoiser",
        model_arguments={"depth": 2, "channels": 4},
        objective="denoising",
        task=small_task(splits=splits),
    )
    result = train(config, tmp_path)
    denoiser = tl.load(result.weights, kind="denoiser")
    image = torch.rand(16, 16)
    torch.testing.assert_close(denoiser(image), result.model.eval()(image))
    begin = config.model_copy(update={"initial_weights": str(result.weights)})
    assert train(begin, tmp_path / "further").steps == 4


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"best_is": None}, "best_is: expected largest or smallest, whichever .*largest_error"),
        ({"model": "code/mine.py:task"}, "model: expected a class of ReconstructionModel, Den"),
        ({"model": "code/mine.py:Nett"}, "that .*mine.py defines, got 'Nett'; did you mean Net"),
        ({"task": "code/mine.py:Net"}, "expected a Task"),
        ({"objective": "code/mine.py:Net"}, "expected a subclass of .*Objective"),
        ({"objective_arguments": {"powr": 1}}, "objective_arguments of .* did you mean power"),
        ({"metric": "code/mine.py:GRID"}, "expected a function"),
        ({"model": type("Local", (LearnedPrimalDual,), {})}, "model: expected what a file of Pyt"),
    ],
)
def test_mistakes_are_found_before_the_training(own, changes, message):
    with pytest.raises(ValueError, match=message):
        TrainingConfig(**everything(own, **changes))


def test_a_script_that_trains_its_own_network_is_run_once(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        OWN
        + f"""
from tomolearn.training.config import TrainingConfig
from tomolearn.training.run import train

print("once")
train(TrainingConfig(model=Net, task=task(), **{SETTINGS!r}), {str(tmp_path / "run")!r})
"""
    )
    run = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, timeout=300, check=False
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.split().count("once") == 1
    assert json.loads((tmp_path / "run" / "weights.json").read_text())["model"] == "script.py:Net"
