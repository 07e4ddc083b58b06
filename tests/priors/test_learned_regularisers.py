"""Learned regularisers: gradients, convexity and bounds, against differences and distributions."""

import math
import sys

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal

from tomolearn.priors import (
    PRIORS,
    AdversarialRegulariser,
    InputConvexRegulariser,
    NetworkTikhonov,
    PatchMixture,
    TotalDeepVariation,
)

SMALL = {"channels": (3, 4, 3), "strides": (1, 2, 2), "kernel_size": 3}
KINDS = {
    "adversarial": lambda: AdversarialRegulariser(**SMALL, hidden=5),
    "input convex": lambda: InputConvexRegulariser(**SMALL, convexity=0.3),
    "total deep variation": lambda: TotalDeepVariation(channels=3, blocks=2),
    "network Tikhonov": lambda: NetworkTikhonov(channels=3, sparsity=0.1),
    "patch mixture": lambda: shaken(PatchMixture(size=3, components=4), 0.3),
}
each = pytest.mark.parametrize("make", KINDS.values(), ids=list(KINDS))
networks = pytest.mark.parametrize("make", list(KINDS.values())[:4], ids=list(KINDS)[:4])


def made(make, seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make().double()


def shaken(regulariser, size, seed=1):
    """Change all weights at random."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weights in regulariser.parameters():
            noise = torch.randn(weights.shape, generator=generator, dtype=torch.float64)
            weights += size * noise.to(weights)
    return regulariser


def images(rng, *shape):
    return torch.rand(*shape, generator=rng, dtype=torch.float64)


@each
def test_gradient_is_that_of_the_value(make, rng):
    regulariser = made(make)
    x, d = images(rng, 2, 11, 14), images(rng, 2, 11, 14) - 0.5
    h = 1e-5
    slope = (regulariser(x + h * d) - regulariser(x - h * d)) / (2 * h)
    found = (regulariser.gradient(x) * d).sum((-2, -1))
    torch.testing.assert_close(found, slope, rtol=1e-6, atol=1e-7)


@each
def test_gradient_can_be_learned_from(make, rng):
    # the derivative of |gradient|^2 by a weight, as a gradient penalty needs it
    regulariser = made(make)
    x = images(rng, 2, 9, 10)

    def loss():
        return regulariser.gradient(x).square().sum()

    weights = [w for w in regulariser.parameters() if w.numel() > 1]
    slopes = torch.autograd.grad(loss(), weights, allow_unused=True)
    h = 1e-6
    for weight, slope in zip(weights, slopes, strict=True):
        if slope is None:  # moves values only
            continue
        direction = torch.randn(weight.shape, generator=rng, dtype=torch.float64)
        with torch.no_grad():
            weight += h * direction
            above = float(loss())
            weight -= 2 * h * direction
            below = float(loss())
            weight += h * direction
        expected = (above - below) / (2 * h)
        found = float((slope * direction).sum())
        assert found == pytest.approx(expected, rel=1e-4, abs=1e-5 * above)


@each
def test_leading_dimensions_and_modes_are_free(make, rng):
    regulariser = made(make)
    x = images(rng, 2, 3, 9, 12)
    values, slopes = regulariser.value(x), regulariser.gradient(x)
    assert values.shape == (2, 3)
    assert slopes.shape == x.shape
    torch.testing.assert_close(regulariser.value(x[1, 2]), values[1, 2])
    torch.testing.assert_close(regulariser.gradient(x[1, 2]), slopes[1, 2])
    assert regulariser.gradient(x).requires_grad
    with torch.no_grad():
        assert torch.equal(regulariser.gradient(x), slopes)
        assert not regulariser.gradient(x).requires_grad
    with torch.inference_mode():
        torch.testing.assert_close(regulariser.gradient(x + 0), slopes)
    assert regulariser.value(x[0, :0]).shape == (0,)


@each
def test_precision_is_that_of_the_image(make, rng):
    regulariser = made(make).float()
    x = images(rng, 9, 12)
    with torch.no_grad():
        low = regulariser.gradient(x.float())
        assert low.dtype == torch.float32
        assert regulariser.gradient(x).dtype == torch.float64
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(regulariser.gradient(x.float()), low)


@each
def test_rebuilt_from_arguments(make, rng):
    regulariser = made(make)
    again = type(regulariser)(**regulariser.arguments).double()
    again.load_state_dict(regulariser.state_dict())
    x = images(rng, 9, 12)
    assert torch.equal(again(x), regulariser(x))
    assert type(regulariser) in PRIORS.values()


@pytest.mark.parametrize("make", list(KINDS.values())[:2], ids=list(KINDS)[:2])
def test_gradient_of_a_pixel_does_not_depend_on_the_size_of_the_image(make, rng):
    regulariser = made(make)
    x = images(rng, 64, 48)
    whole, part = regulariser.gradient(x), regulariser.gradient(x[:44])
    torch.testing.assert_close(whole[:20], part[:20])


@pytest.mark.parametrize("size", [0.0, 0.1, 1.0])
def test_input_convex_for_all_weights(size, rng):
    regulariser = shaken(made(KINDS["input convex"]), size)
    a, b = 2 * images(rng, 2, 50, 9, 10) - 1
    t = images(rng, 50, 1, 1)
    modulus = regulariser.convexity
    assert modulus == 0.3
    chord = t.flatten() * regulariser(a) + (1 - t.flatten()) * regulariser(b)
    gap = chord - regulariser(t * a + (1 - t) * b)
    strong = modulus / 2 * (t * (1 - t)).flatten() * (a - b).square().sum((-2, -1))
    assert bool((gap >= strong - 1e-9 * chord.abs()).all())
    # and it is more than the quadratic term: the network bends
    assert float((gap - strong).max()) > 1e-6


@pytest.mark.parametrize("make", list(KINDS.values())[:2], ids=list(KINDS)[:2])
@pytest.mark.parametrize("size", [0.0, 0.1])
def test_lipschitz_constant_bounds_the_hessian(make, size, rng):
    regulariser = shaken(made(make), size)
    bound = regulariser.lipschitz((8, 9))
    for x in (images(rng, 8, 9), torch.zeros(8, 9, dtype=torch.float64)):
        hessian = torch.autograd.functional.hessian(regulariser.value, x).reshape(72, 72)
        values = torch.linalg.eigvalsh(hessian)
        assert 0 < float(values.abs().max()) <= bound
        if regulariser.convexity is not None:
            assert float(values[0]) >= regulariser.convexity * (1 - 1e-9)


def test_one_layer_has_the_bound_of_its_matrix():
    # all bounds but those of mirror images and frequencies are attained by one filter of one pixel
    regulariser = InputConvexRegulariser(channels=[1], strides=[1], kernel_size=1).double()
    with torch.no_grad():
        regulariser.from_image[0].weight.fill_(2.0)
        regulariser.outputs[0].fill_(3.0)
    x = torch.zeros(4, 4, dtype=torch.float64)
    hessian = torch.autograd.functional.hessian(regulariser.value, x).reshape(16, 16)
    found = float(torch.linalg.eigvalsh(hessian)[-1])
    assert found == pytest.approx(9 * 4 * 10 * 0.8 * 10 / 4)
    assert regulariser.lipschitz((4, 4)) == pytest.approx(4 * found)


def mixture(seed=3):
    generator = np.random.default_rng(seed)
    regulariser = PatchMixture(size=2, components=3).double()
    weights = generator.dirichlet(np.ones(3))
    means = generator.normal(size=(3, 4))
    roots = generator.normal(size=(3, 4, 4))
    covariances = roots @ roots.transpose(0, 2, 1) + 0.1 * np.eye(4)
    with torch.no_grad():
        regulariser.log_weights.copy_(torch.from_numpy(np.log(weights) + 1.7))
        regulariser.means.copy_(torch.from_numpy(means))
        regulariser.factors.copy_(torch.from_numpy(np.linalg.cholesky(np.linalg.inv(covariances))))
    return regulariser, weights, means, covariances


def log_density(patch, weights, means, covariances):
    parts = [
        w * multivariate_normal(m, c).pdf(patch)
        for w, m, c in zip(weights, means, covariances, strict=True)
    ]
    return math.log(sum(parts))


def test_patch_likelihood_against_scipy(rng):
    regulariser, *parameters = mixture()
    x = images(rng, 5, 6)
    expected = 0.0
    for i in range(4):
        for j in range(5):
            patch = x[i : i + 2, j : j + 2].flatten().numpy()
            expected -= log_density(patch - patch.mean(), *parameters)
    assert float(regulariser(x)) == pytest.approx(expected, rel=1e-12)


def test_patch_gradient_against_scipy(rng):
    regulariser, *parameters = mixture()
    patch = images(rng, 2, 2)
    found = regulariser.gradient(patch)
    for k in range(4):
        step = np.zeros(4)
        step[k] = 1e-6
        values = []
        for sign in (1, -1):
            moved = patch.flatten().numpy() + sign * step
            values.append(-log_density(moved - moved.mean(), *parameters))
        expected = (values[0] - values[1]) / 2e-6
        assert float(found.flatten()[k]) == pytest.approx(expected, rel=1e-7, abs=1e-8)


def test_one_gaussian_is_a_convex_quadratic_function():
    regulariser = shaken(PatchMixture(size=3, components=1).double(), 0.3)
    x = torch.zeros(6, 7, dtype=torch.float64)
    hessian = torch.autograd.functional.hessian(regulariser.value, x).reshape(42, 42)
    values = torch.linalg.eigvalsh(hessian)
    assert regulariser.convexity == 0.0
    assert float(values[0]) > -1e-12
    assert float(values[-1]) <= regulariser.lipschitz((6, 7)) < 9 * float(values[-1])
    assert PatchMixture().convexity is None
    assert PatchMixture().lipschitz((9, 9)) is None


def test_fitted_mixture_tells_images_from_noise(rng):
    pytest.importorskip("sklearn")
    edges = (images(rng, 6, 24, 24).cumsum(-1) > 6).double()
    regulariser = PatchMixture.fit(edges[:5], size=3, components=3, patches=2000, floor=0.02)
    clean, noise = edges[5], 0.1 * torch.randn(24, 24, generator=rng, dtype=torch.float64)
    assert float(regulariser(clean)) < float(regulariser(clean + noise))
    # each component's covariance is at least that of the floor
    factors = torch.linalg.matrix_norm(regulariser.factors.double(), 2)
    assert float(factors.max()) <= 1 / 0.02 * (1 + 1e-5)
    again = PatchMixture.fit(edges[:5], size=3, components=3, patches=2000, floor=0.02)
    torch.testing.assert_close(again(clean), regulariser(clean))


def test_fitting_names_what_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.mixture", None)
    with pytest.raises(ImportError, match=r"fitting a Gaussian mixture needs .*tomolearn\[priors"):
        PatchMixture.fit(torch.zeros(9, 9))


def test_network_tikhonov_is_zero_where_the_autoencoder_changes_nothing(rng):
    regulariser = made(lambda: NetworkTikhonov(channels=2))
    x = images(rng, 1, 9, 11)
    denoised = regulariser.denoiser()(x)
    expected = (x - denoised).square().sum((-2, -1)) / 2
    torch.testing.assert_close(regulariser(x), expected)


def test_constants_cost_total_deep_variation_nothing(rng):
    regulariser = made(KINDS["total deep variation"])
    x = images(rng, 8, 9)
    torch.testing.assert_close(regulariser(x + 0.7), regulariser(x))
    torch.testing.assert_close(float(regulariser(torch.full((8, 9), 0.4).double())), 0.0)


@pytest.mark.parametrize("name", ["total deep variation", "network Tikhonov", "adversarial"])
def test_what_is_not_proven_is_not_certified(name):
    regulariser = made(KINDS[name])
    assert regulariser.convexity is None
    if name != "adversarial":
        assert regulariser.lipschitz((9, 9)) is None


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda: AdversarialRegulariser(channels=()), ValueError, "channels: expected a number"),
        (lambda: AdversarialRegulariser(channels=(2, 0), strides=(1, 1)), ValueError, r"nels\[1\]"),
        (lambda: AdversarialRegulariser(strides=(1, 2)), ValueError, "one for each of the 6"),
        (lambda: AdversarialRegulariser(kernel_size=4), ValueError, "kernel_size: expected an odd"),
        (lambda: AdversarialRegulariser(slope=1.5), ValueError, r"slope: .* in \[0, 1\]"),
        (lambda: AdversarialRegulariser(scale=0.0), ValueError, "scale: expected a positive"),
        (lambda: InputConvexRegulariser(strides=(1,)), ValueError, "one for each of the 4 layers"),
        (lambda: InputConvexRegulariser(convexity=-0.1), ValueError, "convexity: expected a non"),
        (lambda: TotalDeepVariation(nu=0.0), ValueError, "nu: expected a positive number"),
        (lambda: NetworkTikhonov(sparsity=-1.0), ValueError, "sparsity: expected a non-negative"),
        (lambda: PatchMixture(size=1), ValueError, "size: expected an integer >= 2"),
        (
            lambda: AdversarialRegulariser()(torch.zeros(16, 64)),
            ValueError,
            r"image: expected more than 16 pixels along each axis, got \(16, 64\)",
        ),
        (
            lambda: PatchMixture(size=4)(torch.zeros(3, 9)),
            ValueError,
            r"image: expected at least 4 pixels along each axis, got \(3, 9\)",
        ),
        (lambda: TotalDeepVariation()(torch.zeros(9)), ValueError, "image: expected 2 spatial"),
    ],
)
def test_errors(call, error, match):
    with pytest.raises(error, match=match):
        call()
