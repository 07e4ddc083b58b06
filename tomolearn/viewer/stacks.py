"""Stacks of slices to be looked at, one by one or side by side, from files and folders."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tomolearn._core.errors import TomolearnError
from tomolearn.batch import LEDGER, read_ledger
from tomolearn.batch.ledger_records import is_series_record, roots
from tomolearn.data.arrays import ARRAY_SUFFIXES, opened_array
from tomolearn.data.volumes import is_volume_name, read_volume
from tomolearn.dicom import Series, find_series

_PICTURES = (".png", ".tif", ".tiff", ".jpg", ".jpeg")
_HU_WINDOW = (-1000.0, 600.0)
_SAMPLED = 32  # slices from which a window is chosen
_PERCENTILES = (0.5, 99.5)


@dataclass(frozen=True)
class Stack:
    """Slices of one image.

    Parameters
    ----------
    name : str
        What is shown above it.
    shape : (int, int, int)
        Slices, rows, columns.
    read : callable
        Returns slice k, of float32 and shape (rows, columns).
    unit : str
        Unit of the values, empty where there is none.
    aspect : float
        Height of a pixel in units of its width.
    window : (float, float)
        Values that are black and white at first.
    """

    name: str
    shape: tuple[int, int, int]
    read: Callable[[int], NDArray[np.float32]] = field(repr=False)
    unit: str = ""
    aspect: float = 1.0
    window: tuple[float, float] = (0.0, 1.0)


@dataclass(frozen=True)
class Comparison:
    """Stacks of one shape side by side, with the difference of the first two.

    Parameters
    ----------
    key : str
        What tells it from others, and may be a path.
    name : str
        Its heading.
    stacks : tuple of Stack
        At least one.
    note : str
        What a reader should know.

    Raises
    ------
    ValueError
        If the stacks have no common shape.
    """

    key: str
    name: str
    stacks: tuple[Stack, ...]
    note: str = ""

    def __post_init__(self) -> None:
        shapes = {one.shape for one in self.stacks}
        if len(shapes) != 1:
            said = ", ".join(f"{one.name} of {one.shape}" for one in self.stacks)
            raise TomolearnError(f"{self.name}: expected images of one shape, got {said or 'none'}")

    @property
    def panes(self) -> tuple[Stack, ...]:
        """The stacks, and the difference of the second from the first."""
        if len(self.stacks) == 1:
            return self.stacks
        first, second = self.stacks[:2]
        span = (first.window[1] - first.window[0]) / 8
        difference = Stack(
            f"{second.name} - {first.name}",
            first.shape,
            lambda k: second.read(k) - first.read(k),
            first.unit,
            first.aspect,
            (-span, span),
        )
        return (*self.stacks, difference)


def array_stack(name: str, values: NDArray[Any], *, aspect: float = 1.0) -> Stack:
    """Return the slices of an array of shape (..., rows, columns), with leading axes as one.

    Raises
    ------
    ValueError
        If it has no two axes of length, or values that are no real numbers.
    """
    if values.ndim < 2 or not values.size or values.dtype.kind not in "buif":
        raise TomolearnError(
            f"{name}: expected an image of real numbers, got shape {values.shape} and dtype "
            f"{values.dtype}"
        )
    stacked = values.reshape(-1, *values.shape[-2:])
    step = max(1, len(stacked) // _SAMPLED)
    sample = np.asarray(stacked[::step], dtype=np.float32)
    finite = sample[np.isfinite(sample)]
    low, high = map(float, np.percentile(finite, _PERCENTILES)) if finite.size else (0.0, 1.0)
    return Stack(
        name,
        stacked.shape,
        lambda k: np.asarray(stacked[k], dtype=np.float32),
        aspect=aspect,
        window=(low, high if high > low else low + 1),
    )


def series_stack(series: Series, name: str = "") -> Stack:
    """Return the slices of a CT series that have one size, in Hounsfield units.

    Raises
    ------
    ValueError
        If its slices have several sizes.
    """
    shapes = {one.shape for one in series.slices}
    if len(shapes) != 1:
        raise TomolearnError(f"series {series.uid}: expected slices of one size, got {shapes}")
    (shape,) = shapes
    rows, columns = series.slices[0].spacing
    return Stack(
        name or series.description or series.uid,
        (len(series), *shape),
        lambda k: series.read(k).hounsfield,
        "HU",
        rows / columns,
        _HU_WINDOW,
    )


def open_comparisons(paths: Sequence[Path]) -> list[Comparison]:
    """Return what there is to look at in files and folders.

    Several files, or folders with one series each, are one comparison. A folder of a batch's
    results has one for each of them, with its source where that can be found; any other folder, or
    a DICOM file, one for each CT series.

    Raises
    ------
    OSError
        If a path cannot be read.
    ValueError
        If there is no image in it, or images to be compared differ in shape.
    """
    if len(paths) > 1:
        stacks = []
        for path in paths:
            found = _opened(path)
            if len(found) != 1 or len(found[0].stacks) != 1:
                raise TomolearnError(f"{path}: expected one image to compare, got {len(found)}")
            stacks.append(found[0].stacks[0])
        return [Comparison("0", " and ".join(one.name for one in stacks), tuple(stacks))]
    return _opened(paths[0])


def _opened(path: Path) -> list[Comparison]:
    suffix = path.suffix.lower()
    if path.is_dir() and (path / LEDGER).is_file():
        return _results(path)
    if is_volume_name(path):
        volume, grid = read_volume(path)
        return [_one(array_stack(path.name, volume, aspect=grid.spacing[-2] / grid.spacing[-1]))]
    if suffix in ARRAY_SUFFIXES:
        with opened_array(path, option="path") as array:
            return [_one(array_stack(path.name, np.asarray(array[...])))]
    if suffix in _PICTURES:
        from skimage.color import rgb2gray
        from skimage.io import imread

        picture = imread(path)
        is_coloured = picture.ndim == 3 and picture.shape[-1] in (3, 4)
        return [
            _one(array_stack(path.name, rgb2gray(picture[..., :3]) if is_coloured else picture))
        ]
    index = find_series(path)
    if not index.series:
        raise TomolearnError(
            f"{path}: expected an image ({', '.join((*ARRAY_SUFFIXES, *_PICTURES))}, a volume), CT "
            f"series or the results of a batch, got none ({index.counts})"
        )
    return [
        Comparison(str(number), f"{one.patient_id} {one.description}", (series_stack(one),))
        for number, one in enumerate(index.series)
    ]


def _one(stack: Stack) -> Comparison:
    return Comparison("0", stack.name, (stack,))


def _results(out: Path) -> list[Comparison]:
    """Return the results of a batch, each beside its source."""
    last: dict[str, tuple[str | None, Mapping[str, Any]]] = {}
    for root, record in roots(read_ledger(out / LEDGER)):
        if is_series_record(record) and record["output"] and (out / record["output"]).is_dir():
            last[record["derived"]] = root, record
    made = []
    for root, record in last.values():
        (result,) = find_series(out / record["output"]).series
        stack = series_stack(result, "result")
        name = f"{record['patient']} {record['description']}"
        source, note = _source(root, record, result)
        stacks = (stack,) if source is None else (source, stack)
        made.append(Comparison(record["output"], name, stacks, note))
    if not made:
        raise TomolearnError(f"{out}: expected results of a batch, got none that are there still")
    return made


def _source(
    root: str | None, record: Mapping[str, Any], result: Series
) -> tuple[Stack | None, str]:
    """Return the slices that a result was made of, in its order, or why they are not shown."""
    folder = None if root is None else Path(root)
    if folder is None or not folder.exists():
        return None, f"The source is not at {root} any more."
    place = folder / record["source"] if folder.is_dir() else folder
    found = [one for one in find_series(place).series if one.uid == record["series"]]
    if len(found) != 1:
        return None, f"The source series is not in {place} any more."
    (series,) = found
    numbers = {one.instance_number: k for k, one in enumerate(series.slices)}
    order = [numbers.get(one.instance_number) for one in result.slices]
    if len(numbers) < len(series) or None in order:
        if len(series) != len(result):
            return None, "Slices of the source and of the result cannot be told by their numbers."
        order = list(range(len(series)))
    whole = series_stack(series, "source")
    places = [k for k in order if k is not None]
    return Stack(
        whole.name,
        (len(places), *whole.shape[1:]),
        lambda k: whole.read(places[k]),
        whole.unit,
        whole.aspect,
        whole.window,
    ), ""
