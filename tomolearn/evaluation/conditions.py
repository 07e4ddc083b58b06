"""Conditions that a task was not made for, one value each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tomolearn._core.errors import TomolearnError
from tomolearn.data.phantoms import ImageDataset, PhantomSource
from tomolearn.geometry import RotationScan
from tomolearn.measurements.calibration.parameters import PARAMETERS, with_angles
from tomolearn.operators import LinearOperator
from tomolearn.simulation import Acquisition
from tomolearn.tasks import Task

_JITTER = np.deg2rad(0.5)
_SEED = 20_230
# width of a thin line, and height of a letter's strokes, as parts of the image
_PIXELS = 128
_LETTERS = {
    "C": (".###.", "#...#", "#....", "#....", "#....", "#...#", ".###."),
    "T": ("#####", "..#..", "..#..", "..#..", "..#..", "..#..", "..#.."),
    "2": (".###.", "#...#", "....#", "...#.", "..#..", ".#...", "#####"),
}
_CONTRAST = 0.2


class Condition(NamedTuple):
    """A change of a task.

    Parameters
    ----------
    about : str
        What changes.
    change : callable
        ``change(task)`` is the changed task; `TomolearnError` where it has no meaning.
    """

    about: str
    change: Callable[[Task], Task]


@dataclass(frozen=True, kw_only=True)
class MisalignedTask(Task):
    """A task whose scan is another one than methods are told.

    Parameters
    ----------
    assumed : Acquisition
        What methods are told of the scan.
    """

    assumed: Acquisition

    def operator(self) -> LinearOperator:
        """Return the operator that methods are given."""
        return self.assumed.operator(self.grid)


@dataclass(frozen=True)
class ChangedSource:
    """Phantoms of a source, changed."""

    source: PhantomSource
    change: Callable[[NDArray[np.float32]], NDArray[np.float32]]

    def __call__(self, shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.float32]:
        """Return an image of this shape."""
        return np.ascontiguousarray(self.change(self.source(shape, rng)), dtype=np.float32)

    def to_dict(self) -> dict[str, Any]:
        """Return what was changed and how, ready for JSON."""
        return {"type": self.change.__name__, "source": self.source.to_dict()}


def _dose(dose: float) -> Callable[[Task], Task]:
    return lambda task: replace(task, acquisition=task.acquisition.at_dose(dose))


def _rotation(task: Task) -> RotationScan:
    scan = task.scan
    if not isinstance(scan, RotationScan) or task.grid.ndim != 2:
        raise TomolearnError(
            f"task: expected a scan in the plane with view angles, got {task.name}"
        )
    return scan


def _half_the_views(task: Task) -> Task:
    return replace(
        task,
        acquisition=replace(task.acquisition, scan=_rotation(task).subset(slice(None, None, 2))),
    )


def _twice_the_views(task: Task) -> Task:
    scan = _rotation(task)
    angles = scan.view_angles
    steps = np.diff(angles, append=2 * angles[-1] - angles[-2])
    doubled = np.sort(np.concatenate([angles - steps / 4, angles + steps / 4]))
    return replace(task, acquisition=replace(task.acquisition, scan=with_angles(scan, doubled)))


def _jitter(task: Task) -> Task:
    scan = _rotation(task)
    noise = np.random.default_rng(_SEED).normal(0, _JITTER, len(scan.view_angles))
    return _measured_by(task, with_angles(scan, scan.view_angles + noise))


def detector_off(bins: float) -> Callable[[Task], Task]:
    """Return the change of a task whose detector is off by so many bins, unknown to methods."""

    def change(task: Task) -> Task:
        scan: Any = _rotation(task)
        offset = scan.detector_offset + bins * scan.detector_spacing
        return _measured_by(task, PARAMETERS["detector_offset"].changed(scan, offset))

    return change


def _measured_by(task: Task, scan: RotationScan) -> MisalignedTask:
    fields = {name: getattr(task, name) for name in Task.__dataclass_fields__}
    measured = replace(task.acquisition, scan=scan)
    return MisalignedTask(**fields | {"acquisition": measured}, assumed=task.acquisition)


def turned(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return an image turned by a right angle, if it is not square by two."""
    return np.rot90(image, 1 if image.shape[0] == image.shape[1] else 2)


def with_detail(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return an image with letters and thin lines in its middle, of a fifth of its range.

    Lines are as wide as one of 128 pixels along the image's shorter side, and at least a pixel.
    """
    pattern = _pattern()
    width = max(1, round(min(image.shape) / _PIXELS))
    pattern = np.kron(pattern, np.ones((width, width), np.float32))
    rows, columns = pattern.shape
    if rows > image.shape[0] or columns > image.shape[1]:
        raise TomolearnError(f"image: expected one of {pattern.shape} or more, got {image.shape}")
    top, left = (image.shape[0] - rows) // 2, (image.shape[1] - columns) // 2
    changed = image.copy()
    changed[top : top + rows, left : left + columns] += _CONTRAST * np.ptp(image) * pattern
    return changed


def _pattern() -> NDArray[np.float32]:
    """Return three letters, above lines of one pixel at distances of two, three and four."""
    gap = np.zeros((7, 2), np.float32)
    letters = [
        np.array([[character == "#" for character in line] for line in glyph], np.float32)
        for glyph in _LETTERS.values()
    ]
    text = np.hstack([letters[0], gap, letters[1], gap, letters[2]])
    lines = np.zeros((7, text.shape[1]), np.float32)
    lines[:, [0, 2, 4, 7, 10, 14, 18]] = 1
    return np.vstack([text, np.zeros((2, text.shape[1]), np.float32), lines])


def _of_images(change: Callable[[Any], Any]) -> Callable[[Task], Task]:
    def changed(task: Task) -> Task:
        splits = {}
        for name, split in task.splits.items():
            if split.source is None or isinstance(split.source, ImageDataset):
                raise TomolearnError(f"task: expected drawn images, got those of {task.name}")
            splits[name] = replace(split, source=ChangedSource(split.source, change))
        return replace(task, splits=splits)

    return changed


CONDITIONS: dict[str, Condition] = {
    "as trained": Condition("the task itself", lambda task: task),
    "dose / 2": Condition("half the photons, or twice the variance", _dose(0.5)),
    "dose / 4": Condition("a quarter of the photons, or four times the variance", _dose(0.25)),
    "views / 2": Condition("every second view", _half_the_views),
    "views x 2": Condition("two views for each", _twice_the_views),
    "jitter": Condition("views off by angles of 0.5 degrees standard deviation", _jitter),
    "offset": Condition(
        "the detector is off by one bin, and methods do not know", detector_off(1.0)
    ),
    "turned": Condition("images turned by a right angle", _of_images(turned)),
    "detail": Condition("letters and thin lines in the middle", _of_images(with_detail)),
}
"""What `tomolearn stress` tries, by name."""
