"""The folder of a run, and what is written down about it."""

from __future__ import annotations

import json
import platform
import sys
from pathlib import Path
from typing import Any

import torch

from tomolearn._core.errors import TomolearnError
from tomolearn.tasks import get_task
from tomolearn.training.config import TrainingConfig, changes_of_learning, with_overrides
from tomolearn.training.files import write_together

__all__ = ["CHECKPOINT", "COMMANDS", "CONFIG", "check_folder", "enter_run", "record"]

CHECKPOINT = "last.ckpt"
CONFIG = "config.json"
COMMANDS = "commands.txt"


def check_folder(config: TrainingConfig, directory: Path, *, resume: bool) -> None:
    """Check that a run can begin in a folder, or continue there.

    Raises
    ------
    FileExistsError
        If it has a run and `resume` is not set.
    FileNotFoundError
        If `resume` is set and it has no run.
    ValueError
        If the run to be resumed has other settings.
    """
    path = directory / CONFIG
    if not resume:
        if path.exists():
            raise FileExistsError(
                f"{directory}: there is a run already; --resume continues it, or choose another"
            )
        return
    if not path.exists():
        raise FileNotFoundError(f"{directory}: there is no run to resume, {CONFIG} is missing")
    before = with_overrides(json.loads(path.read_text(encoding="utf-8")), [])
    changes = changes_of_learning(before, config)
    if changes:
        raise TomolearnError(
            f"{directory}: expected the settings of the run that is resumed, "
            f"got {', '.join(changes)}"
        )


def enter_run(config: TrainingConfig, directory: Path, command: str | None) -> None:
    """Write down that a run, or a further part of it, begins."""
    directory.mkdir(parents=True, exist_ok=True)
    settings = json.dumps(config.model_dump(mode="json"), indent=2) + "\n"
    write_together({directory / CONFIG: settings.encode()})
    with (directory / COMMANDS).open("a", encoding="utf-8") as stream:
        stream.write(f"{command or 'tomolearn.training.run.train(...)'}\n")


def record(config: TrainingConfig, directory: Path, processes: int) -> dict[str, Any]:
    """Return what a card says about data, settings and machine."""
    return {
        "command": (directory / COMMANDS).read_text(encoding="utf-8").strip(),
        "data": _data(config),
        "pairs_per_step": config.batch_size * processes,
        "seed": config.seed,
        "hardware": _hardware(config, processes),
        "settings": config.model_dump(mode="json"),
    }


def _data(config: TrainingConfig) -> str:
    task = get_task(config.task)
    split = task.splits["train"]
    if config.data is not None:
        chosen = "" if config.train_size is None else f"the first {config.train_size} "
        return f"{chosen}pairs from {config.data.name}"
    size = config.train_size or split.size
    number = "new ones at each step" if size is None else f"{size} of them"
    noise = "no noise" if task.acquisition.noise is None else f"noise {task.acquisition.noise}"
    return f"{split.source}, {number}; {noise}; data seed {split.seed}"


def _hardware(config: TrainingConfig, processes: int) -> str:
    if config.accelerator == "gpu":
        return f"{processes} x {torch.cuda.get_device_name()}"
    cpu = platform.processor() or platform.machine()
    if sys.platform == "linux":
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                cpu = line.partition(":")[2].strip()
                break
    return f"{processes} process(es) of {torch.get_num_threads()} thread(s), {cpu}"
