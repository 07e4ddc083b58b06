"""Matrices of ray transforms straight from their definitions: slow, in float64, without us."""

import numpy as np

from tomolearn.geometry import Grid, Scan


def joseph_matrix(grid: Grid, scan: Scan) -> np.ndarray:
    """Return the weights of Joseph's method, shape (rays, pixels).

    A ray that crosses more rows than columns is sampled at the centre of every row, else of
    every column; there it lies between two pixels, which it weights linearly (in space between
    four, bilinearly). A sample counts with the length of the ray from one to the next. There is
    nothing outside.
    """
    if grid.ndim == 3:
        return _space_matrix(grid, scan)
    points, directions = rays(scan)
    x, y = grid.coordinates()
    weights = np.zeros((len(points), *grid.shape))
    for ray, ((px, py), (dx, dy)) in enumerate(zip(points, directions, strict=True)):
        length = np.hypot(dx, dy)
        if abs(dx) / grid.spacing[0] >= abs(dy) / grid.spacing[1]:
            for row in range(grid.shape[0]):
                position = (py + (x[row] - px) * dy / dx - y[0]) / grid.spacing[1]
                step = grid.spacing[0] * length / abs(dx)
                _add_sample(weights[ray, row], position, step)
        else:
            for column in range(grid.shape[1]):
                position = (px + (y[column] - py) * dx / dy - x[0]) / grid.spacing[0]
                step = grid.spacing[1] * length / abs(dy)
                _add_sample(weights[ray, :, column], position, step)
    return weights.reshape(len(points), -1)


def _space_matrix(grid: Grid, scan: Scan) -> np.ndarray:
    spacing, axes = np.array(grid.spacing), grid.coordinates()
    weights = np.zeros((len(rays(scan)[0]), *grid.shape))
    for number, (point, direction) in enumerate(zip(*rays(scan), strict=True)):
        axis = int(np.argmax(np.abs(direction / spacing)))
        for plane, place in enumerate(axes[axis]):
            crossing = point + direction * (place - point[axis]) / direction[axis]
            length = spacing[axis] * np.linalg.norm(direction) / abs(direction[axis])
            # the share of every voxel of the plane: a product of hats over the other two axes
            shares = [
                np.maximum(0, 1 - np.abs(x - c) / s)
                for x, c, s in zip(axes, crossing, spacing, strict=True)
            ]
            shares[axis] = (np.arange(grid.shape[axis]) == plane) * length
            weights[number] += np.einsum("i,j,k->ijk", *shares)
    return weights.reshape(len(weights), -1)


def length_matrix(grid: Grid, scan: Scan) -> np.ndarray:
    """Return the length of every ray in every pixel in mm, shape (rays, pixels)."""
    points, directions = rays(scan)
    enter = np.full((len(points), *grid.shape), -np.inf)
    leave = np.full((len(points), *grid.shape), np.inf)
    for axis, centres in enumerate(grid.coordinates()):
        centres = np.expand_dims(centres, 1 - axis)
        start = points[:, axis, None, None]
        with np.errstate(divide="ignore"):
            ways = [
                (centres + side * grid.spacing[axis] / 2 - start) / directions[:, axis, None, None]
                for side in (-1, 1)
            ]
        enter = np.maximum(enter, np.minimum(*ways))
        leave = np.minimum(leave, np.maximum(*ways))
    lengths = np.maximum(leave - enter, 0) * np.hypot(*directions.T)[:, None, None]
    return lengths.reshape(len(points), -1)


def rays(scan: Scan) -> tuple[np.ndarray, np.ndarray]:
    """Return a point and the direction of every ray, detector by detector and view by view."""
    points, directions = scan.rays()
    return points.reshape(-1, scan.ndim), directions.reshape(-1, scan.ndim)


def slopes(grid: Grid, scan: Scan) -> np.ndarray:
    """Return every ray's smaller direction component by the larger one, in pixels: 1 is a tie."""
    components = np.abs(rays(scan)[1] / grid.spacing)
    return components.min(axis=1) / components.max(axis=1)


def _add_sample(line: np.ndarray, position: float, step: float) -> None:
    below = int(np.floor(position))
    for pixel, weight in ((below, 1 - (position - below)), (below + 1, position - below)):
        if 0 <= pixel < len(line):
            line[pixel] += weight * step
