"""A task on which a comparison takes milliseconds, and a table of nothing but such."""

import sys
import types

import pytest

from tomolearn import Grid, ParallelBeam
from tomolearn._core.tables import Table
from tomolearn.data import RandomEllipses, SheppLogan
from tomolearn.methods import FBP, TotalVariation
from tomolearn.metrics import MetricConvention
from tomolearn.simulation import Acquisition, GaussianNoise
from tomolearn.tasks import Split, Task, catalogue

GRID = Grid((16, 16))
CONVENTION = MetricConvention("own", psnr_range="reference", ssim_range=2.0)


def small_task(**changes: object) -> Task:
    fields = {
        "name": "small",
        "description": "nothing to see",
        "reference": "none",
        "grid": GRID,
        "acquisition": Acquisition(ParallelBeam.covering(GRID, 12), GaussianNoise(0.05)),
        "splits": {
            "train": Split(RandomEllipses(), seed=1),
            "test": Split(SheppLogan(), seed=2, size=4),
        },
        "convention": CONVENTION,
        "baselines": {
            "fbp": FBP(filter="hann"),
            "tv": TotalVariation(weight=0.1, iterations=20),
        },
    }
    return Task(**fields | changes)


def only_tasks(monkeypatch: pytest.MonkeyPatch, *tasks: Task) -> None:
    """Let these be the tasks that have names."""
    module = types.ModuleType("tasks_of_a_test")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    for number, task in enumerate(tasks):
        setattr(module, f"TASK_{number}", task)
    names = {task.name: f"{module.__name__}:TASK_{n}" for n, task in enumerate(tasks)}
    monkeypatch.setattr(catalogue, "TASKS", Table("task", names, group="tomolearn.tests"))
