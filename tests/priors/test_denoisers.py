"""Denoisers: what they compute, their noise level, and what is certified."""

import pytest
import torch
from torch import nn

from tomolearn.models import DEGradient, FBPUNet, LearnedPrimalDual
from tomolearn.priors import (
    PRIORS,
    Denoiser,
    NetworkDenoiser,
    ProximalDenoiser,
    SpectralDenoiser,
    SquaredDifferences,
    TotalVariation,
)


def spectral(**arguments):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        settings = {"depth": 3, "channels": 4, "bias": True} | arguments
        return SpectralDenoiser(**settings).double().eval()


def test_noise_is_removed_where_there_is_some(rng):
    clean = torch.zeros(32, 32, dtype=torch.float64)
    clean[8:24, 6:20] = 1.0
    sigma = torch.tensor([0.05, 0.2])
    noise = torch.randn(2, 32, 32, generator=rng, dtype=torch.float64)
    noisy = clean + sigma.reshape(2, 1, 1) * noise
    denoise = ProximalDenoiser(TotalVariation(), weight=8.0)
    before = (noisy - clean).square().mean((-2, -1))
    after = (denoise(noisy, sigma) - clean).square().mean((-2, -1))
    assert bool((after < 0.5 * before).all())
    torch.testing.assert_close(denoise(noisy, 0.0), noisy)


def test_proximal_denoiser_is_the_most_probable_image(rng):
    z = torch.randn(3, 1, 6, 7, generator=rng, dtype=torch.float64)
    x = ProximalDenoiser(SquaredDifferences(), weight=2.0)(z, 0.3)
    # the gradient of ||x - z||^2 / (2 sigma^2) + weight R(x) vanishes
    gradient = (x - z) / 0.09 + 2.0 * SquaredDifferences().gradient(x)
    assert float(gradient.abs().max()) < 1e-12


@pytest.mark.parametrize("leading", [(), (2,), (2, 3), (0,)])
def test_leading_dimensions_are_free(leading, rng):
    convolution = nn.Conv2d(1, 1, 3, padding=1)
    for denoise in (NetworkDenoiser(convolution), ProximalDenoiser(TotalVariation(), weight=1.0)):
        image = torch.rand(*leading, 8, 9, generator=rng)
        found = denoise(image, 0.1)
        assert found.shape == image.shape
        if leading == (2, 3):
            torch.testing.assert_close(found[1, 2], denoise(image[1, 2], 0.1), rtol=0, atol=1e-4)


def test_networks_in_space(rng):
    denoise = NetworkDenoiser(nn.Conv3d(1, 1, 3, padding=1), ndim=3)
    assert denoise(torch.rand(2, 4, 5, 6, generator=rng)).shape == (2, 4, 5, 6)


def test_denoiser_of_a_network_shares_its_weights(rng):
    image = torch.rand(2, 1, 9, 10, generator=rng)
    for model in (FBPUNet(channels=(4, 8)), DEGradient(depth=2, channels=4)):
        denoise = model.eval().denoiser()
        assert isinstance(denoise, Denoiser)
        assert denoise.blind
        before = denoise(image)
        with torch.no_grad():
            for weights in model.parameters():
                weights.mul_(0.5)
        after = model.denoiser()(image)
        assert torch.equal(denoise(image), after)
        if isinstance(model, FBPUNet):
            assert not torch.equal(before, after)
            assert torch.equal(after, model.unet(image))


def test_spectral_denoiser_is_rebuilt_from_its_arguments(rng):
    denoise = spectral(architecture="unet", depth=2, activation="maxmin", lipschitz=0.6)
    again = SpectralDenoiser(**denoise.arguments).double().eval()
    again.load_state_dict(denoise.state_dict())
    image = torch.rand(1, 9, 9, generator=rng, dtype=torch.float64)
    assert torch.equal(again(image), denoise(image))


@pytest.mark.parametrize("architecture", ["dncnn", "unet"])
def test_certified_lipschitz_constant_is_one(architecture, rng):
    denoise = spectral(architecture=architecture, lipschitz=0.9)
    bound = denoise.lipschitz((8, 8))
    image = torch.rand(64, generator=rng, dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(
        lambda x: denoise(x.reshape(8, 8)).flatten(), image
    )
    norm = float(torch.linalg.matrix_norm(jacobian, 2))
    assert 0.01 < norm <= bound
    # the factor alone would be the constant, were there no border
    assert bound >= 0.9 * (1 - 1e-6)


def test_proximal_maps_of_convex_functions_do_not_expand():
    assert ProximalDenoiser(TotalVariation(), weight=3.0).lipschitz((8, 8)) == 1.0
    assert NetworkDenoiser(nn.Identity()).lipschitz((8, 8)) is None


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda d, z: d(z), ValueError, "sigma: expected .* ProximalDenoiser is not blind, got No"),
        (lambda d, z: d(z, -0.1), ValueError, "sigma: expected non-negative numbers, got -0.1"),
        (lambda d, z: d(z, float("nan")), ValueError, "sigma: expected non-negative numbers"),
        (lambda d, z: d(z, torch.ones(3)), ValueError, "sigma: expected one number, or one for"),
        (lambda d, z: d(z.int(), 1.0), TypeError, "image: expected a real floating-point tensor"),
        (lambda d, z: d(z[0, 0], 1.0), ValueError, r"image: expected 2 spatial axes, .* \(4,\)"),
        (
            lambda d, z: NetworkDenoiser(abs),
            TypeError,
            "network: expected a torch.nn.Module",
        ),
        (
            lambda d, z: ProximalDenoiser(abs, weight=1.0),
            TypeError,
            "regulariser: expected a Regulariser, got builtin",
        ),
        (
            lambda d, z: ProximalDenoiser(TotalVariation(), weight=0.0),
            ValueError,
            "weight: expected a positive number",
        ),
        (
            lambda d, z: LearnedPrimalDual().denoiser(),
            ValueError,
            "model: expected a network with a denoiser, such as .*, got LearnedPrimalDual",
        ),
        (lambda d, z: spectral(architecture="vgg"), ValueError, "architecture: expected one of"),
        (lambda d, z: spectral(lipschitz=0.0), ValueError, "lipschitz: expected a positive"),
    ],
)
def test_errors(call, error, match):
    denoise = ProximalDenoiser(TotalVariation(), weight=1.0)
    with pytest.raises(error, match=match):
        call(denoise, torch.zeros(2, 4, 4))


def test_table_has_what_files_can_name():
    named = {
        "squared-differences": "SquaredDifferences",
        "total-variation": "TotalVariation",
        "spectral-denoiser": "SpectralDenoiser",
    }
    assert named.items() <= {name: kind.__name__ for name, kind in PRIORS.items()}.items()
