"""Memory of filtered back-projection."""

from __future__ import annotations

from tomolearn._core.memory import Arrays


def arrays_held(truncation: str, oversampling: int) -> Arrays:
    """Return what filtered back-projection holds at its peak besides the data."""
    padded = 2 if truncation == "zero" else 4  # so many times as many bins
    # projections that are weighted, padded, transformed, multiplied, transformed back and cut
    return Arrays(1, 2 + padded * (2 + 1.5 * oversampling))
