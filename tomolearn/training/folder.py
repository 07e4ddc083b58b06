"""Run folders of trainings: settings, commands, provenance."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tomolearn._core.checkpoints.files import write_together
from tomolearn._core.errors import TomolearnError
from tomolearn._core.files import alone, named
from tomolearn._core.reading import parse_json, read_json, read_text
from tomolearn._core.tables import short_name
from tomolearn.tasks import Task
from tomolearn.tasks.folder import TASK_FILE, is_folder_task, task_json
from tomolearn.training.config import (
    TrainingConfig,
    changes_of_learning,
    read_config,
    with_overrides,
)
from tomolearn.training.hardware import hardware_name

CHECKPOINT = "last.ckpt"
CONFIG = "config.json"
COMMANDS = "commands.txt"
SOURCES = "sources.json"
LOCK = ".lock"
DATA = "data.json"


class SourceChangedWarning(UserWarning):
    """A file of a user's network, task, objective or metric has changed since the run began."""


def check_folder(config: TrainingConfig, directory: Path, *, resume: bool) -> None:
    """Check that a run can begin in a folder, or continue there."""
    if not resume:
        if (directory / CONFIG).exists():
            raise FileExistsError(
                f"{directory}: there is a run already; --resume continues it, or choose another"
            )
        return
    written = _written(directory)
    before = with_overrides({**written, "task": config.task}, [])
    changes = [
        *changes_of_learning(before, config),
        *_change_of_task(config, directory, written),
        *_change_of_data(before.data, config.data, directory),
    ]
    if changes:
        raise TomolearnError(
            f"{directory}: expected the settings of the run that is resumed, "
            f"got {', '.join(changes)}"
        )
    _warn_of_changed_sources(config, directory)


def _written(directory: Path) -> dict[str, Any]:
    if not (directory / CONFIG).exists():
        raise FileNotFoundError(f"{directory}: there is no run to resume, {CONFIG} is missing")
    return read_config(directory / CONFIG)


def read_run(directory: Path) -> dict[str, Any]:
    """Return the settings of the run in a folder, unchecked."""
    values = _written(directory)
    if values.get("task") == TASK_FILE:
        values["task"] = str(directory / TASK_FILE)
    elif isinstance(values.get("task"), dict):
        raise TomolearnError(
            f"{directory}: expected a run whose task has a name, or stands in a file; that of this "
            "run was made in Python, where it can be resumed with the same task"
        )
    return values


@contextmanager
def only_run(directory: Path) -> Iterator[None]:
    """Let no other run begin in a folder, which is made if it is missing."""
    directory.mkdir(parents=True, exist_ok=True)
    with alone(directory / LOCK, directory):
        yield


def enter_run(config: TrainingConfig, directory: Path, command: str | None) -> None:
    """Write down that a run, or a further part of it, begins."""
    files = {directory / CONFIG: json.dumps(_settings(config, directory), indent=2) + "\n"}
    origins = {name: asdict(origin) for name, origin in config.origins().items()}
    if config.data is not None:
        files[directory / DATA] = json.dumps({"fingerprint": _fingerprint(config.data)}) + "\n"
    if origins:
        files[directory / SOURCES] = json.dumps(origins, indent=2) + "\n"
    if isinstance(config.task, Task) and is_folder_task(config.task):
        files[directory / TASK_FILE] = task_json(config.task)
    write_together({path: text.encode() for path, text in files.items()})
    commands = directory / COMMANDS
    with named(commands), commands.open("a", encoding="utf-8") as stream:
        stream.write(f"{command or 'tomolearn.training.run.train(...)'}\n")


def _settings(config: TrainingConfig, directory: Path) -> dict[str, Any]:
    """Return the settings for JSON; the folder may be moved with a task that lies in it."""
    values = config.model_dump(mode="json")
    if isinstance(config.task, str) and Path(config.task) == directory / TASK_FILE:
        values["task"] = TASK_FILE
    return values


def _change_of_task(config: TrainingConfig, directory: Path, written: dict[str, Any]) -> list[str]:
    before, now = written["task"], _settings(config, directory)["task"]
    if before == now and isinstance(config.task, Task) and is_folder_task(config.task):
        before, now = read_text(directory / TASK_FILE), task_json(config.task)
    if before == parse_json("task", json.dumps(now)):
        return []
    if isinstance(before, str) and isinstance(now, str) and before != TASK_FILE:
        return [f"task {before!r} -> {now!r}"]
    return ["another task"]


def _change_of_data(before: Path | None, now: Path | None, directory: Path) -> list[str]:
    """Compare data by what they are: they may have been moved, or be seen from elsewhere."""
    if before is None or now is None:
        same = before is now
    else:
        fingerprint = _written_fingerprint(directory)
        same = before == now if fingerprint is None else fingerprint == _fingerprint(now)
    return [] if same else [f"data {_shown(before)} -> {_shown(now)}"]


def _written_fingerprint(directory: Path) -> str | None:
    """Return the fingerprint of the run's data; runs of version 0.1 have none."""
    try:
        written = read_json(directory / DATA)
    except (FileNotFoundError, TomolearnError):
        return None
    return written.get("fingerprint") if isinstance(written, dict) else None


def _shown(path: Path | None) -> str:
    return "none" if path is None else repr(str(path))


def _fingerprint(path: Path) -> str:
    """Return a digest of names and sizes, and of both ends of a single file."""
    digest, end = hashlib.sha256(), 2**20
    if path.is_dir():
        files = ((file.relative_to(path).as_posix(), file) for file in path.rglob("*"))
        for name, file in sorted(pair for pair in files if pair[1].is_file()):
            digest.update(f"{name} {file.stat().st_size}\n".encode())
    else:
        size = path.stat().st_size
        digest.update(f"{size}\n".encode())
        with path.open("rb") as stream:
            digest.update(stream.read(end))
            stream.seek(max(0, size - end))
            digest.update(stream.read(end))
    return digest.hexdigest()


def _warn_of_changed_sources(config: TrainingConfig, directory: Path) -> None:
    path = directory / SOURCES
    if not path.exists():
        return
    now = config.origins()
    for name, before in read_json(path).items():
        if name in now and now[name].sha256 != before["sha256"]:
            warnings.warn(
                f"{name} {now[name].spec}: {now[name].file} has changed since the run began",
                SourceChangedWarning,
                stacklevel=4,
            )


def record(config: TrainingConfig, directory: Path, processes: int) -> dict[str, Any]:
    """Return what a card says about data, settings and machine."""
    return {
        "command": read_text(directory / COMMANDS).strip(),
        "data": _data(config),
        "pairs_per_step": config.batch_size * processes,
        "seed": config.seed,
        "hardware": hardware_name(config.accelerator, processes),
        "settings": _settings(config, directory),
    }


def _data(config: TrainingConfig) -> str:
    task = config.find_task()
    split = task.splits["train"]
    if config.data is not None:
        chosen = "" if config.train_size is None else f"the first {config.train_size} "
        return f"{chosen}pairs from {config.data.name}"
    size = config.train_size or split.size
    number = "new ones at each step" if size is None else f"{size} of them"
    noise = "no noise" if task.acquisition.noise is None else f"noise {task.acquisition.noise}"
    if config.make_objective().trained_on():
        noise = f"measured anew by {short_name(config.objective)}"
    return f"{split.source}, {number}; {noise}; data seed {split.seed}"
