"""Geometry of a stack of slices: order, irregularities, affine.

Positions are decimal text. Scanners write at least two decimals of a millimetre and five of a
direction cosine; the tolerances below are what such rounding can add up to, or a length that no
measurement in a CT image can tell from zero.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tomolearn._core.errors import TomolearnError
from tomolearn.dicom.dimensions import AXIS_KEYWORDS, Axis, axis_of
from tomolearn.dicom.elements import tag_name
from tomolearn.dicom.phases import Division, divided, values_of
from tomolearn.dicom.slices import SeriesAttributes, SliceInfo

POSITION_TOLERANCE: Final = 0.02
"""Two positions in mm that are as close are the same: each is rounded to a hundredth, and so is
what they are compared with."""

SPACING_TOLERANCE: Final = 0.01
"""Share of the slice distance by which a slice may be off its place: over a whole stack no organ is
measured wrong by more than that, and a missing slice puts its neighbours off by a hundred times as
much. highdicom has the same default."""

ORIENTATION_TOLERANCE: Final = 1e-4
"""Difference of direction cosines: the far corner of a 500 mm image is 0.05 mm off, a tenth of a
pixel."""

SIZE_TOLERANCE: Final = 1e-4
"""Share by which pixel spacings may differ: over 512 pixels, a twentieth of one."""

ANGLE_TOLERANCE: Final = 0.1
"""Degrees. Over a stack of 300 mm the shear is half a millimetre, about a pixel."""

TILT_TOLERANCE: Final = 0.5
"""Degrees by which the tilt in the header, which scanners round to a half or a whole degree, may
differ from that of the positions."""


class FindingKind(StrEnum):
    """Kinds of irregularities of a series."""

    SHARED_IDENTIFIER = "identifier of several series"
    LOST_SLICES = "lost slices"
    MIXED_FRAME_OF_REFERENCE = "mixed frame of reference"
    MIXED_ORIENTATION = "mixed orientation"
    MIXED_SIZE = "mixed size"
    MIXED_PIXEL_SPACING = "mixed pixel spacing"
    MIXED_SETTINGS = "mixed settings"
    UNSTATED_UNIT = "unit not stated"
    SERIES_PER_SLICE = "one series per slice"
    SEVERAL_PHASES = "several phases"
    SEVERAL_ENERGIES = "several energies"
    SEVERAL_KERNELS = "several kernels"
    SEVERAL_IMAGE_TYPES = "several image types"
    SEVERAL_ACQUISITIONS = "several acquisitions"
    SEVERAL_STACKS = "several stacks"
    DUPLICATE_POSITIONS = "duplicate positions"
    MISSING_SLICES = "missing slices"
    UNEVEN_SPACING = "uneven spacing"
    CURVED_STACK = "slices not in line"
    GANTRY_TILT = "gantry tilt"
    TILT_DISAGREES = "gantry tilt disagrees with header"
    OBLIQUE = "oblique"


IRREGULAR: Final = frozenset(FindingKind) - {
    FindingKind.GANTRY_TILT, FindingKind.TILT_DISAGREES, FindingKind.OBLIQUE,
    FindingKind.SHARED_IDENTIFIER, FindingKind.MIXED_SETTINGS, FindingKind.UNSTATED_UNIT,
    FindingKind.SERIES_PER_SLICE,
}  # fmt: skip
"""Findings with which a series is no stack of evenly spaced equal slices."""

# What does not change along a stack, as time and number of an acquisition may.
_SETTINGS = (Axis.KERNEL, Axis.ENERGY)


@dataclass(frozen=True, slots=True)
class Finding:
    """An irregularity of a series.

    Parameters
    ----------
    kind : FindingKind
        Which of the things that can be odd.
    detail : str
        A sentence with the numbers.
    """

    kind: FindingKind
    detail: str


def sort(slices: Sequence[SliceInfo]) -> tuple[SliceInfo, ...]:
    """Return slices in the order of their positions along the normal of most of them.

    The normal is the direction of columns times that of rows. File names and instance numbers only
    decide between slices in one place. Where times, energies, kernels or acquisitions share places,
    one comes after the other, and what lies in another way comes last.
    """
    normal = _normal(_usual_orientation(slices))

    def place(one: SliceInfo) -> tuple[float, float, int, str]:
        along = round(float(normal @ one.position), 6)
        number = math.inf if one.instance_number is None else one.instance_number
        return along, number, -1 if one.frame is None else one.frame, one.sop_instance_uid

    ordered = tuple(sorted(slices, key=place))
    stacks = stacks_of(ordered).stacks
    if len(stacks) == 1:
        return ordered
    in_stacks = tuple(itertools.chain(*stacks))
    others = set(ordered).difference(in_stacks)
    return (*in_stacks, *(one for one in ordered if one in others))


def stacks_of(slices: Sequence[SliceInfo]) -> Division:
    """Return stacks, by what tells slices in one place apart, of those with the usual direction."""
    usual = _majority(slices)
    along = np.array([one.position for one in usual]) @ _normal(usual[0].orientation)
    order = np.argsort(along, kind="stable")
    places = np.cumsum(np.diff(along[order], prepend=along[order[0]]) > POSITION_TOLERANCE)
    return divided([(int(k), usual[index]) for k, index in zip(places, order, strict=True)])


def examine(
    slices: Sequence[SliceInfo], attributes: Sequence[SeriesAttributes]
) -> tuple[Finding, ...]:
    """Return the irregularities of slices as `sort` returns them.

    Distances and directions are those of the slices that have the orientation and the frame of
    reference of most of them.
    """
    mixed_frames = [*_mixed_frames_of_reference(attributes)]
    found = [*_unstated_unit(slices), *mixed_frames, *_mixed_slices(slices)]
    usual = _majority(slices)
    if mixed_frames and not usual[0].frame_of_reference_uid:
        return tuple(found)  # which of them has which is not known
    division = stacks_of(slices)
    for axis, detail in division.axes.items():
        found.append(Finding(FindingKind(f"several {axis}"), detail))
    found += _mixed_settings(usual, division)
    in_stacks: dict[FindingKind, list[tuple[int, str]]] = {}
    for number, stack in enumerate(division.stacks, start=1):
        for finding in (*_distances(stack), *_directions(stack)):
            in_stacks.setdefault(finding.kind, []).append((number, finding.detail))
    n_stacks = len(division.stacks)
    for kind, places in in_stacks.items():
        number, detail = places[0]
        which = f"In {len(places)} of {n_stacks} stacks, the first number {number}: "
        found.append(Finding(kind, detail if n_stacks == 1 else which + detail))
    return tuple(found)


def unevenness(slices: Sequence[SliceInfo]) -> tuple[Finding, ...]:
    """Return why slices in the order of their positions are no stack of equal ones, evenly apart.

    Only what lies in shapes, directions and distances: slices of two series may be one stack.
    """
    found = (*_mixed_slices(slices), *_distances(slices), *_directions(slices))
    return tuple(one for one in found if one.kind in IRREGULAR)


def heights_of(slices: Sequence[SliceInfo]) -> NDArray[np.float64]:
    """Return the places of slices along the normal of the first, in mm."""
    positions = np.array([one.position for one in slices])
    return np.asarray(positions @ _normal(slices[0].orientation))


def step_of(slices: Sequence[SliceInfo]) -> NDArray[np.float64]:
    """Return the mean vector in mm from one slice to the next.

    For a single slice it is its thickness along its normal.
    """
    positions = np.array([one.position for one in slices])
    if len(slices) > 1:
        return np.asarray((positions[-1] - positions[0]) / (len(slices) - 1))
    thickness = slices[0].thickness
    if thickness is None or not 0 < thickness < math.inf:
        raise TomolearnError(
            f"{slices[0].label}: SliceThickness (0018,0050): expected a positive length in mm, as "
            f"there is one slice only, got {'nothing' if thickness is None else thickness}"
        )
    return _normal(slices[0].orientation) * thickness


def affine_of(slices: Sequence[SliceInfo]) -> NDArray[np.float64]:
    """Return the matrix from (slice, row, column, 1) to the patient's (x, y, z, 1) in mm.

    PS3.3 C.7.6.2.1.1; the column of the slices is the vector from one to the next, which in a
    tilted stack is not perpendicular to them.
    """
    first = slices[0]
    rows, columns = first.spacing
    affine = np.eye(4)
    affine[:3, 0] = step_of(slices)
    affine[:3, 1] = np.array(first.orientation[3:]) * rows
    affine[:3, 2] = np.array(first.orientation[:3]) * columns
    affine[:3, 3] = first.position
    return affine


def _usual_orientation(slices: Sequence[SliceInfo]) -> tuple[float, ...]:
    return Counter(one.orientation for one in slices).most_common(1)[0][0]


def _majority(slices: Sequence[SliceInfo]) -> tuple[SliceInfo, ...]:
    """Return the slices of the orientation, and then of the frame of reference, of most."""
    usual = np.array(_usual_orientation(slices))
    alike = [one for one in slices if _is_parallel(one, usual)]
    ((frame, _),) = Counter(one.frame_of_reference_uid for one in alike).most_common(1)
    return tuple(one for one in alike if one.frame_of_reference_uid == frame)


def _is_parallel(one: SliceInfo, orientation: NDArray[np.float64]) -> bool:
    return bool(np.abs(orientation - one.orientation).max() <= ORIENTATION_TOLERANCE)


def _unstated_unit(slices: Sequence[SliceInfo]) -> Iterator[Finding]:
    units = Counter(one.unit for one in slices if one.unit)
    if units:
        said = ", ".join(f"{unit} of {count}" for unit, count in sorted(units.items()))
        yield Finding(
            FindingKind.UNSTATED_UNIT,
            f"RescaleType (0028,1054) is {said} of {len(slices)} slices, whose values are taken as "
            "Hounsfield units.",
        )


def _mixed_settings(slices: Sequence[SliceInfo], division: Division) -> Iterator[Finding]:
    """Yield a finding if settings differ between slices that are one stack all the same."""
    said = []
    for keywords in AXIS_KEYWORDS:
        if axis_of(keywords[0]) not in _SETTINGS or not division.by.keys().isdisjoint(keywords):
            continue
        values = values_of(slices, keywords)
        if len(values) > 1:
            shown = (value if isinstance(value, str) else f"{value:g}" for value in values[:6])
            said.append(f"{tag_name(keywords[-1])}: {', '.join(shown)}")
    if said:
        yield Finding(FindingKind.MIXED_SETTINGS, f"Slices differ in {'; '.join(said)}.")


def _normal(orientation: Sequence[float] | NDArray[np.float64]) -> NDArray[np.float64]:
    normal = np.cross(orientation[:3], orientation[3:])
    return np.asarray(normal / np.linalg.norm(normal))


def _mixed_frames_of_reference(attributes: Sequence[SeriesAttributes]) -> Iterator[Finding]:
    frames = sorted({one.frame_of_reference_uid for one in attributes})
    if len(frames) > 1:
        yield Finding(
            FindingKind.MIXED_FRAME_OF_REFERENCE,
            f"{len(frames)} frames of reference, among them {frames[0] or 'none'} and "
            f"{frames[1]}: positions cannot be compared.",
        )


def _mixed_slices(slices: Sequence[SliceInfo]) -> Iterator[Finding]:
    usual = np.array(_usual_orientation(slices))
    others = [one for one in slices if not _is_parallel(one, usual)]
    if others:
        angle = _angle(_normal(usual), _normal(others[0].orientation))
        yield Finding(
            FindingKind.MIXED_ORIENTATION,
            f"{len(others)} of {len(slices)} slices are turned against the others, the first "
            f"by {angle:.2f} degrees ({others[0].label}).",
        )
    sizes = Counter(one.shape for one in slices)
    if len(sizes) > 1:
        said = ", ".join(f"{count} of {r} x {c}" for (r, c), count in sizes.most_common())
        yield Finding(FindingKind.MIXED_SIZE, f"Slices have several sizes: {said}.")
    spacings = np.array([one.spacing for one in slices])
    low, high = spacings.min(axis=0), spacings.max(axis=0)
    if (high > low * (1 + SIZE_TOLERANCE)).any():
        yield Finding(
            FindingKind.MIXED_PIXEL_SPACING,
            f"Rows lie {low[0]:g} to {high[0]:g} mm apart, columns {low[1]:g} to {high[1]:g}.",
        )


def _distances(slices: Sequence[SliceInfo]) -> Iterator[Finding]:
    """Yield irregularities of the slices' distances along the normal."""
    normal = _normal(slices[0].orientation)
    along = np.array([one.position for one in slices]) @ normal
    gaps = np.diff(along)
    same = gaps <= POSITION_TOLERANCE
    if same.any():
        where = int(np.argmax(same))
        yield Finding(
            FindingKind.DUPLICATE_POSITIONS,
            f"{same.sum()} of {len(slices)} slices lie where another one lies, the first at "
            f"{along[where]:.2f} mm ({slices[where].label} and {slices[where + 1].label}).",
        )
    gaps = gaps[~same]
    if not gaps.size:
        return
    # The lower of the two middle ones: of one slice distance and one gap, it is the distance.
    usual = float(np.sort(gaps)[(gaps.size - 1) // 2])
    tolerance = max(POSITION_TOLERANCE, SPACING_TOLERANCE * usual)
    counts = np.maximum(np.round(gaps / usual), 1)
    off = np.abs(gaps - counts * usual)
    if (off > tolerance).any():
        yield Finding(
            FindingKind.UNEVEN_SPACING,
            f"Slices lie {gaps.min():.2f} to {gaps.max():.2f} mm apart, mostly {usual:.2f}; "
            f"{int((off > tolerance).sum())} of {gaps.size} distances fit no multiple of that.",
        )
    jumps = (off <= tolerance) & (counts > 1)
    if jumps.any():
        starts = along[:-1][~same]
        where = int(np.argmax(jumps))
        yield Finding(
            FindingKind.MISSING_SLICES,
            f"{int((counts[jumps] - 1).sum())} slices are missing at {jumps.sum()} places, the "
            f"first between {starts[where]:.2f} and {starts[where] + gaps[where]:.2f} mm, "
            f"where others lie {usual:.2f} mm apart.",
        )
    regular = not (same.any() or jumps.any() or (off > tolerance).any())
    even = np.linspace(along[0], along[-1], along.size)
    if regular and (drift := float(np.abs(along - even).max())) > tolerance:
        yield Finding(
            FindingKind.UNEVEN_SPACING,
            f"Slices lie {gaps.min():.3f} to {gaps.max():.3f} mm apart, and up to {drift:.2f} "
            "mm from where even spacing puts them.",
        )


def _directions(slices: Sequence[SliceInfo]) -> Iterator[Finding]:
    """Yield irregularities of the slices' orientation, and of the way from one to the next."""
    normal = _normal(slices[0].orientation)
    positions = np.array([one.position for one in slices])
    off_table = _angle(normal, np.array([0.0, 0.0, 1.0]))
    said = next((one.tilt for one in slices if one.tilt is not None), None)
    way = positions[-1] - positions[0]
    if float(normal @ way) > POSITION_TOLERANCE:
        yield from _beside(slices, positions, normal)
        tilt = _angle(normal, way)
        words = f"sheared by {tilt:.2f} degrees, from their normal to the way from one to the next"
    else:  # a single place: only the header can tell a tilted gantry from an oblique image
        agree = said is not None and abs(abs(said) - off_table) <= TILT_TOLERANCE
        tilt = off_table if agree else 0.0
        words = f"tilted by {tilt:.2f} degrees against the table"
    header = "GantryDetectorTilt (0018,1120)"
    if tilt > ANGLE_TOLERANCE:
        header_says = f"no {header}" if said is None else f"{header} says {said:g}"
        yield Finding(FindingKind.GANTRY_TILT, f"Slices are {words}; {header_says}.")
    if said is not None and abs(abs(said) - tilt) > TILT_TOLERANCE:
        yield Finding(
            FindingKind.TILT_DISAGREES,
            f"{header} says {said:g} degrees, the positions {tilt:.2f}.",
        )
    if off_table > ANGLE_TOLERANCE and abs(off_table - tilt) > TILT_TOLERANCE:
        plane = ("sagittal", "coronal", "axial")[int(np.argmax(np.abs(normal)))]
        yield Finding(
            FindingKind.OBLIQUE,
            f"The normal is {off_table:.2f} degrees off the table's direction; the slices are "
            f"{plane} rather than anything else.",
        )


def _beside(
    slices: Sequence[SliceInfo], positions: NDArray[np.float64], normal: NDArray[np.float64]
) -> Iterator[Finding]:
    """Yield a finding if slices lie beside the line from the first to the last one."""
    way = positions[-1] - positions[0]
    share = (positions - positions[0]) @ normal / (normal @ way)
    aside = np.linalg.norm(positions - positions[0] - np.outer(share, way), axis=1).max()
    # a tenth of a pixel
    if aside > max(POSITION_TOLERANCE, max(slices[0].spacing) / 10):
        yield Finding(
            FindingKind.CURVED_STACK,
            f"First pixels lie up to {aside:.2f} mm beside the line from the first slice's to the "
            "last one's.",
        )


def _angle(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Return the angle between two lines in degrees, 0 to 90."""
    across = float(np.linalg.norm(np.cross(one, other)))
    return math.degrees(math.atan2(across, abs(float(one @ other))))
