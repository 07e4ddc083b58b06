"""Derivation of a series: what is written about it, and what its identifiers depend on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from tomolearn._core.checks import check_int
from tomolearn._core.errors import TomolearnError, TomolearnTypeError
from tomolearn._core.version import __version__

# Longest texts: DerivationDescription is ST, SeriesDescription LO, ConvolutionKernel SH, the model
# and version of an equipment LO.
_LENGTHS = {
    "description": 1024, "method": 64, "series_description": 64, "kernel": 16, "version": 64,
}  # fmt: skip


@dataclass(frozen=True)
class Derivation:
    """Description of how a derived series was made from another one.

    All of it goes into the identifiers of the derived series: the same derivation of the same
    series has the same identifiers, any other one has others.

    Parameters
    ----------
    description : str
        What was done, for people: DerivationDescription, at most 1024 characters.
    settings : mapping
        Everything that the pixels depend on, as JSON can write it.
    method : str
        Name of the method, in the file as model name of the contributing equipment; at most 64
        characters.
    series_description : str, optional
        Name of the new series, at most 64 characters. Without it, that of the old series is kept.
    kernel : str, optional
        ConvolutionKernel, at most 16 characters. Without it, that of the old series is kept, which
        is right where an image was processed and not reconstructed again.
    number : int
        Tells several derived series of one series apart: the new series has number
        ``1000 * old + number``. From 1 to 999.
    version : str
        Version of this toolkit.

    Raises
    ------
    TypeError, ValueError
        If a text is too long or not plain ASCII, or `settings` cannot be written as JSON.
    """

    description: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    method: str = ""
    series_description: str | None = None
    kernel: str | None = None
    number: int = 1
    version: str = field(default_factory=lambda: __version__)

    def __post_init__(self) -> None:
        for name, longest in _LENGTHS.items():
            _check_text(name, getattr(self, name), longest)
        if not self.description.strip():
            raise TomolearnError("description: expected what was done, got an empty text")
        if check_int("number", self.number, minimum=1) > 999:
            raise TomolearnError(f"number: expected 1 to 999, got {self.number}")
        try:
            plain = json.loads(json.dumps(dict(self.settings), sort_keys=True, allow_nan=False))
        except (TypeError, ValueError) as error:
            raise type(error)(f"settings: expected what JSON can write, got {error}") from error
        # A copy of its own: what the caller does to his mapping later must not change identifiers.
        object.__setattr__(self, "settings", plain)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON can write them."""
        return asdict(self)


def _check_text(name: str, value: Any, longest: int) -> None:
    if value is None and name in ("series_description", "kernel"):
        return
    if not isinstance(value, str):
        raise TomolearnTypeError(f"{name}: expected a text, got {value!r} ({type(value).__name__})")
    # ASCII is part of every character set that a file can have.
    lines = name == "description"
    allowed = all(" " <= c <= "~" or (lines and c in "\r\n") for c in value)
    if len(value) > longest or not allowed or "\\" in value:
        raise TomolearnError(
            f"{name}: expected at most {longest} ASCII characters without backslash, got "
            f"{value if len(value) <= longest else f'{len(value)} characters'!r}"
        )
