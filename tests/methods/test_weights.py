"""Weights of measured values: laws that hold for every method that iterates."""

import math
import warnings
from functools import partial

import pytest
import torch

import tomolearn as tl
from tests.helpers.builders import matrix_of
from tests.methods.test_iteration import METHODS, OPERATOR, every_method
from tests.methods.test_method import GIVEN
from tomolearn import Grid, ParallelBeam, RayTransform
from tomolearn.methods import History, IterativeMethod, cgls, kaczmarz, landweber, sirt, tikhonov

SHAPE = OPERATOR.range_shape


@pytest.fixture
def data(rng):
    x = torch.rand(3, *OPERATOR.domain_shape, generator=rng)
    y = OPERATOR(x)
    return (y + 0.1 * torch.rand(y.shape, generator=rng)).double()


@pytest.fixture
def dead(rng):
    """A column, a view and some others."""
    dead = torch.rand(SHAPE, generator=rng) < 0.1
    dead[:, 5] = dead[2] = True
    return dead


@every_method
@pytest.mark.parametrize("garbage", [math.nan, math.inf, 1e6])
def test_what_stands_in_dead_bins_does_not_matter(name, garbage, data, dead):
    weights = torch.where(dead, 0.0, 1.0)
    images = METHODS[name](data, OPERATOR, iterations=6, weights=weights)
    spoiled = torch.where(dead, garbage, data)
    found = METHODS[name](spoiled, OPERATOR, iterations=6, weights=weights)
    assert torch.equal(found, images)
    # other values do
    plain = METHODS[name](data, OPERATOR, iterations=6)
    assert not torch.allclose(plain, images, rtol=1e-3)


@every_method
def test_weights_of_one_change_nothing(name, data):
    images = METHODS[name](data, OPERATOR, iterations=6)
    found = METHODS[name](data, OPERATOR, iterations=6, weights=torch.ones(SHAPE))
    # steps that are decided by rounding aside
    torch.testing.assert_close(found, images, rtol=1e-6, atol=1e-8)


@every_method
def test_each_image_has_its_weights(name, data, rng):
    weights = torch.rand(data.shape, generator=rng, dtype=torch.float64) + 0.1
    weights[1] *= 50
    weights[2, 3] = 0.0
    images = METHODS[name](data, OPERATOR, iterations=6, weights=weights)
    for image, y, w in zip(images, data, weights, strict=True):
        alone = METHODS[name](y, OPERATOR, iterations=6, weights=w)
        torch.testing.assert_close(image, alone, rtol=1e-3, atol=1e-3 * float(alone.abs().max()))


@every_method
def test_reported_residuals_are_weighted(name, data, dead, rng):
    weights = torch.where(dead, 0.0, torch.rand(SHAPE, generator=rng) + 0.5).double()
    history = History(images=True)
    METHODS[name](data, OPERATOR, iterations=2, weights=weights, callback=history)
    for state in history.states:
        residual = OPERATOR(state.image) - data
        expected = (weights * residual.square()).flatten(1).sum(1).sqrt()
        torch.testing.assert_close(state.residual, expected, rtol=1e-4, atol=1e-5)


@every_method
def test_discrepancy_counts_the_bins_that_count(name, data, dead):
    weights = torch.where(dead, 0.0, 4.0)
    history = History()
    METHODS[name](
        data, OPERATOR, iterations=1000, weights=weights, noise_level=0.5, callback=history
    )
    target = 0.5 * math.sqrt(int((~dead).sum()))
    residuals = [float(state.residual.max()) for state in history.states]
    assert residuals[-1] <= target
    if name != "tv":  # whose misfit rises and falls
        assert all(residual > target for residual in residuals[:-1])


@every_method
def test_weights_that_will_not_do(name, data):
    ones = torch.ones(SHAPE)
    infinite = ones.clone()
    infinite[0, 0] = math.inf
    gone = torch.ones(data.shape)
    gone[1] = 0.0
    cases = {
        r"weights: expected shape \(9, \d+\) or \(3, 9, \d+\), got \(\d+, 9\)": ones.T,
        "weights: expected finite numbers, not negative, got -1": -ones,
        "weights: expected finite numbers, not negative, got inf": infinite,
        "weights: expected some above zero, got none of image 1": gone,
        "weights: expected some above zero, got none: no value is left": 0 * ones,
    }
    for message, weights in cases.items():
        with pytest.raises(ValueError, match=message):
            METHODS[name](data, OPERATOR, weights=weights)
    with pytest.raises(TypeError, match="weights: expected a real floating-point tensor"):
        METHODS[name](data, OPERATOR, weights=ones > 0)
    data[1, 2, 3] = math.nan
    with pytest.raises(ValueError, match=r"sinogram: .*got 1 .* nan at index \(1, 2, 3\)"):
        METHODS[name](data, OPERATOR, weights=ones)


def test_a_method_of_others_that_takes_none(data):
    class Plain(IterativeMethod):
        name = "plain"

        def iterate(self, sinogram, operator, image):
            yield from cgls.__globals__["CGLS"]().iterate(sinogram, operator, image)

    assert torch.equal(Plain(iterations=3)(data, OPERATOR), cgls(data, OPERATOR, iterations=3))
    with pytest.raises(ValueError, match=r"weights: expected none, since Plain\.iterate does"):
        Plain(iterations=3)(data, OPERATOR, weights=torch.ones(SHAPE))


# More rays than pixels, so that least squares have one solution.
SMALL = Grid((4, 3))
WELL = RayTransform(SMALL, ParallelBeam.covering(SMALL, 12))
MATRIX = matrix_of(WELL, SMALL.shape, torch.float64)


@pytest.mark.parametrize(
    ("name", "subsets"),
    [
        *((name, 1) for name in ("cgls", "tikhonov", "landweber", "sirt", "kaczmarz", "tv", "var")),
        ("kaczmarz", 4),
    ],
)
def test_the_solution_is_that_of_weighted_least_squares(name, subsets, rng):
    y = torch.rand(WELL.range_shape, generator=rng, dtype=torch.float64)
    w = torch.rand(WELL.range_shape, generator=rng, dtype=torch.float64) + 0.2
    w[3, 2] = w[:, 1] = 0.0
    weight = 0.3 if name in ("tikhonov", "var") else 0.0
    norms = w.flatten()
    if name in ("sirt", "kaczmarz"):  # the inverse row sums count, too
        sums = MATRIX.sum(1)
        norms = norms * torch.where(sums > 1e-6 * sums.max(), 1 / sums, 0)
    if name == "kaczmarz" and subsets > 1:
        # of consistent data, which every subset fits
        y = WELL(torch.rand(SMALL.shape, generator=rng, dtype=torch.float64))
    root = norms.sqrt()[:, None]
    stacked = torch.cat([root * MATRIX, math.sqrt(weight) * torch.eye(12, dtype=torch.float64)])
    right = torch.cat([root[:, 0] * y.flatten(), torch.zeros(12, dtype=torch.float64)])
    expected = torch.linalg.lstsq(stacked, right).solution.reshape(SMALL.shape)
    function = {
        "cgls": partial(cgls, iterations=60),
        "tikhonov": partial(tikhonov, weight=weight, iterations=60),
        "landweber": partial(landweber, iterations=4000),
        "sirt": partial(sirt, iterations=4000),
        "kaczmarz": partial(kaczmarz, iterations=2000, subsets=subsets),
        "tv": partial(tl.total_variation, weight=0.0, iterations=4000),
        "var": partial(tl.variational, prior="squared-norm", weight=weight, iterations=5000),
    }[name]
    spoiled = torch.where(w > 0, y, math.nan)
    found = function(spoiled, WELL, weights=w)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


def test_total_variation_with_weights_has_a_gap_that_closes(data, dead):
    weights = torch.where(dead, 0.0, torch.linspace(0.1, 8, SHAPE[1])).double()
    history = History(every=500)
    images = tl.total_variation(
        data, OPERATOR, weight=0.2, iterations=2000, weights=weights, callback=history
    )
    last = history.states[-1]
    assert float((last.gap / last.objective).max()) < 1e-4
    other = tl.variational(
        data, OPERATOR, prior="total-variation", weight=0.1, iterations=1500, weights=weights
    )
    torch.testing.assert_close(images, other, rtol=2e-2, atol=1e-2)


def test_total_variation_with_a_weight_of_each(data, dead):
    weights = torch.where(dead, 0.0, 0.5)
    each = torch.tensor([0.1, 0.4, 1.0])
    spoiled = torch.where(dead, math.nan, data)
    images = tl.total_variation(spoiled, OPERATOR, weight=each, iterations=1000, weights=weights)
    for image, y, weight in zip(images, data, each, strict=True):
        alone = tl.total_variation(
            y, OPERATOR, weight=float(weight), iterations=1000, weights=weights
        )
        torch.testing.assert_close(image, alone, rtol=1e-2, atol=2e-3)


def test_methods_say_how_they_take_weights(data, dead):
    weights = torch.where(dead, 0.0, 2.0)
    weights[2] = 1.0
    for name, kind in tl.methods.METHODS.items():
        method = kind(**GIVEN.get(name, {}))
        if name == "tsvd":
            with pytest.raises(ValueError, match="weights: expected none with tsvd"):
                method.weighting(weights)
            continue
        spoiled = torch.where(weights > 0, data, math.nan)
        image = method(spoiled, OPERATOR, **method.weighting(weights))
        assert torch.isfinite(image).all()


def test_trained_priors_take_weights(data, dead):
    method = tl.get_method("wcrr-chest", iterations=20, weight=1.0)
    data = data.float() / 50
    weights = torch.where(dead, 0.0, 2.0)
    spoiled = torch.where(dead, math.nan, data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", tl.TrainedElsewhereWarning)
        found = method(spoiled, OPERATOR, **method.weighting(weights))
        assert torch.equal(found, method(data, OPERATOR, weights=weights))
        # photons give each image a weight of the prior
        method = tl.get_method("wcrr-chest", iterations=20, photons=1e4)
        each = torch.stack([weights, 3 * weights, weights])
        images = method(spoiled, OPERATOR, weights=each)
        alone = method(spoiled[1], OPERATOR, weights=each[1])
    torch.testing.assert_close(images[1], alone, rtol=1e-3, atol=1e-5)
