"""Chest slices as a source: scaling, orientation, and that both orientations have one law."""

import numpy as np
import pytest

from data_sim import random_thorax_slice
from tomolearn.data import RandomThorax

SHAPE = (64, 64)


def images(orientation, n=12):
    source = RandomThorax(orientation)
    return np.stack([source(SHAPE, np.random.default_rng((2, k))) for k in range(n)])


def test_values_are_scaled_hounsfield_units():
    rng, same = (np.random.default_rng(3) for _ in range(2))
    image = RandomThorax("any")(SHAPE, rng)
    assert image.shape == SHAPE
    assert image.dtype == np.float32
    hounsfield = random_thorax_slice(SHAPE, same, rotation=same.uniform(0, 2 * np.pi))
    assert np.allclose(4096 * image - 1024, hounsfield, atol=1e-3)
    # air, and soft tissue, 0 to 80 HU, a little above the quarter that water has
    assert image[0, 0] == pytest.approx(24 / 4096)
    assert ((image > 0.25) & (image < 0.27)).mean() > 0.05


def test_orientations_differ_and_the_law_of_values_does_not():
    upright, turned = images("upright"), images("any")
    assert np.abs(upright - turned).mean() > 0.02
    # the same patients: as much of each tissue, up to the pixels at the edges
    edges = np.array((0, 300, 800, 975, 1110, 4096)) / 4096
    first, second = (np.histogram(i, edges)[0] / i.size for i in (upright, turned))
    assert second == pytest.approx(first, abs=0.005)


def test_upright_patients_are_wider_than_high_and_turned_ones_are_not():
    def wider(orientation, n):
        body = images(orientation, n) > 0.15
        across, down = (
            np.array([np.ptp(np.flatnonzero(b.any(axis=axis))) for b in body]) for axis in (0, 1)
        )
        return (across > down).mean()

    assert wider("upright", 12) == 1
    # half of them: within four standard errors
    assert abs(wider("any", 24) - 0.5) < 4 * np.sqrt(0.25 / 24)


def test_field_is_the_extent_of_the_image():
    narrow, wide = (RandomThorax(field=f)(SHAPE, np.random.default_rng(1)) for f in (360, 720.0))
    assert (wide > 0.15).sum() == pytest.approx((narrow > 0.15).sum() / 4, rel=0.05)


def test_description():
    source = RandomThorax("any")
    assert str(source) == "random chest slices (any)"
    assert source.to_dict() == {"type": "RandomThorax", "orientation": "any", "field": 360.0}
    assert hash(source) == hash(RandomThorax("any"))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (("prone",), ValueError, "orientation: expected one of upright, any"),
        (("any", 0.0), ValueError, "field: expected a positive"),
        (("any", "wide"), TypeError, "field: expected a"),
    ],
)
def test_errors(arguments, error, message):
    with pytest.raises(error, match=message):
        RandomThorax(*arguments)
