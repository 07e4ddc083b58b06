"""Text of files that anybody may have written: bounded, and checked before it is believed."""

from __future__ import annotations

import codecs
import csv
import json
import os
import tomllib
from collections.abc import Iterable
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from tomolearn._core.errors import TomolearnError

_LARGEST = 2**27  # bytes
_DEEPEST = 100  # brackets within brackets
_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def read_bytes(path: str | os.PathLike[str] | Traversable, largest: int = _LARGEST) -> bytes:
    """Return what a file has, of at most so many bytes; a device may have no end."""
    file = path if isinstance(path, Traversable) else Path(path)
    with file.open("rb") as stream:
        content: bytes = stream.read(largest + 1)
    if len(content) > largest:
        raise TomolearnError(f"{path}: expected at most {largest} bytes, got more")
    return content


def read_text(path: str | os.PathLike[str]) -> str:
    """Return what a text file has, in UTF-8 with or without a mark."""
    content = read_bytes(path)
    try:
        return _decoded(content)
    except ValueError as error:
        raise TomolearnError(f"{path}: expected text in UTF-8, got an error: {error}") from error


def read_json(path: str | os.PathLike[str], what: str = "a JSON file") -> Any:
    """Return what a JSON file has, see `parse_json`."""
    return parse_json(path, read_bytes(path), what)


def parse_json(
    where: str | os.PathLike[str],
    content: str | bytes,
    what: str = "JSON",
    *,
    constants: bool = True,
) -> Any:
    """Return a value of JSON; errors say that `what` was expected, and begin with `where`.

    Names that come twice in an object, numbers with more digits than Python reads, and brackets
    within brackets without end are errors, and, if told so, the `constants` NaN and Infinity.
    """
    try:
        text = _decoded(content) if isinstance(content, bytes) else content
        return _not_deep(
            json.loads(
                text,
                parse_constant=float if constants else _refuse,
                object_pairs_hook=_unique,
            )
        )
    # ValueError is the base of what the decoder raises; RecursionError: brackets without end
    except (ValueError, RecursionError) as error:
        raise TomolearnError(f"{where}: expected {what}, got an error: {error}") from error


def parse_toml(where: str | os.PathLike[str], text: str) -> dict[str, Any]:
    """Return a table of TOML."""
    try:
        found: dict[str, Any] = _not_deep(tomllib.loads(text))
    # ValueError: of TOMLDecodeError, and of numbers that are too long
    except (ValueError, RecursionError) as error:
        raise TomolearnError(f"{where}: expected TOML, got an error: {error}") from error
    return found


def parse_csv(where: str | os.PathLike[str], lines: Iterable[str]) -> list[list[str]]:
    """Return rows of comma-separated values."""
    try:
        return list(csv.reader(lines))
    except csv.Error as error:
        raise TomolearnError(f"{where}: expected comma-separated values, got {error}") from error


def _decoded(content: bytes) -> str:
    if content.startswith(_UTF_16):
        raise TomolearnError(
            "it is UTF-16, as PowerShell's > writes it; Out-File -Encoding utf8 writes the other"
        )
    return content.decode("utf-8-sig")


def _refuse(constant: str) -> float:
    raise TomolearnError(f"{constant} is not a number of JSON")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in values if names.count(name) > 1)
        raise TomolearnError(f"expected each name once, got {twice!r:.60} again")
    return values


def _not_deep(value: Any) -> Any:
    level, depth = [value], 0
    while level:
        if depth > _DEEPEST:
            raise TomolearnError(f"expected at most {_DEEPEST} brackets within brackets, got more")
        depth += 1
        level = [
            inner
            for outer in level
            if isinstance(outer, (dict, list))
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
    return value
