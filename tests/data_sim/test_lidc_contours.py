"""The closed chain of pixels around a region, against what dilation says."""

import numpy as np
import pytest
from lidc_trees import enclosed
from scipy import ndimage

from data_sim.lidc.contours import outer_border, whole

EIGHT = np.ones((3, 3), dtype=bool)


def blob(rng, n=31):
    """A smooth random region, sometimes in parts and with holes."""
    field = ndimage.gaussian_filter(rng.standard_normal((n, n)), rng.uniform(1.2, 4))
    mask = field > np.quantile(field, rng.uniform(0.5, 0.97))
    return np.pad(mask[3:-3, 3:-3], 3)


def test_around_one_pixel():
    mask = np.zeros((5, 7), dtype=bool)
    mask[2, 3] = True
    chain = outer_border(mask).tolist()
    assert chain[0] == chain[-1]
    assert sorted(chain[1:]) == [[1, 3], [2, 2], [2, 4], [3, 3]]


def test_around_a_rectangle():
    mask = np.zeros((8, 9), dtype=bool)
    mask[2:5, 3:7] = True
    chain = outer_border(mask)
    # above, right, below, left: no corners, since those touch the rectangle at a corner only
    assert len(chain) == 2 * (3 + 4) + 1
    assert chain.min(axis=0).tolist() == [1, 2]
    assert chain.max(axis=0).tolist() == [5, 7]


@pytest.mark.parametrize("seed", range(40))
def test_chain_is_closed_and_encloses_the_region(seed):
    mask = whole(blob(np.random.default_rng(seed)))
    chain = outer_border(mask)
    assert (chain[0] == chain[-1]).all()
    steps = np.abs(np.diff(chain, axis=0)).max(axis=1)
    assert (steps == 1).all()
    assert not mask[tuple(chain.T)].any()
    on_chain = np.zeros_like(mask)
    on_chain[tuple(chain.T)] = True
    assert np.array_equal(on_chain, ndimage.binary_dilation(mask) & ~mask)
    assert np.array_equal(enclosed(chain, mask.shape), mask)


@pytest.mark.parametrize("seed", range(20))
def test_whole_keeps_the_largest_part_and_little_more(seed):
    mask = blob(np.random.default_rng((1, seed)))
    found = whole(mask)
    assert ndimage.label(found)[1] == 1
    assert np.array_equal(ndimage.binary_fill_holes(found), found)
    labels, n = ndimage.label(mask)
    largest = labels == 1 + np.argmax(ndimage.sum_labels(mask, labels, range(1, n + 1)))
    assert (found & largest).sum() == largest.sum()
    added = found & ~ndimage.binary_fill_holes(largest)
    assert (added <= ndimage.binary_dilation(largest)).all() or added.sum() < 0.3 * found.sum()
