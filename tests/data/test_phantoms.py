"""Chest slices as a source: scaling, orientation, and that both orientations have one law."""

import numpy as np
import pytest

from data_sim import random_thorax_slice
from data_sim.thorax import random_thorax
from tomolearn.data import RandomThorax, ThoraxPatches, ThoraxVolumes

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


def test_splits_may_have_slices_of_their_own():
    def values(source, seed):  # the same of a slice that is turned or flipped
        return tuple(np.sort(source((32, 32), np.random.default_rng(seed)), axis=None))

    both = {values(ThoraxPatches(2, 32), seed) for seed in range(12)}
    own = [values(ThoraxPatches(1, 32, first=number), 0) for number in (0, 1, 2)]
    assert both == set(own[:2])
    assert own[2] not in both


def test_first_slices_are_written_down_where_they_are_not_the_first():
    assert ThoraxPatches().to_dict() == {"type": "ThoraxPatches", "slices": 256, "size": 362}
    assert ThoraxPatches(first=5).to_dict()["first"] == 5
    with pytest.raises(ValueError, match="first: expected an integer >= 0, got -1"):
        ThoraxPatches(first=-1)


def test_volumes_are_slices_of_one_chest():
    volume = ThoraxVolumes(length=40.0)((4, 32, 32), np.random.default_rng(5))
    assert (volume.dtype, volume.shape) == (np.float32, (4, 32, 32))
    rng = np.random.default_rng(5)
    patient = random_thorax(rng)
    low, high = patient.extent
    middle = rng.uniform(low + 20, high - 20)
    for k, z in enumerate(middle + np.array([-15, -5, 5, 15])):
        hounsfield = patient.slice(z, (32, 32), 360 / 32)
        assert np.allclose(4096 * volume[k] - 1024, hounsfield, atol=1e-3)


def test_beyond_the_chest_a_volume_is_air():
    volume = ThoraxVolumes(length=4000.0)((9, 16, 16), np.random.default_rng(5))
    assert volume[4].max() > 0.25
    assert np.allclose(volume[[0, 1, -2, -1]], 24 / 4096)
    assert str(ThoraxVolumes()) == "random chests"
    with pytest.raises(ValueError, match="length: expected a positive number, got -1"):
        ThoraxVolumes(length=-1.0)
