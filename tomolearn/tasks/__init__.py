"""Named benchmarks: grid, scan, noise, data and metric conventions in one value each."""

from tomolearn.tasks.catalogue import TASKS, get_task
from tomolearn.tasks.task import Split, Task

__all__ = ["TASKS", "Split", "Task", "get_task"]
