"""Speed of projection and reconstruction in space, as ratios to RTK in one process.

RTK is the Reconstruction Toolkit (https://www.openrtk.org), C++ on ITK: Joseph's projection, a
back-projection with the same weights, FDK. Its times contain the conversion to its images.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch

from tomolearn._core.errors import TomolearnError
from tomolearn._core.optional import optional_import
from tomolearn.benchmarks.projectors import Case
from tomolearn.benchmarks.timing import Timing, race, with_ratios
from tomolearn.geometry import ConeBeam, Grid
from tomolearn.methods import fbp
from tomolearn.operators import RayTransform

_SOURCE: dict[str, Any] = {"source_to_isocenter": 575.0, "source_to_detector": 1050.0}


def _cases() -> dict[str, Case]:
    small, large = Grid((128, 128, 128), 2.0), Grid((256, 256, 256), 1.0)
    circle = ConeBeam(180, (192, 192), 3.4, **_SOURCE)
    cases = [
        Case("cone 128, 180 angles", small, circle, (1,)),
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


class RTK(NamedTuple):
    """RTK's operations on arrays of one volume [slice, row, column] and its views."""

    forward: Callable[[np.ndarray], np.ndarray]
    adjoint: Callable[[np.ndarray], np.ndarray]
    fdk: Callable[[np.ndarray], np.ndarray]


def rtk(grid: Grid, scan: Any) -> RTK | None:
    """Return RTK's projectors for a circular cone beam; None where this has no other.

    Raises
    ------
    ImportError
        If itk-rtk is not installed.
    """
    circular = isinstance(scan, ConeBeam) and not (
        scan.pitch or scan.start_z or scan.is_curved or any(scan.detector_offset)
    )
    if not circular:
        return None
    itk = optional_import("itk", purpose="the rival", install="pip install itk-rtk")
    if not hasattr(itk, "RTK"):
        raise ImportError("the rival needs RTK in itk: pip install itk-rtk")
    module = itk.RTK
    itk.MultiThreaderBase.SetGlobalDefaultNumberOfThreads(torch.get_num_threads())
    kind = itk.Image[itk.F, 3]
    geometry = module.ThreeDCircularProjectionGeometry.New()
    for angle in np.rad2deg(scan.view_angles).tolist():
        geometry.AddProjection(scan.source_to_isocenter, scan.source_to_detector, angle)
    dz, dx, dy = grid.spacing
    z, x, y = (axis[0] for axis in grid.coordinates())
    rows, columns = scan.detector_positions

    def image(values: np.ndarray, spacing: Any, origin: Any) -> Any:
        made = itk.image_from_array(np.ascontiguousarray(values, np.float32))
        made.SetSpacing(spacing)
        made.SetOrigin([float(o) for o in origin])
        return made

    # RTK turns about its second axis: its (x, y, z) are our (x, z, -y)
    def volume(values: np.ndarray) -> Any:
        turned = values.transpose(2, 0, 1)[::-1]
        return image(turned, (dx, dz, dy), (x, z, y - 2 * grid.center[2]))

    def views(values: np.ndarray) -> Any:
        row_step, column_step = scan.detector_spacing
        return image(values, (column_step, row_step, 1.0), (columns[0], rows[0], 0.0))

    def computed(filter_: Any, *inputs: Any) -> np.ndarray:
        for number, given in enumerate(inputs):
            filter_.SetInput(number, given)
        filter_.SetGeometry(geometry)
        filter_.Update()
        found: np.ndarray = itk.array_view_from_image(filter_.GetOutput())
        return found

    def turned_back(found: np.ndarray) -> np.ndarray:
        return found[::-1].transpose(1, 2, 0)

    # what RTK adds to is made anew for each call: its filters overwrite it
    def nothing(of: Callable[[np.ndarray], Any], shape: tuple[int, ...]) -> Any:
        return of(np.zeros(shape, np.float32))

    def forward(values: np.ndarray) -> np.ndarray:
        project = module.JosephForwardProjectionImageFilter[kind, kind].New()
        return computed(project, nothing(views, scan.shape), volume(values)).copy()

    def adjoint(values: np.ndarray) -> np.ndarray:
        project = module.JosephBackProjectionImageFilter[kind, kind].New()
        return turned_back(computed(project, nothing(volume, grid.shape), views(values))).copy()

    def fdk(values: np.ndarray) -> np.ndarray:
        reconstruct = module.FDKConeBeamReconstructionFilter[kind].New()
        return turned_back(computed(reconstruct, nothing(volume, grid.shape), views(values))).copy()

    return RTK(forward, adjoint, fdk)


def measure_space(case: Case, *, rounds: int = 3, rivals: bool = True) -> Iterator[Timing]:
    """Measure projection, adjoint and FDK by ours and by RTK, in seconds of processor time.

    Processor time of all threads: other programs on the machine do not count.
    """
    operator = RayTransform.derived(case.grid, case.scan, "joseph")
    rival = None
    if rivals:
        try:
            rival = rtk(case.grid, case.scan)
        except ImportError:  # not installed: the rows of the table are ours alone
            rival = None
    generator = torch.Generator().manual_seed(0)
    for batch in case.batches:
        x = torch.rand(batch, *case.grid.shape, generator=generator)
        y = operator(x)
        contenders: dict[str, dict[str, Callable[[], Any]]] = {
            "forward": {"joseph": partial(operator, x)},
            "adjoint": {"joseph": partial(operator.adjoint, y)},
        }
        try:
            fbp(y, operator)
        except TomolearnError:  # a helix has none
            pass
        else:
            contenders["fdk"] = {"joseph": partial(fbp, y, operator)}
        for what, functions in contenders.items():
            if rival is not None:
                given = x if what == "forward" else y
                functions["rtk"] = partial(_each, getattr(rival, what), given)
            seconds = race(functions, rounds, torch.device("cpu"), clock=time.process_time)
            yield from with_ratios(case.name, batch, what, seconds, "rtk")


def _each(function: Callable[[np.ndarray], np.ndarray], items: torch.Tensor) -> list[np.ndarray]:
    return [function(item) for item in items.numpy()]
