"""Speed of projection and back-projection by all backends and rivals, as ratios in one run."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch

from tomolearn.benchmarks.rivals import RIVALS, Rival
from tomolearn.benchmarks.timing import Timing, race, with_ratios
from tomolearn.geometry import FanBeam, Grid, ParallelBeam, Scan
from tomolearn.operators.backends import BACKENDS, choose_backend


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
    unevenly = FanBeam.covering(fan, angles=listed, **source)
    cases = [
        Case("parallel 128, 30 angles", small, ParallelBeam.covering(small, 30), (16, 1)),
        Case("parallel 362, 1000 angles", lodopab, ParallelBeam.covering(lodopab, 1000), (1, 4)),
        Case("fan 512, 360 angles", fan, FanBeam.covering(fan, 360, **source), (2, 1)),
        Case("fan 512, 360 listed angles", fan, unevenly, (2, 1)),
        # what `fbp` back-projects of the last one
        Case("fan 512, 360 listed angles, half bins", fan, unevenly.refined(0, 2), (4, 1)),
    ]
    return {case.name: case for case in cases}


CASES = _cases()
"""The scans of the table in docs/speed.md, by name."""


def _projectors(case: Case, device: torch.device, rivals: bool) -> dict[str, Rival]:
    from tomolearn.operators.backends.joseph import JosephBackend

    found: dict[str, Rival] = {}
    for name in BACKENDS:
        try:
            backend = choose_backend(name, case.grid, case.scan, device)(case.grid, case.scan)
        except (ImportError, ValueError):
            continue  # not installed, or not for this scan: `tomolearn info` says which
        found[name] = Rival(backend.forward, backend.adjoint)
        if isinstance(backend, JosephBackend):
            found[name] = found[name]._replace(backproject=backend.backproject)
    if rivals and "joseph" in found:
        apart = JosephBackend(case.grid, case.scan, neighbours=False)
        found["joseph, images as lanes"] = Rival(apart.forward, apart.adjoint, apart.backproject)
    for name, make in RIVALS.items() if rivals and device.type == "cpu" else ():
        try:
            rival = make(case.grid, case.scan)
        except ImportError:
            continue
        if rival is not None:
            found[name] = rival
    return found


def measure_projectors(
    case: Case, *, rounds: int = 5, device: str = "cpu", rivals: bool = True
) -> Iterator[Timing]:
    """Measure projection and adjoint of all backends and rivals that can do it, against ASTRA.

    Of ours also the back-projection of FBP, and, among the rivals, ours without neighbouring rays
    and pixels as lanes.
    """
    where = torch.device(device)
    projectors = _projectors(case, where, rivals)
    generator = torch.Generator().manual_seed(0)
    for batch in case.batches:
        x = torch.rand(batch, *case.grid.shape, generator=generator).to(where)
        y = torch.rand(batch, *case.scan.shape, generator=generator).to(where)
        forward = {name: partial(p.forward, x) for name, p in projectors.items()}
        adjoint = {name: partial(p.adjoint, y) for name, p in projectors.items()}
        weighted = {
            name: partial(p.backproject, y) for name, p in projectors.items() if p.backproject
        }
        operations = {"forward": forward, "adjoint": adjoint, "back-projection": weighted}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # rivals' remarks about the test images
            for what, contenders in operations.items():
                seconds = race(contenders, rounds, where)
                yield from with_ratios(case.name, batch, what, seconds, "astra")
