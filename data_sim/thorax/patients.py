"""Random patients, and random slices of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_sim.thorax.anatomy import HEIGHTS, RADIUS, Thorax, turn
from data_sim.thorax.canvas import Waves
from data_sim.thorax.lungs import Lungs, sample
from data_sim.thorax.mediastinum import Mediastinum
from data_sim.thorax.nodules import Nodule
from data_sim.thorax.skeleton import Skeleton
from data_sim.thorax.wall import Wall
from tomolearn._core.checks import check_float, check_generator, check_image_shape


def random_thorax(rng: np.random.Generator) -> Thorax:
    """Draw a patient: size, proportions, position, organs, vessels and nodules.

    A patient fits into a circle of 175 mm radius about the isocentre and has 0 to 5 nodules in the
    lungs, of which a few touch a large vessel or the wall.

    Raises
    ------
    TypeError
        If `rng` is no generator.
    """
    check_generator(rng)
    wall, skeleton = Wall.random(rng), Skeleton.random(rng)
    mediastinum = Mediastinum.random(rng)
    lungs = Lungs.random(rng, wall, skeleton, mediastinum)
    bend = Waves.random(rng, 24, (45, 160), 1.1), Waves.random(rng, 24, (45, 160), 1.1)
    tilt = math.radians(rng.normal(0, 2.5))
    offset = rng.normal(0, (4.0, 4.0))
    proportions = np.array((rng.uniform(0.92, 1.08), rng.uniform(0.96, 1.06)))
    wanted = rng.uniform(0.94, 1.14)
    size, middle = _fitted(wall, wanted * proportions, tilt, offset, bend)
    height = rng.uniform(0.9, 1.1)
    n_nodules = min(int(rng.poisson(1.2)), 5)
    nodules = []
    rolled = turn(tilt)
    if n_nodules:
        parts = wall, skeleton, mediastinum
        sides = rng.permutation((-1, 1))
        points = np.concatenate([sample(rng, n_nodules, side, *parts, 5.0) for side in sides])
        for point in rng.permutation(points)[:n_nodules]:
            place = middle + rolled @ (size * point[:2])
            nodules.append(Nodule.random(rng, np.append(place, height * point[2])))
    return Thorax(
        size=(float(size[0]), float(size[1]), height),
        tilt=tilt,
        offset=(float(middle[0]), float(middle[1])),
        wall=wall,
        skeleton=skeleton,
        mediastinum=mediastinum,
        lungs=lungs,
        nodules=tuple(nodules),
        bend=bend,
        grain=Waves.random(rng, 160, (3.5, 12), 1.0),
        coarse=Waves.random(rng, 60, (12, 50), 1.0),
    )


def random_thorax_slice(
    shape: Sequence[int],
    rng: np.random.Generator,
    *,
    field: float = 360.0,
    rotation: float = 0.0,
    oversampling: int = 1,
    table: bool = False,
) -> NDArray[np.float32]:
    """Draw a slice of a random patient at a random height.

    Parameters
    ----------
    shape, field : (int, int), float
        Rows and columns, and the extent of both in mm. From 350 mm on nobody is cut off.
    rng : numpy.random.Generator
        Source of randomness: first the patient, then the height, uniformly over the lungs.
    rotation, oversampling, table
        As for `Thorax.slice`.

    Returns
    -------
    numpy.ndarray of float32, shape ``shape``
        Hounsfield units, see `Thorax.slice`.
    """
    rows, columns = check_image_shape(shape)
    field = check_float("field", field, positive=True)
    patient = random_thorax(rng)
    z = rng.uniform(*patient.extent)
    spacing = (field / rows, field / columns)
    options: dict[str, Any] = {"rotation": rotation, "oversampling": oversampling, "table": table}
    return patient.slice(z, (rows, columns), spacing, **options)


def random_thorax_regions(
    shape: Sequence[int],
    rng: np.random.Generator,
    *,
    field: float = 360.0,
    rotation: float = 0.0,
) -> NDArray[np.uint8]:
    """Return the labels of the slice that `random_thorax_slice` draws with the same numbers.

    Parameters
    ----------
    shape, rng, field, rotation
        As there.

    Returns
    -------
    numpy.ndarray of uint8, shape ``shape``
        See `Thorax.regions`.
    """
    rows, columns = check_image_shape(shape)
    field = check_float("field", field, positive=True)
    patient = random_thorax(rng)
    z = rng.uniform(*patient.extent)
    return patient.regions(z, (rows, columns), (field / rows, field / columns), rotation=rotation)


def _fitted(
    wall: Wall,
    size: NDArray[np.float64],
    tilt: float,
    offset: NDArray[np.float64],
    bend: tuple[Waves, Waves],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return size and middle of a patient, smaller than wanted where that does not fit."""
    outlines = np.concatenate([wall.body(z) for z in np.linspace(*HEIGHTS, 6)])
    turned = (outlines * size) @ turn(tilt).T
    # In the middle of the field, up to the offset.
    low, high = turned.min(axis=0), turned.max(axis=0)
    turned -= (low + high) / 2
    room = RADIUS - 3 - np.hypot(*offset)
    bound = 1.1 * math.hypot(*(waves.bound for waves in bend))
    shrink = min(1.0, (room - bound) / float(np.hypot(*turned.T).max()))
    return size * shrink, offset - shrink * (low + high) / 2
