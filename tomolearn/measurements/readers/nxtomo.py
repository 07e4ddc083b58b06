"""NXtomo, the application definition of NeXus (https://manual.nexusformat.org)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from tomolearn._core.errors import TomolearnError
from tomolearn.measurements.readers import hdf5
from tomolearn.measurements.readers.angles import in_radians
from tomolearn.measurements.readers.frames import Frames
from tomolearn.measurements.readers.reader import Reader
from tomolearn.measurements.readers.recording import Recording

# What image_key says of a frame; 3 is one that is not to be used, -1 one of an alignment.
_PROJECTION, _FLAT, _DARK = 0, 1, 2
_DETECTOR = "instrument/detector"
_KEYS = (f"{_DETECTOR}/image_key_control", f"{_DETECTOR}/image_key")
_NOTES = {
    "title": "title",
    "sample": "sample/name",
    "energy": "instrument/beam/energy",
    "start": "start_time",
    "exposure_time": f"{_DETECTOR}/count_time",
    "propagation_distance": f"{_DETECTOR}/distance",
}


@contextmanager
def _opened(path: Path) -> Iterator[Recording]:
    with hdf5.opened_hdf5(path) as file:
        entry = _entry(file)
        data = f"{_DETECTOR}/data"
        keys = np.ravel(hdf5.value(entry, *_KEYS)[0]).astype(int)
        count = hdf5.dataset(entry, data).shape[0]
        if len(keys) != count:
            raise TomolearnError(
                f"{path}: expected an image_key for each of {count} frames, got {len(keys)}"
            )
        is_view = keys == _PROJECTION
        if not is_view.any():
            raise TomolearnError(f"{path}: expected some frames with image_key 0, got none")

        def frames(key: int) -> Frames | None:
            numbers = np.flatnonzero(keys == key)
            return hdf5.frames_in(entry, data, numbers) if len(numbers) else None

        theta, unit = hdf5.value(entry, "sample/rotation_angle")
        angles = None
        if theta is not None:
            if np.size(theta) != count:
                raise TomolearnError(
                    f"{path}: expected a rotation_angle for each of {count} frames, got "
                    f"{np.size(theta)}"
                )
            angles = in_radians(np.ravel(theta)[is_view], unit, f"{path}: rotation_angle")
        columns = hdf5.length(entry, f"{_DETECTOR}/x_pixel_size")
        rows = hdf5.length(entry, f"{_DETECTOR}/y_pixel_size")
        yield Recording(
            hdf5.frames_in(entry, data, np.flatnonzero(is_view)),
            flats=frames(_FLAT),
            darks=frames(_DARK),
            flat_views=_positions(np.flatnonzero(keys == _FLAT), is_view),
            angles=angles,
            detector_spacing=None if columns is None else (rows or columns, columns),
            notes={"format": "nxtomo"} | hdf5.notes(entry, _NOTES),
        )


def _entry(file: Any) -> Any:
    """Return the group that has the detector's frames with their keys."""
    found = list(_entries(file))
    if len(found) != 1:
        named = ", ".join(group.name.strip("/") for group in found) or "none"
        raise TomolearnError(
            f"{file.filename}: expected one entry with {_KEYS[1]}, as NXtomo has it, got {named}"
        )
    return _Entry(file, found[0].name)


class _Entry:
    """An entry of a file, whose names begin at it."""

    def __init__(self, file: Any, name: str) -> None:
        self._file, self._name, self.filename = file, name, file.filename

    def get(self, name: str, **how: Any) -> Any:
        return self._file.get(f"{self._name}/{name}", **how)

    def __contains__(self, name: str) -> bool:
        return f"{self._name}/{name}" in self._file


def _entries(file: Any) -> Iterator[Any]:
    import h5py

    # entries are groups of the file; of an entry, the older writers have one of NXsubentry
    for group in _groups(file):
        for place in (group, *_groups(group)):
            if any(isinstance(place.get(key), h5py.Dataset) for key in _KEYS):
                yield place


def _groups(group: Any) -> list[Any]:
    import h5py

    links = {name: group.get(name, getlink=True) for name in group}
    inside = [name for name, link in links.items() if isinstance(link, h5py.HardLink)]
    return [group[name] for name in inside if isinstance(group.get(name), h5py.Group)]


def _positions(flats: np.ndarray, is_view: np.ndarray) -> tuple[float, ...] | None:
    """Return before how many views each flat field was taken, less a half; at the ends, outside."""
    total = int(is_view.sum())
    before = np.cumsum(is_view)[flats]
    places = np.where(before == 0, -1.0, np.where(before == total, total, before - 0.5))
    return tuple(places.tolist()) if len(places) else None


def _recognises(path: Path) -> bool:
    with hdf5.opened_hdf5(path) as file:
        return any(True for _ in _entries(file))


READER = Reader((".nxs", ".nx", ".h5", ".hdf5", ".hdf"), _opened, recognises=_recognises)
