"""Ridge regularisers against dense Hessians and spectra in float64."""

import copy

import pytest
import torch

import tomolearn as tl
from tomolearn.priors import ConvexRidge, TotalVariation, WeaklyConvexRidge

KINDS = (
    lambda: ConvexRidge(channels=(3, 4), kernel_size=3),
    lambda: WeaklyConvexRidge(channels=(3, 4), kernel_size=3, modulus=0.02),
)


def made(kind, seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return kind().double()


def hessian(prior, image):
    n = image.numel()
    return torch.autograd.functional.hessian(lambda x: prior.value(x), image).reshape(n, n)


@pytest.mark.parametrize("kind", KINDS)
def test_the_spectrum_bounds_the_hessian(kind, rng):
    prior = made(kind)
    if isinstance(prior, WeaklyConvexRidge):
        with torch.no_grad():  # the convex part alone bounds it
            prior.log_ratios += 50
    flat = hessian(prior, torch.zeros(24, 25, dtype=torch.float64))
    largest = float(torch.linalg.eigvalsh(flat)[-1])
    # of a quarter of the bound the border, which is mirrored, may make the whole
    assert 0.8 * prior.lipschitz((24, 25)) / 4 <= largest <= prior.lipschitz((24, 25))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", KINDS)
def test_convexity_is_what_is_certified(kind, seed, rng):
    prior = made(kind, seed)
    with torch.no_grad():  # whatever training makes of them
        for weights in prior.parameters():
            weights += 0.5 * torch.randn(weights.shape, generator=rng, dtype=weights.dtype)
    for size in (1e-3, 1e-2, 0.1):
        image = size * torch.randn(13, 12, generator=rng, dtype=torch.float64)
        least = float(torch.linalg.eigvalsh(hessian(prior, image))[0])
        assert least >= prior.convexity - 1e-10


def test_weak_convexity_is_used_up():
    # all responses between knee and end, where only the concave part bends
    prior = made(KINDS[1])
    assert prior.convexity == pytest.approx(-0.02)
    assert made(lambda: WeaklyConvexRidge(knee=1e-3, modulus=1e6)).convexity > -1e6


def test_filters_are_those_of_a_correlation_and_have_no_mean(rng):
    prior = made(KINDS[0])
    filters = prior.filters()
    assert filters.shape == (4, prior.taps, prior.taps)
    torch.testing.assert_close(filters.sum((1, 2)), torch.zeros(4, dtype=torch.float64))
    image = torch.randn(1, 1, 12, 11, generator=rng, dtype=torch.float64)
    expected = torch.nn.functional.conv2d(image, filters[:, None])
    torch.testing.assert_close(prior._filtered(image, torch.ones_like(prior.log_weights)), expected)


@pytest.mark.parametrize("kind", KINDS)
def test_the_gradient_is_that_of_the_value(kind, rng):
    prior = made(kind)
    image = 0.02 * torch.randn(2, 9, 5, generator=rng, dtype=torch.float64)
    image.requires_grad_()
    (expected,) = torch.autograd.grad(prior.value(image).sum(), image)
    torch.testing.assert_close(prior.gradient(image), expected)
    value, gradient = prior.value_and_gradient(image)
    torch.testing.assert_close(gradient, expected)
    torch.testing.assert_close(value, prior.value(image))


def test_borders_are_mirrored(rng):
    prior = made(KINDS[0])
    image = torch.randn(8, 9, generator=rng, dtype=torch.float64)
    padded = torch.nn.functional.pad(image[None, None], (1, 1, 1, 1), mode="replicate")
    # of one pixel, mirroring repeats the last: so does replication
    one = made(lambda: ConvexRidge(channels=(3,), kernel_size=3))
    torch.testing.assert_close(one._flat(image), padded)
    constant = torch.full((8, 9), 0.3, dtype=torch.float64)
    assert prior.value(constant).item() < 1e-12


def test_before_training_it_is_about_the_total_variation():
    image = torch.zeros(64, 64)
    image[20:40, 15:50] = 1.0
    with torch.random.fork_rng():
        torch.manual_seed(0)
        prior = ConvexRidge(knee=1e-3)
    ratio = prior.value(image) / TotalVariation().value(image)
    assert 0.5 < ratio.item() < 1.5


def test_small_images_are_refused():
    with pytest.raises(ValueError, match="image: expected at least 6 pixels along each axis"):
        ConvexRidge().value(torch.zeros(5, 40))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"channels": ()}, "channels: expected at least one"),
        ({"kernel_size": 4}, "kernel_size: expected an odd number, got 4"),
        ({"ndim": 4}, "ndim: expected 1, 2 or 3"),
        ({"knee": 0.0}, "knee"),
    ],
)
def test_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        ConvexRidge(**arguments)


def test_ratio():
    with pytest.raises(ValueError, match="ratio: expected a number above 1, got 1"):
        WeaklyConvexRidge(ratio=1.0)


@pytest.mark.parametrize("kind", KINDS)
def test_knees_stay_above_a_quarter_of_what_they_were(kind):
    prior = made(kind)
    before = prior.knees().detach()
    torch.testing.assert_close(before, torch.full_like(before, 0.01))
    with torch.no_grad():  # as far as training may go
        prior.log_excesses -= 100
    torch.testing.assert_close(prior.knees().detach(), before / 4)


def test_spectra_are_computed_once_in_a_reconstruction(monkeypatch, rng):
    calls = []
    peak = WeaklyConvexRidge._peak

    def counted(self, factors):
        calls.append(self)
        return peak(self, factors)

    monkeypatch.setattr(WeaklyConvexRidge, "_peak", counted)
    grid = tl.Grid((24, 24))
    operator = tl.RayTransform(grid, tl.ParallelBeam.covering(grid, 8))
    prior = WeaklyConvexRidge(channels=(3, 4), kernel_size=3, modulus=0.02)
    y = operator(torch.rand(1, 1, 24, 24, generator=rng))
    found = []
    for iterations in (5, 20):
        calls.clear()
        tl.variational(
            y, operator, prior=prior, weight=0.1, algorithm="data-proximal", iterations=iterations
        )
        found.append(len(calls))
    assert found[0] == found[1]
    # weights that are trained go on to count
    image = torch.rand(24, 24, generator=rng)
    before = float(prior.value(image).detach())
    with torch.no_grad():
        prior.log_weights += 1
    assert float(prior.value(image).detach()) != pytest.approx(before)
    settled = copy.deepcopy(prior)
    settled.settle()
    assert torch.equal(settled.value(image), prior.value(image))
    assert torch.equal(settled.gradient(image), prior.gradient(image))
