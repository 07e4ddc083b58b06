"""Images of ellipses against the definition, pixel by pixel."""

import numpy as np
import pytest
from ellipse_sums import from_rows, one_of
from odl import uniform_discr
from odl.core.phantom.geometric import ellipsoid_phantom

from data_sim import Ellipses, random_ellipse_parameters, rasterise


def by_definition(ellipses, shape):
    """Sum of masks for one phantom, in float64."""
    rows, columns = shape
    x = ((2 * np.arange(rows) + 1 - rows) / rows)[:, None]
    y = ((2 * np.arange(columns) + 1 - columns) / columns)[None, :]
    image = np.zeros(shape)
    for k in range(ellipses.n_ellipses):
        (a, b), (cx, cy) = ellipses.semi_axes[k], ellipses.centre[k]
        cos, sin = np.cos(ellipses.rotation[k]), np.sin(ellipses.rotation[k])
        along = ((x - cx) * cos + (y - cy) * sin) / a
        across = ((y - cy) * cos - (x - cx) * sin) / b
        image += ellipses.value[k] * (along**2 + across**2 <= 1)
    return image


def with_values(ellipses, value):
    return Ellipses(value, ellipses.semi_axes, ellipses.centre, ellipses.rotation, ellipses.counts)


@pytest.mark.parametrize("shape", [(128, 128), (17, 40), (33, 8), (1, 9), (9, 1), (1, 1)])
def test_random_ellipses_cover_the_pixels_that_their_definition_says(shape, numpy_rng):
    drawn = random_ellipse_parameters(10, numpy_rng)
    ones = np.ones(drawn.n_ellipses, dtype=int)
    each_alone = Ellipses(ones, drawn.semi_axes, drawn.centre, drawn.rotation, counts=ones)
    images = rasterise(each_alone, shape)
    assert images.shape == (drawn.n_ellipses, *shape)
    for k, image in enumerate(images):
        np.testing.assert_array_equal(image, by_definition(one_of(each_alone, k), shape))


def test_pixels_on_the_boundary_belong_to_the_ellipse():
    # Dyadic numbers: pixel centres lie exactly on the boundary, and arithmetic is exact.
    eighth = 1 / 8
    ellipses = from_rows(
        [
            [1, 4 * eighth, 4 * eighth, eighth, eighth, 0],
            [16, 2 * eighth, 6 * eighth, -eighth, 3 * eighth, 0],
            [256, 6 * eighth, 2 * eighth, eighth, -eighth, 0],
        ]
    )
    image = rasterise(ellipses, (8, 8))
    np.testing.assert_array_equal(image, by_definition(ellipses, (8, 8)))
    # The disc reaches two pixels to each side of its centre, and only one where it bends.
    assert (image % 16)[4].tolist() == [0, 0, 1, 1, 1, 1, 1, 0]
    assert (image % 16)[2].tolist() == [0, 0, 0, 0, 1, 0, 0, 0]


@pytest.mark.parametrize("rotation", [0.0, np.pi / 6, np.pi / 4, np.pi / 2, np.pi, -1.5 * np.pi])
@pytest.mark.parametrize("n", [63, 64])
def test_symmetric_ellipses_are_decided_as_by_definition(n, rotation):
    # Many pixel centres lie on these boundaries up to rounding.
    rows = [[2**k, (k + 1) / n, (2 * k + 1) / n, 0, 0, rotation] for k in range(20)]
    rows += [[2.0**-k, 2 * k / n, 2 * k / n, 1 / n, -1 / n, rotation] for k in range(1, 20)]
    ellipses = from_rows(rows)
    image = rasterise(ellipses, (n, n), dtype=np.float64)
    np.testing.assert_array_equal(image, by_definition(ellipses, (n, n)))


def test_outside_all_ellipses_is_exactly_zero(numpy_rng):
    batch = random_ellipse_parameters(50, numpy_rng)
    images = rasterise(batch, (64, 64), dtype=np.float64)
    covered = rasterise(with_values(batch, np.ones(batch.n_ellipses)), (64, 64)) > 0
    assert not covered.all()
    assert (images[~covered] == 0).all()


def test_values_of_very_different_size_keep_their_digits_in_every_phantom():
    disc = {"semi_axes": [[0.5, 0.5]] * 3, "centre": [[0, 0]] * 3, "rotation": [0] * 3}
    batch = Ellipses(value=[1e-200, 0.1, 1e200], **disc, counts=[1, 1, 1])
    images = rasterise(batch, (4, 4), dtype=np.float64)
    np.testing.assert_allclose(images[:, 1, 1], [1e-200, 0.1, 1e200], rtol=2.0**-50)
    assert (images[:, 0] == 0).all()


def test_sums_are_rounded_like_ordinary_sums(numpy_rng):
    one = one_of(random_ellipse_parameters(1, numpy_rng), 0)
    exact = by_definition(one, (100, 90))
    image = rasterise(one, (100, 90), dtype=np.float64)
    # Each value is rounded to a multiple of at most 2^-50 times the sum of magnitudes.
    bound = one.n_ellipses * np.abs(one.value).sum() * 2.0**-50
    np.testing.assert_allclose(image, exact, rtol=0, atol=bound)
    np.testing.assert_array_equal(rasterise(one, (100, 90)), image.astype(np.float32))


def test_agrees_with_odl_up_to_its_scale(numpy_rng):
    n = 65
    one = one_of(random_ellipse_parameters(1, numpy_rng), 0)
    ours = rasterise(one, (n, n), dtype=np.float64)
    # ODL puts -1 and 1 at the centres of the outermost pixels instead of the edges.
    stretch = n / (n - 1)
    rows = np.column_stack((one.value, one.semi_axes * stretch, one.centre * stretch, one.rotation))
    theirs = ellipsoid_phantom(uniform_discr([-1, -1], [1, 1], (n, n)), rows).asarray()
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-12)


def test_x_runs_along_the_rows():
    image = rasterise(from_rows([[1, 0.1, 0.1, 0.75, -0.25, 0]]), (4, 4))
    assert np.argwhere(image).tolist() == [[3, 1]]


def test_rotation_turns_from_x_to_y():
    image = rasterise(from_rows([[1, 1.0, 0.1, 0, 0, np.pi / 4]]), (9, 9))
    assert np.diag(image)[2:7].all()
    assert np.diag(image[::-1]).sum() == 1


def test_oversampling_averages_the_parts_of_a_pixel(numpy_rng):
    batch = random_ellipse_parameters(7, numpy_rng)
    coarse = rasterise(batch, (10, 14), oversampling=3, dtype=np.float64)
    fine = rasterise(batch, (30, 42), dtype=np.float64)
    mean = sum(fine[:, i::3, j::3] for i in range(3) for j in range(3)) / 9
    np.testing.assert_allclose(coarse, mean, rtol=0, atol=1e-13)


def test_batches_larger_than_one_chunk_equal_their_phantoms(numpy_rng):
    batch = random_ellipse_parameters(9, numpy_rng)
    images = rasterise(batch, (300, 301))
    for k in (0, 4, 8):
        np.testing.assert_array_equal(images[k], rasterise(one_of(batch, k), (300, 301)))


def test_no_ellipses_and_ellipses_out_of_sight_leave_zeros():
    assert not rasterise(from_rows(np.empty((0, 6))), (5, 6)).any()
    far = [[1, 0.5, 0.5, sign * 3, 0, 0] for sign in (-1, 1)]
    far += [[1, 0.5, 0.5, 0, sign * 3, 0] for sign in (-1, 1)]
    assert not rasterise(from_rows(far), (5, 6)).any()
    around = from_rows([[1, 1e6, 2e6, 0.3, 0.2, 1]])
    assert (rasterise(around, (5, 6)) == 1).all()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"ellipses": [1, 2]}, TypeError, "ellipses: expected Ellipses, got list"),
        ({"shape": 4}, TypeError, r"shape: expected a pair \(rows, columns\), got int"),
        ({"shape": (4, 4, 4)}, ValueError, "shape: expected a pair .* got 3 entries"),
        ({"shape": (4, 0)}, ValueError, r"shape\[1\]: expected an integer >= 1, got 0"),
        ({"shape": (4.0, 4)}, TypeError, r"shape\[0\]: expected an integer >= 1, got 4.0"),
        ({"oversampling": 0}, ValueError, "oversampling: expected an integer >= 1, got 0"),
        ({"dtype": np.int32}, TypeError, "dtype: expected float32 or float64, got int32"),
    ],
)
def test_bad_arguments_are_refused(arguments, error, message):
    disc = from_rows([[1, 0.5, 0.5, 0, 0, 0]])
    with pytest.raises(error, match=message):
        rasterise(**{"ellipses": disc, "shape": (4, 4), **arguments})
