"""Figures of images next to each other, and of their errors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tomolearn._core.checks import check_choice, check_floats

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["draw_images"]

_PANEL = 3.6  # inches
_DPI = 150


def draw_images(
    images: Mapping[str, NDArray[Any]],
    *,
    window: tuple[float, float],
    unit: str,
    reference: str | None = None,
    difference_window: tuple[float, float] | None = None,
    notes: Mapping[str, str] | None = None,
    caption: str = "",
    spacing: tuple[float, float] = (1.0, 1.0),
) -> Figure:
    """Draw images in a row, all on one grey scale, and below them their errors on another.

    Parameters
    ----------
    images : mapping of str to numpy.ndarray, shape (rows, columns)
        Images by title, drawn from left to right with row 0 at the top.
    window : (float, float)
        Values shown black and white, in `unit`; what lies beyond is shown as these are.
    unit : str
        Unit of the values, for the colour bars.
    reference : str, optional
        Title of the image to subtract from each of the others in a second row. Default: no
        second row.
    difference_window : (float, float), optional
        As `window`, for the differences; needed with `reference`.
    notes : mapping of str to str, optional
        A line below an image, for example its metrics.
    caption : str
        What is said where the reference's own difference would be; needs `reference`.
    spacing : (float, float)
        Distances of rows and of columns: the shape of a pixel.

    Returns
    -------
    matplotlib.figure.Figure
        Without a window and without pyplot's state; ``savefig`` writes it.

    Raises
    ------
    TypeError
        If a window or the spacing is not two numbers.
    ValueError
        If there are no images, their shapes differ or are not two-dimensional, a window is not
        increasing, a title is unknown, or `difference_window` or `reference` is missing.
    """
    arrays = _checked_images(images)
    limits = _checked_window("window", window)
    height, width = check_floats("spacing", spacing, length=2)
    for title in notes or {}:
        check_choice("notes", title, tuple(arrays))
    if reference is None and (caption or difference_window is not None):
        raise ValueError("reference: expected a title with caption or difference_window, got None")

    from matplotlib.figure import Figure

    rows, columns = next(iter(arrays.values())).shape
    n_rows = 1 if reference is None else 2
    panel = _PANEL * min(max(rows * height / (columns * width), 0.4), 2.5)
    figure = Figure(
        figsize=(_PANEL * len(arrays) + 0.9, (panel + 0.45) * n_rows),
        dpi=_DPI,
        layout="constrained",
    )
    axes = figure.subplots(n_rows, len(arrays), squeeze=False)
    aspect = height / width
    _draw_row(figure, axes[0], arrays, notes or {}, limits, aspect, unit)
    if reference is not None:
        check_choice("reference", reference, tuple(arrays))
        if difference_window is None:
            raise ValueError("difference_window: expected two numbers with a reference, got None")
        limits = _checked_window("difference_window", difference_window)
        truth = arrays[reference]
        errors = {
            f"{title} − {reference}": image - truth
            for title, image in arrays.items()
            if title != reference
        }
        blank = axes[1][list(arrays).index(reference)]
        blank.set_axis_off()
        blank.text(
            0, 0.95, caption, va="top", fontsize=9, linespacing=1.6, transform=blank.transAxes
        )
        rest = [axis for axis in axes[1] if axis is not blank]
        if rest:
            _draw_row(figure, rest, errors, {}, limits, aspect, f"difference, {unit}")
    return figure


def _draw_row(
    figure: Figure,
    axes: Any,
    images: Mapping[str, NDArray[Any]],
    notes: Mapping[str, str],
    limits: tuple[float, float],
    aspect: float,
    label: str,
) -> None:
    low, high = limits
    axis: Axes
    for axis, (title, image) in zip(axes, images.items(), strict=True):
        drawn = axis.imshow(image, cmap="gray", vmin=low, vmax=high, aspect=aspect)
        axis.set_title(title, fontweight="bold")
        axis.set(xticks=[], yticks=[], xlabel=notes.get(title, ""))
        axis.spines[:].set_visible(False)
    # The arrow heads say that there are values beyond the window, which black and white stand for.
    lowest = min(float(image.min()) for image in images.values())
    highest = max(float(image.max()) for image in images.values())
    extend = {(True, True): "both", (True, False): "min", (False, True): "max"}
    figure.colorbar(
        drawn,
        ax=list(axes),
        label=label,
        extend=extend.get((lowest < low, highest > high), "neither"),
        shrink=0.9,
        aspect=24,
        pad=0.02,
    )


def _checked_images(images: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    if not images:
        raise ValueError("images: expected at least one image, got none")
    arrays = {title: np.asarray(image) for title, image in images.items()}
    shape = next(iter(arrays.values())).shape
    for title, image in arrays.items():
        if image.ndim != 2 or image.size == 0 or image.shape != shape:
            raise ValueError(
                f"images: expected all of one shape (rows, columns), got {image.shape} for "
                f"{title!r}" + (f" and {shape}" if image.shape != shape else "")
            )
    return arrays


def _checked_window(name: str, window: Any) -> tuple[float, float]:
    low, high = check_floats(name, window, length=2)
    if low >= high:
        raise ValueError(f"{name}: expected an increasing pair, got {window}")
    return low, high
