"""Grid and scan in one JSON file."""

from __future__ import annotations

import inspect
import json
import os
from pathlib import Path
from typing import Any

from tomolearn._core.errors import TomolearnError, TomolearnTypeError
from tomolearn._core.files import write_bytes
from tomolearn._core.reading import read_json
from tomolearn.geometry._values import GeometryValue
from tomolearn.geometry.grid import Grid
from tomolearn.geometry.scan import Scan, check_scan


def _kinds(base: type[GeometryValue] = GeometryValue) -> dict[str, type[Any]]:
    """Return the grid and every scan that was defined so far, by the names of their classes."""
    kinds = {} if base is GeometryValue or inspect.isabstract(base) else {base.__name__: base}
    for kind in base.__subclasses__():
        kinds |= _kinds(kind)
    return kinds


def geometry_from_dict(values: dict[str, Any]) -> Grid | Scan:
    """Build a grid or a scan from the dictionary its `to_dict` returned.

    Parameters
    ----------
    values : dict
        With the key ``type``, the name of the class.

    Raises
    ------
    TypeError, ValueError
        If `values` is no dictionary, its type or a field is unknown, or a field missing or wrong.
    """
    if not isinstance(values, dict):
        raise TomolearnTypeError(f"geometry: expected a dictionary, got {type(values).__name__}")
    kind = values.get("type")
    kinds = _kinds()
    if not isinstance(kind, str) or kind not in kinds:
        raise TomolearnError(f"type: expected one of {', '.join(sorted(kinds))}, got {kind!r}")
    value: Grid | Scan = kinds[kind].from_dict(values)
    return value


def save_geometry(path: str | os.PathLike[str], grid: Grid, scan: Scan) -> None:
    """Write grid and scan as JSON, ``{"grid": {...}, "scan": {...}}``.

    Raises
    ------
    OSError
        If the file cannot be written.
    TypeError
        If an argument is not a grid or not a scan.
    """
    if not isinstance(grid, Grid):
        raise TomolearnTypeError(f"grid: expected a Grid, got {type(grid).__name__}")
    check_scan(scan)
    text = json.dumps({"grid": grid.to_dict(), "scan": scan.to_dict()}, indent=2)
    write_bytes(Path(path), f"{text}\n".encode())


def load_geometry(path: str | os.PathLike[str]) -> tuple[Grid, Scan]:
    """Read grid and scan from a file written by `save_geometry`.

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        If it is not JSON, a part is missing, or a field is unknown, missing or wrong.
    """
    values = read_json(path)
    if not isinstance(values, dict) or set(values) != {"grid", "scan"}:
        keys = ", ".join(values) or "none" if isinstance(values, dict) else type(values).__name__
        raise TomolearnError(
            f"{path}: expected exactly the keys grid and scan, got {keys}; "
            "save_geometry(path, grid, scan) writes such files"
        )
    try:
        grid = Grid.from_dict(values["grid"])
        scan = geometry_from_dict(values["scan"])
    except (TypeError, ValueError) as error:
        raise TomolearnError(f"{path}: {error}") from error
    if not isinstance(scan, Scan):
        raise TomolearnError(f"{path}: scan: expected a scan, got {type(scan).__name__}")
    return grid, scan
