"""What a benchmark needs and does not find: data in a task's format, trained networks."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tomolearn._core.errors import TomolearnError
from tomolearn._core.optional import optional_import
from tomolearn.data.files import LoDoPaBFiles
from tomolearn.data.lidc.splits import SPLITS, PatientSplits
from tomolearn.data.lodopab import make_lodopab
from tomolearn.data.lodopab.pairs import file_name
from tomolearn.tasks import Task

Told = Callable[[str, str], None]


def prepared_data(
    task: Task,
    data: str | os.PathLike[str],
    folder: str | os.PathLike[str],
    *,
    every: int = 3,
    fractions: Sequence[float] | None = None,
    told: Told | None = None,
) -> Path:
    """Return where the data of a task are, made of a folder of LIDC-IDRI if that is what is given.

    Parameters
    ----------
    task : Task
        A task; those that read LoDoPaB-CT's files can have them made.
    data : path-like
        What the task reads, or for these tasks a folder of LIDC-IDRI.
    folder : path-like
        Where files go that are made. A run that was stopped goes on.
    every : int
        Take one slice of so many.
    fractions : (float, float, float), optional
        Parts of the patients for training, validation and test. Default: 0.8, 0.1, 0.1.
    told : callable, optional
        Told what is done.

    Raises
    ------
    OSError, ValueError
        As for `make_lodopab`.
    """
    path = Path(data)
    if not isinstance(task.files, LoDoPaBFiles) or not path.is_dir():
        return path
    if (path / file_name("observation", "test", 0)).exists():
        return path
    made = Path(folder)
    if told is not None:
        told("data", f"LoDoPaB-CT's files are made of {path}")
    splits = None
    if fractions is not None:
        splits = PatientSplits(0, dict(zip(SPLITS, fractions, strict=True)))
    samples = make_lodopab(path, made, every=every, splits=splits)
    empty = [split for split, found in samples.samples.items() if not found]
    if empty:
        raise TomolearnError(
            f"data: expected slices for each split in {path}, got none for {', '.join(empty)}; "
            "other fractions are needed, or more patients"
        )
    return made


def trained_networks(
    specs: Sequence[str],
    task: str,
    data: Path | None,
    folder: str | os.PathLike[str],
    *,
    max_time: str,
    seed: int = 0,
    command: str | None = None,
    told: Told | None = None,
) -> dict[str, str]:
    """Train networks on a task, each for some time, unless their weights are there already.

    Parameters
    ----------
    specs : sequence of str
        Networks by name, or TOML files of settings, as for ``tomolearn train --config``, whose task
        and data are replaced.
    task, data
        The task by name, and the path of its data.
    folder : path-like
        Where the runs are, each in a folder of its own; one that was stopped is resumed.
    max_time, seed, command
        Of each training, as in `TrainingConfig`, and the command that cards tell.
    told : callable, optional
        Told the name of a network and what is done with it.

    Returns
    -------
    dict of str to str
        Paths of weights by names of networks.

    Raises
    ------
    ImportError, OSError, TypeError, ValueError
        As for `train`.
    """
    for package in ("lightning", "tensorboard"):
        optional_import(package, purpose="training", install="pip install 'tomolearn[train]'")
    from tomolearn.training.config import TrainingConfig, read_config
    from tomolearn.training.run import train

    found = {}
    for spec in specs:
        is_file = Path(spec).suffix == ".toml"
        name = Path(spec).stem if is_file else spec
        if name in found:
            raise TomolearnError(f"train: expected each network once, got {name!r} again")
        run = Path(folder) / name
        weights = run / "weights.json"
        if not weights.exists():
            values: dict[str, Any] = dict(read_config(Path(spec))) if is_file else {"model": spec}
            values.pop("steps", None)
            values |= {"task": task, "data": data, "max_time": max_time, "seed": seed}
            if told is not None:
                told(name, f"is trained for {max_time}")
            train(TrainingConfig(**values), run, resume=run.exists(), command=command)
        found[name] = str(weights)
    return found
