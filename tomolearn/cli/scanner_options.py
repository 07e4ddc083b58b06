"""Options that tell of a scanner what its file does not."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from tomolearn._core.errors import TomolearnError

if TYPE_CHECKING:
    from tomolearn.geometry import Grid, Scan
    from tomolearn.measurements import Prepared

_PANEL = "Files of scanners, without --scan"
_Function = TypeVar("_Function", bound=Callable[..., None])


def _option(kind: Any, flag: str, help: str, **more: Any) -> Any:
    return Annotated[kind, typer.Option(flag, help=help, rich_help_panel=_PANEL, **more)]


# Names are those of `measurements.read`, `prepare` and `preprocess`, where they have the option.
_OPTIONS: dict[str, Any] = {
    "format": _option(str | None, "--format", "data-exchange, nxtomo, tiff, fips, ..."),
    "slice": _option(int | None, "--slice", "Detector row to reconstruct; else all.", min=0),
    "bins": _option(int | None, "--bin", "How many neighbouring bins become one.", min=1),
    "size": _option(int | None, "--size", "Rows and columns of the image.", min=1),
    "pixel": _option(float | None, "--pixel", "Their spacing in mm."),
    "content": _option(str | None, "--content", "counts or line_integrals, if it does not say."),
    "flats": _option(str | None, "--flats", "Flat fields: TIFF, a folder, or a number."),
    "darks": _option(str | None, "--darks", "Dark fields: TIFF, a folder, or a number."),
    "air": _option(int | None, "--air", "Columns at either end that see only air.", min=1),
    "angles": _option(Path | None, "--angles", "Text file of the view angles, in degrees."),
    "angular_range": _option(
        float | None, "--angular-range", "In place of angles: degrees of all views, end left out."
    ),
    "angle_unit": _option(str | None, "--angle-unit", "Of the text file: degree or radian."),
    "clockwise": _option(bool | None, "--clockwise", "Views turn the other way: a mirrored image."),
    "detector_spacing": _option(float | None, "--detector-spacing", "Of bins, in mm."),
    "source_to_isocenter": _option(float | None, "--source-to-isocenter", "In mm, of a fan."),
    "source_to_detector": _option(float | None, "--source-to-detector", "In mm, of a fan."),
    "detector_offset": _option(float | None, "--detector-offset", "Of the detector's middle, mm."),
    "center": _option(float | None, "--center", "Column, not whole, that sees the axis."),
}
_OF_PREPARE, _OF_PREPROCESS = ("bins", "size", "pixel"), ("air",)


def scanner_options(function: _Function) -> _Function:
    """Add the options to a command with ``**settings``, in which it finds those that were given."""
    signature = inspect.signature(function)
    added = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=kind)
        for name, kind in _OPTIONS.items()
    ]
    function.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=[*signature.parameters.values(), *added]
    )
    return function


def split_scanner_options(settings: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the options of scanners that were given, and the other settings."""
    told = {name: settings[name] for name in _OPTIONS if settings.get(name) is not None}
    return told, {name: one for name, one in settings.items() if name not in _OPTIONS}


def refuse_scanner_options(told: dict[str, Any]) -> None:
    """Refuse options of scanners for an array with a scan of its own."""
    if told:
        flag = next(iter(told)).replace("_", "-")
        raise TomolearnError(
            f"--{'bin' if flag == 'bins' else flag}: expected without --scan only, which tells all "
            "of the scanner"
        )


def prepared(path: Path, told: dict[str, Any]) -> Prepared:
    """Read a file of a scanner, and make it ready."""
    import math

    from tomolearn.measurements import prepare, read

    after = {name: one for name, one in told.items() if name in (*_OF_PREPARE, *_OF_PREPROCESS)}
    first = {name: one for name, one in told.items() if name not in after}
    row = first.pop("slice", None)
    if "angular_range" in first:
        first["angular_range"] = math.radians(first["angular_range"])
    for name in ("flats", "darks"):
        if name in first:
            first[name] = _number_or_path(first[name])
    return prepare(read(path, rows=row, **first), **after)


def grid_of(scan: Scan, told: dict[str, Any]) -> Grid:
    """Return the grid for a scan that was calibrated since."""
    from tomolearn.geometry import RotationScan
    from tomolearn.measurements import default_grid

    if not isinstance(scan, RotationScan):
        raise TomolearnError(f"scan: expected one about an axis, got {type(scan).__name__}")
    return default_grid(scan, **{name: told[name] for name in ("size", "pixel") if name in told})


def _number_or_path(text: str) -> float | Path:
    try:
        return float(text)
    except ValueError:
        return Path(text)
