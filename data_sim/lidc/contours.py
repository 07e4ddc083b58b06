"""The border of a region of pixels as a closed chain, the way that LIDC's readers drew it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

# Neighbours of a pixel as (row, column) steps, clockwise on the screen, from the right.
_STEPS = ((0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1), (-1, 0), (-1, 1))


def whole(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return a region's largest connected part without its holes and one pixel wide clefts.

    Of what is left, `outer_border` encloses exactly the pixels. Pixels are connected across their
    edges.

    Parameters
    ----------
    mask : numpy.ndarray of bool
        False along the border of the array, two pixels wide.
    """
    labels, n = ndimage.label(mask)
    if n > 1:
        labels = labels == 1 + np.argmax(ndimage.sum_labels(mask, labels, range(1, n + 1)))
    filled = ndimage.binary_fill_holes(labels)
    return ndimage.binary_fill_holes(ndimage.binary_closing(filled))


def outer_border(mask: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Return the pixels that lie around a region, just outside of it.

    Moore's tracing of the region that the pixels next to its edges have been added to.

    Parameters
    ----------
    mask : numpy.ndarray of bool
        One region as from `whole`, not empty.

    Returns
    -------
    numpy.ndarray of int, shape (n, 2)
        Rows and columns of a chain in which each pixel touches the next one at an edge or a
        corner, clockwise; the last entry is the first one again.
    """
    grown = np.pad(ndimage.binary_dilation(mask), 1)
    row, column = (int(k) for k in np.argwhere(grown)[0])
    first = position = (row, column)
    chain = [first]
    # Above and to the left of the first pixel nothing is set, so the search starts upwards.
    direction = 6
    start_direction: int | None = None
    while True:
        for turn in range(8):
            k = (direction + turn) % 8
            found = position[0] + _STEPS[k][0], position[1] + _STEPS[k][1]
            if grown[found]:
                break
        # Passed the first pixel in the first direction: once around.
        if position == first and k == start_direction:
            return np.array(chain) - 1
        if start_direction is None:
            start_direction = k
        position = found
        chain.append(position)
        # Next, from the empty neighbour that was looked at last.
        direction = (k + 6 - k % 2) % 8
