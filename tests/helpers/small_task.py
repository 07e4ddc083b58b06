"""A task on which a comparison takes milliseconds."""

from tomolearn import Grid, ParallelBeam
from tomolearn.data import RandomEllipses, SheppLogan
from tomolearn.metrics import MetricConvention
from tomolearn.simulation import Acquisition, GaussianNoise
from tomolearn.tasks import Split, Task

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
        "baselines": {"fbp": {"filter": "hann"}, "tv": {"weight": 0.1, "iterations": 20}},
    }
    return Task(**fields | changes)
