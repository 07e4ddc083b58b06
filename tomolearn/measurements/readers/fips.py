"""Files of MATLAB with a scan in the plane: HTC2022 and other data sets of FIPS, Helsinki.

HTC2022: doi:10.5281/zenodo.6984868. Versions 5 and 7.3 of .mat.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from tomolearn._core.errors import TomolearnError
from tomolearn.measurements.readers.angles import in_radians
from tomolearn.measurements.readers.frames import frames_of
from tomolearn.measurements.readers.packages import needed
from tomolearn.measurements.readers.reader import Reader
from tomolearn.measurements.readers.recording import Recording, noted

_PARALLEL, _DIVERGING = ("parallel",), ("cone", "fan")


@contextmanager
def _opened(path: Path) -> Iterator[Recording]:
    name, data = _struct(path)
    where = f"{path}: {name}"
    sinogram = np.asarray(data["sinogram"])
    if sinogram.ndim != 2:
        raise TomolearnError(
            f"{where}.sinogram: expected shape (views, bins), got {sinogram.shape}"
        )
    told = data.get("parameters")
    told = told if isinstance(told, dict) else {}
    kind = str(told.get("geometryType", "cone")).strip().lower()
    if kind not in (*_PARALLEL, *_DIVERGING):
        raise TomolearnError(f"{where}.parameters.geometryType: expected cone, got {kind!r}")
    unit = str(told.get("distanceUnit", "mm")).strip().lower()
    if unit != "mm":
        raise TomolearnError(f"{where}.parameters.distanceUnit: expected mm, got {unit!r}")
    # pixelSize is that of the bare detector, of which binningPost bins are one here
    spacing = _number(told, "pixelSizePost", where)
    if spacing is None and (spacing := _number(told, "pixelSize", where)) is not None:
        spacing *= _number(told, "binningPost", where) or 1.0
    angles = told.get("angles")
    yield Recording(
        frames_of(sinogram, f"{where}.sinogram"),
        is_counts=False,
        angles=None if angles is None else in_radians(angles, None, f"{where}.parameters.angles"),
        has_source=kind in _DIVERGING,
        detector_spacing=None if spacing is None else (spacing, spacing),
        source_to_isocenter=_number(told, "distanceSourceOrigin", where),
        source_to_detector=_number(told, "distanceSourceDetector", where),
        notes={"format": "fips", "variable": name} | noted(told),
    )


def _struct(path: Path) -> tuple[str, dict[str, Any]]:
    """Return the name and the fields of the variable that has a sinogram."""
    pymatreader = needed("pymatreader", "reading files of MATLAB")
    with path.open("rb"):  # Python's own error names the file
        pass
    try:
        found = pymatreader.read_mat(path)
    # what scipy and h5py raise for files that are cut off, or of something else
    except (OSError, ValueError, TypeError, KeyError, NotImplementedError, zlib.error) as error:
        raise TomolearnError(f"{path}: expected a complete file of MATLAB, got {error}") from error
    known = {name: one for name, one in found.items() if not name.startswith("__")}
    fitting = {
        name: one for name, one in known.items() if isinstance(one, dict) and "sinogram" in one
    }
    if len(fitting) != 1:
        listed = ", ".join(known) or "no variable"
        raise TomolearnError(
            f"{path}: expected one variable with a field sinogram, as CtDataFull and "
            f"CtDataLimited of HTC2022 have it, got {listed}"
        )
    return next(iter(fitting.items()))


def _number(told: dict[str, Any], key: str, where: str) -> float | None:
    if key not in told:
        return None
    try:
        return float(told[key])
    except (TypeError, ValueError) as error:
        raise TomolearnError(
            f"{where}.parameters.{key}: expected a number, got {told[key]!r}"
        ) from error


READER = Reader((".mat",), _opened)
