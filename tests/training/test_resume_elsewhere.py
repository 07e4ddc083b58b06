"""Runs that go on with moved data, on another machine, or with other processes."""

import json
import shutil

import numpy as np
import pytest
from small_task import only_tasks, small_task

from tomolearn._core.errors import TomolearnError
from tomolearn.data import RandomEllipses, store_pairs
from tomolearn.tasks import Split
from tomolearn.training.config import TrainingConfig, changes_of_learning
from tomolearn.training.module import cosine_factor
from tomolearn.training.run import train

pytestmark = pytest.mark.filterwarnings("ignore:.*GPU.*", "ignore:.*isinstance.treespec.*")

SMALL = {
    "model": "learned-gradient",
    "task": "small",
    "model_arguments": {"iterations": 1, "channels": 4},
    "steps": 2,
    "batch_size": 2,
    "validation_size": 1,
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


def test_data_may_be_moved_but_not_exchanged(tmp_path):
    here, there, other = (tmp_path / name for name in ("here.h5", "there.h5", "other.h5"))
    store_pairs(TASK.pairs("train"), here, 6)
    store_pairs(TASK.pairs("train", seed=5), other, 6)
    run(tmp_path / "run", data=here, accelerator="cpu")
    shutil.move(here, there)
    with pytest.raises(TomolearnError, match=r"data '.*here.h5' -> '.*other.h5'"):
        run(tmp_path / "run", data=other, steps=3, resume=True, accelerator="cpu")
    assert run(tmp_path / "run", data=there, steps=3, resume=True, accelerator="cpu").steps == 3
    # other pairs in the place of the first
    shutil.copy(other, there)
    with pytest.raises(TomolearnError, match="data"):
        run(tmp_path / "run", data=there, steps=4, resume=True, accelerator="cpu")
    with pytest.raises(TomolearnError, match=r"data '.*' -> none"):
        run(tmp_path / "run", steps=4, resume=True, accelerator="cpu")


@pytest.mark.parametrize("state", [b"", b"[1]", b"{", b'{"fingerprint": 3}'])
def test_a_damaged_fingerprint_counts_as_none_or_another(tmp_path, state):
    data = tmp_path / "pairs.h5"
    store_pairs(TASK.pairs("train"), data, 6)
    run(tmp_path / "run", data=data, accelerator="cpu")
    (tmp_path / "run" / "data.json").write_bytes(state)
    try:
        assert run(tmp_path / "run", data=data, steps=3, resume=True).steps == 3
    except TomolearnError as error:
        assert "data" in str(error)  # noqa: PT017


def test_what_was_found_on_a_machine_is_no_setting(tmp_path):
    run(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["accelerator"] == "auto"


def test_batch_normalisation_is_not_traded_for_processes(tmp_path):
    net = {"model": "fbp-unet", "model_arguments": {"channels": [4, 4], "first_convolutions": 1}}
    for arguments, same in (({}, False), ({"normalisation": "none"}, True)):
        changes = {**net, "model_arguments": net["model_arguments"] | arguments}
        one = TrainingConfig(**SMALL | changes | {"batch_size": 2})
        two = TrainingConfig(**SMALL | changes | {"batch_size": 1, "devices": 2})
        found = changes_of_learning(one, two)
        assert (not found) == same
        assert same or "batch normalisation, 1 -> 2" in found[0]


def test_the_learning_rate_may_fall_to_another_than_zero():
    steps = np.linspace(0, 1, 11)
    found = [cosine_factor(t, 100, 0, 0.1) for t in steps]
    assert found == pytest.approx(0.1 + 0.9 * (1 + np.cos(np.pi * steps)) / 2)
    with pytest.raises(ValueError, match="final_learning_rate: expected at most"):
        TrainingConfig(**SMALL, learning_rate=1e-4, final_learning_rate=1e-3)


class Numbered:
    """Images that are there."""

    def __len__(self):
        return 7

    def image(self, index, shape, rng):
        return np.full(shape, index, np.float32)

    def to_dict(self):
        return {"kind": "numbered"}


def test_a_source_that_has_its_images_has_an_end():
    assert Split(Numbered(), seed=1).size == 7
    assert Split(Numbered(), seed=1, size=3).size == 3
    assert Split(RandomEllipses(), seed=1).size is None
