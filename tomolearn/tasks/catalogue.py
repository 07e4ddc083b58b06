"""The table of tasks, to which other packages add."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tomolearn._core.errors import TomolearnTypeError
from tomolearn._core.tables import Table

if TYPE_CHECKING:
    from tomolearn.tasks.task import Task


def _task(where: str, value: Any) -> Task:
    from tomolearn.tasks.task import Task

    task = value() if callable(value) else value
    if not isinstance(task, Task):
        raise TomolearnTypeError(
            f"{where}: expected a Task, or a function that returns one, got {type(task).__name__}"
        )
    return task


_PUBLISHED = "tomolearn.tasks.published"
TASKS: Table[Task] = Table(
    "task",
    {
        "ellipses": f"{_PUBLISHED}:ELLIPSES",
        "ellipses-dival": f"{_PUBLISHED}:ELLIPSES_DIVAL",
        "ellipses-50": f"{_PUBLISHED}:ELLIPSES_50",
        "ellipses-143": f"{_PUBLISHED}:ELLIPSES_143",
        "lidc-style-50": f"{_PUBLISHED}:LIDC_STYLE_50",
        "lidc-style-50-small": f"{_PUBLISHED}:LIDC_STYLE_50_SMALL",
        "lidc-style": f"{_PUBLISHED}:LIDC_STYLE",
        "lidc-50": f"{_PUBLISHED}:LIDC_50",
        "chest-patches": f"{_PUBLISHED}:CHEST_PATCHES",
        "chest-60": f"{_PUBLISHED}:CHEST_60",
        "chest-fan": f"{_PUBLISHED}:CHEST_FAN",
        "chest-16": f"{_PUBLISHED}:CHEST_16",
        "chest-nodules": f"{_PUBLISHED}:CHEST_NODULES",
        "ellipses-64": f"{_PUBLISHED}:ELLIPSE_PATCHES",
        "lodopab": f"{_PUBLISHED}:LODOPAB",
        "lodopab-200": f"{_PUBLISHED}:LODOPAB_200",
        "htc2022-90": f"{_PUBLISHED}:HTC2022_90",
        "htc2022-60": f"{_PUBLISHED}:HTC2022_60",
        "htc2022-30": f"{_PUBLISHED}:HTC2022_30",
        "htc2022-small": f"{_PUBLISHED}:HTC2022_SMALL",
        "cone-ellipsoids-32": "tomolearn.tasks.space:CONE_ELLIPSOIDS_32",
        "cone-ellipsoids": "tomolearn.tasks.space:CONE_ELLIPSOIDS",
        "cone-ellipsoids-128": "tomolearn.tasks.space:CONE_ELLIPSOIDS_128",
        "cone-chest": "tomolearn.tasks.space:CONE_CHEST",
    },
    group="tomolearn.tasks",
    check=_task,
)
"""Tasks by name; other packages add to it by the entry point ``tomolearn.tasks``."""


def get_task(name: str | os.PathLike[str]) -> Task:
    """Return a task by its name, or a user's own by where it stands.

    Parameters
    ----------
    name : str or path-like
        In `TASKS`, or ``path/to/file.py:name`` or ``module:name`` of a `Task`, or of a function
        without arguments that returns one; or the folder of a training on a folder of images.

    Raises
    ------
    ValueError
        If there is none of this name; the message has the nearest names.
    OSError, ImportError
        If there is no such file or module, or it cannot be imported.
    """
    if isinstance(name, (str, os.PathLike)) and name not in TASKS:
        from tomolearn.tasks.folder import TASK_FILE, read_task

        path = Path(name)
        if path.name == TASK_FILE or (path / TASK_FILE).is_file():
            return read_task(path)
    return TASKS.find(os.fspath(name) if isinstance(name, os.PathLike) else name)
