"""What the readers of HDF5 share: values, units, and plug-ins that decompress."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from tomolearn._core.errors import TomolearnError
from tomolearn._core.files import resolved
from tomolearn.measurements.readers.frames import Frames, frames_of
from tomolearn.measurements.readers.packages import needed
from tomolearn.measurements.readers.recording import noted

_MM = {
    **dict.fromkeys(("m", "meter", "metre", "meters", "metres"), 1e3),
    **dict.fromkeys(("cm", "centimeter", "centimetre"), 10.0),
    **dict.fromkeys(("mm", "millimeter", "millimetre", "millimeters"), 1.0),
    **dict.fromkeys(("um", "µm", "μm", "micron", "microns", "micrometer", "micrometre"), 1e-3),
    **dict.fromkeys(("nm", "nanometer", "nanometre"), 1e-6),
}


@contextmanager
def opened_hdf5(path: Path) -> Iterator[Any]:
    """Open an HDF5 file; damage that shows while it is read is a `TomolearnError` as well."""
    import h5py

    with path.open("rb"):  # Python's own error names the file
        pass
    try:
        with h5py.File(path, "r") as file:
            yield file
    except TomolearnError:
        raise
    # what h5py raises for files that are cut off, or were changed at random
    except (OSError, RuntimeError, KeyError, UnicodeDecodeError) as error:
        raise TomolearnError(f"{path}: expected a complete HDF5 file, got {error}") from error


def has(path: Path, *names: str) -> bool:
    """Return whether an HDF5 file has one of these, by names from its root."""
    with opened_hdf5(path) as file:
        return any(name in file for name in names)


def dataset(file: Any, name: str) -> Any:
    """Return a data set whose values can be read, from this file or others in its folder.

    Raises
    ------
    ImportError
        If its values are compressed by a plug-in that is not installed.
    ValueError
        If there is none, or its values lie elsewhere, which a stranger's file must not choose.
    """
    import h5py

    folder = resolved(file.filename).parent
    where = f"{file.filename}: {name}"
    link = file.get(name, getlink=True)
    others = [link.filename] if isinstance(link, h5py.ExternalLink) else []
    found = None if _outside(others, folder) else file.get(name)
    if found is not None and isinstance(found, h5py.Dataset):
        others += (
            [source.file_name for source in found.virtual_sources()] if found.is_virtual else []
        )
        others += [str(name) for name, *_ in found.external or ()]
    if outside := _outside(others, folder):
        raise TomolearnError(
            f"{where}: expected values of this file, or of others in its folder, got {outside}"
        )
    if not isinstance(found, h5py.Dataset) or found.shape is None:
        kind = "none" if found is None else "a group or an empty one"
        raise TomolearnError(f"{file.filename}: expected the data set {name}, got {kind}")
    plan = found.id.get_create_plist()
    codes = [plan.get_filter(k)[0] for k in range(plan.get_nfilters())]
    if not all(h5py.h5z.filter_avail(code) for code in codes):
        needed("hdf5plugin", f"{where}: reading what filter {codes} compressed")
    return found


def _outside(names: list[str], folder: Path) -> str | None:
    inside = (name in ("", ".") or resolved(folder / name).parent == folder for name in names)
    return next((name for name, fits in zip(names, inside, strict=True) if not fits), None)


def frames_in(file: Any, name: str, numbers: Any = None) -> Frames:
    """Return the frames of a data set."""
    return frames_of(dataset(file, name), f"{file.filename}: {name}", numbers)


def value(file: Any, *names: str) -> tuple[Any, str | None]:
    """Return the first of these values that is there, or None, and its unit, if it has one."""
    import h5py

    for name in names:
        if isinstance(file.get(name, getclass=True), type) and name in file:
            found = dataset(file, name)
            unit = found.attrs.get("units", found.attrs.get("unit"))
            text = found.asstr()[()] if h5py.check_string_dtype(found.dtype) else found[()]
            return text, None if unit is None else str(noted(unit))
    return None, None


def length(file: Any, *names: str) -> float | None:
    """Return the first of these lengths that is there, in mm; without a unit it is in metres."""
    found, unit = value(file, *names)
    if found is None:
        return None
    known = "m" if unit is None else unit.strip().lower()
    number = np.ravel(found)
    if known not in _MM or number.size == 0 or number.dtype.kind not in "iuf":
        raise TomolearnError(
            f"{file.filename}: expected a length in m, mm, um or nm at {names[0]}, got "
            f"{noted(found)!r} in {unit}"
        )
    return float(number[0]) * _MM[known]


def notes(file: Any, names: dict[str, str]) -> dict[str, Any]:
    """Return the values that are there, ready for JSON, from names in the file."""
    found = {}
    for key, name in names.items():
        read, unit = value(file, name)
        if read is not None:
            found[key] = noted(read)
            if unit is not None:
                found[f"{key}_unit"] = unit
    return found
