"""Shapes of JSON values, by which state that is damaged is told from state that can be used."""

from __future__ import annotations

import math
from typing import Any

NUMBER = (int, float)
NUMBER_OR_NONE = (int, float, type(None))


def has_shape(value: Any, shape: Any) -> bool:
    """Return whether a value of JSON is of a shape.

    A type, or a tuple of types, is the shape of its finite values; ``[shape]`` that of lists;
    ``{name: shape}`` that of objects with these names at least.
    """
    if isinstance(shape, dict):
        return isinstance(value, dict) and all(
            name in value and has_shape(value[name], inner) for name, inner in shape.items()
        )
    if isinstance(shape, list):
        return isinstance(value, list) and all(has_shape(one, shape[0]) for one in value)
    return isinstance(value, shape) and not (isinstance(value, float) and not math.isfinite(value))
