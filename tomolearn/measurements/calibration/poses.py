"""Cone beams whose detector or axis is not as it should be, as views one by one."""

from __future__ import annotations

import numpy as np

from tomolearn.geometry import Scan, Views


def with_detector_rotation(scan: Scan, angle: float) -> Views:
    """Return the views of a scan with its detector turned in its plane, about its middle."""
    return Views.of(scan).with_detector_angles(rotation=angle)


def with_axis_tilt(scan: Scan, angle: float) -> Views:
    """Return the views of a circular scan whose axis leans by an angle towards the detector.

    Seen from the axis, source and detector are turned together about the origin: the source is
    lower, the detector higher.

    Parameters
    ----------
    scan : Scan
        With sources in the plane z = 0 or near to it.
    angle : float
        In radians.
    """
    source, detector, steps = Views.of(scan).vectors()
    beams = -source[:, 1:] / np.linalg.norm(source[:, 1:], axis=1, keepdims=True)
    cos, sin = np.cos(angle), np.sin(angle)

    def turned(vectors: np.ndarray) -> np.ndarray:
        height, depth = vectors[:, 0], (vectors[:, 1:] * beams).sum(axis=1)
        deeper = (cos * depth - sin * height - depth)[:, None] * beams
        return np.column_stack([cos * height + sin * depth, vectors[:, 1:] + deeper])

    return Views(
        scan.detector_shape, turned(detector), [turned(s) for s in steps], source=turned(source)
    )
