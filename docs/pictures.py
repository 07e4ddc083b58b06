"""Draw the pictures of docs/conventions.md from grids, scans and operators themselves.

python docs/pictures.py
"""

import math
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes

import tomolearn as tl

FOLDER = Path(__file__).with_name("pictures")
RAYS, DETECTOR, POINT = "tab:blue", "tab:orange", "tab:red"


def grid_picture() -> plt.Figure:
    """Draw an image of few pixels: rows, columns, x, y and the rotation axis."""
    grid = tl.Grid((4, 6), 10.0)
    x, y = grid.coordinates()
    figure, axes = plt.subplots(figsize=(6, 4.2))
    _frame(axes, grid, 14)
    for row, column in np.ndindex(*grid.shape):
        axes.text(y[column], x[row], f"[{row}, {column}]", ha="center", va="center", fontsize=8)
    for edge in np.linspace(grid.lower[0], grid.upper[0], grid.shape[0] + 1):
        axes.plot([grid.lower[1], grid.upper[1]], [edge, edge], color="0.8", lw=0.8)
    for edge in np.linspace(grid.lower[1], grid.upper[1], grid.shape[1] + 1):
        axes.plot([edge, edge], [grid.lower[0], grid.upper[0]], color="0.8", lw=0.8)
    axes.plot(0, 0, "k+", ms=12)
    axes.set_title("tl.Grid((4, 6), 10.0): image[row, column], the cross is the rotation axis")
    return figure


def beam_picture() -> plt.Figure:
    """Draw a parallel and a fan beam at two angles, in the image's orientation."""
    grid = tl.Grid((64, 64), 1.0)
    angles = (math.radians(0), math.radians(50))
    scans = {
        "parallel beam": tl.ParallelBeam(angles=angles, n_detectors=7, detector_spacing=11.0),
        "fan beam": tl.FanBeam(
            angles=angles,
            n_detectors=7,
            detector_spacing=16.0,
            source_to_isocenter=80.0,
            source_to_detector=130.0,
        ),
    }
    figure, axes = plt.subplots(2, 2, figsize=(8, 8))
    for line, (name, scan) in zip(axes, scans.items(), strict=True):
        vectors = scan.vectors()
        for view, ax in enumerate(line):
            _frame(ax, grid, 78)
            bins = np.arange(scan.n_detectors) - (scan.n_detectors - 1) / 2
            places = vectors.detector[view] + bins[:, None] * vectors.steps[0][view]
            for place in places:
                start, end = _ray(scan, vectors.source[view], place)
                _arrow(ax, start, end, RAYS, 0.7)
            shift = 0.0 if not scan.is_parallel else 55.0  # drawn behind the image
            along = vectors.source[view] * shift if scan.is_parallel else np.zeros(2)
            _arrow(ax, places[0] + along, places[-1] + along, DETECTOR, 2.5)
            beside = (places[-1] - places[0]) / np.linalg.norm(places[-1] - places[0]) * 10
            _label(ax, places[0] + along - beside, "bin 0", DETECTOR)
            _label(ax, places[-1] + along + beside, f"bin {scan.n_detectors - 1}", DETECTOR)
            if not scan.is_parallel:
                ax.plot(*vectors.source[view][::-1], "o", color=RAYS)
                _label(ax, vectors.source[view] - [8, 0], "source", RAYS)
            ax.plot(0, 0, "k+")
            ax.set_title(f"{name}, t = {math.degrees(angles[view]):.0f} degrees", fontsize=10)
    figure.tight_layout()
    return figure


def sinogram_picture() -> plt.Figure:
    """Draw a bright pixel off the axis, and its trace in the sinogram of a parallel beam."""
    grid = tl.Grid((64, 64), 1.0)
    scan = tl.ParallelBeam.covering(grid, 180, angular_range=2 * math.pi)
    image = torch.zeros(grid.shape)
    row, column = 12, 44
    image[row, column] = 1.0
    sinogram = tl.RayTransform(grid, scan)(image)
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 4))
    left.imshow(image, cmap="gray_r")
    left.set(xlabel="column (y)", ylabel="row (x)", title=f"image[{row}, {column}] = 1")
    right.imshow(sinogram, cmap="gray_r", aspect="auto")
    right.set(xlabel="bin (u)", ylabel="view (t)", title="sinogram[angle, detector]")
    x, y = grid.coordinates()
    t = scan.view_angles
    u = x[row] * np.cos(t) + y[column] * np.sin(t)
    right.plot(u / scan.detector_spacing + scan.center_bin, np.arange(t.size), ":", color=POINT)
    right.text(0.03, 0.03, "u = x cos t + y sin t", color=POINT, transform=right.transAxes)
    figure.tight_layout()
    return figure


def cone_picture() -> plt.Figure:
    """Draw a cone beam at 20 degrees: axes of the volume and of the detector."""
    grid = tl.Grid((32, 64, 64), 1.0)
    scan = tl.ConeBeam(
        angles=(math.radians(20),),
        detector_shape=(5, 9),
        detector_spacing=12.0,
        source_to_isocenter=110.0,
        source_to_detector=190.0,
    )
    source, middle, (down, right) = (
        scan.vectors().source[0],
        scan.vectors().detector[0],
        tuple(step[0] for step in scan.vectors().steps),
    )
    figure = plt.figure(figsize=(9, 5))
    axes = figure.add_axes((0, 0, 1, 1), projection="3d")

    def line(points: list[np.ndarray], color: str, **style: object) -> None:
        z, x, y = np.transpose(points)
        axes.plot(x, y, z, color=color, **style)

    rows, columns = scan.detector_shape
    numbers = ((0, 0), (0, columns - 1), (rows - 1, columns - 1), (rows - 1, 0))
    corners = [
        middle + (i - (rows - 1) / 2) * down + (j - (columns - 1) / 2) * right for i, j in numbers
    ]
    line([*corners, corners[0]], DETECTOR, lw=2)
    for (i, j), corner in zip(numbers, corners, strict=True):
        line([source, corner], RAYS, lw=0.7)
        axes.text(corner[1], corner[2], corner[0] + 4, f"[{i}, {j}]", color=DETECTOR, fontsize=8)
    lower, upper = np.array(grid.lower), np.array(grid.upper)
    for axis, name in enumerate(("z (slice)", "x (row)", "y (column)")):
        end = lower.copy()
        end[axis] = upper[axis] + 12
        line([lower, end], "black", lw=1.5)
        axes.text(end[1], end[2], end[0], name, fontsize=8)
    for axis in range(3):
        for corner in np.ndindex(2, 2):
            others = np.arange(3) != axis
            start, end = lower.copy(), upper.copy()
            start[others] = end[others] = np.where(corner, upper[others], lower[others])
            line([start, end], "0.6", lw=0.8)
    axes.text(source[1], source[2], source[0] + 8, "source", color=RAYS, fontsize=8)
    axes.set_axis_off()
    limits = [axes.get_xlim3d(), axes.get_ylim3d(), axes.get_zlim3d()]
    axes.set_box_aspect([high - low for low, high in limits], zoom=0.95)
    axes.view_init(elev=22, azim=-15)
    return figure


def _frame(axes: Axes, grid: tl.Grid, margin: float) -> None:
    """Show row 0 at the top: x, which grows with the row, downwards, and y to the right."""
    (x0, y0), (x1, y1) = grid.lower, grid.upper
    axes.add_patch(plt.Rectangle((y0, x0), y1 - y0, x1 - x0, fill=False, color="0.5"))
    axes.set(xlim=(y0 - margin, y1 + margin), ylim=(x1 + margin, x0 - margin))
    axes.set(xlabel="y / mm, column", ylabel="x / mm, row", aspect="equal")


def _ray(scan: tl.geometry.Scan, source: np.ndarray, place: np.ndarray) -> tuple:
    if scan.is_parallel:  # the source is the rays' direction
        return place - 60 * source, place + 55 * source
    return source, place


def _arrow(axes: Axes, start: np.ndarray, end: np.ndarray, color: str, width: float) -> None:
    axes.annotate(
        "", end[::-1], start[::-1], arrowprops={"arrowstyle": "->", "color": color, "lw": width}
    )


def _label(axes: Axes, place: np.ndarray, text: str, color: str) -> None:
    axes.text(*place[::-1], text, color=color, fontsize=9, ha="center", va="center")


def thumbnail() -> plt.Figure:
    """Draw a fan beam without words, for scripts of the gallery that draw nothing."""
    grid = tl.Grid((64, 64), 1.0)
    scan = tl.FanBeam(
        angles=(math.radians(50),),
        n_detectors=7,
        detector_spacing=16.0,
        source_to_isocenter=80.0,
        source_to_detector=130.0,
    )
    vectors = scan.vectors()
    figure, axes = plt.subplots(figsize=(4, 2.8))
    _frame(axes, grid, 50)
    axes.set_axis_off()
    bins = np.arange(scan.n_detectors) - (scan.n_detectors - 1) / 2
    places = vectors.detector[0] + bins[:, None] * vectors.steps[0][0]
    for place in places:
        axes.plot(*np.transpose([vectors.source[0], place])[::-1], color=RAYS, lw=1)
    axes.plot(*places.T[::-1], color=DETECTOR, lw=4)
    return figure


PICTURES = {
    "thumbnail": thumbnail,
    "grid": grid_picture,
    "beams": beam_picture,
    "sinogram": sinogram_picture,
    "cone": cone_picture,
}

if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, draw in PICTURES.items():
        figure = draw()
        figure.savefig(
            FOLDER / f"{name}.png",
            dpi=100,
            bbox_inches="tight",
            pad_inches=0.1,
            metadata={"Software": ""},
        )
        plt.close(figure)
