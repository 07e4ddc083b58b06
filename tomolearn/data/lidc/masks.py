"""Nodule masks: outlines filled, marks of one nodule clustered, the consensus of readers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tomolearn._core.checks import check_float, check_int
from tomolearn._core.errors import TomolearnError
from tomolearn.data.lidc.annotations import Contour, Nodule

if TYPE_CHECKING:
    from tomolearn.dicom import Series

# Positions in mm along the patient that are the same one: files have them with a few decimals.
_SAME_Z = 0.05
# Marks whose nearest pixels are as close as the slices are one nodule, unless that would put
# together more marks than there are readers; then the limit falls in such steps to such an end.
_SHRINKAGE = 0.9
_SMALLEST_LIMIT = 0.1
_READERS = 4

Mask = NDArray[np.bool_]


def outline_mask(
    points: Sequence[tuple[int, int]], shape: tuple[int, int], *, border: bool = False
) -> Mask:
    """Return the mask, of this shape, of what lies inside of an outline.

    The outline's own pixels, which LIDC's readers drew just outside of the nodule, and those on
    the straight lines between them, do not belong to it.

    Parameters
    ----------
    points : sequence of (int, int)
        Row and column of the outline's pixels, in order; the last is joined to the first.
    shape, border : (int, int), bool
        Of the image; whether to count the outline as inside.

    Raises
    ------
    ValueError
        If a point lies outside of the image.
    """
    from skimage.draw import polygon, polygon_perimeter

    corners = np.asarray(points)
    if corners.min() < 0 or (corners >= shape).any():
        last = (shape[0] - 1, shape[1] - 1)
        raise TomolearnError(
            f"points: expected rows and columns up to {last}, got {corners.max(0).tolist()}"
        )
    mask = np.zeros(shape, bool)
    mask[polygon(corners[:, 0], corners[:, 1], shape)] = True
    mask[polygon_perimeter(corners[:, 0], corners[:, 1], shape)] = border
    return mask


@dataclass(frozen=True)
class SlicePositions:
    """Which slice of a series a mark is on.

    Parameters
    ----------
    uids, z : tuple of str, tuple of float
        SOPInstanceUID, and position in mm along the patient, of each slice.
    shape, spacing : (int, int), (float, float, float)
        Rows and columns; distances in mm of slices, rows and columns.
    """

    uids: tuple[str, ...]
    z: tuple[float, ...]
    shape: tuple[int, int]
    spacing: tuple[float, float, float]

    @classmethod
    def of(cls, series: Series) -> SlicePositions:
        """Return those of a series, which need not be a regular stack.

        Its size is that of most slices, and the distance of slices the median one; without two
        positions their thickness.
        """
        slices = series.slices
        z = tuple(float(one.position[2]) for one in slices)
        gaps = np.abs(np.diff(z))
        gaps = gaps[gaps > _SAME_Z]
        distance = round(float(np.median(gaps)), 6) if len(gaps) else slices[0].thickness or 1.0
        sizes = Counter((one.shape, one.spacing) for one in slices)
        (shape, spacing), _ = sizes.most_common(1)[0]
        uids = tuple(one.sop_instance_uid for one in slices)
        return cls(uids, z, shape, (distance, float(spacing[0]), float(spacing[1])))

    def find(self, contour: Contour) -> int | None:
        """Return the number of a contour's slice: by its UID, else by its position."""
        if contour.sop_instance_uid in self.uids:
            return self.uids.index(contour.sop_instance_uid)
        distances = [abs(z - contour.z) for z in self.z]
        nearest = int(np.argmin(distances))
        return nearest if distances[nearest] <= _SAME_Z else None


def cluster_nodules(
    nodules: Iterable[Nodule], positions: SlicePositions
) -> list[tuple[Nodule, ...]]:
    """Put the marks of different readers together that are of the same nodule, low ones first.

    Two marks are neighbours if the distance of their nearest outline pixels is at most that of
    the slices, and nodules are the connected groups of neighbours. While a group has more marks
    than there are readers, four, the limit shrinks by a tenth, to 0.1 mm at the least. This is
    the practice of pylidc, on which most publications rest [1]_.

    Parameters
    ----------
    nodules : iterable of Nodule
        The marks of one series; those below 3 mm are left out.
    positions : SlicePositions
        The series.

    References
    ----------
    .. [1] M. C. Hancock, J. F. Magnan, "Lung nodule malignancy classification using only
       radiologist-quantified image features as inputs to statistical learning algorithms",
       J. Med. Imaging 3 (2016), doi:10.1117/1.JMI.3.4.044504
    """
    from scipy.sparse.csgraph import connected_components
    from scipy.spatial import cKDTree

    marks = [nodule for nodule in nodules if not nodule.is_small]
    if not marks:
        return []
    outlines = [_millimetres(mark, positions) for mark in marks]
    trees = [cKDTree(points) for points in outlines]
    distances = np.zeros((len(marks), len(marks)))
    for one, other in combinations(range(len(marks)), 2):
        nearest = float(trees[one].query(outlines[other])[0].min())
        distances[one, other] = distances[other, one] = nearest
    limit = positions.spacing[0]
    while True:
        n_groups, groups = connected_components(distances <= limit, directed=False)
        if np.bincount(groups).max() <= _READERS or limit * _SHRINKAGE < _SMALLEST_LIMIT:
            break
        limit *= _SHRINKAGE
    members = [np.flatnonzero(groups == group) for group in range(n_groups)]
    members.sort(key=lambda group: np.mean([outlines[k][:, 0].mean() for k in group]))
    return [tuple(marks[k] for k in group) for group in members]


def _millimetres(nodule: Nodule, positions: SlicePositions) -> NDArray[np.float64]:
    """Return the outline's pixels as z, y, x in mm, shape (points, 3)."""
    _, rows, columns = positions.spacing
    return np.array(
        [
            (contour.z, row * rows, column * columns)
            for contour in nodule.contours
            if len(contour.points) > 1
            for row, column in contour.points
        ]
    )


@dataclass(frozen=True, eq=False)
class Consensus:
    """What enough readers agree on as one nodule.

    Parameters
    ----------
    marks : tuple of Nodule
        One or more of each reader who saw it.
    first, mask : (int, int, int), numpy.ndarray of bool, shape (slices, rows, columns)
        Voxels that enough readers marked; slice, row and column of the first.
    n_unmatched : int
        Contours whose slice the series does not have.
    """

    marks: tuple[Nodule, ...]
    first: tuple[int, int, int]
    mask: Mask
    n_unmatched: int = 0

    @property
    def n_readers(self) -> int:
        """Number of readers who marked the nodule."""
        return len({mark.reader for mark in self.marks})


def consensus(
    marks: Sequence[Nodule], positions: SlicePositions, *, consensus_level: float = 0.5
) -> Consensus:
    """Return the voxels that enough readers of a nodule marked.

    The mask of one mark is the inside of its outlines less that of its holes, where the outlines
    themselves, of holes too, never belong to the nodule.

    Parameters
    ----------
    marks, positions : sequence of Nodule, SlicePositions
        Marks of one nodule, see `cluster_nodules`, in their series.
    consensus_level : float
        Share of the readers who marked the nodule, in (0, 1], that must have marked a voxel. With
        1/2, two of four, or of three.

    Raises
    ------
    TypeError, ValueError
        If there are no marks, the level is not in (0, 1], or a point lies outside of the images.
    """
    consensus_level = check_consensus_level(consensus_level)
    if not marks:
        raise TomolearnError("marks: expected at least one, got none")
    n_unmatched = 0
    outlines = []
    for mark in marks:
        for contour in mark.contours:
            index = positions.find(contour)
            n_unmatched += index is None
            # a single point beside true outlines is a slip of the hand
            if index is not None and len(contour.points) > 1:
                outlines.append((mark.reader, index, contour))
    if not outlines:
        return Consensus(tuple(marks), (0, 0, 0), np.zeros((0, 0, 0), bool), n_unmatched)
    corners = np.array([(k, *point) for _, k, contour in outlines for point in contour.points])
    if (corners[:, 1:] >= positions.shape).any():
        raise TomolearnError(
            f"edgeMap: expected rows and columns below {positions.shape}, got "
            f"{tuple(corners[:, 1:].max(0).tolist())} in {marks[0].id}"
        )
    first, shape = corners.min(0), np.ptp(corners, 0) + 1
    readers = sorted({mark.reader for mark in marks})
    votes = np.zeros(shape, np.uint8)
    for reader in readers:
        own = [(index - first[0], contour) for who, index, contour in outlines if who == reader]
        votes += _inside(own, first[1:], shape)
    return Consensus(
        tuple(marks), tuple(first.tolist()), votes >= consensus_level * len(readers), n_unmatched
    )


def check_consensus_level(level: float) -> float:
    """Return `level` if it is a number in (0, 1]."""
    if check_float("consensus_level", level, positive=True) > 1:
        raise TomolearnError(f"consensus_level: expected a number in (0, 1], got {level}")
    return level


def _inside(
    contours: Iterable[tuple[int, Contour]], corner: NDArray[Any], shape: NDArray[Any]
) -> Mask:
    """Return a reader's mask within a box of voxels."""
    inside, holes = np.zeros(shape, bool), np.zeros(shape, bool)
    for index, contour in contours:
        points = (np.array(contour.points) - corner).tolist()
        filled = outline_mask(points, tuple(shape[1:]), border=not contour.inclusion)
        (inside if contour.inclusion else holes)[index] |= filled
    return inside & ~holes


def slice_mask(
    nodules: Iterable[Consensus], index: int, shape: tuple[int, int], *, min_readers: int = 1
) -> Mask:
    """Return the mask, of this shape, of a series' nodules in the slice of this index.

    Nodules that fewer than `min_readers` marked are left out.

    Raises
    ------
    TypeError, ValueError
        If `min_readers` is not positive, or a nodule reaches beyond the shape.
    """
    check_int("min_readers", min_readers, minimum=1)
    mask = np.zeros(shape, bool)
    for nodule in nodules:
        low, row, column = nodule.first
        if nodule.n_readers >= min_readers and low <= index < low + len(nodule.mask):
            part = nodule.mask[index - low]
            rows, columns = row + part.shape[0], column + part.shape[1]
            if rows > shape[0] or columns > shape[1]:
                raise TomolearnError(
                    f"shape: expected at least {rows} x {columns}, which a nodule reaches, got "
                    f"{shape[0]} x {shape[1]}"
                )
            mask[row:rows, column:columns] |= part
    return mask
