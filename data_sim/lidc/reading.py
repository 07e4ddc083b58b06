"""Readings of four radiologists, each of whom sees a nodule a little differently."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from data_sim.lidc.contours import outer_border, whole
from data_sim.lidc.patient import Lesion, SyntheticPatient
from data_sim.thorax import Nodule

READERS = 4
SEEN = 0.85
"""How likely a reader sees a nodule."""

_SCALE, _SHIFT = 0.04, 0.25


@dataclass(frozen=True, eq=False)
class Contour:
    """Outline of one region in one slice."""

    slice: int  # of the patient's
    inclusion: bool  # whether it encloses a part of the nodule, or one that is no nodule
    points: NDArray[np.intp]  # (n, 2), rows and columns: a closed chain just outside, or one pixel


@dataclass(frozen=True, eq=False)
class Mark:
    """What one reader marked as a nodule."""

    name: str  # the reader's own
    lesion: int  # of the patient's
    contours: tuple[Contour, ...]  # from the feet to the head
    characteristics: dict[str, int]  # the reader's ratings; empty for nodules under 3 mm


@dataclass(frozen=True, eq=False)
class NonNodule:
    """Something else of 3 mm or more, marked by one point (row, column) of a slice."""

    name: str
    slice: int
    point: tuple[int, int]


@dataclass(frozen=True, eq=False)
class Reading:
    """All that one reader marked."""

    reader: str
    marks: tuple[Mark, ...]
    non_nodules: tuple[NonNodule, ...]


def read(patient: SyntheticPatient) -> tuple[Reading, ...]:
    """Return the four readings of a patient's CT series.

    A reader sees a nodule with a probability of 0.85 and outlines it in every slice that meets
    it, with a size that differs by about 4 % and a place that differs by about 0.25 mm. Of
    nodules under 3 mm only the approximate centre is marked. Cavities are excluded. In images so
    coarse that no pixel's centre lies in a nodule, it goes unseen.
    """
    rng = patient.rng("readers")
    style = int(rng.integers(3))
    places = _other_places(patient)
    return tuple(_reading(rng, patient, style, places) for _ in range(READERS))


def _reading(
    rng: np.random.Generator,
    patient: SyntheticPatient,
    style: int,
    places: list[tuple[int, int, int]],
) -> Reading:
    reader = str(rng.integers(10**8, 10**9))
    marks: list[Mark] = []
    for k in rng.permutation(len(patient.lesions)):
        lesion, seen = patient.lesions[k], rng.random() < SEEN
        # The same number of draws whatever the slices meet.
        size = math.exp(_SCALE * np.clip(rng.standard_normal(), -2, 2))
        shift = _SHIFT * np.clip(rng.standard_normal(2), -2, 2)
        ratings = _ratings(rng, lesion.nodule)
        contours = _contours(patient, lesion, size, shift) if seen else ()
        if contours:
            name = _name(style, len(marks) + 1, int(reader))
            marks.append(Mark(name, int(k), contours, {} if lesion.is_small else ratings))
    others: list[NonNodule] = []
    for i, row, column in places:
        seen = rng.random() < 0.5
        point = int(row + rng.integers(-1, 2)), int(column + rng.integers(-1, 2))
        if seen:
            name = _name(style, len(marks) + len(others) + 1, int(reader))
            others.append(NonNodule(name, i, point))
    return Reading(reader, tuple(marks), tuple(others))


def _name(style: int, number: int, reader: int) -> str:
    """Name a mark in one of the ways that the sites had; the numbers are the reader's own."""
    names = f"Nodule {number:03d}", str(number - 1), f"IL057_{127000 + reader % 900 + number}"
    return names[style]


def _contours(
    patient: SyntheticPatient, lesion: Lesion, size: float, shift: NDArray[np.float64]
) -> tuple[Contour, ...]:
    if lesion.is_small:
        # the approximate centre, in the nearest slice, if that shows the nodule
        centre = lesion.nodule.centre
        i = int(np.argmin(np.abs(np.array(patient.heights) - centre[2])))
        point = np.rint(patient.pixel(np.array(centre[:2]) + shift)).astype(np.intp)
        is_shown = lesion.nodule.scale(patient.heights[i]) > 0
        return (Contour(i, True, point[None]),) if is_shown else ()
    nodule = _as_seen(lesion.nodule, size, shift)
    cavity = None if lesion.cavity is None else _as_seen(lesion.cavity, size, shift)
    contours = []
    for i, z in enumerate(patient.heights):
        mask, corner = _section(patient, nodule, nodule, z)
        if not mask.any():
            continue
        mask = whole(mask)
        contours.append(Contour(i, True, outer_border(mask) + corner))
        if cavity is not None and (hole := _section(patient, cavity, nodule, z)[0]).any():
            border = outer_border(whole(hole))
            if mask[tuple(border.T)].all():
                contours.append(Contour(i, False, border + corner))
    return tuple(contours)


def _as_seen(part: Nodule, size: float, shift: NDArray[np.float64]) -> Nodule:
    """Return a nodule or its cavity, which have one centre, scaled about that and shifted."""
    x, y, z = part.centre
    a, b, c = part.semi_axes
    centre = (x + float(shift[0]), y + float(shift[1]), z)
    return replace(part, centre=centre, semi_axes=(size * a, size * b, size * c))


def _section(
    patient: SyntheticPatient, nodule: Nodule, around: Nodule, z: float
) -> tuple[NDArray[np.bool_], NDArray[np.intp]]:
    """Return which pixels of a window about all of `around` hold a nodule, and its corner."""
    middle = patient.pixel(np.array(around.centre[:2]))
    half = math.ceil(1.6 * max(around.semi_axes[:2]) / patient.spacing) + 3
    corner = np.rint(middle).astype(np.intp) - half
    k = np.arange(2 * half + 1)
    x, y = ((corner[axis] + k - (patient.shape[axis] - 1) / 2) * patient.spacing for axis in (0, 1))
    return nodule.distance(x[:, None], y[None, :], z) <= 0, corner


def _other_places(patient: SyntheticPatient) -> list[tuple[int, int, int]]:
    """Return slice, row and column of what is in the lungs and no nodule."""
    rng = patient.rng("marks")
    wanted = int(rng.poisson(2.0))
    points = patient.thorax.lung_points(rng, 60)
    for lesion in patient.lesions:
        apart = np.linalg.norm(points - lesion.nodule.centre, axis=1)
        points = points[apart > 1.5 * max(lesion.nodule.semi_axes) + 4]
    distances = np.abs(points[:, 2:] - np.array(patient.heights))
    pixels = np.rint(patient.pixel(points[:, :2])).astype(int)
    near = distances.min(axis=1) <= patient.protocol.interval / 2
    inside = ((pixels >= 2) & (pixels < np.array(patient.shape) - 2)).all(axis=1)
    places = np.column_stack((distances.argmin(axis=1), pixels))[near & inside][:wanted]
    return [(i, row, column) for i, row, column in places.tolist()]


def _ratings(rng: np.random.Generator, nodule: Nodule) -> dict[str, int]:
    """Return one reader's ratings, from 1 to 5, under LIDC's names and in LIDC's order."""
    solid = {"solid": 5, "part-solid": 3, "ground-glass": 1}[nodule.kind]
    size = float(np.searchsorted((4, 6, 9, 14), nodule.diameter))
    round_shape = min(nodule.semi_axes[:2]) / max(nodule.semi_axes[:2])
    waves = sum(a for a, _ in nodule.irregularity)
    usual = {
        "subtlety": 1 + size + (solid == 5) - (solid == 1),
        "internalStructure": 1,
        "calcification": 6,
        "sphericity": 1 + 4 * round_shape,
        "margin": 1 + 0.7 * solid,
        "lobulation": 1 + 10 * waves,
        "spiculation": 1 + 7 * waves,
        "texture": solid,
        "malignancy": 1.5 + 0.8 * size,
    }
    differ = rng.normal(0, 0.6, len(usual))
    ratings = np.clip(np.rint(np.array(list(usual.values())) + differ), 1, 5).astype(int).tolist()
    fixed = {"internalStructure": 1, "calcification": 6}
    return dict(zip(usual, ratings, strict=True)) | fixed
