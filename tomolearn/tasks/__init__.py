"""Named benchmarks: grid, scan, noise, data and metric conventions in one value each."""

from tomolearn.tasks.catalogue import TASKS, get_task
from tomolearn.tasks.files import data_of_others
from tomolearn.tasks.task import Split, Task

__all__ = ["TASKS", "Split", "Task", "data_of_others", "get_task"]
