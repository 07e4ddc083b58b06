"""Symmetric copies of an image as lanes.

If a set of rays is mapped onto itself by flips or quarter turns of the grid, a ray and its images
have the same interpolation weights, each on another flip or turn of the image. So the flipped and
turned copies of the image become lanes beside the image itself, and only one ray of each orbit,
the canonical one, is traced.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tomolearn.geometry import Grid


class Placement(NamedTuple):
    """Pixel (i, j) lies at ``offset + i * down + j * right`` of a lane's flattened padded image."""

    offset: int
    down: int
    right: int


class Group(NamedTuple):
    """Symmetries of a rectangle or square.

    `flips`: "none", "turn" (both flips together), or "both" (each by itself). `swap`, what
    exchanges rows and columns: "none", "transpose", or "turn" (the quarter turn).
    """

    flips: str
    swap: str

    @property
    def lanes(self) -> tuple[tuple[int, int, int], ...]:
        """Elements as (transposed, rows flipped, columns flipped), the identity first."""
        flips = {
            "none": [(0, 0)],
            "turn": [(0, 0), (1, 1)],
            "both": [(0, 0), (1, 1), (0, 1), (1, 0)],
        }[self.flips]
        elements = [(0, r, c) for r, c in flips]
        if self.swap != "none":
            turned = int(self.swap == "turn")  # a quarter turn: transposed, then rows flipped
            elements += [(1, r ^ turned, c) for r, c in flips]
        return tuple(elements)

    def lane_of(
        self, transposed: np.ndarray, flip_rows: np.ndarray, flip_columns: np.ndarray
    ) -> np.ndarray:
        """Return the numbers in `lanes` of elements given by three arrays of booleans."""
        numbers = np.full((2, 2, 2), -1, np.int64)
        numbers[tuple(np.transpose(self.lanes))] = np.arange(len(self.lanes))
        return numbers[tuple(a.astype(np.intp) for a in (transposed, flip_rows, flip_columns))]


# the largest first; with both flips, transposition and quarter turn generate the same group
GROUPS = (
    Group("both", "transpose"),
    Group("both", "none"),
    Group("turn", "turn"),
    Group("turn", "transpose"),
    Group("turn", "none"),
    Group("none", "none"),
)


def is_square(grid: Grid) -> bool:
    """Return whether rows and columns of the grid are exchangeable."""
    return grid.shape[0] == grid.shape[1] and grid.spacing[0] == grid.spacing[1]


def placement(shape: tuple[int, ...], element: tuple[int, int, int], padding: int) -> Placement:
    """Return where the pixels of an image (rows, columns) lie in the image of one lane.

    `element` is (transposed, rows flipped, columns flipped), in this order. `padding` columns of
    zeros are on either side of the lane's image, and as many elements in front of it.
    """
    transposed, flip_rows, flip_columns = element
    rows, columns = (shape[1], shape[0]) if transposed else (shape[0], shape[1])
    width = columns + 2 * padding
    offset, row_step, column_step = 2 * padding, width, 1
    if flip_rows:
        offset, row_step = offset + (rows - 1) * width, -width
    if flip_columns:
        offset, column_step = offset + columns - 1, -1
    if transposed:
        return Placement(offset, column_step, row_step)
    return Placement(offset, row_step, column_step)


def cluster(values: np.ndarray, tolerance: float) -> np.ndarray:
    """Return int64 numbers of the distinct values (n,), in their order.

    Those within `tolerance` of a neighbour are the same: it is far below the distances that matter,
    far above rounding errors.
    """
    order = np.argsort(values, kind="stable")
    steps = np.diff(values[order]) > tolerance
    numbers = np.empty(values.size, np.int64)
    numbers[order] = np.concatenate([[0], np.cumsum(steps)])
    return numbers


def orbits(keys: np.ndarray, lanes: np.ndarray, n_lanes: int) -> tuple[np.ndarray, np.ndarray]:
    """Sort n things into orbits: one thing at most for each orbit and lane.

    Things with equal `keys` are mapped onto each other by the symmetries; `lanes` says which one
    maps the canonical thing onto this one. Returned are the members (orbits, n_lanes), int32, -1
    for none, and the first member of each orbit, in the order of which they are. Things that were
    measured twice (same key and lane) go to different orbits.
    """
    slots = keys * n_lanes + lanes
    order = np.argsort(slots, kind="stable")
    ordered = slots[order]
    starts = np.concatenate([[True], np.diff(ordered) > 0])
    position = np.arange(slots.size)
    occurrence = np.empty(slots.size, np.int64)
    occurrence[order] = position - np.maximum.accumulate(np.where(starts, position, 0))
    names = keys * (occurrence.max(initial=0) + 1) + occurrence
    _, first, number = np.unique(names, return_index=True, return_inverse=True)
    by_first = np.argsort(first, kind="stable")
    rank = np.empty_like(by_first)
    rank[by_first] = np.arange(by_first.size)
    members = np.full((first.size, n_lanes), -1, np.int32)
    members[rank[number], lanes] = np.arange(slots.size)
    return members, first[by_first]
