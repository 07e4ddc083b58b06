"""Settings of a training: files, overrides, errors."""

import json
from datetime import timedelta
from pathlib import Path

import pytest

from tomolearn.training.config import TrainingConfig, read_config, with_overrides

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "training"
LEAST = {"model": "learned-primal-dual", "task": "ellipses", "steps": 5}


def test_defaults_are_those_of_the_publication():
    config = TrainingConfig(**LEAST)
    assert (config.batch_size, config.betas, config.learning_rate) == (5, (0.9, 0.99), 1e-3)
    assert (config.optimizer, config.gradient_clip, config.precision) == ("adam", 1.0, "32-true")


def test_overrides_are_read_as_json_or_text():
    config = with_overrides(
        LEAST,
        [
            "learning_rate=2e-3",
            "betas=[0.5,0.9]",
            "gradient_clip=null",
            "precision=bf16-mixed",
            "model_arguments.iterations=3",
            "model_arguments.channels=4",
            "compile=true",
        ],
    )
    assert config.learning_rate == 2e-3
    assert config.betas == (0.5, 0.9)
    assert config.gradient_clip is None
    assert config.precision == "bf16-mixed"
    assert config.model_arguments == {"iterations": 3, "channels": 4}
    assert config.compile is True


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90m", 5400), ("1h30m", 5400), ("45s", 45), ("PT2M", 120), ("00:01:30", 90)],
)
def test_times(text, seconds):
    assert with_overrides(LEAST, [f"max_time={text}"]).max_time == timedelta(seconds=seconds)


def test_json_round_trip():
    config = with_overrides(LEAST, ["max_time=90m", "data=/tmp/x.h5"])
    assert TrainingConfig(**json.loads(json.dumps(config.model_dump(mode="json")))) == config


def test_files(tmp_path):
    (tmp_path / "a.toml").write_text('model = "learned-gradient"\n[model_arguments]\nmemory = 3\n')
    (tmp_path / "a.json").write_text(
        '{"model": "learned-gradient", "model_arguments": {"memory": 3}}'
    )
    assert read_config(tmp_path / "a.toml") == read_config(tmp_path / "a.json")
    (tmp_path / "b.toml").write_text("no table")
    with pytest.raises(ValueError, match=r"b\.toml: expected TOML"):
        read_config(tmp_path / "b.toml")
    (tmp_path / "b.json").write_text("[1]")
    with pytest.raises(ValueError, match="expected a table of settings, got list"):
        read_config(tmp_path / "b.json")


_LEVELS = "objective_arguments.noise_levels"
_OF_DENOISER = {"model": "de-gradient"}
_DENOISING = ["model_arguments={}", "objective=denoising"]


@pytest.mark.parametrize(
    ("changes", "overrides", "message"),
    [
        ({"model": "learned-primal-duel"}, [], "did you mean learned-primal-dual"),
        ({"task": "elipses"}, [], "did you mean ellipses"),
        ({}, ["learning_rat=1"], "did you mean learning_rate"),
        ({}, ["model_arguments.iteration=2"], "did you mean iterations"),
        ({}, ["model_arguments.iterations=0"], "iterations: expected an integer >= 1, got 0"),
        ({}, ["task.name=2"], "expected model_arguments.NAME=value or objective_arguments.NAME"),
        ({}, ["learning_rate"], "override: expected name=value, got 'learning_rate'"),
        ({}, ["learning_rate=fast"], "learning_rate: .*got 'fast'"),
        ({}, ["learning_rate=0"], "learning_rate: .*greater than 0, got 0"),
        ({}, ["batch_size=2.5"], r"batch_size: .*got 2\.5"),
        ({}, ["precision=8"], "precision: .*bf16-mixed"),
        ({"steps": None}, [], "steps, max_time: expected at least one of the two"),
        ({}, ["max_time=-5s"], "max_time"),
        ({}, ["betas=[0.9,1.0]"], "betas"),
        ({}, ["objective=denoising"], "model: expected a network with a denoiser, such as FBPU"),
        (_OF_DENOISER, [*_DENOISING, f"{_LEVELS}=[0.2,0.1]"], "noise_levels: exp"),
        (_OF_DENOISER, [*_DENOISING, f"{_LEVELS}=[0,0]"], "noise_levels"),
        (_OF_DENOISER, [*_DENOISING, "objective_arguments.levels=1"], "did you mean noise_levels"),
        ({}, ["objective=supervise"], "objective: .* did you mean supervised"),
        ({}, ["metric=psrn"], "metric: expected one of rmse"),
        ({"model": "total-variation"}, [], "objective denoising trains denoisers, score and bil"),
        ({"model": "spectral-denoiser"}, [], "model: expected a network that reconstructs"),
        ({"model": "dncnn"}, [*_DENOISING, "image_scale=2"], "image_scale: expected for networks"),
        ({"task": 3}, [], "task: expected a name or a Task, got int"),
        ({"model": "de-gradient"}, [*_DENOISING, "devices=2"], "devices: expected one process"),
    ],
)
def test_errors(changes, overrides, message):
    with pytest.raises(ValueError, match=message):
        with_overrides(LEAST | changes, overrides)


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.toml")), ids=lambda path: path.name)
def test_examples_are_settings(path):
    with_overrides(read_config(path), [])
