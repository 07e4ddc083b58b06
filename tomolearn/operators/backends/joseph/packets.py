"""Packets of eight neighbouring rays, and pixels in eights, for few images in the plane.

They need no symmetry of the scan, and no second image: `kernels.packets`. Where there are more
lanes, `kernels.joseph` is faster.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tomolearn.geometry import FanBeam, Grid, ParallelBeam, Scan
from tomolearn.kernels.joseph import CURVED, FLAT, PARALLEL
from tomolearn.kernels.packets import ROWS, WIDTH, WINDOWS
from tomolearn.operators.backends.joseph.images import lanes_of
from tomolearn.operators.backends.joseph.rays import WEIGHT_COST, RayTable, ray_tables
from tomolearn.operators.backends.joseph.symmetry import GROUPS
from tomolearn.operators.backends.joseph.views import ViewTable, view_table

_LANES = 8
_ROUNDING = 0.01  # bins
_WINDOW_COST = 0.5  # charged for another window, in views of one; measured: 0.16 to 0.39
_LEAST_DEPTH = 1e-3  # of a pixel seen from a source, in distances of the axis

# Work of a packet of rays, and of a view of one image, in lanes of the other kernels, whose weights
# cost about as many as `WEIGHT_COST` and `_PIXEL_WEIGHT_COST` (measured).
_PACKET_COST = 20
_PIXEL_COST = {PARALLEL: 7, FLAT: 5, CURVED: 16}
_PIXEL_WEIGHT_COST = {PARALLEL: 28, FLAT: 28, CURVED: 36}


@dataclass(frozen=True)
class RayPackets:
    """Packets of rays that step along rows of the image, or of the transposed one.

    See `kernels.packets.project`; columns count from 0. `rays` (packets, 8) are numbers of the
    scan's rays, or -1 behind the last ray of a packet.
    """

    rows: int
    columns: int
    transposed: bool
    start: np.ndarray
    slope: np.ndarray
    aside: np.ndarray
    tilts: np.ndarray
    first_row: np.ndarray
    last_row: np.ndarray
    narrow: np.ndarray
    length: np.ndarray
    rays: np.ndarray

    @property
    def n_packets(self) -> int:
        """Number of packets."""
        return len(self.start)

    @property
    def nbytes(self) -> int:
        """Memory of the packets."""
        return sum(a.nbytes for a in vars(self).values() if isinstance(a, np.ndarray))


def packets_pay(tables: list[RayTable], images: int, n_packets: float) -> bool:
    """Return whether so many packets are faster than the kernels of `tables`."""
    lanes = tables[0].n_lanes * lanes_of(images)
    cost = sum(table.n_rays for table in tables) * (WEIGHT_COST + lanes)
    return _PACKET_COST * images * n_packets < cost


def ray_packets(grid: Grid, scan: Scan, tables: list[RayTable]) -> list[RayPackets]:
    """Return all rays of a plane scan in packets; `tables` are those of `ray_tables`."""
    if tables[0].n_lanes > 1:
        tables = ray_tables(grid, scan, GROUPS[-1:])
    return [packets_of(table, scan.shape[-1]) for table in tables]


def packets_of(table: RayTable, n_detectors: int) -> RayPackets:
    """Return the packets of a table of rays without symmetric copies.

    They are eight neighbours of a view, or four, two or one where those are too far apart.
    """
    numbers = table.members[:, 0].astype(np.int64)
    found, left = [], np.argsort(numbers)
    for size in (8, 4, 2, 1):
        # neighbours of one view, in groups of `size`
        ordered = numbers[left]
        new = np.ones(len(left), bool)
        new[1:] = (np.diff(ordered) != 1) | (np.diff(ordered // n_detectors) != 0)
        begins = np.flatnonzero(new)
        place = np.arange(len(left)) - np.repeat(begins, np.diff(np.append(begins, len(left))))
        group = np.cumsum(new | (place % size == 0)) - 1
        lanes = np.full((group.max(initial=-1) + 1, _LANES), -1, np.int64)
        lanes[group, place % size] = left
        fits = _lines(table, lanes)[-1] <= WIDTH if size > 1 else np.ones(len(lanes), bool)
        found.append(lanes[fits])
        left = left[~fits[group]]
    lanes = np.concatenate(found)
    lanes = lanes[np.argsort(numbers[lanes[:, 0]])]
    filled = _filled(lanes)
    start, slope, aside, tilts, first, last, width = _lines(table, lanes)
    return RayPackets(
        table.rows,
        table.columns,
        bool(table.elements[0, 0]),
        start,
        slope,
        aside,
        tilts,
        first,
        last,
        width < _LANES - 1.001,
        table.length[filled],
        np.where(lanes < 0, -1, numbers[filled]).astype(np.int32),
    )


def _filled(lanes: np.ndarray) -> np.ndarray:
    """Return the rays of packets, with the first one in place of those that are missing."""
    return np.where(lanes < 0, lanes[:, :1], lanes)


def _lines(table: RayTable, lanes: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return what `kernels.packets.project` needs of packets, and how wide they are in columns."""
    lanes = _filled(lanes)
    start, slope = table.start[lanes] - 1, table.slope[lanes]  # without the column of zeros
    first, last = table.first_row[lanes], table.last_row[lanes]
    seen = first < last
    low = np.where(seen, first, table.rows).min(axis=1)
    high = np.maximum(np.where(seen, last, 0).max(axis=1), low)
    ends = (low, np.maximum(high - 1, low))
    above, below = (start + slope * end[:, None] for end in ends)
    # the line through the leftmost crossings of both rows is left of all rays between them
    lefts = above.min(axis=1), below.min(axis=1)
    steps = np.maximum(ends[1] - ends[0], 1)
    base = (lefts[1] - lefts[0]) / steps
    aside = above - lefts[0][:, None]
    tilts = ((below - lefts[1][:, None]) - aside) / steps[:, None]
    width = np.maximum(above.max(axis=1) - lefts[0], below.max(axis=1) - lefts[1])
    return lefts[0] - base * low, base, aside, tilts, low, high, width


@dataclass(frozen=True)
class PixelViews:
    """All views, for eight pixels of one image at a time; see `kernels.packets.gather`."""

    table: ViewTable
    windows: np.ndarray

    @property
    def cost(self) -> float:
        """Views, those of which more than one window is needed counted more."""
        return self.table.n_views * (1 + _WINDOW_COST * float(self.windows.mean() - 1))

    @property
    def nbytes(self) -> int:
        """Memory of the views."""
        return self.table.nbytes + self.windows.nbytes


def pixels_pay(table: ViewTable, images: int, n_views: float) -> bool:
    """Return whether all views, of eight pixels at a time, are faster than those of `table`."""
    lanes = table.n_lanes * lanes_of(images)
    cost = table.n_views * (_PIXEL_WEIGHT_COST[table.kind] + lanes)
    return _PIXEL_COST[table.kind] * images * n_views < cost


def pixel_views(grid: Grid, scan: ParallelBeam | FanBeam) -> PixelViews | None:
    """Return all views, or None if a source is in the grid or neighbours are seen far apart."""
    table = view_table(grid, scan, symmetric=False)
    steps = _bins_per_pixel(table, grid.shape)
    # eight pixels, with the part of a bin before them
    windows = (7 * steps + (1 + _ROUNDING)) / _LANES
    if not windows.max() <= WINDOWS:
        return None
    windows = np.pad(windows, ((0, 0), (0, -grid.shape[0] % ROWS)))
    windows = windows.reshape(len(windows), -1, ROWS).max(axis=2)
    return PixelViews(table, np.ceil(windows).astype(np.int8))


def _bins_per_pixel(table: ViewTable, shape: tuple[int, ...]) -> np.ndarray:
    """Return how far apart two neighbours of a row are seen at most, (views, rows).

    Infinity, where the source is in the row.
    """
    rows, last = np.arange(shape[0]), shape[1] - 1
    across, along = (a[:, :1] + a[:, 1:2] * rows for a in (table.across, table.along))
    step, fall = table.across[:, 2:], table.along[:, 2:]
    if table.kind == PARALLEL:
        return np.broadcast_to(np.abs(step), across.shape)
    depth = np.minimum(along, along + fall * last)
    area = np.abs(step * along - fall * across)  # the same for all pixels of the row
    if table.kind == CURVED:
        nearest = np.clip(-(across * step + along * fall) / (step**2 + fall**2), 0, last)
        square = (across + step * nearest) ** 2 + (along + fall * nearest) ** 2
        area = area * table.scale[0]
    else:
        square = depth**2
    with np.errstate(divide="ignore"):
        return np.where(depth > _LEAST_DEPTH, area / square, np.inf)
