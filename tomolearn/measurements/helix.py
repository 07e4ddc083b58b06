"""A helical scan with a curved detector and a flying focal spot, and its inversion."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tomolearn._core.checks import check_count, check_float
from tomolearn._core.errors import TomolearnError, TomolearnTypeError
from tomolearn.geometry import Grid

# How the three numbers (angle, z, radius) of a focal spot's shift may have been written.
SHIFT_READINGS = {
    "documented": ((0, 1, 2), (1, 1, 1)),
    "angle reversed": ((0, 1, 2), (-1, 1, 1)),
    "axial reversed": ((0, 1, 2), (1, -1, 1)),
    "both reversed": ((0, 1, 2), (-1, -1, 1)),
    "exchanged": ((1, 0, 2), (1, 1, 1)),
    "none": ((0, 1, 2), (0, 0, 0)),
}


@dataclass(frozen=True, eq=False)
class HelicalProjections:
    """Line integrals along a helix, on a cylindrical detector about the focal spot at rest.

    In the patient's axes (x, y, z) of DICOM the focal spot at rest stands at
    ``radius * (-sin a, cos a)`` and height `heights`; column ``k`` of the detector is seen from
    there under the angle ``(k - center[1]) * spacing[1] / detector_distance`` from the axis,
    counter-clockwise. The rays start where the shifts have moved the spot.

    Parameters
    ----------
    line_integrals : numpy.ndarray, shape (views, rows, columns)
        Line integrals, float32.
    angles, heights : numpy.ndarray, shape (views,)
        Angle, growing or falling, in radians, and z in mm of the focal spot at rest.
    radius, detector_distance : float
        Distances in mm of the spot at rest from the axis and from the detector.
    spacing : tuple of float
        Distances in mm of neighbouring rows, and of neighbouring columns along the arc.
    center : tuple of float
        Row and column, counted from 0, that the line from the spot through the axis meets.
    shifts : numpy.ndarray, shape (views, 3)
        The flying focal spot's shift in angle (radians), z and radius (mm).
    notes : dict of str
        What else the files said.

    Raises
    ------
    TypeError, ValueError
        If shapes do not fit or a number is not finite.
    """

    line_integrals: np.ndarray
    angles: np.ndarray
    heights: np.ndarray
    radius: float
    detector_distance: float
    spacing: tuple[float, float]
    center: tuple[float, float]
    shifts: np.ndarray
    notes: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        shape = self.line_integrals.shape
        if len(shape) != 3 or min(shape) < 2 or shape[2] < 4:
            raise TomolearnError(
                "line_integrals: expected shape (views, rows, columns), at least 2 rows and 4 "
                f"columns, got {shape}"
            )
        wanted = {"angles": (shape[0],), "heights": (shape[0],), "shifts": (shape[0], 3)}
        for name, expected in wanted.items():
            array = getattr(self, name)
            if array.shape != expected or not np.isfinite(array).all():
                raise TomolearnError(
                    f"{name}: expected finite numbers of shape {expected}, got {array.shape}"
                )
        for name in ("radius", "detector_distance"):
            check_float(name, getattr(self, name), positive=True)
        steps = np.diff(self.angles)
        if not (np.all(steps > 0) or np.all(steps < 0)):
            raise TomolearnError(
                "angles: expected them to grow or to fall from view to view, got both; unwrap "
                "them (numpy.unwrap) and sort the views"
            )

    def with_shifts(self, reading: str) -> HelicalProjections:
        """Return the projections with their focal spot's shifts read in another way.

        Parameters
        ----------
        reading : str
            ``"documented"``, ``"angle reversed"``, ``"axial reversed"``, ``"both reversed"``,
            ``"exchanged"`` (angle and z) or ``"none"``.

        Raises
        ------
        ValueError
            If there is no such reading.
        """
        if reading not in SHIFT_READINGS:
            raise TomolearnError(
                f"reading: expected one of {', '.join(SHIFT_READINGS)}, got {reading!r}"
            )
        order, signs = SHIFT_READINGS[reading]
        return dataclasses.replace(self, shifts=self.shifts[:, order] * np.array(signs))

    def spots(self) -> list[np.ndarray]:
        """Return the views of each position of the focal spot."""
        # files hold single precision; a micrometre and a microradian are below what matters
        _, which = np.unique(np.round(self.shifts, 6), axis=0, return_inverse=True)
        views = [np.flatnonzero(which.ravel() == spot) for spot in range(which.max() + 1)]
        if len(views) > 8 or min(map(len, views)) < 4:
            raise TomolearnError(
                "shifts: expected at most 8 positions of the focal spot with at least 4 views "
                f"each, got {len(views)}, the rarest with {min(map(len, views))}"
            )
        return views


@dataclass(frozen=True)
class _Spot:
    """Rays of one focal spot in the plane, when it stands at angle 0; one value per column."""

    turn: np.ndarray  # the parallel angle of the ray, minus that of the spot
    place: np.ndarray  # signed distance from the axis
    foot: np.ndarray  # from the source to the ray's point nearest to the axis
    distance: np.ndarray  # from the source to the detector


def _spot_rays(helix: HelicalProjections, shift: np.ndarray, columns: np.ndarray) -> _Spot:
    gamma = (columns - helix.center[1]) * helix.spacing[1] / helix.detector_distance
    radius = helix.radius + shift[2]
    source = radius * np.array([-np.sin(shift[0]), np.cos(shift[0])])
    x = helix.detector_distance * np.sin(gamma) - source[0]
    y = helix.radius - helix.detector_distance * np.cos(gamma) - source[1]
    # a ray along (-sin t, cos t), as everywhere in `tomolearn.geometry`
    angle = np.unwrap(np.arctan2(-x, y))
    return _Spot(
        turn=angle,
        place=source[0] * np.cos(angle) + source[1] * np.sin(angle),
        foot=source[0] * np.sin(angle) - source[1] * np.cos(angle),
        distance=np.hypot(x, y),
    )


@dataclass(frozen=True)
class _Parallel:
    """Rows rebinned to parallel beams: one stack per focal spot."""

    rows: np.ndarray  # (spots, angles, positions, rows)
    heights: np.ndarray  # (spots, angles, positions)
    geometry: np.ndarray  # (spots, 3, positions)
    places: np.ndarray
    half_turn: int


def _rebinned(
    helix: HelicalProjections,
    spots: list[np.ndarray],
    *,
    half_turn: int,
    oversampling: int,
    threads: int,
    staggered: bool = True,
) -> _Parallel:
    """Rebin the views of each focal spot to parallel rays, on their exact geometry.

    Staggered, the spots' angles lie between each other, and together they sample as finely as all
    views; else they are the same.
    """
    from tomolearn.kernels.helix import rebin
    from tomolearn.kernels.threads import run

    n_columns = helix.line_integrals.shape[2]
    columns = np.arange(n_columns, dtype=float)
    fans = [_spot_rays(helix, helix.shifts[views[0]], columns) for views in spots]
    reach = min(
        min(abs(fan.place[0]), abs(fan.place[-1]), fan.place.max(), -fan.place.min())
        for fan in fans
    )
    step = helix.spacing[1] * helix.radius / helix.detector_distance / oversampling
    n_places = 2 * int(reach / step) + 1
    places = (np.arange(n_places) - n_places // 2) * step
    turn = np.concatenate([fan.turn for fan in fans])
    scale = np.pi / half_turn
    # whole turns are added so that index 0 is a direction of angle 0, modulo pi
    low, high = helix.angles.min() + turn.min(), helix.angles.max() + turn.max()
    origin = np.floor(low / np.pi) * np.pi
    if round(origin / np.pi) % 2:
        origin -= np.pi
    n_angles = int(np.ceil((high - origin) / scale)) + 1
    thetas = origin + scale * np.arange(n_angles)
    n_rows = helix.line_integrals.shape[1]
    rows = np.empty((len(spots), n_angles, n_places, n_rows), np.float32)
    heights = np.empty((len(spots), n_angles, n_places))
    geometry = np.empty((len(spots), 3, n_places))
    v = (np.arange(n_rows) - helix.center[0]) * helix.spacing[0]
    for spot, (views, fan) in enumerate(zip(spots, fans, strict=True)):
        order = np.argsort(fan.place)
        at = np.interp(places, fan.place[order], columns[order])
        for _ in range(3):  # Newton's steps on the exact function
            here = _spot_rays(helix, helix.shifts[views[0]], at)
            ahead = _spot_rays(helix, helix.shifts[views[0]], at + 1e-3)
            at = at - (here.place - places) * 1e-3 / (ahead.place - here.place)
        fan = _spot_rays(helix, helix.shifts[views[0]], at)
        if helix.angles[0] > helix.angles[-1]:
            views = views[::-1]
        offset = scale * spot / len(spots) if staggered else 0.0
        wanted = thetas[:, None] + offset - fan.turn
        angles, indices = helix.angles[views], np.arange(len(views), dtype=float)
        positions = np.interp(wanted, angles, indices, left=-1, right=len(views))
        shift = helix.shifts[views[0]]
        heights[spot] = np.interp(positions, indices, helix.heights[views] + shift[1])
        heights[spot][(positions < 0) | (positions > len(views) - 1)] = np.nan
        geometry[spot] = fan.foot, fan.distance, np.full(n_places, shift[1])
        # by the cosine of a row's angle, so that lengths are those in the plane
        lengths = _spot_rays(helix, shift, columns).distance
        slant = 1 / np.hypot(1, (v[:, None] - shift[1]) / lengths)
        stack = np.ascontiguousarray(
            (helix.line_integrals[views] * slant.astype(np.float32)).transpose(0, 2, 1)
        )
        run(rebin, threads, rows[spot], stack, positions, at)
    return _Parallel(rows, heights, geometry, places, half_turn)


def _filter(parallel: _Parallel) -> None:
    """Filter along the positions, in place: the ramp of the band limit, rolled off by a sinc."""
    from scipy import fft

    n, step = parallel.places.size, parallel.places[1] - parallel.places[0]
    size = fft.next_fast_len(2 * n, real=True)
    lag = np.minimum(np.arange(size), size - np.arange(size))
    odd = lag % 2 == 1
    kernel = np.zeros(size)
    kernel[odd] = -1 / (np.pi * lag[odd] * step) ** 2
    kernel[0] = 1 / (4 * step**2)
    response = fft.rfft(kernel).real * step * np.sinc(fft.rfftfreq(size))
    response = response.astype(np.float32)[:, None]
    for spot in parallel.rows:
        for angle in range(len(spot)):
            values = np.nan_to_num(spot[angle])
            spectrum = fft.rfft(values, size, axis=0) * response
            spot[angle] = fft.irfft(spectrum, size, axis=0)[:n]


def reconstruct_helix(
    projections: HelicalProjections,
    grid: Grid,
    *,
    taper: float = 0.6,
    oversampling: int = 2,
    threads: int | None = None,
) -> np.ndarray:
    """Weighted filtered back-projection of a helix (Stierstorfer et al. 2004).

    Each row is rebinned to parallel beams, for each position of the focal spot by its exact rays;
    of all rows of all turns that see a voxel under a direction, modulo pi, the weighted mean is
    backprojected. Cone angles of some degrees cost a few Hounsfield units.

    Parameters
    ----------
    projections : HelicalProjections
        The helix.
    grid : Grid
        Voxels in the patient's axes: slices along z, rows along y, columns along x.
    taper : float, optional
        Part of the detector's height that counts fully; the rest falls to 0 as cos^2.
    oversampling : int, optional
        Parallel positions per detector column.
    threads : int, optional
        By default all cores.

    Returns
    -------
    numpy.ndarray, shape (slices, rows, columns)
        Attenuation in 1/mm, float32; 0 outside of the field of view.

    Raises
    ------
    TypeError, ValueError
        If the helix does not see all of a slice from all sides, or an argument is none.

    References
    ----------
    doi:10.1088/0031-9155/49/11/007
    """
    if not isinstance(projections, HelicalProjections):
        raise TomolearnTypeError(
            f"projections: expected HelicalProjections, got {type(projections).__name__}"
        )
    if not isinstance(grid, Grid) or grid.ndim != 3:
        raise TomolearnTypeError(f"grid: expected a Grid of 3 axes, got {grid!r}")
    taper = check_float("taper", taper)
    if not 0 <= taper < 1:
        raise TomolearnError(f"taper: expected a number from 0 to below 1, got {taper}")
    oversampling = check_count("oversampling", oversampling)
    import os

    from tomolearn.kernels.helix import backproject
    from tomolearn.kernels.threads import run

    threads = check_count("threads", (os.cpu_count() or 1) if threads is None else threads)
    spots = projections.spots()
    parallel = _rebinned(
        projections,
        spots,
        half_turn=_views_per_half_turn(projections, spots),
        oversampling=oversampling,
        threads=threads,
    )
    _filter(parallel)
    zs, ys, xs = (
        center + (np.arange(count) - (count - 1) / 2) * spacing
        for count, spacing, center in zip(grid.shape, grid.spacing, grid.center, strict=True)
    )
    volume = np.empty((ys.size, xs.size, zs.size), np.float32)
    places = parallel.places
    run(
        backproject,
        threads,
        volume,
        (float(projections.center[0]), float(projections.spacing[0])),
        xs,
        ys,
        zs,
        places[0],
        places[1] - places[0],
        parallel.half_turn,
        parallel.rows,
        parallel.heights,
        parallel.geometry,
        taper,
    )
    volume[np.hypot(ys[:, None], xs) > places[-2]] = 0
    unseen = np.flatnonzero(~np.isfinite(volume).all(axis=(0, 1)))
    if unseen.size:
        seen = np.setdiff1d(np.arange(zs.size), unseen)
        whole = f"{zs[seen[0]]:.1f} to {zs[seen[-1]]:.1f} mm" if seen.size else "none"
        raise TomolearnError(
            f"grid: expected slices that the helix sees from all sides ({whole}), got "
            f"{zs[0]:.1f} to {zs[-1]:.1f} mm"
        )
    return np.ascontiguousarray(volume.transpose(2, 0, 1))


def shift_inconsistency(projections: HelicalProjections) -> dict[str, float]:
    """Disagreement of redundant rays under each reading of the focal spot's shifts.

    Views of each position of the focal spot are rebinned to the same parallel rays; with the right
    shifts they agree but for noise and interpolation. This decides between readers of the format
    that disagree on angle, z and signs.

    Parameters
    ----------
    projections : HelicalProjections
        The helix, with shifts as documented.

    Returns
    -------
    dict of str to float
        Root mean square of the difference per reading of `with_shifts`; the smallest is the most
        credible.

    Raises
    ------
    ValueError
        If the focal spot does not fly.
    """
    if len(projections.spots()) < 2:
        raise TomolearnError(
            "projections: expected a flying focal spot, got the same shift in all views"
        )
    views = projections.spots()
    found = {}
    for reading in SHIFT_READINGS:
        read = projections.with_shifts(reading)
        if np.abs(read.shifts[:, 0]).max() > 0.1:  # 6 degrees: no anode is as large
            found[reading] = float("inf")
            continue
        found[reading] = _disagreement(read, views)
    return found


def _views_per_half_turn(helix: HelicalProjections, spots: list[np.ndarray]) -> int:
    """Return how many views of a focal spot half a turn has."""
    half_turns = abs(helix.angles[-1] - helix.angles[0]) / np.pi
    return max(int(np.ceil(len(helix.angles) / len(spots) / half_turns)), 2)


def _disagreement(helix: HelicalProjections, spots: list[np.ndarray]) -> float:
    """Return by how much the focal spots differ in rays that meet next to the axis."""
    parallel = _rebinned(
        helix,
        spots,
        half_turn=_views_per_half_turn(helix, spots),
        oversampling=1,
        threads=1,
        staggered=False,
    )
    n_rows = helix.line_integrals.shape[1]
    values = []
    for rows, heights, (foot, distance, lift) in zip(
        parallel.rows, parallel.heights, parallel.geometry, strict=True
    ):
        # the row whose ray is, next to the axis, as high as the first spot's source
        v = (parallel.heights[0] - heights) * distance / foot + lift
        row = v / helix.spacing[0] + helix.center[0]
        inside = np.isfinite(row) & (row >= 0) & (row <= n_rows - 1)
        index = np.where(inside, np.minimum(row, n_rows - 2), 0).astype(int)[..., None]
        low = np.take_along_axis(rows, index, axis=2)[..., 0]
        high = np.take_along_axis(rows, index + 1, axis=2)[..., 0]
        values.append(np.where(inside, low + (row - index[..., 0]) * (high - low), np.nan))
    difference = np.stack(values[1:]) - values[0]
    if not np.isfinite(difference).any():
        return float("inf")  # shifted by more than the detector's height
    return float(np.sqrt(np.nanmean(difference**2)))
