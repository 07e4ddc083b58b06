"""Grids and scans in ASTRA's terms: vectors and dictionaries, computed without ASTRA.

In the plane ASTRA's x grows with the column and its y falls with the row, so ``(x, y)`` of ours
are its ``(y, -x)``. In space its y grows with the row: our axes are its own in reverse order.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tomolearn.geometry import Grid, Scan


def is_isotropic(grid: Grid) -> bool:
    """Return whether the grid's pixels are squares or cubes."""
    return all(math.isclose(s, grid.spacing[0], rel_tol=1e-6) for s in grid.spacing)


def plane_vectors(grid: Grid, scan: Scan) -> np.ndarray:
    """Return plane views as ASTRA's vectors (n_angles, 6), in pixels from the grid's middle.

    They are ray direction (parallel) or source (fan), detector middle, bin step. ASTRA computes in
    single precision. Coordinates of the grid's own size lose least of it, so the origin is the
    grid's middle, the unit a pixel, and the detector of a fan beam is the similar one through that
    middle: the same rays.
    """
    source, detector, (step,) = scan.vectors()
    center = np.array(grid.center)
    if not scan.is_parallel:
        depth = scan.projection_matrices()[:, -1] @ [*grid.center, 1.0]  # 1 / magnification
        ratio = np.where(depth > 0, depth, 1.0)[:, None]
        detector, step = source + ratio * (detector - source), ratio * step
        source = (source - center) / grid.spacing[0]
    detector, step = (detector - center) / grid.spacing[0], step / grid.spacing[0]
    return np.hstack([_turned(part) for part in (source, detector, step)])


def plane_geometries(grid: Grid, scan: Scan) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return ASTRA's volume and projection geometry of `plane_vectors`, in pixels."""
    rows, columns = grid.shape
    kind = "parallel_vec" if scan.is_parallel else "fanflat_vec"
    projection = {
        "type": kind,
        "DetectorCount": scan.shape[-1],
        "Vectors": plane_vectors(grid, scan),
    }
    window = {"X": (-columns / 2, columns / 2), "Y": (-rows / 2, rows / 2)}
    return _volume({"Row": rows, "Col": columns}, window), projection


def space_vectors(scan: Scan) -> np.ndarray:
    """Return the views as ASTRA's three-dimensional vectors (n_angles, 12), in mm.

    They are ray direction (parallel) or source, detector middle, step from column to column, step
    from row to row. A plane's scan lies in the plane z = 0 with detector rows 1 mm high.
    """
    source, detector, steps = scan.vectors()
    parts = [source, detector, steps[-1]]
    if scan.ndim == 3:
        parts.append(steps[0])
        return np.hstack([part[:, ::-1] for part in parts])
    parts = [np.pad(part[:, ::-1], ((0, 0), (0, 1))) for part in parts]
    return np.hstack([*parts, np.tile([0.0, 0.0, 1.0], (scan.n_angles, 1))])


def space_geometries(
    grid: Grid, scan: Scan, slices: int = 1
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return ASTRA's three-dimensional volume and projection geometry, in mm.

    In the plane `slices` images lie on top of each other, each 1 mm high and in front of its own
    detector row. Rays of a parallel beam stay in their slice, so that each image is projected
    alone.
    """
    low, high, shape = grid.lower, grid.upper, grid.shape
    rows = slices
    if scan.ndim == 3:
        rows = scan.detector_shape[0]
    else:
        low, high, shape = (-slices / 2, *low), (slices / 2, *high), (slices, *shape)
    kind = "parallel3d_vec" if scan.is_parallel else "cone_vec"
    projection = {
        "type": kind,
        "DetectorRowCount": rows,
        "DetectorColCount": scan.shape[-1],
        "Vectors": space_vectors(scan),
    }
    counts = dict(zip(("Slice", "Row", "Col"), shape, strict=True))
    window = dict(zip("ZYX", zip(low, high, strict=True), strict=True))
    return _volume(counts, window), projection


def _turned(vectors: np.ndarray) -> np.ndarray:
    return np.column_stack([vectors[:, 1], -vectors[:, 0]])


def _volume(counts: dict[str, int], window: dict[str, tuple[float, float]]) -> dict[str, Any]:
    limits: dict[str, float] = {}
    for axis, (low, high) in window.items():
        limits |= {f"WindowMin{axis}": low, f"WindowMax{axis}": high}
    return {**{f"Grid{axis}Count": n for axis, n in counts.items()}, "option": limits}
