"""``tomolearn warm``: compiles the kernels before they are needed."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from tomolearn._core.errors import TomolearnError
from tomolearn._core.progress import progress_bars

if TYPE_CHECKING:
    import torch

_FAN: dict[str, Any] = {"source_to_isocenter": 60.0, "source_to_detector": 100.0}
_BATCHES = (1, 2, 4, 8, 16)


def warm() -> None:
    """Compile all kernels for CPUs, for batches of any size, and keep them on the disk."""
    begun = time.monotonic()
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "compiled kernels cannot be kept")
        folder = None
        try:
            folder = _folder()
            uses = list(_uses())
            with progress_bars() as bars:
                task = bars.add_task("compiling", total=len(uses), unit="uses of kernels")
                for use in uses:
                    use()
                    bars.advance(task)
        except UserWarning as error:
            raise TomolearnError(f"{folder}: {error}" if folder else str(error)) from None
    typer.echo(f"kernels are compiled ({time.monotonic() - begun:.0f} s) and kept in {folder}")


def _folder() -> Path:
    """Return where compiled code is kept; refuse another place than the one that was asked for."""
    from tomolearn.kernels.joseph import project

    folder = Path(project.stats.cache_path)
    wanted = os.environ.get("NUMBA_CACHE_DIR")
    if wanted and Path(wanted).absolute() not in folder.absolute().parents:
        raise TomolearnError(
            f"NUMBA_CACHE_DIR: expected a folder that can be written to, got {wanted!r}"
        )
    return folder


def _uses() -> Iterator[Callable[[], object]]:
    import torch

    for dtype in (torch.float32, torch.float64):
        yield from _uses_in_the_plane(dtype)
        yield from _uses_in_space(dtype)
    yield _use_a_helix


def _uses_in_the_plane(dtype: torch.dtype) -> Iterator[Callable[[], object]]:
    import torch

    from tomolearn.geometry import FanBeam, Grid
    from tomolearn.methods import total_variation
    from tomolearn.operators import RayTransform
    from tomolearn.operators.backends.joseph import JosephBackend

    grid = Grid((16, 16))
    # with eight symmetric copies as lanes, and without: all numbers of lanes that there are
    symmetric = FanBeam.covering(grid, 8, **_FAN)
    for scan in (symmetric, FanBeam.covering(grid, angles=[0.1, 0.7, 1.2], **_FAN)):
        for neighbours in (True, False):
            backend = JosephBackend(grid, scan, neighbours=neighbours)
            for batch in _BATCHES:
                images = torch.zeros(batch, *grid.shape, dtype=dtype)
                sinograms = torch.zeros(batch, *scan.shape, dtype=dtype)
                yield partial(backend.forward, images)
                yield partial(backend.adjoint, sinograms)
                yield partial(backend.backproject, sinograms)
    y = torch.ones(1, 1, *symmetric.shape, dtype=dtype)
    A = RayTransform(grid, symmetric)
    yield partial(total_variation, y, A, weight=0.1, iterations=1)


def _uses_in_space(dtype: torch.dtype) -> Iterator[Callable[[], object]]:
    import torch

    from tomolearn.geometry import ConeBeam, Grid
    from tomolearn.operators.backends.joseph import JosephBackend
    from tomolearn.operators.backends.joseph.space import RayProjector

    grid = Grid((16, 16, 16))
    scan = ConeBeam.covering(grid, 4, **_FAN)
    images = torch.zeros(1, *grid.shape, dtype=dtype)
    sinograms = torch.zeros(1, *scan.shape, dtype=dtype)
    by_columns = JosephBackend(grid, scan)
    yield partial(by_columns.forward, images)
    yield partial(by_columns.adjoint, sinograms)
    yield partial(by_columns.backproject, sinograms)
    by_rays = RayProjector(grid, scan)
    yield partial(by_rays.forward, images)
    yield partial(by_rays.adjoint, sinograms)


def _use_a_helix() -> None:
    import numpy as np

    from tomolearn.geometry import Grid
    from tomolearn.measurements import HelicalProjections, reconstruct_helix

    views = np.arange(96)
    projections = HelicalProjections(
        np.zeros((len(views), 8, 32), np.float32),
        views * 2 * np.pi / 32,
        (views - len(views) / 2) / 4.0,
        radius=100.0,
        detector_distance=200.0,
        spacing=(4.0, 2.0),
        center=(3.5, 15.5),
        shifts=np.zeros((len(views), 3)),
    )
    reconstruct_helix(projections, Grid((2, 4, 4)), threads=1)
