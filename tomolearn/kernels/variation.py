"""The compiled loops of the primal-dual steps of total variation, see `operators.variation`.

A step reads and writes many arrays but computes little: it is as fast as memory is passed over,
so all that is done to a pixel is done in one pass. Compilers do not vectorise such loops, as any
two of the arrays might overlap; blocks of pixels are therefore written as vectors (see `lanes`),
and the same arithmetic serves the last pixels one by one.

Kernels do the share `part` of `parts` of their work. Images (batch * rows * columns) and
sinograms are flat. Before each component of the dual variable lies a row of zeros, so that every
pixel has an upper and a left neighbour: last differences are always zero, and so is whatever
lies before a first row or column.
"""

from __future__ import annotations

import math

from numba.extending import overload

from tomolearn.kernels.compilation import compiled
from tomolearn.kernels.lanes import (
    BLOCK,
    LaneVector,
    load_block,
    maximum,
    splat,
    square_root,
    store_block,
)


def _larger(first, second):  # type: ignore[no-untyped-def]
    """Return the larger one; `second` if one of them is not a number."""


def _root(value):  # type: ignore[no-untyped-def]
    """Return the square root."""


@overload(_larger)
def _larger_of(first, second):  # type: ignore[no-untyped-def] # numba compares names
    if isinstance(first, LaneVector):
        return lambda first, second: maximum(first, second)
    return lambda first, second: first if first > second else second


@overload(_root)
def _root_of(value):  # type: ignore[no-untyped-def]
    if isinstance(value, LaneVector):
        return lambda value: square_root(value)
    return lambda value: math.sqrt(value)


@compiled
def _descend(x, slope, above, down, left, right, step, least, more):  # type: ignore[no-untyped-def]
    """Return the new image, the image ahead and the relaxed one."""
    image = _larger(least, x + (slope + (above - down) + (left - right)) * step)
    change = image - x
    return image, image + change, image + change * more


@compiled
def _ascend(ahead, below, right, q0, q1, step, across, weight, more):  # type: ignore[no-untyped-def]
    """Return both components of the new dual variable and of the relaxed one."""
    new0 = q0 + (below - ahead) * step
    new1 = q1 + (right - ahead) * across
    shrink = weight / _larger(weight, _root(new0 * new0 + new1 * new1))
    new0, new1 = new0 * shrink, new1 * shrink
    return new0, new1, new0 + (new0 - q0) * more, new1 + (new1 - q1) * more


@compiled
def image_step(  # type: ignore[no-untyped-def]
    part, parts, slope, x, image, ahead, q0, q1, rows, columns, steps, least, more
):
    """Descend along ``slope + D.T q``, not below `least`, and relax `x`."""
    size = rows * columns
    leasts = splat(least)
    for item in range(len(steps)):
        step = steps[item]
        low = item * size + rows * part // parts * columns
        high = item * size + rows * (part + 1) // parts * columns
        rest = high - (high - low) % BLOCK
        for k in range(low, rest, BLOCK):
            new, far, relaxed = _descend(
                load_block(x, k),
                load_block(slope, k),
                load_block(q0, k),
                load_block(q0, k + columns),
                load_block(q1, k + columns - 1),
                load_block(q1, k + columns),
                step,
                leasts,
                more,
            )
            store_block(image, k, new)
            store_block(ahead, k, far)
            store_block(x, k, relaxed)
        for k in range(rest, high):
            left, right = q1[k + columns - 1], q1[k + columns]
            new, far, relaxed = _descend(
                x[k], slope[k], q0[k], q0[k + columns], left, right, step, least, more
            )
            image[k], ahead[k], x[k] = new, far, relaxed


@compiled
def _gradient_range(  # type: ignore[no-untyped-def]
    low, high, down, column, columns, ahead, q0, q1, new0, new1, step, across, weight, more
):
    weights = splat(weight)
    rest = high - (high - low) % BLOCK
    for k in range(low, rest, BLOCK):
        at = k + columns
        first, second, relaxed0, relaxed1 = _ascend(
            load_block(ahead, k),
            load_block(ahead, k + down),
            load_block(ahead, k + 1),
            load_block(q0, at),
            load_block(q1, at),
            step,
            load_block(across, column),
            weights,
            more,
        )
        store_block(new0, at, first)
        store_block(new1, at, second)
        store_block(q0, at, relaxed0)
        store_block(q1, at, relaxed1)
        column += BLOCK
        while column >= columns:
            column -= columns
    for k in range(rest, high):
        at = k + columns
        first, second, relaxed0, relaxed1 = _ascend(
            ahead[k],
            ahead[k + down],
            ahead[k + 1],
            q0[at],
            q1[at],
            step,
            across[column],
            weight,
            more,
        )
        new0[at], new1[at], q0[at], q1[at] = first, second, relaxed0, relaxed1
        column += 1


@compiled
def gradient_step(  # type: ignore[no-untyped-def]
    part, parts, ahead, q0, q1, new0, new1, rows, columns, steps, across, weight, more
):
    """Ascend along ``D ahead``, project on the ball of radius `weight`, and relax ``q``.

    `across` is the step for every column, zero for the last, repeated for BLOCK more columns.
    """
    size = rows * columns
    for item in range(len(steps)):
        low = item * size + rows * part // parts * columns
        high = item * size + rows * (part + 1) // parts * columns
        last = min(high, (item + 1) * size - columns)
        for start, stop, down in ((low, last, columns), (last, high, 0)):
            _gradient_range(
                start,
                stop,
                down,
                0,
                columns,
                ahead,
                q0,
                q1,
                new0,
                new1,
                steps[item],
                across[item],
                weight,
                more,
            )


@compiled
def data_step(  # type: ignore[no-untyped-def]
    part, parts, projection, y, p, new, steps, shrinks, more
):
    """Ascend along ``projection - y``, shrink, and relax `p`."""
    size = len(y) // len(steps)
    for item in range(len(steps)):
        step, shrink = steps[item], shrinks[item]
        low = item * size + size * part // parts
        high = item * size + size * (part + 1) // parts
        rest = high - (high - low) % BLOCK
        for k in range(low, rest, BLOCK):
            old = load_block(p, k)
            found = (old + (load_block(projection, k) - load_block(y, k)) * step) * shrink
            store_block(new, k, found)
            store_block(p, k, found + (found - old) * more)
        for k in range(rest, high):
            found = (p[k] + (projection[k] - y[k]) * step) * shrink
            new[k], p[k] = found, found + (found - p[k]) * more
