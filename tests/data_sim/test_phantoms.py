"""Shepp-Logan and the laws of the random ellipses."""

import numpy as np
import pytest
from odl import uniform_discr
from odl.core.phantom.transmission import shepp_logan as odl_shepp_logan
from scipy import stats
from skimage.data import shepp_logan_phantom

from data_sim import (
    Ellipses,
    random_ellipse_parameters,
    random_ellipses,
    rasterise,
    shepp_logan,
    shepp_logan_ellipses,
)


def test_shepp_logan_takes_its_six_values():
    image = shepp_logan((256, 256))
    assert image.dtype == np.float32
    levels = np.float32([0, 0.1, 0.2, 0.3, 0.4, 1])
    assert np.unique(image).tolist() == levels.tolist()


def test_shepp_logan_is_scikit_images_phantom_in_its_orientation():
    image, theirs = shepp_logan((400, 400)), shepp_logan_phantom()
    # Theirs is shifted by half a pixel and stored in 8 bits; another orientation of the ventricles
    # alone differs in 5 % of the pixels.
    assert np.mean(np.abs(image - theirs) > 0.05) < 0.01
    assert np.mean(np.abs(image[:, ::-1] - theirs) > 0.05) > 0.05


def test_shepp_logan_is_odls_phantom_turned_upright():
    n = 128
    ellipses = shepp_logan_ellipses()
    shrink = (n - 1) / n  # ODL's [-1, 1] ends at the centres of the outermost pixels.
    ours = rasterise(
        Ellipses(
            ellipses.value, ellipses.semi_axes * shrink, ellipses.centre * shrink, ellipses.rotation
        ),
        (n, n),
        dtype=np.float64,
    )
    theirs = odl_shepp_logan(uniform_discr([-1, -1], [1, 1], (n, n)), modified=True).asarray()
    np.testing.assert_allclose(np.rot90(ours, -1), theirs, rtol=0, atol=1e-14)


def test_shepp_logan_looks_like_a_head():
    image = shepp_logan((100, 100))
    rows, columns = np.nonzero(image.any(axis=1))[0], np.nonzero(image.any(axis=0))[0]
    assert np.ptp(rows) > 1.3 * np.ptp(columns)
    middle = image[40:60]
    assert (middle[:, 25:50] == 0).sum() > (middle[:, 50:75] == 0).sum() > 0
    assert len(np.unique(image[75:85, 40:60])) > 1
    np.testing.assert_array_equal(image[:15], image[:15, ::-1])


def test_shepp_logan_of_a_rectangle_is_stretched():
    assert shepp_logan((60, 120)).shape == (60, 120)
    np.testing.assert_allclose(shepp_logan((60, 120)).mean(), shepp_logan((120, 60)).mean(), 0.02)


def test_oversampled_shepp_logan_has_its_exact_mean():
    ellipses = shepp_logan_ellipses()
    # All ellipses lie inside the square of area 4.
    exact = np.sum(ellipses.value * np.pi * ellipses.semi_axes.prod(axis=1)) / 4
    mean = shepp_logan((64, 64), oversampling=8).mean(dtype=np.float64)
    # 512 samples a side: an error of a tenth of a sample along each boundary, at most.
    assert abs(mean - exact) < 1e-4


@pytest.mark.parametrize(
    ("convention", "expected_count", "value_moments", "reach"),
    [
        # Var((U - 1/2) E) = (1/12) 2 (0.4)^2; Var U(-0.4, 1) = 1.4^2 / 12.
        ("adler", 50, (0.0, 0.32 / 12), 1.0),
        ("dival", 40, (0.3, 1.96 / 12), 0.9),
    ],
)
def test_ellipses_follow_their_laws(convention, expected_count, value_moments, reach, numpy_rng):
    n_images = 1000
    batch = random_ellipse_parameters(n_images, numpy_rng, convention)
    n = batch.n_ellipses
    # Five standard errors. The cap at 70 takes away less than 1e-4 of a Poisson(40) mean.
    assert abs(batch.counts.mean() - expected_count) < 5 * np.sqrt(expected_count / n_images)
    assert batch.counts.var() == pytest.approx(expected_count, rel=5 * np.sqrt(2 / n_images))
    mean, variance = value_moments
    assert abs(batch.value.mean() - mean) < 5 * np.sqrt(variance / n)
    # No fourth moment of these laws exceeds 25 squared variances.
    assert batch.value.var() == pytest.approx(variance, rel=5 * np.sqrt(25 / n))
    laws = [
        (batch.semi_axes[:, 0], stats.expon(scale=0.2)),
        (batch.semi_axes[:, 1], stats.expon(scale=0.2)),
        (batch.centre[:, 0], stats.uniform(-reach, 2 * reach)),
        (batch.centre[:, 1], stats.uniform(-reach, 2 * reach)),
        (batch.rotation, stats.uniform(0, 2 * np.pi)),
    ]
    if convention == "dival":
        laws.append((batch.value, stats.uniform(-0.4, 1.4)))
        assert batch.counts.max() <= 70
    for sample, law in laws:
        assert stats.kstest(sample, law.cdf).pvalue > 1e-6
    for one, other in [(batch.semi_axes.T), (batch.centre.T)]:
        assert abs(np.corrcoef(one, other)[0, 1]) < 5 / np.sqrt(n)


def test_dival_never_draws_more_than_70_ellipses():
    # P(Poisson(40) > 70) is 5e-6: a million draws are sure to meet it, but not a million phantoms.
    class Many(np.random.Generator):
        def poisson(self, lam, size):
            return np.full(size, 90)

    rng = Many(np.random.PCG64(0))
    assert random_ellipse_parameters(3, rng, "dival").counts.tolist() == [70, 70, 70]
    assert random_ellipse_parameters(3, rng, "adler").counts.tolist() == [90, 90, 90]


def test_adler_images_are_the_plain_sums():
    images = random_ellipses(30, (32, 48), np.random.default_rng(3))
    batch = random_ellipse_parameters(30, np.random.default_rng(3), "adler")
    assert images.dtype == np.float32
    np.testing.assert_array_equal(images, rasterise(batch, (32, 48)))
    assert images.min() < -0.5
    assert images.max() > 1


def test_dival_images_are_shifted_where_not_zero_and_scaled():
    images = random_ellipses(30, (48, 32), np.random.default_rng(3), "dival")
    batch = random_ellipse_parameters(30, np.random.default_rng(3), "dival")
    for image, plain in zip(images, rasterise(batch, (48, 32), dtype=np.float64), strict=True):
        expected = np.where(plain != 0, plain - plain.min(), 0)
        expected /= expected.max()
        np.testing.assert_allclose(image, expected, rtol=0, atol=1e-6)
        assert image.min() == 0
        assert image.max() == 1
        assert (image[plain == 0] == 0).all()


def test_dival_images_of_one_value_are_zeros():
    # Less its minimum a single pixel is 0, and so is the maximum to divide by.
    assert not random_ellipses(20, (1, 1), np.random.default_rng(0), "dival").any()


@pytest.mark.parametrize("convention", ["adler", "dival"])
def test_a_seed_gives_the_same_images(convention):
    one, same, other = (
        random_ellipses(3, (16, 16), np.random.default_rng(seed), convention) for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"rng": 0}, TypeError, "rng: expected a numpy.random.Generator.* got int"),
        ({"rng": np.random.RandomState(0)}, TypeError, "rng: .* got RandomState"),
        ({"n_images": 0}, ValueError, "n_images: expected an integer >= 1, got 0"),
        ({"n_images": 2.0}, TypeError, "n_images: expected an integer >= 1, got 2.0"),
        ({"n_images": True}, TypeError, "n_images: expected an integer >= 1, got True"),
        ({"shape": (0, 4)}, ValueError, r"shape\[0\]: expected an integer >= 1, got 0"),
        ({"convention": "lodopab"}, ValueError, "convention: expected one of adler, dival, got"),
        ({"oversampling": -1}, ValueError, "oversampling: expected an integer >= 1, got -1"),
    ],
)
def test_bad_arguments_are_refused(arguments, error, message):
    good = {"n_images": 1, "shape": (4, 4), "rng": np.random.default_rng(0)}
    with pytest.raises(error, match=message):
        random_ellipses(**{**good, **arguments})


def test_the_generator_cannot_be_left_out():
    with pytest.raises(TypeError, match="rng"):
        random_ellipses(1, (4, 4))


@pytest.mark.parametrize("n", [64, 65])
def test_extent_to_the_centres_is_odls_phantom(n):
    theirs = odl_shepp_logan(uniform_discr([-1, -1], [1, 1], (n, n)), modified=True).asarray()
    ours = np.rot90(shepp_logan((n, n), extent="centres"), -1)
    # single pixels on an ellipse's edge fall to either side by rounding
    assert np.mean(np.abs(ours - theirs) > 1e-6) < 2e-3
    assert np.mean(np.abs(np.rot90(shepp_logan((n, n)), -1) - theirs) > 1e-6) > 5e-3


def test_extent_of_random_ellipses():
    edges, centres = (
        random_ellipses(3, (50, 50), np.random.default_rng(1), extent=extent)
        for extent in ("edges", "centres")
    )
    assert not np.array_equal(edges, centres)
    ellipses = random_ellipse_parameters(3, np.random.default_rng(1)).scaled(49 / 50)
    np.testing.assert_array_equal(centres, rasterise(ellipses, (50, 50)))


def test_extent_errors():
    with pytest.raises(ValueError, match="extent: expected one of edges, centres, got 'pixels'"):
        shepp_logan((8, 8), extent="pixels")
    with pytest.raises(ValueError, match="extent: expected 'edges' for an image of 8 x 9 pixels"):
        shepp_logan((8, 9), extent="centres")
    with pytest.raises(ValueError, match="factor: expected a positive number, got 0"):
        shepp_logan_ellipses().scaled(0)
