"""The tasks that come with the package."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from tomolearn._core.checks import check_known
from tomolearn.data.noise import GaussianNoise
from tomolearn.data.phantoms import RandomEllipses, SheppLogan
from tomolearn.geometry import Grid, ParallelBeam
from tomolearn.metrics import CONVENTIONS
from tomolearn.tasks.task import Split, Task

__all__ = ["TASKS", "get_task"]

_SMALL = Grid((128, 128))
_LARGE = Grid((256, 256))


def _ellipses() -> Task:
    # Pixel centres at the border of the phantom's square, as in ODL, with which the published
    # figures were made.
    source = RandomEllipses("adler", "centres")
    return Task(
        name="ellipses",
        description="random ellipses, tested on Shepp-Logan: 128 x 128, 30 views, 5 % noise",
        reference="Adler and Öktem, IEEE Trans. Med. Imaging 37 (2018), arXiv:1707.06474",
        grid=_SMALL,
        scan=ParallelBeam.covering(_SMALL, 30),
        noise=GaussianNoise(0.05),
        splits={
            "train": Split(source, seed=1),
            "validation": Split(source, seed=2, size=64),
            "test": Split(SheppLogan("centres"), seed=3, size=100),
        },
        convention=CONVENTIONS["adler"],
        baselines={"fbp": {"filter": "hann"}, "tv": {"weight": 2.5, "iterations": 500}},
    )


def _ellipses_dival() -> Task:
    source = RandomEllipses("dival")
    return Task(
        name="ellipses-dival",
        description="data efficiency on random ellipses: 128 x 128, 30 views, 2.5 % noise",
        reference="Baguer, Leuschner and Schmidt, Inverse Problems 36 (2020), arXiv:2003.04989",
        grid=_SMALL,
        simulation_grid=_SMALL.refined((400, 400)),
        refinement="bilinear",
        scan=ParallelBeam.covering(_SMALL, 30),
        noise=GaussianNoise(0.025),
        splits={
            "train": Split(source, seed=11, size=32_000),
            "validation": Split(source, seed=12, size=3_200),
            "test": Split(source, seed=13, size=3_200),
        },
        convention=CONVENTIONS["dival"],
        baselines={
            "fbp": {"filter": "hann", "frequency_scaling": 0.705},
            "tv": {"weight": 3.0, "iterations": 500},
        },
    )


def _ellipses_sparse(n_angles: int, weight: float) -> Task:
    # Filter and weight: the best of a few on validation images.
    source = RandomEllipses("adler")
    return Task(
        name=f"ellipses-{n_angles}",
        description=f"sparse views of random ellipses: 256 x 256, {n_angles} views, no noise",
        reference="Jin et al., IEEE Trans. Image Process. 26 (2017), doi:10.1109/TIP.2017.2713099",
        grid=_LARGE,
        # simulated on finer pixels than reconstructed on
        simulation_grid=_LARGE.refined((512, 512)),
        scan=ParallelBeam.covering(_LARGE, n_angles),
        splits={
            "train": Split(source, seed=21, size=475),
            "validation": Split(source, seed=22, size=25),
            "test": Split(source, seed=23, size=25),
        },
        convention=CONVENTIONS["dival"],
        baselines={"fbp": {"filter": "hann"}, "tv": {"weight": weight, "iterations": 500}},
    )


TASKS: Mapping[str, Task] = MappingProxyType(
    {
        task.name: task
        for task in (
            _ellipses(),
            _ellipses_dival(),
            _ellipses_sparse(50, 2.0),
            _ellipses_sparse(143, 4.0),
        )
    }
)
"""Tasks by name."""


def get_task(name: str) -> Task:
    """Return a task by its name.

    Raises
    ------
    ValueError
        If there is none of this name; the message has the nearest names.
    """
    return TASKS[check_known("task", name, tuple(TASKS))]
