"""The formats of measured scans, and `read`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from tomolearn._core.checks import check_known
from tomolearn._core.errors import TomolearnError, TomolearnTypeError
from tomolearn._core.tables import Table
from tomolearn.measurements.readers.reader import Reader

if TYPE_CHECKING:
    from tomolearn.measurements.measurement import Measurement
    from tomolearn.measurements.readers.recording import Given


def _reader(where: str, value: Any) -> Reader:
    if not isinstance(value, Reader):
        raise TomolearnError(f"format {where}: expected a Reader, got {value!r}")
    return value


_HERE = "tomolearn.measurements.readers"
READERS: Table[Reader] = Table(
    "format",
    {
        "data-exchange": f"{_HERE}.data_exchange:READER",
        "nxtomo": f"{_HERE}.nxtomo:READER",
        "tiff": f"{_HERE}.tiff:READER",
        "fips": f"{_HERE}.fips:READER",
        "nikon": f"{_HERE}.nikon:READER",
        "zeiss": f"{_HERE}.zeiss:READER",
        "mrc": f"{_HERE}.mrc:READER",
    },
    group="tomolearn.readers",
    check=_reader,
)
"""Reader of each format. Entry points of the group ``tomolearn.readers`` add to it."""


def read(
    path: str | os.PathLike[str],
    *,
    format: str | None = None,
    rows: int | slice | None = None,
    views: slice | None = None,
    **told: Unpack[Given],
) -> Measurement:
    """Read a scanner's file: counts or line integrals, flat and dark fields, and the scan.

    What the file does not tell is told by name; what is told goes before the file's word. Where
    something stays unknown, the measurement has no scan, and its `missing` says why.

    Parameters
    ----------
    path : path
        Data Exchange or NXtomo (.h5, .hdf5, .hdf, .nxs, .nx), a TIFF file or a folder of them,
        HTC2022 and FIPS (.mat), Nikon (.xtekct), Zeiss (.txrm), MRC (.mrc, .st, .ali, with
        .rawtlt or .tlt beside it).
    format : str, optional
        Name in `READERS`. Default: by the name and what is in the file.
    rows : int or slice, optional
        Detector rows to read; a number takes the axis away. Default: all.
    views : slice, optional
        Views to read. Default: all.
    **told
        What follows.

    Other Parameters
    ----------------
    content : {"counts", "line_integrals"}, optional
        What the file holds, if it does not say.
    flats, darks : number, numpy.ndarray or path of TIFF, optional
        Fields that lie elsewhere.
    angles : sequence of float in radians, or path of a text file, optional
        Of each view; the last number of each line of the file.
    angular_range : float, optional
        In place of angles: views lie at equal steps over so many radians, the end left out.
    angle_unit : {"degree", "radian"}, optional
        Of the text file. Default: degree.
    clockwise : bool
        Whether the views turn against the sense of our conventions: the image is mirrored.
    detector_spacing : float or (float, float), optional
        Distance of neighbouring bins in mm, or of rows and columns.
    source_to_isocenter, source_to_detector : float, optional
        In mm. Without them, and without such a word of the file, the beam is parallel.
    detector_offset : float or (float, float), optional
        Position in mm of the detector's middle along the columns, or along rows and columns.
    center : float, optional
        In its place: the column, not whole, onto which the axis is projected.

    Returns
    -------
    Measurement

    Raises
    ------
    OSError
        If the file cannot be read.
    ImportError
        If the package of the format is missing.
    TypeError, ValueError
        If it is of no known format, damaged, or does not fit what was told.

    Warns
    -----
    MeasurementWarning
        If the file tells something of the scanner that the scan cannot hold.

    Examples
    --------
    >>> scan = tl.measurements.read("tooth.h5", detector_spacing=1.0, center=295.85, rows=0)
    >>> y, w, report = scan.line_integrals_and_weights()
    """
    from tomolearn.measurements.readers.recording import Given, measurement_of

    if not isinstance(path, (str, os.PathLike)):
        raise TomolearnTypeError(f"path: expected a path, got {type(path).__name__}")
    for name in told:
        check_known("keyword", name, tuple(Given.__annotations__))
    if views is not None and (not isinstance(views, slice) or (views.step or 1) < 1):
        raise TomolearnError(f"views: expected a slice that goes forwards, got {views!r}")
    place = Path(path)
    if not place.exists():
        raise FileNotFoundError(f"{place}: there is no such file")
    reader = READERS.find(format) if format is not None else _recognised(place)
    with reader.opened(place) as found:
        return measurement_of(found, str(place), told, rows, views)


def _recognised(path: Path) -> Reader:
    if path.is_dir():
        return READERS["tiff"]
    suffix = path.suffix.lower()
    fitting = {name: one for name, one in READERS.items() if suffix in one.suffixes}
    if not fitting:
        known = sorted({suffix for one in READERS.values() for suffix in one.suffixes})
        raise TomolearnError(f"{path}: expected a name that ends in {', '.join(known)}")
    for reader in fitting.values():
        if reader.recognises is None or reader.recognises(path):
            return reader
    raise TomolearnError(
        f"{path}: expected a file of {' or '.join(fitting)}, got one that has the data of none; "
        "give format= to see what is missing"
    )
