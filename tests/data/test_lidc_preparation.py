"""Preparation of slices: cutting, resampling, the body."""

import numpy as np
import pytest

from tomolearn.data.lidc import Preparation

NO_PADDING = np.zeros((20, 30), bool)


@pytest.fixture
def image(numpy_rng):
    return numpy_rng.integers(-1000, 1000, (20, 30)).astype(np.float32)


def test_middle_of_larger_and_air_around_smaller(image):
    cut = Preparation(10).image(image, NO_PADDING, (1, 1))
    np.testing.assert_array_equal(cut, image[5:15, 10:20])
    odd = Preparation(11).image(image, NO_PADDING, (1, 1))
    np.testing.assert_array_equal(odd, image[4:15, 9:20])
    wide = Preparation(40).image(image, NO_PADDING, (1, 1))
    np.testing.assert_array_equal(wide[10:30, 5:35], image)
    wide[10:30, 5:35] = -1000
    assert (wide == -1000).all()
    mixed = Preparation(24).image(image, NO_PADDING, (1, 1))
    np.testing.assert_array_equal(mixed[2:22], image[:, 3:27])
    assert cut.dtype == np.int16


def test_mask_is_cut_like_the_image(image):
    mask = image > 0
    for size in (10, 24, 40):
        found = Preparation(size).mask(mask, (1, 1))
        np.testing.assert_array_equal(found, Preparation(size).image(image, NO_PADDING, (1, 1)) > 0)


def test_padding_becomes_air(image):
    padding = image > 500
    image[padding] = -2000
    # with and without the tag that says so
    for said in (padding, NO_PADDING):
        found = Preparation(20).image(image, said, (1, 1))
        assert (found[padding[:, 5:25]] == -1000).all()
        assert found.min() >= -1000


def test_values_beyond_the_type_are_clipped_and_others_rounded():
    image = np.array([[4e4, -5e4], [0.6, -0.4]], np.float32)
    found = Preparation(2).image(image, np.zeros((2, 2), bool), (1, 1))
    np.testing.assert_array_equal(found, [[32767, -1000], [1, 0]])


@pytest.mark.parametrize("target", [0.4, 0.8, 1.6, 2.5])
def test_resampling_keeps_a_linear_image_where_it_was(target):
    # values that are their own position in mm: exact under linear interpolation and symmetric blur
    spacing = (0.8, 1.1)
    y, x = ((np.arange(n) - (n - 1) / 2) * s for n, s in zip((81, 61), spacing, strict=True))
    image = (10 * y[:, None] - 7 * x).astype(np.float32)
    found = Preparation(9, target).image(image, np.zeros(image.shape, bool), spacing)
    place = (np.arange(9) - 4) * target
    assert np.abs(found - (10 * place[:, None] - 7 * place)).max() <= 0.501


def test_resampling_fills_with_air_and_moves_masks_along():
    disc = np.hypot(*np.mgrid[-20:21, -20:21]) <= 12
    image = np.where(disc, 100, -1000).astype(np.float32)
    preparation = Preparation(64, 0.5)
    found = preparation.image(image, np.zeros(image.shape, bool), (1, 1))
    mask = preparation.mask(disc, (1, 1))
    assert found[0, 0] == found[-1, 0] == -1000
    # four pixels for one, but for the rim
    assert mask.sum() == pytest.approx(4 * disc.sum(), rel=0.1)
    assert np.mean(mask != (found > -450)) < 0.03
    assert preparation.spacing_of((1, 1)) == (0.5, 0.5)
    assert Preparation(64).spacing_of((1, 2)) == (1, 2)


def test_coarser_pixels_are_blurred_first(numpy_rng):
    noise = numpy_rng.normal(0, 100, (200, 200)).astype(np.float32)
    found = Preparation(40, 4.0).image(noise, np.zeros(noise.shape, bool), (1, 1))
    # without the blur a quarter of the variance or more would be left, with it sigma 1.5's
    assert found.std() < 25


def test_body_is_the_largest_part_without_holes():
    image = np.full((60, 60), -1000.0)
    body = np.hypot(*np.mgrid[-30:30, -30:30]) < 20
    image[body] = 40
    image[25:35, 25:35] = -900  # lung
    image[56:58, 5:55] = 200  # table
    found = Preparation(60, body_only=True).image(image, np.zeros(image.shape, bool), (1, 1))
    np.testing.assert_array_equal(found, np.where(body, image, -1000))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [((0,), "size: expected an integer >= 1"), ((5, 0.0), "spacing: expected a positive")],
)
def test_errors(arguments, words):
    with pytest.raises(ValueError, match=words):
        Preparation(*arguments)
