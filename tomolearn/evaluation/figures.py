"""Figures of images next to each other, of details of them, and of their errors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tomolearn._core.checks import check_choice, check_float, check_floats, check_int
from tomolearn._core.errors import TomolearnError, TomolearnTypeError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Region = tuple[int, int, int, int]
"""First row, row after the last, first column, column after the last."""

_PANEL = 3.6  # inches
_WIDEST = 15.0  # inches of all panels together: more of them are smaller, or no letter is legible
_DPI = 150
_FRAME = "tab:orange"
_HIGHEST_EDGE = 0.05  # of the image's range


def draw_images(
    images: Mapping[str, NDArray[Any]],
    *,
    unit: str,
    window: tuple[float, float] | None = None,
    reference: str | None = None,
    difference_window: tuple[float, float] | None = None,
    notes: Mapping[str, str] | None = None,
    caption: str = "",
    zoom: Region | None = None,
    spacing: tuple[float, float] = (1.0, 1.0),
) -> Figure:
    """Draw images in a row, all on one grey scale, below them details, and errors on another.

    Parameters
    ----------
    images : mapping of str to numpy.ndarray, shape (rows, columns) or (slices, rows, columns)
        By title, drawn from left to right with row 0 at the top; of volumes the middle slice.
    unit : str
        That of the values, for the colour bars.
    window : (float, float), optional
        Values shown black and white; what lies beyond is shown as these are. Default: the
        smallest and the largest of the first image.
    reference, difference_window, caption : optional
        Title of the image to subtract from each of the others in a further row, the window of
        these differences, and what is said where the reference's own would be.
    notes : mapping of str to str, optional
        A line below an image, for example its metrics.
    zoom : (int, int, int, int), optional
        First row, row after the last, first column, column after the last of a detail, which is
        framed in the images and drawn below each.
    spacing : (float, float)
        Distances of rows and of columns: the shape of a pixel.

    Returns
    -------
    matplotlib.figure.Figure
        Without a window and without pyplot's state; ``savefig`` writes it.
    """
    arrays = _checked_images(images)
    if window is None:
        first = np.asarray(next(iter(images.values())))
        low, high = float(first.min()), float(first.max())
        window = low, high if high > low else low + 1.0
    limits = _checked_window("window", window)
    height, width = check_floats("spacing", spacing, length=2)
    for title in notes or {}:
        check_choice("notes", title, tuple(arrays))
    if reference is None and (caption or difference_window is not None):
        raise TomolearnError(
            "reference: expected a title with caption or difference_window, got None"
        )

    rows, columns = next(iter(arrays.values())).shape
    if zoom is not None:
        zoom = _checked_region(zoom, rows, columns)

    from matplotlib.figure import Figure

    width_of_panel = min(_PANEL, _WIDEST / len(arrays))
    heights = [_panel_height(rows, columns, height / width)]
    if zoom is not None:
        heights.append(_panel_height(zoom[1] - zoom[0], zoom[3] - zoom[2], height / width))
    if reference is not None:
        heights.append(heights[0])
    figure = Figure(
        figsize=(
            width_of_panel * len(arrays) + 0.9,
            sum(width_of_panel * part + 0.45 for part in heights),
        ),
        dpi=_DPI,
        layout="constrained",
    )
    axes = figure.subplots(
        len(heights), len(arrays), squeeze=False, gridspec_kw={"height_ratios": heights}
    )
    aspect = height / width
    _draw_row(axes[0], arrays, notes or {}, limits, aspect)
    shown = list(axes[0])
    if zoom is not None:
        top, bottom, left, right = zoom
        details = {title: image[top:bottom, left:right] for title, image in arrays.items()}
        _draw_row(axes[1], details, {}, limits, aspect, titled=False)
        _frame(shown, axes[1], zoom)
        shown += list(axes[1])
    _add_colour_bar(figure, shown, arrays, limits, unit)
    if reference is not None:
        check_choice("reference", reference, tuple(arrays))
        if difference_window is None:
            raise TomolearnError(
                "difference_window: expected two numbers with a reference, got None"
            )
        limits = _checked_window("difference_window", difference_window)
        truth = arrays[reference]
        errors = {
            f"{title} − {reference}": image - truth
            for title, image in arrays.items()
            if title != reference
        }
        blank = axes[-1][list(arrays).index(reference)]
        blank.set_axis_off()
        blank.text(
            0, 0.95, caption, va="top", fontsize=9, linespacing=1.6, transform=blank.transAxes
        )
        rest = [axis for axis in axes[-1] if axis is not blank]
        if rest:
            _draw_row(rest, errors, {}, limits, aspect)
            _add_colour_bar(figure, rest, errors, limits, f"difference, {unit}")
    return figure


def middle_slice(image: NDArray[Any]) -> NDArray[Any]:
    """Return a volume's middle slice, the latter of two, or a plane image itself, 2-D."""
    values = np.asarray(image)
    if values.ndim not in (2, 3) or values.size == 0:
        raise TomolearnError(
            f"image: expected shape (rows, columns) or (slices, rows, columns), got {values.shape}"
        )
    return values if values.ndim == 2 else values[len(values) // 2]


def detailed_region(image: NDArray[Any], *, fraction: float = 0.3) -> Region:
    """Return the part of an image that has the most edges, the topmost of several.

    An edge counts by its length: a high one no more than one of a twentieth of the image's range.
    The image should be the ground truth, whose edges are no noise; of a volume the middle slice
    counts. `fraction` is the side of the region as a part of the image's shorter side.
    """
    values = middle_slice(image).astype(np.float64)
    if min(values.shape) < 2:
        raise TomolearnError(f"image: expected at least 2 x 2 pixels, got {values.shape}")
    if check_float("fraction", fraction, positive=True) > 1:
        raise TomolearnError(f"fraction: expected a number in (0, 1], got {fraction}")
    side = max(1, round(fraction * min(values.shape)))
    edges = np.minimum(np.hypot(*np.gradient(values)), _HIGHEST_EDGE * np.ptp(values))
    sums = np.pad(edges, ((1, 0), (1, 0))).cumsum(0).cumsum(1)
    within = sums[side:, side:] - sums[:-side, side:] - sums[side:, :-side] + sums[:-side, :-side]
    top, left = (int(index) for index in np.unravel_index(within.argmax(), within.shape))
    return top, top + side, left, left + side


def _panel_height(rows: int, columns: int, aspect: float) -> float:
    """Height of a panel as a part of its width."""
    return min(max(rows * aspect / columns, 0.4), 2.5)


def _draw_row(
    axes: Iterable[Axes],
    images: Mapping[str, NDArray[Any]],
    notes: Mapping[str, str],
    limits: tuple[float, float],
    aspect: float,
    *,
    titled: bool = True,
) -> None:
    low, high = limits
    for axis, (title, image) in zip(axes, images.items(), strict=True):
        axis.imshow(image, cmap="gray", vmin=low, vmax=high, aspect=aspect)
        if titled:
            axis.set_title(title, fontweight="bold")
        axis.set(xticks=[], yticks=[], xlabel=notes.get(title, ""))
        axis.spines[:].set_visible(False)


def _frame(axes: Iterable[Axes], details: Iterable[Axes], zoom: Region) -> None:
    """Draw the border of the detail into each image, and around the detail itself."""
    from matplotlib.patches import Rectangle

    top, bottom, left, right = zoom
    for axis, detail in zip(axes, details, strict=True):
        corner = (left - 0.5, top - 0.5)
        axis.add_patch(
            Rectangle(corner, right - left, bottom - top, fill=False, color=_FRAME, linewidth=1.2)
        )
        detail.spines[:].set(visible=True, color=_FRAME, linewidth=1.2)


def _add_colour_bar(
    figure: Figure,
    axes: list[Axes],
    images: Mapping[str, NDArray[Any]],
    limits: tuple[float, float],
    label: str,
) -> None:
    low, high = limits
    # The arrow heads say that there are values beyond the window, which black and white stand for.
    lowest = min(float(image.min()) for image in images.values())
    highest = max(float(image.max()) for image in images.values())
    extend = {(True, True): "both", (True, False): "min", (False, True): "max"}
    figure.colorbar(
        axes[-1].images[0],
        ax=axes,
        label=label,
        extend=extend.get((lowest < low, highest > high), "neither"),
        shrink=0.9,
        aspect=24,
        pad=0.02,
    )


def _checked_region(zoom: Any, rows: int, columns: int) -> Region:
    if not isinstance(zoom, Sequence) or isinstance(zoom, str) or len(zoom) != 4:
        raise TomolearnTypeError(f"zoom: expected four integers, got {zoom!r}")
    top, bottom, left, right = (check_int("zoom", value, minimum=0) for value in zoom)
    if not (top < bottom <= rows and left < right <= columns):
        raise TomolearnError(
            "zoom: expected rows and columns (first, end, first, end) within "
            f"{rows} x {columns}, got {tuple(zoom)}"
        )
    return top, bottom, left, right


def _checked_images(images: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    if not images:
        raise TomolearnError("images: expected at least one image, got none")
    whole = {title: np.asarray(image) for title, image in images.items()}
    shape = next(iter(whole.values())).shape
    for title, image in whole.items():
        if image.shape != shape:
            raise TomolearnError(
                f"images: expected all of one shape, got {image.shape} for {title!r} and {shape}"
            )
    return {title: middle_slice(image) for title, image in whole.items()}


def _checked_window(name: str, window: Any) -> tuple[float, float]:
    low, high = check_floats(name, window, length=2)
    if low >= high:
        raise TomolearnError(f"{name}: expected an increasing pair, got {window}")
    return low, high
