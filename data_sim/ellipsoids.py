"""Sums of ellipsoids: volumes, and their exact integrals along straight lines in space."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tomolearn._core.checks import check_float, check_generator, check_int, real_array
from tomolearn._core.errors import TomolearnError, TomolearnTypeError

# How far from orthonormal a rotation may be by rounding.
_ORTHONORMAL = 1e-9
# Values and semi-axes of random ellipsoids, and how many there are besides the body.
_BODY_VALUE, _BODY_AXES = 0.5, (0.6, 0.95)
_PART_VALUES, _PART_AXES, _MEAN_PARTS = (-0.3, 0.4), (0.04, 0.3), 25


@dataclass(frozen=True, eq=False)
class Ellipsoids:
    """A phantom that is a sum of constant ellipsoids.

    Axes are those of the volume, as (z, x, y). All lengths are relative to it: the normalised cube
    [-1, 1]^3 covers its extent. The boundary of an ellipsoid belongs to it.

    Parameters
    ----------
    value : array_like, shape (n,)
        What each ellipsoid adds inside itself.
    semi_axes, centre : array_like, shape (n, 3)
        Semi-axes, positive, along the rows of ``rotation``; centres.
    rotation : array_like, shape (n, 3, 3)
        Orthonormal matrices whose rows are the directions of the semi-axes.

    Raises
    ------
    TypeError, ValueError
        If shapes do not fit, a number is not real and finite, a semi-axis is not positive, or a
        rotation is not orthonormal.

    Notes
    -----
    The arrays are private read-only copies. Two `Ellipsoids` compare by identity.
    """

    value: NDArray[np.float64]
    semi_axes: NDArray[np.float64]
    centre: NDArray[np.float64]
    rotation: NDArray[np.float64]

    def __post_init__(self) -> None:
        n = real_array("value", self.value).size
        shapes = {"value": (n,), "semi_axes": (n, 3), "centre": (n, 3), "rotation": (n, 3, 3)}
        for name, shape in shapes.items():
            array = real_array(name, getattr(self, name))
            if array.shape != shape:
                raise TomolearnError(f"{name}: expected shape {shape}, got {array.shape}")
            array.flags.writeable = False
            object.__setattr__(self, name, array)
        if not (self.semi_axes > 0).all():
            raise TomolearnError(
                f"semi_axes: expected positive numbers, got {self.semi_axes.min()}"
            )
        error = np.abs(self.rotation @ self.rotation.swapaxes(1, 2) - np.eye(3)).max(initial=0.0)
        if error > _ORTHONORMAL:
            raise TomolearnError(
                f"rotation: expected orthonormal matrices, got rows that are off by {error:.2g}"
            )

    @property
    def n_ellipsoids(self) -> int:
        """Number of ellipsoids."""
        return self.value.size

    def to_unit_balls(self) -> NDArray[np.float64]:
        """Return the matrices (n, 3, 3) that map ellipsoids about the origin to unit balls."""
        return self.rotation / self.semi_axes[:, :, None]


def ellipsoid_line_integrals(
    ellipsoids: Ellipsoids, points: ArrayLike, directions: ArrayLike, *, half_extent: float = 1.0
) -> NDArray[np.float64]:
    """Return the integrals of ellipsoids along straight lines, exactly.

    With the points and directions of a scan's rays, as ``tomolearn.ConeBeam.rays`` returns them,
    these are its exact projections.

    Parameters
    ----------
    ellipsoids : Ellipsoids
        The phantom.
    points, directions : array_like, shape (..., 3)
        A point in mm on each line, and its direction, of any length but 0. They broadcast against
        each other.
    half_extent : float
        Half of the volume's extent in mm: what 1 stands for in the ellipsoids.

    Returns
    -------
    numpy.ndarray of float64, shape (...)
        In the ellipsoids' value times mm. The lines are infinite.

    Raises
    ------
    TypeError, ValueError
        If a shape does not fit, a number is not finite, a direction is zero or `half_extent` not
        positive.
    """
    _check_ellipsoids(ellipsoids)
    scale = check_float("half_extent", half_extent, positive=True)
    point, step = (
        real_array(name, array) for name, array in (("points", points), ("directions", directions))
    )
    for name, array in (("points", point), ("directions", step)):
        if array.ndim == 0 or array.shape[-1] != 3:
            raise TomolearnError(f"{name}: expected shape (..., 3), got {array.shape}")
    length = np.linalg.norm(step, axis=-1, keepdims=True)
    if not (length > 0).all():
        zeros = np.sum(length == 0)
        raise TomolearnError(f"directions: expected non-zero vectors, got {zeros} zeros")
    step /= length
    try:
        total = np.zeros(np.broadcast_shapes(point.shape, step.shape)[:-1])
    except ValueError:
        raise TomolearnError(
            "points, directions: expected shapes that broadcast against each other, "
            f"got {point.shape} and {step.shape}"
        ) from None
    # the point of each line that is closest to the middle, from which no digits are lost
    point = point / scale
    point = point - np.sum(point * step, axis=-1, keepdims=True) * step
    for value, centre, matrix in zip(
        ellipsoids.value, ellipsoids.centre, ellipsoids.to_unit_balls(), strict=True
    ):
        # a line p + s q past a unit ball, for each ellipsoid
        p, q = (point - centre) @ matrix.T, step @ matrix.T
        square, product = np.sum(q * q, axis=-1), np.sum(p * q, axis=-1)
        root = product**2 - square * (np.sum(p * p, axis=-1) - 1)
        total += value * scale * 2 * np.sqrt(np.maximum(root, 0)) / square
    return total


def rasterise_ellipsoids(ellipsoids: Ellipsoids, shape: Sequence[int]) -> NDArray[np.float32]:
    """Return the volume of ellipsoids, sampled at the centres of voxels.

    Parameters
    ----------
    ellipsoids : Ellipsoids
        The phantom.
    shape : (int, int, int)
        Voxels along each axis; each spans [-1, 1].

    Returns
    -------
    numpy.ndarray of float32, shape ``shape``

    Raises
    ------
    TypeError, ValueError
        If `ellipsoids` are none or `shape` not three positive integers.
    """
    _check_ellipsoids(ellipsoids)
    shape = _check_volume_shape(shape)
    axes = [(2 * np.arange(n) + 1 - n) / n for n in shape]
    volume = np.zeros(shape, np.float32)
    inverses = ellipsoids.rotation.swapaxes(1, 2) * ellipsoids.semi_axes[:, None, :]
    reaches = np.linalg.norm(inverses, axis=-1)
    for value, centre, matrix, reach in zip(
        ellipsoids.value, ellipsoids.centre, ellipsoids.to_unit_balls(), reaches, strict=True
    ):
        box = tuple(
            slice(*np.searchsorted(axis, (c - r - 1e-9, c + r + 1e-9)))
            for axis, c, r in zip(axes, centre, reach, strict=True)
        )
        first, second, third = (
            axis[part] - c for axis, part, c in zip(axes, box, centre, strict=True)
        )
        in_planes = second[:, None, None] * matrix[:, 1] + third[:, None] * matrix[:, 2]
        in_planes = np.ascontiguousarray(np.moveaxis(in_planes, -1, 0))
        # plane by plane, so that the work arrays stay in the cache
        for plane, along in zip(volume[box], first[:, None] * matrix[:, 0], strict=True):
            square = sum(np.square(part + a) for part, a in zip(in_planes, along, strict=True))
            plane += np.float32(value) * (square <= 1)
    return volume


def random_ellipsoid_parameters(rng: np.random.Generator) -> Ellipsoids:
    """Draw the ellipsoids of a random phantom.

    A body of value 0.5, semi-axes U(0.6, 0.95) and any orientation, and Poisson(25) parts within
    it, of value U(-0.3, 0.4), any orientation, and semi-axes whose logarithms are uniform from
    those of 0.04 to those of 0.3. Values of the sum are about in [0, 1]; where several parts
    overlap, rarely beyond. Nothing reaches beyond the ball in the cube.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of randomness.

    Raises
    ------
    TypeError
        If `rng` is no generator.
    """
    check_generator(rng)
    n = int(rng.poisson(_MEAN_PARTS))
    body_axes, body_rotation = rng.uniform(*_BODY_AXES, 3), _random_rotations(1, rng)
    smallest, largest = map(math.log, _PART_AXES)
    semi_axes = np.exp(rng.uniform(smallest, largest, (n, 3)))
    # a point of a smaller body, further from the surface than the part reaches
    direction = rng.standard_normal((n, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    radius = rng.random(n) ** (1 / 3) * (1 - semi_axes.max(axis=1, initial=0) / body_axes.min())
    centre = (radius[:, None] * direction * body_axes) @ body_rotation[0]
    return Ellipsoids(
        value=np.concatenate(([_BODY_VALUE], rng.uniform(*_PART_VALUES, n))),
        semi_axes=np.concatenate((body_axes[None], semi_axes)),
        centre=np.concatenate((np.zeros((1, 3)), centre)),
        rotation=np.concatenate((body_rotation, _random_rotations(n, rng))),
    )


def random_ellipsoids(shape: Sequence[int], rng: np.random.Generator) -> NDArray[np.float32]:
    """Draw a random phantom of ellipsoids as a volume, see `random_ellipsoid_parameters`.

    Parameters
    ----------
    shape, rng
        As for `rasterise_ellipsoids` and `random_ellipsoid_parameters`.

    Returns
    -------
    numpy.ndarray of float32, shape ``shape``
        Dimensionless.
    """
    shape = _check_volume_shape(shape)
    return rasterise_ellipsoids(random_ellipsoid_parameters(rng), shape)


def _random_rotations(n: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return `n` orthonormal matrices, uniformly distributed."""
    factor, triangle = np.linalg.qr(rng.standard_normal((n, 3, 3)))
    signs = np.sign(np.diagonal(triangle, axis1=1, axis2=2))
    rotations: NDArray[np.float64] = factor * signs[:, None, :]
    return rotations


def _check_ellipsoids(ellipsoids: object) -> None:
    if not isinstance(ellipsoids, Ellipsoids):
        found = type(ellipsoids).__name__
        raise TomolearnTypeError(f"ellipsoids: expected Ellipsoids, got {found}")


def _check_volume_shape(shape: Sequence[int]) -> tuple[int, ...]:
    if isinstance(shape, str) or not isinstance(shape, Sequence):
        raise TomolearnTypeError(f"shape: expected three integers, got {type(shape).__name__}")
    if len(shape) != 3:
        raise TomolearnError(f"shape: expected three integers, got {len(shape)} entries")
    return tuple(check_int(f"shape[{k}]", n, minimum=1) for k, n in enumerate(shape))
