"""The three middle planes of a volume."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tomolearn._core.checks import check_floats
from tomolearn._core.errors import TomolearnError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_WIDTH = 10.0  # inches
_TITLES = ("rows and columns", "slices and columns", "slices and rows")


def middle_planes(volume: NDArray[Any]) -> tuple[NDArray[Any], ...]:
    """Return the planes through the middle of a volume, across its slices, rows and columns.

    Of an even number of planes it is the later one of the two in the middle.
    """
    if volume.ndim != 3 or 0 in volume.shape:
        raise TomolearnError(f"volume: expected shape (slices, rows, columns), got {volume.shape}")
    return tuple(np.take(volume, n // 2, axis) for axis, n in enumerate(volume.shape))


def draw_planes(
    volume: NDArray[Any], *, unit: str, spacing: Sequence[float], title: str = ""
) -> Figure:
    """Draw the three middle planes of a volume side by side, on one scale of length and of grey.

    Parameters
    ----------
    volume : numpy.ndarray, shape (slices, rows, columns)
        Slices are drawn with slice 0 at the bottom.
    unit : str
        That of the values, for the colour bar.
    spacing : sequence of float
        Distances in mm of slices, rows and columns.
    title : str

    Returns
    -------
    matplotlib.figure.Figure
        Without a window and without pyplot's state; ``savefig`` writes it.

    Raises
    ------
    ValueError
        If it is no volume, or the spacing has not three numbers.
    """
    planes = middle_planes(volume)
    steps = check_floats("spacing", spacing, length=3)
    low = min(float(plane.min()) for plane in planes)
    high = max(float(plane.max()) for plane in planes)

    from matplotlib.figure import Figure

    sizes = [
        tuple(n * s for k, (n, s) in enumerate(zip(volume.shape, steps, strict=True)) if k != axis)
        for axis in range(3)
    ]
    widths, tallest = [width for _, width in sizes], max(height for height, _ in sizes)
    figure = Figure(
        figsize=(_WIDTH, min(_WIDTH, 1.2 + 0.9 * _WIDTH * tallest / sum(widths))),
        layout="constrained",
    )
    panels = figure.subplots(1, 3, width_ratios=widths)
    for panel, plane, (height, width), name in zip(panels, planes, sizes, _TITLES, strict=True):
        shown = panel.imshow(
            plane,
            cmap="gray",
            vmin=low,
            vmax=high if high > low else low + 1.0,
            extent=(0.0, width, height, 0.0) if plane is planes[0] else (0.0, width, 0.0, height),
            origin="upper" if plane is planes[0] else "lower",
        )
        panel.set_title(name)
        panel.set_xticks([])
        panel.set_yticks([])
    figure.colorbar(shown, ax=panels, label=unit, shrink=0.8)
    figure.suptitle(title)
    return figure
