"""Ordered subsets of views."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from tomolearn._core.errors import TomolearnError

if TYPE_CHECKING:
    from tomolearn.operators import LinearOperator, RayTransform


def subsets_of_views(
    operator: LinearOperator, count: int | None, order: str
) -> Iterator[tuple[RayTransform, slice]]:
    """Yield the ray transform of each subset of views, and which views it has.

    Subset ``b`` of ``n`` holds the views ``b, b + n, b + 2 n, ...``. Default: 10 subsets, or as
    many as there are views.

    Raises
    ------
    TypeError, ValueError
        If the operator is no ray transform, or has fewer views.
    """
    from tomolearn.methods.checks import check_ray_transform
    from tomolearn.operators import RayTransform

    operator = check_ray_transform(operator)
    n_angles = operator.scan.n_angles
    count = min(10, n_angles) if count is None else count
    if count > n_angles:
        raise TomolearnError(f"subsets: expected at most the {n_angles} views, got {count}")
    for first in subset_order(count, order):
        views = slice(int(first), None, count)
        part = RayTransform.derived(
            operator.grid, operator.scan.subset(views), operator.backend, operator.rays_per_bin
        )
        yield part, views


def subset_order(count: int, order: str) -> np.ndarray:
    """Return the sequence in which `count` subsets are visited.

    The golden one visits at time ``k`` the subset whose rank is that of the fractional part of
    ``k`` times the golden ratio.
    """
    times = np.arange(count)
    if order == "sequential":
        return times
    fractions = np.mod(times * (math.sqrt(5) - 1) / 2, 1.0)
    return np.argsort(np.argsort(fractions))
