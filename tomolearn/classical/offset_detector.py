"""Full-turn scans whose detector is moved to one side, for a wider field of view."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from tomolearn.classical.view_weights import is_full_turn
from tomolearn.geometry import ConeBeam, FanBeam, Grid, ParallelBeam, Scan
from tomolearn.operators import RayTransform

__all__ = ["missing_bins", "offset_weights", "widened"]


def missing_bins(scan: Scan) -> int:
    """Return how many bins the shorter side of the detector lacks.

    Zero unless the views go all around and the detector is off its middle by more than one bin
    (not just by the usual quarter bin). Counted positive on the lower side, where the positions
    are negative, and negative on the upper one.

    Raises
    ------
    ValueError
        If no bin is on one side of the central ray, so that the lines next to it are missing.
    """
    if not is_full_turn(scan):
        return 0
    positions, spacing = _columns(scan)
    low, high = positions[0], positions[-1]
    if abs(high + low) / 2 <= spacing * (1 + 1e-9):
        return 0
    if min(-low, high) + spacing / 2 <= 0:
        raise ValueError(
            "detector_offset: expected bins on both sides of the central ray, got positions "
            f"from {low:.6g} to {high:.6g} mm"
        )
    return round((high + low) / spacing)


def offset_weights(scan: Scan) -> np.ndarray:
    """Return the weights of the detector's columns, one half where nothing is missing.

    Lines near the axis are measured twice, at opposite positions, lines further out only by the
    detector's longer side. The weights of two measurements of a line add up to one and change
    smoothly in between [1]_.

    Parameters
    ----------
    scan : Scan
        A scan over a full turn.

    Returns
    -------
    numpy.ndarray, shape (columns,)

    References
    ----------
    .. [1] G. Wang, X-ray micro-CT with a displaced detector array, Med. Phys. 29 (2002),
       doi 10.1118/1.1489043.
    """
    positions, spacing = _columns(scan)
    missing = missing_bins(scan)
    if not missing:
        return np.full(positions.size, 0.5)
    side = math.copysign(1.0, missing)
    shorter = (-positions[0] if missing > 0 else positions[-1]) + spacing / 2
    return (1 + np.sin(math.pi / 2 * np.clip(side * positions / shorter, -1, 1))) / 2


@lru_cache(maxsize=4)
def widened(grid: Grid, scan: Scan, backend: str) -> RayTransform:
    """Return the ray transform of the scan with the missing bins added.

    Filtered projections are not zero where the projections are: they are needed there too.
    """
    missing = missing_bins(scan)
    values = scan.to_dict()
    if isinstance(scan, ConeBeam):
        rows, columns = scan.detector_shape
        row_offset, offset = scan.detector_offset
        values["detector_shape"] = (rows, columns + abs(missing))
        values["detector_offset"] = (row_offset, offset - missing * scan.detector_spacing[1] / 2)
    else:
        values["n_detectors"] += abs(missing)
        values["detector_offset"] -= missing * values["detector_spacing"] / 2
    return RayTransform(grid, type(scan).from_dict(values), backend=backend)


def _columns(scan: Scan) -> tuple[np.ndarray, float]:
    if isinstance(scan, ConeBeam):
        return scan.detector_positions[1], scan.detector_spacing[1]
    if isinstance(scan, (FanBeam, ParallelBeam)):
        return scan.detector_positions, scan.detector_spacing
    raise TypeError(f"scan: expected ParallelBeam, FanBeam or ConeBeam, got {type(scan).__name__}")
