"""Rebinning and backprojection of a helix, row by row."""

from __future__ import annotations

import numpy as np

from tomolearn.kernels.compilation import compiled


@compiled
def _cubic(weights, fraction):  # type: ignore[no-untyped-def]
    """Write the four weights of Lagrange's cubic between the two points in the middle."""
    f = fraction
    weights[0] = -f * (f - 1) * (f - 2) / 6
    weights[1] = (f + 1) * (f - 1) * (f - 2) / 2
    weights[2] = -(f + 1) * f * (f - 2) / 2
    weights[3] = (f + 1) * f * (f - 1) / 6


@compiled
def rebin(part, parts, out, views, positions, columns):  # type: ignore[no-untyped-def]
    """Interpolate fan-beam views at fractional views and columns, in cubics.

    `views` is (views, columns, rows), `out` (angles, positions, rows); `positions` (angles,
    positions) has the view and `columns` (positions,) the column. What was not measured is NaN.
    """
    n_views, n_columns, n_rows = views.shape
    along, across = np.empty(4), np.empty(4)
    for angle in range(part, out.shape[0], parts):
        for place in range(out.shape[1]):
            view, column = positions[angle, place], columns[place]
            if not (0 <= view <= n_views - 1 and 0 <= column <= n_columns - 1):
                out[angle, place] = np.nan
                continue
            first_view = min(max(int(view) - 1, 0), n_views - 4)
            first_column = min(max(int(column) - 1, 0), n_columns - 4)
            _cubic(along, view - first_view - 1)
            _cubic(across, column - first_column - 1)
            out[angle, place] = 0
            for j in range(4):
                for k in range(4):
                    weight = np.float32(along[j] * across[k])
                    for row in range(n_rows):
                        out[angle, place, row] += (
                            weight * views[first_view + j, first_column + k, row]
                        )


@compiled
def backproject(  # type: ignore[no-untyped-def]
    part, parts, volume, rows, xs, ys, zs, first, step, half_turn, views, heights, geometry, taper
):
    """Backproject filtered parallel rows into `volume`, (rows, columns, slices).

    For each direction modulo pi, all rows of all turns and focal spots through a voxel are
    averaged; the spots' directions are staggered by equal parts of a step. `views` is (spots,
    angles, positions, rows), `heights` (spots, angles, positions) the sources' z, `geometry`
    (spots, 3, positions) the distance of source and foot, that of source and detector, and the
    detector's height over the source. `first` and `step` are of the positions, ``rows = (centre,
    spacing)``; voxels that no row sees become NaN.
    """
    n_spots, n_angles, n_places, n_rows = views.shape
    centre, spacing = rows
    n_slices = zs.size
    dz = zs[1] - zs[0] if n_slices > 1 else 1.0
    numerator, denominator = np.empty(n_slices), np.empty(n_slices)
    low, high = -centre * spacing, (n_rows - 1 - centre) * spacing
    middle, half = (low + high) / 2, (high - low) / 2
    scale = np.pi / half_turn
    for i in range(part, ys.size, parts):
        for j in range(xs.size):
            volume[i, j] = 0
            for direction in range(half_turn):
                numerator[:] = 0
                denominator[:] = 0
                for angle in range(direction, n_angles, half_turn):
                    for spot in range(n_spots):
                        theta = (angle + spot / n_spots) * scale
                        cos, sin = np.cos(theta), np.sin(theta)
                        place = (xs[j] * cos + ys[i] * sin - first) / step
                        p = int(place)
                        if place < 0 or p >= n_places - 1:
                            continue
                        right = place - p
                        along = -xs[j] * sin + ys[i] * cos
                        z_left = heights[spot, angle, p]
                        z_right = heights[spot, angle, p + 1]
                        source = z_left + right * (z_right - z_left)
                        if not np.isfinite(source):
                            continue
                        here = geometry[spot]
                        foot = here[0, p] + right * (here[0, p + 1] - here[0, p])
                        distance = here[1, p] + right * (here[1, p + 1] - here[1, p])
                        lift = here[2, p]
                        slope = distance / (foot + along)
                        start = max(int(np.ceil((source + (low - lift) / slope - zs[0]) / dz)), 0)
                        stop = min(
                            int(np.floor((source + (high - lift) / slope - zs[0]) / dz)) + 1,
                            n_slices,
                        )
                        for k in range(start, stop):
                            v = (zs[k] - source) * slope + lift
                            q = abs(v - middle) / half
                            weight = 1.0
                            if q > taper:
                                weight = np.cos(np.pi / 2 * (q - taper) / (1 - taper)) ** 2 + 1e-6
                            row = min(max((v - low) / spacing, 0.0), n_rows - 1.0)
                            r = min(int(row), n_rows - 2)
                            up = row - r
                            left_value = (1 - up) * views[spot, angle, p, r] + up * views[
                                spot, angle, p, r + 1
                            ]
                            right_value = (1 - up) * views[spot, angle, p + 1, r] + up * views[
                                spot, angle, p + 1, r + 1
                            ]
                            numerator[k] += weight * (
                                left_value + right * (right_value - left_value)
                            )
                            denominator[k] += weight
                for k in range(n_slices):
                    volume[i, j, k] += scale * numerator[k] / denominator[k]
