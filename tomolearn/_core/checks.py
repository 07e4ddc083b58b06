"""Argument checks: every error names the argument, what was expected and what came."""

from __future__ import annotations

import difflib
import math
import numbers
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tomolearn._core.errors import TomolearnError, TomolearnTypeError

# Views, bins or pixels along an axis, of which there are tables; iterations of unrolled networks.
_MOST_ALONG_AXIS, _MOST_UNROLLED = 10_000_000, 10_000


def check_int(name: str, value: Any, *, minimum: int, maximum: int | None = None) -> int:
    """Return `value` as an int of at least `minimum`, and at most `maximum`."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise TomolearnTypeError(
            f"{name}: expected an integer >= {minimum}, got {value!r} ({type(value).__name__})"
        )
    if value < minimum:
        raise TomolearnError(f"{name}: expected an integer >= {minimum}, got {value!r}")
    if maximum is not None and int(value) > maximum:
        raise TomolearnError(f"{name}: expected an integer <= {maximum}, got {value!r:.40}")
    return int(value)


def check_count(name: str, value: Any) -> int:
    """Return a number of views, bins or pixels along an axis as an int."""
    return check_int(name, value, minimum=1, maximum=_MOST_ALONG_AXIS)


def check_float(
    name: str, value: Any, *, positive: bool = False, nonnegative: bool = False
) -> float:
    """Return `value` as a finite float, positive or non-negative where asked."""
    kind = "positive" if positive else "non-negative" if nonnegative else "finite"
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TomolearnTypeError(
            f"{name}: expected a {kind} number, got {value!r} ({type(value).__name__})"
        )
    try:
        number = float(value)
    except OverflowError:  # an integer beyond all floats
        number = math.inf
    wrong_sign = (positive and number <= 0) or (nonnegative and number < 0)
    if not math.isfinite(number) or wrong_sign:
        raise TomolearnError(f"{name}: expected a {kind} number, got {value!r}")
    return number


def check_floats(name: str, values: Any, *, length: int | None = None) -> tuple[float, ...]:
    """Return a non-empty 1-D sequence of finite numbers as a tuple of floats."""
    expected = f"{length} finite numbers" if length else "a non-empty sequence of finite numbers"
    # arrays and tensors of whatever library
    is_sequence = isinstance(values, Sequence) and not isinstance(values, str)
    if not is_sequence and not hasattr(values, "__array__"):
        raise TomolearnTypeError(
            f"{name}: expected {expected}, got {values!r} ({type(values).__name__})"
        )
    try:
        array = np.asarray(values)
    except (TypeError, ValueError, RuntimeError) as error:  # ragged, on a GPU, with a gradient
        raise TomolearnTypeError(f"{name}: expected {expected}, got {values!r}") from error
    if array.size and array.dtype.kind not in "iuf":  # strings would be converted, complex cut
        raise TomolearnTypeError(f"{name}: expected {expected}, got {values!r}")
    array = array.astype(np.float64)
    if array.ndim != 1 or array.size == 0 or (length is not None and array.size != length):
        raise TomolearnError(f"{name}: expected {expected}, got shape {array.shape}")
    bad = np.flatnonzero(~np.isfinite(array))
    if bad.size:
        raise TomolearnError(f"{name}: expected {expected}, got {array[bad[0]]} at index {bad[0]}")
    return tuple(array.tolist())


def check_iterations(value: Any) -> int:
    """Return the number of iterations of an unrolled network as an int."""
    return check_int("iterations", value, minimum=1, maximum=_MOST_UNROLLED)


def check_flag(name: str, value: Any) -> bool:
    """Return `value` if it is a bool."""
    if not isinstance(value, bool):
        raise TomolearnTypeError(f"{name}: expected a bool, got {value!r} ({type(value).__name__})")
    return value


def check_choice(name: str, value: Any, choices: Sequence[str]) -> str:
    """Return `value` if it is one of `choices`."""
    if value not in choices:
        raise TomolearnError(f"{name}: expected one of {', '.join(choices)}, got {value!r}")
    return str(value)


def check_known(name: str, value: Any, choices: Sequence[str]) -> str:
    """Return `value` if it is one of `choices`, a list of names that nobody knows by heart."""
    if not isinstance(value, str):
        raise TomolearnTypeError(f"{name}: expected a name, got {value!r} ({type(value).__name__})")
    if value in choices:
        return value
    by_lower_case = {choice.lower(): choice for choice in choices}
    near = [
        by_lower_case[match]
        for match in difflib.get_close_matches(value.lower(), by_lower_case, n=3)
    ]
    hint = f"; did you mean {' or '.join(near)}?" if near else ""
    raise TomolearnError(f"{name}: expected one of {', '.join(choices)}, got {value!r}{hint}")


def check_generator(rng: Any) -> None:
    """Check that `rng` is a `numpy.random.Generator`."""
    if not isinstance(rng, np.random.Generator):
        raise TomolearnTypeError(
            "rng: expected a numpy.random.Generator, e.g. numpy.random.default_rng(0), "
            f"got {type(rng).__name__}"
        )


def check_image_shape(shape: Any, *, minimum: int = 1) -> tuple[int, int]:
    """Return `shape` as (rows, columns), both at least `minimum`."""
    if isinstance(shape, str) or not isinstance(shape, Sequence):
        raise TomolearnTypeError(
            f"shape: expected a pair (rows, columns), got {type(shape).__name__}"
        )
    if len(shape) != 2:
        raise TomolearnError(f"shape: expected a pair (rows, columns), got {len(shape)} entries")
    rows, columns = (check_int(f"shape[{k}]", n, minimum=minimum) for k, n in enumerate(shape))
    return rows, columns


def real_array(name: str, values: ArrayLike) -> NDArray[np.float64]:
    """Return `values` as a new float64 array of finite numbers."""
    raw = np.asarray(values)
    if raw.dtype.kind not in "iuf":
        raise TomolearnTypeError(f"{name}: expected real numbers, got dtype {raw.dtype}")
    array = np.array(raw, dtype=np.float64)
    if not np.isfinite(array).all():
        raise TomolearnError(
            f"{name}: expected finite numbers, got {np.sum(~np.isfinite(array))} others"
        )
    return array
