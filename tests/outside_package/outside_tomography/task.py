"""Few views of ellipses."""

from __future__ import annotations

from outside_tomography.method import Backprojection
from tomolearn import Grid, ParallelBeam
from tomolearn.data import RandomEllipses
from tomolearn.metrics import MetricConvention
from tomolearn.simulation import Acquisition, GaussianNoise
from tomolearn.tasks import Split, Task

GRID = Grid((16, 16))


def few_views() -> Task:
    """Return the task."""
    return Task(
        name="few-views",
        description="ellipses in eight views",
        grid=GRID,
        acquisition=Acquisition(ParallelBeam.covering(GRID, 8), GaussianNoise(0.02)),
        splits={
            name: Split(RandomEllipses(), seed=seed, size=4)
            for seed, name in enumerate(("train", "validation", "test"))
        },
        convention=MetricConvention("range 1", psnr_range=1.0, ssim_range=1.0),
        baselines={"backprojection": Backprojection(factor=2.0)},
    )
