"""Sums of ellipses as tests write them down."""

import numpy as np

from data_sim import Ellipses


def from_rows(rows):
    """One phantom of rows (value, semi-axis, semi-axis, x, y, rotation), ODL's layout."""
    table = np.asarray(rows, dtype=float)
    return Ellipses(table[:, 0], table[:, 1:3], table[:, 3:5], table[:, 5])


def one_of(batch, index):
    """One phantom of a batch, without a batch axis."""
    one = batch.images(index, index + 1)
    return Ellipses(one.value, one.semi_axes, one.centre, one.rotation)
