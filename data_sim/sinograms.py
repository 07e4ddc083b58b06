"""Exact sinograms of ellipse phantoms: chords in closed form, nothing discretised.

Geometry, in the plane (x, y) of the phantom: at angle t the detector axis is
e(t) = (cos t, sin t) and the beam runs along d(t) = (-sin t, cos t).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from data_sim.ellipses import Ellipses
from tomolearn._core.checks import check_flag, check_float, real_array
from tomolearn._core.errors import TomolearnError, TomolearnTypeError


def line_integrals(
    ellipses: Ellipses,
    points: ArrayLike,
    directions: ArrayLike,
    *,
    half_extent: float | Sequence[float] = 1.0,
) -> NDArray[np.float64]:
    """Integrate ellipse phantoms along straight lines, exactly.

    Parameters
    ----------
    ellipses : Ellipses
        One phantom or a batch.
    points : array_like, shape (..., 2)
        A point (x, y) in mm on each line. Broadcasts against ``directions``.
    directions : array_like, shape (..., 2)
        Direction of each line; its length is without meaning but not 0.
    half_extent : float or (float, float)
        Half of the image's extent in mm, along x and y where it differs: what 1 stands for in the
        ellipses. 1.0 gives the result in normalised lengths.

    Returns
    -------
    numpy.ndarray of float64, shape ``ellipses.batch_shape + (...)``
        Line integrals in the ellipses' value times mm. The lines are infinite: parts of ellipses
        outside the image count, although a rasterised image lacks them.

    Raises
    ------
    TypeError, ValueError
        If a shape does not fit, a number is not finite, a direction is zero or ``half_extent`` not
        positive.
    """
    if not isinstance(ellipses, Ellipses):
        raise TomolearnTypeError(f"ellipses: expected Ellipses, got {type(ellipses).__name__}")
    scale = _half_extents(half_extent)
    point = real_array("points", points)
    direction = real_array("directions", directions)
    for name, array in (("points", point), ("directions", direction)):
        if array.ndim == 0 or array.shape[-1] != 2:
            raise TomolearnError(f"{name}: expected shape (..., 2), got {array.shape}")
    try:
        shape = np.broadcast_shapes(point.shape, direction.shape)[:-1]
    except ValueError:
        raise TomolearnError(
            "points, directions: expected shapes that broadcast against each other, "
            f"got {point.shape} and {direction.shape}"
        ) from None
    length = np.hypot(direction[..., 0], direction[..., 1])
    if not (length > 0).all():
        zeros = np.sum(length == 0)
        raise TomolearnError(f"directions: expected non-zero vectors, got {zeros} zeros")

    # Unit steps in mm along the line remain unit steps of its parameter under the (possibly
    # anisotropic) map to normalised lengths, so chords come out in mm.
    step = direction / length[..., None] / scale
    point = point / scale
    n_images = 1 if ellipses.counts is None else ellipses.counts.size
    integrals = np.zeros((n_images, *shape))
    for k, image in enumerate(ellipses.image_index):
        a, b = ellipses.semi_axes[k]
        x, y = ellipses.centre[k]
        cos, sin = math.cos(ellipses.rotation[k]), math.sin(ellipses.rotation[k])
        # Line p + s q in the frame where the ellipse is the unit disc.
        px, py = point[..., 0] - x, point[..., 1] - y
        px, py = (px * cos + py * sin) / a, (py * cos - px * sin) / b
        qx = (step[..., 0] * cos + step[..., 1] * sin) / a
        qy = (step[..., 1] * cos - step[..., 0] * sin) / b
        square = qx**2 + qy**2
        # The cross product keeps its digits where the usual discriminant of the quadratic
        # subtracts two large numbers: for points far away, like an X-ray source.
        cross = px * qy - py * qx
        chord = 2 * np.sqrt(np.maximum(square - cross**2, 0)) / square
        integrals[image] += ellipses.value[k] * chord
    return integrals.reshape(ellipses.batch_shape + shape)


def parallel_sinogram(
    ellipses: Ellipses,
    angles: ArrayLike,
    detector_positions: ArrayLike,
    *,
    half_extent: float | Sequence[float] = 1.0,
) -> NDArray[np.float64]:
    """Return the exact parallel-beam sinogram of ellipse phantoms.

    Entry (k, m) is the integral over the line x cos t + y sin t = u with t = ``angles[k]`` and
    u = ``detector_positions[m]``.

    Parameters
    ----------
    ellipses, half_extent
        As for `line_integrals`.
    angles : array_like, shape (n_angles,)
        Angles t in radians.
    detector_positions : array_like, shape (n_detectors,)
        Positions u in mm; the ray through the isocentre has u = 0.

    Returns
    -------
    numpy.ndarray of float64, shape ``ellipses.batch_shape + (n_angles, n_detectors)``
        Line integrals in the ellipses' value times mm, at points of the detector.

    Raises
    ------
    TypeError, ValueError
        As for `line_integrals`; also if angles or positions are not one-dimensional.
    """
    axis, beam = _frame(angles)
    u = _vector("detector_positions", detector_positions)
    points = u[:, None] * axis[:, None, :]
    return line_integrals(ellipses, points, beam[:, None, :], half_extent=half_extent)


def fan_sinogram(
    ellipses: Ellipses,
    angles: ArrayLike,
    detector_positions: ArrayLike,
    source_to_isocenter: float,
    source_to_detector: float,
    *,
    curved: bool = False,
    half_extent: float | Sequence[float] = 1.0,
) -> NDArray[np.float64]:
    """Return the exact fan-beam sinogram of ellipse phantoms.

    At angle t the source is at -source_to_isocenter d(t). The ray of detector position u meets
    a flat detector at source + source_to_detector d(t) + u e(t); a curved (equiangular) one,
    an arc around the source, at source + source_to_detector (cos(g) d(t) + sin(g) e(t)) with
    g = u / source_to_detector.

    Parameters
    ----------
    ellipses, angles, half_extent
        As for `parallel_sinogram`.
    detector_positions : array_like, shape (n_detectors,)
        Positions u in mm along the detector, the arc length where it is curved.
    source_to_isocenter, source_to_detector : float
        Distances in mm, positive.
    curved : bool
        Whether the detector is an arc around the source.

    Returns
    -------
    numpy.ndarray of float64, shape ``ellipses.batch_shape + (n_angles, n_detectors)``
        Line integrals in the ellipses' value times mm.

    Raises
    ------
    TypeError, ValueError
        As for `line_integrals`; if a distance is not positive; if an ellipse reaches the circle
        of the source, so that whole lines are not what the scanner sees; if a curved detector
        reaches a quarter turn from its middle.
    """
    axis, beam = _frame(angles)
    u = _vector("detector_positions", detector_positions)
    radius = check_float("source_to_isocenter", source_to_isocenter, positive=True)
    distance = check_float("source_to_detector", source_to_detector, positive=True)
    check_flag("curved", curved)
    if not isinstance(ellipses, Ellipses):
        raise TomolearnTypeError(f"ellipses: expected Ellipses, got {type(ellipses).__name__}")
    scale = _half_extents(half_extent)
    reach = np.linalg.norm(ellipses.centre * scale, axis=1)
    reach += ellipses.semi_axes.max(axis=1, initial=0) * scale.max()
    if reach.size and reach.max() >= radius:
        least = f"the phantom's reach of {reach.max():g} mm"
        raise TomolearnError(f"source_to_isocenter: expected more than {least}, got {radius:g}")
    if curved:
        gamma = u / distance
        if (np.abs(gamma) >= math.pi / 2).any():
            raise TomolearnError(
                "detector_positions: expected a curved detector of less than half a turn, up to "
                f"{math.pi / 2 * distance:g} mm from its middle, got {np.abs(u).max():g}"
            )
        forward, sideways = distance * np.cos(gamma), distance * np.sin(gamma)
    else:
        forward, sideways = np.full_like(u, distance), u
    source = -radius * beam
    directions = forward[:, None] * beam[:, None, :] + sideways[:, None] * axis[:, None, :]
    return line_integrals(ellipses, source[:, None, :], directions, half_extent=scale.tolist())


def _half_extents(half_extent: float | Sequence[float]) -> NDArray[np.float64]:
    scale = real_array("half_extent", half_extent)
    if scale.shape not in ((), (2,)):
        raise TomolearnError(f"half_extent: expected a number or a pair, got shape {scale.shape}")
    if not (scale > 0).all():
        raise TomolearnError(f"half_extent: expected positive numbers, got {half_extent}")
    return np.broadcast_to(scale, (2,))


def _vector(name: str, value: ArrayLike) -> NDArray[np.float64]:
    vector = real_array(name, value)
    if vector.ndim != 1:
        raise TomolearnError(f"{name}: expected a one-dimensional array, got shape {vector.shape}")
    return vector


def _frame(angles: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return detector axes e(t) and beam directions d(t), each of shape (n_angles, 2)."""
    t = _vector("angles", angles)
    cos, sin = np.cos(t), np.sin(t)
    return np.stack((cos, sin), axis=1), np.stack((-sin, cos), axis=1)
