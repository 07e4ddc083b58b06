"""What a reader finds in a file, and the measurement that is made of it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypedDict

import numpy as np

from tomolearn._core.checks import check_flag, check_float, check_floats
from tomolearn._core.errors import TomolearnError
from tomolearn.geometry import ConeBeam, FanBeam, ParallelBeam, RotationScan
from tomolearn.measurements.measurement import Measurement
from tomolearn.measurements.readers.angles import read_angles
from tomolearn.measurements.readers.frames import Frames, frames_of, frames_of_number
from tomolearn.measurements.readers.pictures import frames_in


@dataclass
class Recording:
    """What a file of a scanner tells; what it does not tell stays None.

    Parameters
    ----------
    frames : Frames
        Views of the object.
    is_counts : bool or None
        Whether they are counts, else line integrals; None: the file does not say.
    flats, darks : Frames or None
    flat_views : tuple of float or None
        Views at which the flat fields were taken.
    angles : numpy.ndarray or None, shape (views,)
        In radians, in the sense of our conventions.
    has_source : bool
        Whether the beam diverges, so that its distances belong to the scan.
    detector_spacing : (float, float) or None
        Of rows and columns, in mm.
    source_to_isocenter, source_to_detector : float or None
        In mm.
    detector_offset : (float, float)
        Along rows and columns in mm.
    notes : dict of str
    """

    frames: Frames
    is_counts: bool | None = True
    flats: Frames | None = None
    darks: Frames | None = None
    flat_views: tuple[float, ...] | None = None
    angles: np.ndarray | None = None
    has_source: bool = False
    detector_spacing: tuple[float, float] | None = None
    source_to_isocenter: float | None = None
    source_to_detector: float | None = None
    detector_offset: tuple[float, float] = (0.0, 0.0)
    notes: dict[str, Any] = field(default_factory=dict)


class Given(TypedDict, total=False):
    """What the user tells of a scan; it goes before what the file says. See `read`."""

    content: str
    flats: Any
    darks: Any
    angles: Any
    angular_range: float
    angle_unit: str
    clockwise: bool
    detector_spacing: float | Sequence[float]
    source_to_isocenter: float
    source_to_detector: float
    detector_offset: float | Sequence[float]
    center: float


CONTENTS = ("counts", "line_integrals")


def measurement_of(
    found: Recording,
    where: str,
    given: Given,
    rows: int | slice | None,
    views: slice | None,
) -> Measurement:
    """Return the measurement of a recording, of some rows and views, with what the user told.

    Raises
    ------
    TypeError, ValueError
        If something told does not fit the frames, or cannot be.
    """
    shape = found.frames.shape
    is_counts = _is_counts(found, where, given.get("content"))
    flats, darks = (
        _told_frames(name, given.get(name), shape[1:]) or getattr(found, name)
        for name in ("flats", "darks")
    )
    missing: list[str] = []
    scan = _scan(found, given, missing)
    if scan is None and given.get("center") is not None:
        raise TomolearnError(
            f"{missing[0]}: expected a value, which {where} does not tell, to place the center; "
            "got none"
        )
    # the scan of the parts that are wanted is found before any frame is read
    whole = Measurement(
        counts=np.broadcast_to(np.uint8(0), shape),
        scan=scan,
        notes=dict(found.notes),
        missing=tuple(missing),
        flat_views=found.flat_views if given.get("flats") is None else None,
    )
    part = whole if rows is None else whole.subset(rows=rows)
    part = part if views is None else part.subset(views=views)
    numbers = range(shape[0])[slice(None) if views is None else views]
    values = found.frames.load(numbers, rows)
    return dataclasses.replace(
        part,
        counts=values if is_counts else None,
        line_integrals=None if is_counts else values,
        flats=None if flats is None else flats.load_all(rows),
        darks=None if darks is None else darks.load_all(rows),
    )


def _is_counts(found: Recording, where: str, content: Any) -> bool:
    if content is not None:
        if content not in CONTENTS:
            raise TomolearnError(f"content: expected one of {', '.join(CONTENTS)}, got {content!r}")
        return bool(content == "counts")
    if found.is_counts is None:
        raise TomolearnError(
            f"content: expected one of {', '.join(CONTENTS)} for {where}, whose floating-point "
            "numbers may be either, got none"
        )
    return found.is_counts


def _told_frames(name: str, told: Any, shape: Sequence[int]) -> Frames | None:
    """Return frames that the user told: a number, an array, or files of TIFF."""
    if told is None:
        return None
    if isinstance(told, (int, float)) and not isinstance(told, bool):
        return frames_of_number(check_float(name, told), shape, name)
    if isinstance(told, np.ndarray):
        frames = frames_of(told[None] if told.ndim == len(shape) else told, name)
    else:
        frames = frames_in(told)
    if frames.shape[1:] != tuple(shape):
        raise TomolearnError(
            f"{name}: expected frames of shape {tuple(shape)} as of the views, got "
            f"{frames.shape[1:]}"
        )
    return frames


def _scan(found: Recording, given: Given, missing: list[str]) -> RotationScan | None:
    """Return the scan, or None with the names of what it lacks put into `missing`."""
    count, in_space = found.frames.shape[0], len(found.frames.shape) == 3
    angles = _angles(found, given, count)
    spacing = _per_axis("detector_spacing", given.get("detector_spacing"), found.detector_spacing)
    distances: dict[str, Any] = {
        name: given.get(name, getattr(found, name))
        for name in ("source_to_isocenter", "source_to_detector")
    }
    has_source = found.has_source or any(given.get(name) is not None for name in distances)
    needed = {"angles": angles, "detector_spacing": spacing} | (distances if has_source else {})
    missing += [name for name, value in needed.items() if value is None]
    if missing or angles is None or spacing is None:
        return None
    offset = _per_axis("detector_offset", given.get("detector_offset"), found.detector_offset)
    row_offset, column_offset = offset or (0.0, 0.0)
    listed, columns = angles.tolist(), found.frames.shape[-1]
    scan: RotationScan
    if not has_source:
        scan = ParallelBeam(
            angles=listed,
            n_detectors=columns,
            detector_spacing=spacing[1],
            detector_offset=column_offset,
        )
    elif in_space:
        scan = ConeBeam(
            angles=listed,
            detector_shape=found.frames.shape[1:],
            detector_spacing=spacing,
            detector_offset=(row_offset, column_offset),
            **distances,
        )
    else:
        scan = FanBeam(
            angles=listed,
            n_detectors=columns,
            detector_spacing=spacing[1],
            detector_offset=column_offset,
            **distances,
        )
    center = given.get("center")
    if center is None:
        return scan
    if given.get("detector_offset") is not None:
        raise TomolearnError("center: expected either it or detector_offset, got both")
    return scan.with_center(center)


def _angles(found: Recording, given: Given, count: int) -> np.ndarray | None:
    told, span = given.get("angles"), given.get("angular_range")
    if told is not None and span is not None:
        raise TomolearnError("angular_range: expected either it or angles, got both")
    angles = found.angles
    if span is not None:
        angles = np.arange(count) * (check_float("angular_range", span, positive=True) / count)
    elif told is not None:
        unit = given.get("angle_unit")
        is_list = isinstance(told, (Sequence, np.ndarray)) and not isinstance(told, str)
        if is_list and unit is not None:
            raise TomolearnError(
                f"angle_unit: expected none with a list of angles in radians, got {unit!r}"
            )
        angles = np.array(check_floats("angles", told)) if is_list else read_angles(told, unit)
    if angles is None:
        return None
    if len(angles) != count:
        raise TomolearnError(f"angles: expected {count}, one for each view, got {len(angles)}")
    # about the axis the other way: the image is as a mirror shows it
    turned = check_flag("clockwise", given.get("clockwise", False))
    return -angles if turned else angles


def _per_axis(
    name: str, told: Any, found: tuple[float, float] | None
) -> tuple[float, float] | None:
    if told is None:
        return found
    if isinstance(told, (Sequence, np.ndarray)) and not isinstance(told, str):
        first, second = check_floats(name, told, length=2)
        return first, second
    one = check_float(name, told)
    return (one, one) if name == "detector_spacing" else (0.0, one)


def noted(value: Any) -> Any:
    """Return a value of a file as JSON has it: numpy's as plain ones, long arrays by their size."""
    if isinstance(value, bytes):
        return value.split(b"\0")[0].decode("utf-8", "replace")
    if isinstance(value, np.ndarray):
        if value.size > 16:
            return f"{value.size} values"
        return [noted(one) for one in value.ravel().tolist()]
    if isinstance(value, np.generic):
        return noted(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {str(key): noted(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [noted(one) for one in value]
    return value if isinstance(value, (str, int, float, bool)) or value is None else str(value)
