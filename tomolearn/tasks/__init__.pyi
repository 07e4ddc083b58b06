from .catalogue import TASKS as TASKS, get_task as get_task
from .folder import folder_task as folder_task
from .literature import (
    CURVES as CURVES,
    PUBLISHED as PUBLISHED,
    Published as Published,
    PublishedCurve as PublishedCurve,
)
from .task import Split as Split, Task as Task, data_of_others as data_of_others
