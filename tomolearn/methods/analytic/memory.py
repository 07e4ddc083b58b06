"""Memory of filtered back-projection."""

from __future__ import annotations

from tomolearn._core.memory import Arrays


def arrays_held(oversampling: int) -> Arrays:
    """Return what filtered back-projection holds at its peak besides the data."""
    # the filtered projections, and what is needed to filter some views of them
    return Arrays(1, 1 + oversampling)
