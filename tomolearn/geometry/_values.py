"""What grids and scans have in common: dictionaries, JSON and a short repr."""

from __future__ import annotations

import dataclasses
import json
from typing import Any, Self

from tomolearn._core.errors import TomolearnError, TomolearnTypeError
from tomolearn._core.reading import parse_json


class GeometryValue:
    """Base of the frozen geometry dataclasses: dictionary and JSON round trip.

    They have constructors of their own where an argument may be of more types than the field that
    is made of it, as one number for the spacings along all axes.
    """

    def _set(self, **values: Any) -> None:
        """Set fields in the constructor, the only place where they may be set."""
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def to_dict(self) -> dict[str, Any]:
        """Return a dictionary of plain Python values; fields at ``None`` are left out."""
        fields = {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)  # type: ignore[arg-type]
        }
        plain = {name: _plain(value) for name, value in fields.items() if value is not None}
        return {"type": type(self).__name__, **plain}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Build the value from what `to_dict` returned."""
        name = cls.__name__
        if not isinstance(values, dict):
            raise TomolearnTypeError(f"{name}: expected a dictionary, got {type(values).__name__}")
        given = dict(values)
        kind = given.pop("type", name)
        if kind != name:
            raise TomolearnError(f"type: expected {name!r}, got {kind!r}")
        fields = dataclasses.fields(cls)  # type: ignore[arg-type]
        names = [field.name for field in fields]
        unknown = [field for field in given if field not in names]
        if unknown:
            raise TomolearnError(
                f"{name}: expected only the fields {', '.join(names)}, got unknown "
                f"{', '.join(map(repr, unknown))}"
            )
        missing = [
            field.name
            for field in fields
            if field.default is dataclasses.MISSING and field.name not in given
        ]
        if missing:
            raise TomolearnError(
                f"{name}: expected the fields {', '.join(names)}, got none named "
                f"{', '.join(map(repr, missing))}"
            )
        return cls(**given)

    def to_json(self) -> str:
        """Return `to_dict` as a JSON string."""
        return json.dumps(self.to_dict())

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Build the value from a JSON string written by `to_json`."""
        return cls.from_dict(parse_json(cls.__name__, text))


def _plain(value: Any) -> Any:
    return list(map(_plain, value)) if isinstance(value, tuple) else value
