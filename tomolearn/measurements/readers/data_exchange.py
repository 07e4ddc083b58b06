"""Data Exchange, the HDF5 format of the APS (De Carlo et al., doi:10.1107/S160057751401604X)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tomolearn.measurements.readers import hdf5
from tomolearn.measurements.readers.angles import in_radians
from tomolearn.measurements.readers.reader import Reader
from tomolearn.measurements.readers.recording import Recording

_DATA = "exchange/data"
_DETECTOR = "measurement/instrument/detector"
_NOTES = {
    "title": "exchange/title",
    "sample": "measurement/sample/name",
    "energy": "measurement/instrument/monochromator/energy",
    "exposure_time": f"{_DETECTOR}/exposure_time",
}


@contextmanager
def _opened(path: Path) -> Iterator[Recording]:
    with hdf5.opened_hdf5(path) as file:
        frames = hdf5.frames_in(file, _DATA)
        theta, unit = hdf5.value(file, "exchange/theta")
        flats, darks = (
            hdf5.frames_in(file, name) if name in file else None
            for name in ("exchange/data_white", "exchange/data_dark")
        )
        columns = hdf5.length(file, f"{_DETECTOR}/pixel_size_x", f"{_DETECTOR}/x_pixel_size")
        rows = hdf5.length(file, f"{_DETECTOR}/pixel_size_y", f"{_DETECTOR}/y_pixel_size")
        yield Recording(
            frames,
            flats=flats,
            darks=darks,
            angles=None if theta is None else in_radians(theta, unit, f"{path}: exchange/theta"),
            detector_spacing=None if columns is None else (rows or columns, columns),
            notes={"format": "data-exchange"} | hdf5.notes(file, _NOTES),
        )


READER = Reader(
    (".h5", ".hdf5", ".hdf", ".nxs"), _opened, recognises=lambda path: hdf5.has(path, _DATA)
)
