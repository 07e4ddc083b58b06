"""Speed of filtered back-projection and of total variation, as ratios in one run."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import cast

import torch

from tomolearn.benchmarks.projectors import CASES
from tomolearn.benchmarks.rivals import astra_fbp, odl_pdhg
from tomolearn.benchmarks.timing import Timing, race, with_ratios
from tomolearn.geometry import Grid, ParallelBeam
from tomolearn.methods import fbp, total_variation
from tomolearn.operators import FiniteDifferences, RayTransform

_CPU = torch.device("cpu")
_TV_WEIGHT = 2.5  # that of the task "ellipses"


def measure_methods(*, rounds: int = 3, iterations: int = 1000) -> Iterator[Timing]:
    """Measure FBP against ASTRA's and total variation against ODL's PDHG, on a CPU.

    Of total variation also how far its objective is above that of a long run.
    """
    case = CASES["parallel 362, 1000 angles"]
    A = RayTransform(case.grid, case.scan)
    y = A(_disc(case.grid))
    contenders = {
        "joseph": lambda: fbp(y, A),
        "astra": lambda: astra_fbp(case.grid, cast(ParallelBeam, case.scan), y[0]),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        seconds = race(contenders, rounds, _CPU)
    yield from with_ratios(case.name, 1, "FBP", seconds, "astra")
    yield from _total_variation(rounds, iterations)


def _total_variation(rounds: int, iterations: int) -> Iterator[Timing]:
    case = CASES["parallel 128, 30 angles"]
    A = RayTransform(case.grid, case.scan)
    y, norm = A(_disc(case.grid)), A.norm()
    noise = torch.randn(y.shape, generator=torch.Generator().manual_seed(0))
    y = y + 0.05 * y.abs().mean() * noise
    images: dict[str, torch.Tensor] = {}

    def ours() -> None:
        images["joseph"] = total_variation(y, A, weight=_TV_WEIGHT, iterations=iterations)

    def theirs() -> None:
        image = odl_pdhg(case.grid, case.scan, y[0], _TV_WEIGHT, iterations, norm)
        images["odl"] = image[None]

    contenders: dict[str, Callable[[], None]] = {"joseph": ours, "odl": theirs}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        best = total_variation(y, A, weight=_TV_WEIGHT, iterations=20 * iterations)
        seconds = race(contenders, rounds, _CPU)
    yield from with_ratios(case.name, 1, f"TV, {iterations} iterations", seconds, "odl")
    lowest = tv_objective(best, y, A, _TV_WEIGHT)
    for name, image in images.items():
        excess = tv_objective(image, y, A, _TV_WEIGHT) / lowest - 1
        yield Timing(case.name, 1, "TV, relative excess of the objective", name, excess, "", None)


def tv_objective(x: torch.Tensor, y: torch.Tensor, A: RayTransform, weight: float) -> float:
    """Return ``||A x - y||**2 + weight * TV(x)`` in float64."""
    x, y = x.double(), y.double()
    steps = FiniteDifferences(A.domain_shape)(x)
    return float((A(x) - y).square().sum() + weight * steps.square().sum(-3).sqrt().sum())


def _disc(grid: Grid) -> torch.Tensor:
    rows, columns = (torch.from_numpy(axis) for axis in grid.coordinates())
    radius = min(grid.size) / 3
    return (rows[:, None] ** 2 + columns[None, :] ** 2 < radius**2).float()[None]
