"""Values that are written down as JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class KindAndFields:
    """Base of values that JSON has as their kind and their fields."""

    def to_dict(self) -> dict[str, Any]:
        """Return kind and parameters, ready for JSON."""
        return {"type": type(self).__name__, **asdict(self)}
