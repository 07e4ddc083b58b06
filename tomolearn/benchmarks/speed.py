"""How fast the ray transforms and the classical methods are, as ratios measured in one run."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import numpy as np
import torch

from tomolearn.benchmarks.peers import PEERS, Peer, astra_fbp, odl_pdhg
from tomolearn.benchmarks.timing import Timing, race, with_ratios
from tomolearn.geometry import FanBeam, Grid, ParallelBeam, Scan
from tomolearn.methods import fbp, total_variation
from tomolearn.operators import FiniteDifferences, RayTransform
from tomolearn.operators.backends import BACKENDS, choose_backend

__all__ = ["CASES", "Case", "measure_methods", "measure_projectors"]


@dataclass(frozen=True)
class Case:
    """A scan to measure, and the batch sizes."""

    name: str
    grid: Grid
    scan: Scan
    batches: tuple[int, ...]


def _cases() -> dict[str, Case]:
    small, lodopab, fan = Grid((128, 128)), Grid((362, 362), 260 / 362), Grid((512, 512), 0.7)
    source: dict[str, Any] = {
        "source_to_isocenter": 575.0,
        "source_to_detector": 1050.0,
        "n_detectors": 900,
    }
    # without any symmetry, but evenly distributed as a real scan's would be
    jitter = np.random.default_rng(0).uniform(-0.4, 0.4, 360)
    listed = (np.arange(360) + 0.5 + jitter) * (2 * math.pi / 360)
    cases = [
        Case("parallel 128, 30 angles", small, ParallelBeam.covering(small, 30), (16, 1)),
        Case("parallel 362, 1000 angles", lodopab, ParallelBeam.covering(lodopab, 1000), (1, 4)),
        Case("fan 512, 360 angles", fan, FanBeam.covering(fan, 360, **source), (2, 1)),
        Case(
            "fan 512, 360 listed angles",
            fan,
            FanBeam.covering(fan, angles=listed, **source),
            (2, 1),
        ),
    ]
    return {case.name: case for case in cases}


CASES = _cases()
"""The scans of the README's table, by name."""


def _projectors(case: Case, device: torch.device, peers: bool) -> dict[str, Peer]:
    found: dict[str, Peer] = {}
    for name in BACKENDS:
        try:
            backend = choose_backend(name, case.grid, case.scan, device)(case.grid, case.scan)
        except (ImportError, ValueError):
            continue  # not installed, or not for this scan: `tomolearn info` says which
        found[name] = Peer(backend.forward, backend.adjoint)
    for name, make in PEERS.items() if peers and device.type == "cpu" else ():
        try:
            peer = make(case.grid, case.scan)
        except ImportError:
            continue
        if peer is not None:
            found[name] = peer
    return found


def measure_projectors(
    case: Case, *, rounds: int = 5, device: str = "cpu", peers: bool = True
) -> Iterator[Timing]:
    """Measure projection and adjoint of every backend and peer that can do the case here.

    Parameters
    ----------
    case : Case
        The scan and its batch sizes.
    rounds : int
        How often each contender is measured; the median counts.
    device : str
        Where the tensors are.
    peers : bool
        Whether to measure other libraries, too.

    Yields
    ------
    Timing
        Ratios are to ASTRA's time.
    """
    where = torch.device(device)
    projectors = _projectors(case, where, peers)
    generator = torch.Generator().manual_seed(0)
    for batch in case.batches:
        x = torch.rand(batch, *case.grid.shape, generator=generator).to(where)
        y = torch.rand(batch, *case.scan.shape, generator=generator).to(where)
        forward = {name: partial(p.forward, x) for name, p in projectors.items()}
        adjoint = {name: partial(p.adjoint, y) for name, p in projectors.items()}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # peers' remarks about the test images
            for what, contenders in (("forward", forward), ("adjoint", adjoint)):
                seconds = race(contenders, rounds, where)
                yield from with_ratios(case.name, batch, what, seconds, "astra")


def measure_methods(*, rounds: int = 3, iterations: int = 1000) -> Iterator[Timing]:
    """Measure FBP against ASTRA's and total variation against ODL's PDHG, on a CPU.

    Parameters
    ----------
    rounds : int
        How often each contender is measured; the median counts.
    iterations : int
        Iterations of total variation.

    Yields
    ------
    Timing
    """
    case = CASES["parallel 362, 1000 angles"]
    A = RayTransform(case.grid, case.scan)
    y = A(_disc(case.grid))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        seconds = race(
            {
                "joseph": lambda: fbp(y, A),
                "astra": lambda: astra_fbp(case.grid, cast(ParallelBeam, case.scan), y[0]),
            },
            rounds,
            torch.device("cpu"),
        )
    yield from with_ratios(case.name, 1, "FBP", seconds, "astra")

    case = CASES["parallel 128, 30 angles"]
    A = RayTransform(case.grid, case.scan)
    y, weight, norm = A(_disc(case.grid)), 2.5, A.norm()
    noise = torch.randn(y.shape, generator=torch.Generator().manual_seed(0))
    y = y + 0.05 * y.abs().mean() * noise
    solvers = {
        "joseph": lambda n: total_variation(y, A, weight=weight, iterations=n),
        "odl": lambda n: odl_pdhg(case.grid, case.scan, y[0], weight, n, norm),
    }
    long_run = total_variation(y, A, weight=weight, iterations=20 * iterations)
    best = tv_objective(long_run, y, A, weight)
    times: dict[str, list[float]] = {name: [] for name in solvers}
    excess: dict[str, float] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for solve in solvers.values():
            solve(2)
        for _ in range(rounds):
            for name, solve in solvers.items():
                start = time.perf_counter()
                image = solve(iterations)
                times[name].append(time.perf_counter() - start)
                image = image.reshape(y.shape[0], *case.grid.shape)
                excess[name] = tv_objective(image, y, A, weight) / best - 1
    medians = {name: float(np.median(values)) for name, values in times.items()}
    yield from with_ratios(case.name, 1, f"TV, {iterations} iterations", medians, "odl")
    for name, value in excess.items():
        yield Timing(case.name, 1, "TV, relative excess of the objective", name, value, "", None)


def tv_objective(x: torch.Tensor, y: torch.Tensor, A: RayTransform, weight: float) -> float:
    """Return ``||A x - y||**2 + weight * TV(x)`` in float64."""
    x, y = x.double(), y.double()
    steps = FiniteDifferences(A.domain_shape)(x)
    return float((A(x) - y).square().sum() + weight * steps.square().sum(-3).sqrt().sum())


def _disc(grid: Grid) -> torch.Tensor:
    rows, columns = (torch.from_numpy(axis) for axis in grid.coordinates())
    radius = min(grid.size) / 3
    return (rows[:, None] ** 2 + columns[None, :] ** 2 < radius**2).float()[None]
