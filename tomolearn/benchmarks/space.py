"""Speed of projection and reconstruction in space, as ratios to RTK in one process."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

import numpy as np
import torch

from tomolearn._core.errors import TomolearnError
from tomolearn.benchmarks.projectors import Case
from tomolearn.benchmarks.space_rivals import SPACE_RIVALS, SpaceRival, differences
from tomolearn.benchmarks.timing import Timing, race, with_ratios
from tomolearn.geometry import ConeBeam, Grid
from tomolearn.methods import fbp
from tomolearn.operators import RayTransform

_CHECKED_VIEWS = 6
_LONGEST = 60.0  # seconds of processor time that one projection of a rival may take
_SOURCE: dict[str, Any] = {"source_to_isocenter": 575.0, "source_to_detector": 1050.0}


def _cases() -> dict[str, Case]:
    least, tiny, small, large = (Grid((n, n, n), 256 / n) for n in (32, 64, 128, 256))
    circle = ConeBeam(180, (192, 192), 3.4, **_SOURCE)
    cases = [
        Case("cone 32, 45 angles", least, ConeBeam(45, (48, 48), 13.6, **_SOURCE), (1,)),
        Case("cone 64, 90 angles", tiny, ConeBeam(90, (96, 96), 6.8, **_SOURCE), (1,)),
        Case("cone 128, 180 angles", small, circle, (1, 4)),
        Case("cone 256, 256 angles", large, ConeBeam(256, (384, 384), 1.7, **_SOURCE), (1,)),
        Case(
            "helix 128, 180 angles",
            small,
            ConeBeam(180, (192, 192), 3.4, **_SOURCE, pitch=40.0, start_z=-20.0),
            (1,),
        ),
        Case(
            "curved 128, 180 angles",
            small,
            ConeBeam(180, (192, 192), 3.4, **_SOURCE, detector="curved"),
            (1,),
        ),
    ]
    return {case.name: case for case in cases}


SPACE_CASES = _cases()
"""The scans in space that are measured, by name."""


def measure_space(case: Case, *, rounds: int = 3, rivals: bool = True) -> Iterator[Timing]:
    """Measure projection, adjoint and FDK by ours and by rivals, in seconds of processor time.

    Processor time of all threads: other programs on the machine do not count. Before they are
    timed, rivals are compared with ours on a few of the views; the differences are the last
    figures, in percent. A rival that by these views would take more than a minute for a projection
    is not timed.

    Raises
    ------
    ValueError
        If a rival computes something else.
    """
    operator = RayTransform.derived(case.grid, case.scan, "joseph")
    others, apart = _agreeing(case) if rivals else ({}, [])
    generator = torch.Generator().manual_seed(0)
    for batch in case.batches:
        x = torch.rand(batch, *case.grid.shape, generator=generator)
        y = operator(x)
        ours: dict[str, Callable[[torch.Tensor], Any]] = {
            "forward": operator,
            "adjoint": operator.adjoint,
        }
        try:
            fbp(y, operator)
        except TomolearnError:  # a helix has none
            pass
        else:
            ours["fdk"] = partial(fbp, operator=operator)
        for what, function in ours.items():
            given = x if what == "forward" else y
            functions: dict[str, Callable[[], Any]] = {"joseph": partial(function, given)}
            if batch > 1:
                functions["joseph, one by one"] = partial(_each, function, given)
            for name, rival in others.items():
                operation = getattr(rival, what)
                if operation is not None:
                    functions[name] = partial(_each, operation, given.numpy())
            seconds = race(functions, rounds, torch.device("cpu"), clock=time.process_time)
            yield from with_ratios(case.name, batch, what, seconds, "rtk")
    yield from apart


def _agreeing(case: Case) -> tuple[dict[str, SpaceRival], list[Timing]]:
    """Return the rivals to time, and the differences from ours of all that have the scan."""
    few = case.scan.subset(slice(0, None, max(1, case.scan.n_angles // _CHECKED_VIEWS)))
    found, apart = {}, []
    for name, make in SPACE_RIVALS.items():
        try:
            rival, part = make(case.grid, case.scan), make(case.grid, few)
        except ImportError:  # not installed: the rows of the table are those of the others
            continue
        if rival is None or part is None:
            continue
        for what, percent in differences(name, case.grid, few).items():
            apart.append(Timing(case.name, 1, f"{what}, difference", name, percent, "%", None))
        if _seconds(part, case.grid) * case.scan.n_angles / few.n_angles < _LONGEST:
            found[name] = rival
    return found, apart


def _seconds(rival: SpaceRival, grid: Grid) -> float:
    start = time.process_time()
    rival.forward(np.ones(grid.shape, np.float32))
    return time.process_time() - start


def _each(function: Callable[[Any], Any], items: Iterable[Any]) -> list[Any]:
    return [function(item) for item in items]
