"""Sums of ellipsoids: volumes, and their exact integrals along straight lines in space."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import beta, hyp0f1

from tomolearn._core.checks import check_float, check_generator, check_int, real_array
from tomolearn._core.errors import TomolearnError, TomolearnTypeError

# How far from orthonormal a rotation may be by rounding.
_ORTHONORMAL = 1e-9
# Values and semi-axes of random ellipsoids, and how many there are besides the body.
_BODY_VALUE, _BODY_AXES = 0.5, (0.6, 0.95)
_PART_VALUES, _PART_AXES, _MEAN_PARTS = (-0.3, 0.4), (0.04, 0.3), 25
# Profiles: powers of parts, largest ramps and amplitudes of waves of body and parts, wavelengths.
_POWERS = (0.0, 0.5, 1.0, 2.0)
_BODY_RAMP, _PART_RAMP = 0.4, 0.8
_BODY_WAVE, _PART_WAVE, _WAVELENGTHS = 0.2, 0.5, (0.15, 0.6)

# what stands for zeros in the shape of the others
_ABSENT: Any = None


@dataclass(frozen=True, eq=False)
class Ellipsoids:
    """A phantom that is a sum of ellipsoids, constant or with a profile inside.

    Axes are those of the volume, as (z, x, y). All lengths are relative to it: the normalised cube
    [-1, 1]^3 covers its extent. With u the position in an ellipsoid, in which it is the unit ball
    and the semi-axes are the axes, it adds::

        value (1 - |u|^2)^power (1 + ramp . u + amplitude cos(wave . u + phase))

    where abs(u) is at most 1, and nothing beyond. The boundary belongs to it.

    Parameters
    ----------
    value : array_like, shape (n,)
        What each ellipsoid adds inside itself, or at its centre where it has a `power`.
    semi_axes, centre : array_like, shape (n, 3)
        Semi-axes, positive, along the rows of ``rotation``; centres.
    rotation : array_like, shape (n, 3, 3)
        Orthonormal matrices whose rows are the directions of the semi-axes.
    power : array_like, shape (n,), optional
        Of the profile from centre to boundary, not negative. Default: 0, a jump at the boundary.
    ramp : array_like, shape (n, 3), optional
        Slope, relative to the value, per semi-axis. Default: none.
    wave : array_like, shape (n, 3), optional
        Wave vector of an oscillation, in radians per semi-axis. Default: 0.
    amplitude, phase : array_like, shape (n,), optional
        Of the oscillation, relative to the value, and in radians. Default: 0.

    Raises
    ------
    TypeError, ValueError
        If shapes do not fit, a number is not real and finite, a semi-axis is not positive, a power
        negative, or a rotation not orthonormal.

    Notes
    -----
    The arrays are private read-only copies. Two `Ellipsoids` compare by identity.
    """

    value: NDArray[np.float64]
    semi_axes: NDArray[np.float64]
    centre: NDArray[np.float64]
    rotation: NDArray[np.float64]
    power: NDArray[np.float64] = _ABSENT
    ramp: NDArray[np.float64] = _ABSENT
    wave: NDArray[np.float64] = _ABSENT
    amplitude: NDArray[np.float64] = _ABSENT
    phase: NDArray[np.float64] = _ABSENT

    def __post_init__(self) -> None:
        n = real_array("value", self.value).size
        vectors = dict.fromkeys(("semi_axes", "centre", "ramp", "wave"), (n, 3))
        shapes: dict[str, tuple[int, ...]] = {
            field.name: vectors.get(field.name, (n,)) for field in fields(self)
        }
        shapes["rotation"] = (n, 3, 3)
        for name, shape in shapes.items():
            given = getattr(self, name)
            array = np.zeros(shape) if given is None else real_array(name, given)
            if array.shape != shape:
                raise TomolearnError(f"{name}: expected shape {shape}, got {array.shape}")
            array.flags.writeable = False
            object.__setattr__(self, name, array)
        if not (self.semi_axes > 0).all():
            raise TomolearnError(
                f"semi_axes: expected positive numbers, got {self.semi_axes.min()}"
            )
        if (self.power < 0).any():
            raise TomolearnError(
                f"power: expected numbers that are not negative, got {self.power.min()}"
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
    for k, matrix in enumerate(ellipsoids.to_unit_balls()):
        # a line p + s q past a unit ball, for each ellipsoid
        p, q = (point - ellipsoids.centre[k]) @ matrix.T, step @ matrix.T
        square, product = np.sum(q * q, axis=-1), np.sum(p * q, axis=-1)
        root = product**2 - square * (np.sum(p * p, axis=-1) - 1)
        half = np.sqrt(np.maximum(root, 0) / square)  # of the chord, in the ball
        power, factor = ellipsoids.power[k], ellipsoids.value[k] * scale / np.sqrt(square)
        chord = beta(power + 1, 0.5) * half ** (2 * power + 1)
        ramp, wave, amplitude = ellipsoids.ramp[k], ellipsoids.wave[k], ellipsoids.amplitude[k]
        if not (ramp.any() or amplitude):
            total += factor * chord
            continue
        # about the middle of the chord a ramp is odd, and of the wave its even part remains
        middle = p - (product / square)[..., None] * q
        profile = 1 + middle @ ramp
        if amplitude:
            frequency = (q @ wave) / np.sqrt(square)
            kept = hyp0f1(power + 1.5, -((frequency * half / 2) ** 2))
            profile += amplitude * np.cos(middle @ wave + ellipsoids.phase[k]) * kept
        total += factor * chord * profile
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
    for k, (matrix, reach) in enumerate(zip(ellipsoids.to_unit_balls(), reaches, strict=True)):
        centre = ellipsoids.centre[k]
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
            position = in_planes + along[:, None, None]
            square = sum(np.square(part) for part in position)
            inside = square <= 1
            plane[inside] += _density(ellipsoids, k, position[:, inside], square[inside])
    return volume


def _density(
    ellipsoids: Ellipsoids, k: int, position: NDArray[np.float64], square: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return what ellipsoid `k` adds at positions (3, n) in its unit ball, of these squares."""
    profile = 1 + ellipsoids.ramp[k] @ position
    if ellipsoids.amplitude[k]:
        profile += ellipsoids.amplitude[k] * np.cos(
            ellipsoids.wave[k] @ position + ellipsoids.phase[k]
        )
    if ellipsoids.power[k]:
        profile *= (1 - square) ** ellipsoids.power[k]
    density: NDArray[np.float64] = ellipsoids.value[k] * profile
    return density


def random_ellipsoid_parameters(rng: np.random.Generator) -> Ellipsoids:
    """Draw the ellipsoids of a random phantom.

    A body of value 0.5, semi-axes U(0.6, 0.95) and any orientation, and Poisson(25) parts within
    it, of value U(-0.3, 0.4), any orientation, and semi-axes whose logarithms are uniform from
    those of 0.04 to those of 0.3. The power of a part is 0, 1/2, 1 or 2, so that a quarter of them
    end in a jump and the others fade. All have a ramp of any direction, of up to 0.4 of the value
    per semi-axis in the body and 0.8 in parts, and an oscillation of any direction, of amplitudes
    up to 0.2 and 0.5 and a wavelength between 0.15 and 0.6, its logarithm uniform. Values of the
    sum are about in [0, 1]; where several parts overlap, sometimes beyond. Nothing reaches beyond
    the ball in the cube.

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
    radius = rng.random(n) ** (1 / 3) * (1 - semi_axes.max(axis=1, initial=0) / body_axes.min())
    centre = (radius[:, None] * _random_directions(n, rng) * body_axes) @ body_rotation[0]
    semi_axes = np.concatenate((body_axes[None], semi_axes))
    rotation = np.concatenate((body_rotation, _random_rotations(n, rng)))
    in_parts = np.arange(n + 1) > 0
    shortest, longest = map(math.log, _WAVELENGTHS)
    wavelength = np.exp(rng.uniform(shortest, longest, (n + 1, 1)))
    wave = 2 * np.pi / wavelength * _random_directions(n + 1, rng)
    slope = rng.random((n + 1, 1)) * np.where(in_parts, _PART_RAMP, _BODY_RAMP)[:, None]
    return Ellipsoids(
        value=np.concatenate(([_BODY_VALUE], rng.uniform(*_PART_VALUES, n))),
        semi_axes=semi_axes,
        centre=np.concatenate((np.zeros((1, 3)), centre)),
        rotation=rotation,
        power=np.where(in_parts, rng.choice(_POWERS, n + 1), 0.0),
        ramp=slope * _random_directions(n + 1, rng),
        wave=semi_axes * np.einsum("kij,kj->ki", rotation, wave),
        amplitude=rng.random(n + 1) * np.where(in_parts, _PART_WAVE, _BODY_WAVE),
        phase=rng.uniform(0, 2 * np.pi, n + 1),
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


def _random_directions(n: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return `n` unit vectors, uniformly distributed."""
    vectors = rng.standard_normal((n, 3))
    directions: NDArray[np.float64] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return directions


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
