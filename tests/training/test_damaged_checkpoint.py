"""A checkpoint that cannot be read counts as not there, and is said and kept."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from small_task import only_tasks, small_task

from tomolearn.data import RandomEllipses
from tomolearn.tasks import Split
from tomolearn.training.config import TrainingConfig
from tomolearn.training.run import train

pytestmark = pytest.mark.filterwarnings("ignore:.*isinstance.treespec.*")

CONFIG = {
    "model": "learned-primal-dual",
    "task": "small",
    "model_arguments": {"iterations": 1, "n_primal": 2, "n_dual": 1, "channels": 2},
    "steps": 2,
    "batch_size": 1,
    "validation_every": 2,
    "validation_size": 1,
    "accelerator": "cpu",
    "threads": 1,
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("whole") / "run"


def cut(share: float) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        content = path.read_bytes()
        path.write_bytes(content[: int(share * len(content))])

    return damage


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(
    "damage",
    [cut(0), cut(0.5), cut(0.99), lambda path: path.write_bytes(bytes(500)), a_folder],
    ids=["empty", "half", "nearly", "zeros", "a folder"],
)
def test_damaged_checkpoint(
    damage: Callable[[Path], None], whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    splits = {
        name: Split(RandomEllipses(), seed=seed, size=4)
        for seed, name in enumerate(("train", "validation", "test"))
    }
    only_tasks(monkeypatch, small_task(splits=splits))
    config = TrainingConfig(**CONFIG)
    if not whole.exists():
        train(config, whole)
    run = tmp_path / "run"
    shutil.copytree(whole, run)
    damage(run / "last.ckpt")
    with pytest.warns(UserWarning, match=r"last\.ckpt.*"):
        result = train(config, run, resume=True)
    assert result.steps == 2
    assert (run / "last.ckpt.damaged").exists()
    train(config, run, resume=True)  # of the new one
