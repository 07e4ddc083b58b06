"""Segmentation of the body in a CT slice."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def body_mask(hounsfield: NDArray[np.floating], *, threshold: float = -500.0) -> NDArray[np.bool_]:
    """Return a mask of the body: the largest connected part above a threshold, its holes filled.

    Parameters
    ----------
    hounsfield : numpy.ndarray, shape (rows, columns)
        Hounsfield units.
    threshold : float
        Half-way between air and water.

    Returns
    -------
    numpy.ndarray of bool, same shape
        Nowhere, if nothing is above the threshold.
    """
    from scipy.ndimage import binary_fill_holes, label

    parts, n_parts = label(hounsfield > threshold)
    if not n_parts:
        return np.zeros(hounsfield.shape, bool)
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    return np.asarray(binary_fill_holes(parts == sizes.argmax()), bool)
