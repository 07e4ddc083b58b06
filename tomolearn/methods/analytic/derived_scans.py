"""Scans made from a scan: fewer views, or other bins on the same detector line."""

from __future__ import annotations

import warnings

from tomolearn.geometry import ConeBeam, CoverageWarning, Grid, Scan
from tomolearn.operators import RayTransform

__all__ = ["quiet_transform", "refined", "subset"]


def subset(scan: Scan, views: slice) -> Scan:
    """Return the scan with some of its views only."""
    values = scan.to_dict()
    for name in ("n_angles", "angular_range", "start_angle"):
        values.pop(name, None)
    values["angles"] = scan.view_angles[views].tolist()
    return type(scan).from_dict(values)


def refined(scan: Scan, missing: int, factor: int) -> Scan:
    """Return the scan with more bins along the detector's last axis.

    First ``abs(missing)`` bins are added, on the lower side if positive, else on the upper one.
    Then there are `factor` bins for each, the old ones being among them, and half a bin's width
    of new ones beyond both ends: ``factor * (n - 1) + 1 + 2 * (factor // 2)`` for ``n``.
    """
    values = scan.to_dict()
    if isinstance(scan, ConeBeam):
        rows, columns = scan.detector_shape
        row_spacing, spacing = scan.detector_spacing
        row_offset, offset = scan.detector_offset
        count = _count(columns + abs(missing), factor)
        values["detector_shape"] = (rows, count)
        values["detector_spacing"] = (row_spacing, spacing / factor)
        values["detector_offset"] = (row_offset, offset - missing * spacing / 2)
    else:
        spacing = values["detector_spacing"]
        values["n_detectors"] = _count(values["n_detectors"] + abs(missing), factor)
        values["detector_spacing"] = spacing / factor
        values["detector_offset"] -= missing * spacing / 2
    return type(scan).from_dict(values)


def quiet_transform(grid: Grid, scan: Scan, backend: str) -> RayTransform:
    """Return a ray transform without a warning of a detector that is too small.

    Whoever made the transform that the scan is derived from has been told.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CoverageWarning)
        return RayTransform(grid, scan, backend=backend)


def _count(n_bins: int, factor: int) -> int:
    return factor * (n_bins - 1) + 1 + 2 * (factor // 2)
