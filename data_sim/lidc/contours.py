"""The border of a region of pixels as a closed chain, the way that LIDC's readers drew it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage


def whole(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return a region's largest connected part without its holes and one pixel wide clefts.

    Of what is left, `outer_border` encloses exactly the pixels. Pixels are connected across their
    edges; those along the border of the array, two pixels wide, must be False.
    """
    labels, n = ndimage.label(mask)
    if n > 1:
        labels = labels == 1 + np.argmax(ndimage.sum_labels(mask, labels, range(1, n + 1)))
    filled = ndimage.binary_fill_holes(labels)
    return ndimage.binary_fill_holes(ndimage.binary_closing(filled))


def outer_border(mask: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Return rows and columns of the pixels just outside of a region from `whole`, shape (n, 2).

    Each touches the next one at an edge or a corner; the last entry is the first one again.
    """
    from skimage.measure import find_contours

    grown = np.pad(ndimage.binary_dilation(mask), 1).astype(np.float64)
    # Just below the value inside, the contour runs through the middles of the outermost pixels.
    outline = max(find_contours(grown, 1 - 1e-6), key=len)
    chain = np.rint(outline).astype(np.intp) - 1
    return chain[np.r_[True, (np.diff(chain, axis=0) != 0).any(axis=1)]]
