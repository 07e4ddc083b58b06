"""DRUNet, DnCNN, gradient-step denoisers and RED, against finite differences and definitions."""

import pytest
import torch

import tomolearn as tl
from tomolearn.operators import Identity
from tomolearn.priors import (
    DnCNN,
    DRUNet,
    GradientStepDenoiser,
    ProximalDenoiser,
    RegularisationByDenoising,
    SpectralDenoiser,
    SquaredDifferences,
)
from tomolearn.training.objectives import make_objective

KINDS = {"drunet": DRUNet, "dncnn": DnCNN, "gradient-step": GradientStepDenoiser}
SMALL = {
    "drunet": {"channels": [3, 4, 5]},
    "dncnn": {"layers": 3, "channels": 4},
    "gradient-step": {"channels": [3, 4, 5]},
}
every_kind = pytest.mark.parametrize("kind", KINDS)


def small(kind, dtype=torch.float64, **arguments):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return KINDS[kind](**SMALL[kind] | arguments).to(dtype).eval()


def images(rng, *shape):
    return torch.randn(*shape, generator=rng, dtype=torch.float64)


@every_kind
@pytest.mark.parametrize("shape", [(11,), (8, 8), (7, 13), (1, 5), (5, 6, 9)])
def test_images_of_any_size_and_number_of_axes(kind, shape, rng):
    denoise = small(kind, ndim=len(shape))
    noisy = images(rng, 2, 3, *shape)
    sigma = torch.tensor([[0.01, 0.02, 0.1], [0.0, 0.15, 0.19]], dtype=torch.float64)
    clean = denoise(noisy, sigma)
    assert clean.shape == noisy.shape
    torch.testing.assert_close(clean[1, 2], denoise(noisy[1, 2], sigma[1, 2]))
    single = small(kind, torch.float32, ndim=len(shape))(noisy.float(), 0.1)
    assert single.dtype == torch.float32


@every_kind
def test_level_outside_of_the_training_is_refused(kind, rng):
    denoise = small(kind, noise_levels=(0.02, 0.1))
    noisy = images(rng, 2, 8, 8)
    denoise(noisy, torch.tensor(0.1))  # which is larger in single precision
    for sigma in (0.01, 0.2, torch.tensor([0.05, 0.11])):
        with pytest.raises(ValueError, match=r"sigma: expected a noise level in \[0.02, 0.1\], fo"):
            denoise(noisy, sigma)
    with pytest.raises(ValueError, match=r"noise_levels: .* \[0.02, 0.1\], .* got 0.01"):
        make_objective("denoising", {"noise_levels": [0.01, 0.1]}).check(denoise)
    make_objective("denoising", {"noise_levels": [0.02, 0.1]}).check(denoise)


@every_kind
def test_saved_denoisers_are_the_same_again(kind, tmp_path, rng):
    denoise = small(kind, torch.float32, noise_levels=(0.01, 0.1))
    tl.save(denoise, tmp_path / "net")
    found = tl.priors.load(tmp_path / "net")
    assert dict(found.arguments) == dict(denoise.arguments)
    assert found.noise_levels == (0.01, 0.1)
    noisy = torch.randn(2, 9, 8, generator=rng)
    assert torch.equal(found(noisy, 0.05), denoise(noisy, 0.05))
    with pytest.raises(ValueError, match="expected a noise level"):
        found(noisy, 0.5)


@pytest.mark.parametrize(
    ("kind", "arguments", "message"),
    [
        ("drunet", {"channels": 4}, "channels: expected a sequence of numbers"),
        ("drunet", {"channels": [4, 0]}, "channels: expected an integer >= 1"),
        ("drunet", {"blocks": 0}, "blocks: expected an integer >= 1"),
        ("dncnn", {"layers": 1}, "layers: expected an integer >= 2"),
        ("dncnn", {"ndim": 4}, "ndim: expected an integer"),
        ("drunet", {"noise_levels": [0.2, 0.1]}, "noise_levels: expected the smallest and"),
        ("gradient-step", {"activation": "relu"}, "activation: expected one of elu, softplus"),
    ],
)
def test_wrong_arguments(kind, arguments, message):
    with pytest.raises(ValueError, match=message):
        small(kind, **arguments)


def test_drunet_is_homogeneous(rng):
    denoise, noisy = small("drunet"), images(rng, 2, 9, 10)
    torch.testing.assert_close(denoise(noisy * 1.7, 0.17), 1.7 * denoise(noisy, 0.1))


@pytest.mark.parametrize("activation", ["elu", "softplus"])
@pytest.mark.parametrize("shape", [(7, 10), (3, 5, 6)])
def test_gradient_of_the_potential_by_finite_differences(activation, shape, rng):
    denoiser = small("gradient-step", activation=activation, ndim=len(shape))
    g = denoiser.regulariser(0.1)
    x, direction = images(rng, 2, *shape), images(rng, 2, *shape)
    step = 1e-5
    slope = (g.value(x + step * direction) - g.value(x - step * direction)) / (2 * step)
    inner = (g.gradient(x) * direction).flatten(1).sum(1)
    # the error is of the order of step^2, and rounding divided by the step
    torch.testing.assert_close(slope, inner, rtol=1e-7, atol=0)
    torch.testing.assert_close(denoiser(x, 0.1), x - g.gradient(x))
    value, gradient = g.value_and_gradient(x)
    torch.testing.assert_close(value, g(x))
    torch.testing.assert_close(gradient, g.gradient(x))
    assert bool((value >= 0).all())
    assert g.convexity is None
    assert g.lipschitz(shape) is None


def test_potential_is_half_the_squared_distance_from_the_network(rng):
    denoiser, x = small("gradient-step"), images(rng, 1, 1, 6, 9)
    distance = denoiser.residual(x, torch.full((1, 1, 1, 1), 0.1, dtype=torch.float64))
    expected = distance.square().sum() / 2
    torch.testing.assert_close(denoiser.regulariser(0.1).value(x[0, 0]), expected)


def test_derivatives_of_a_training_by_finite_differences(rng):
    denoiser = small("gradient-step")
    clean, noisy = images(rng, 2, 1, 6, 7), images(rng, 2, 1, 6, 7)

    def loss():
        return (denoiser(noisy, 0.1) - clean).square().mean()

    weights = list(denoiser.parameters())
    directions = [images(rng, *one.shape) for one in weights]
    found = torch.autograd.grad(loss(), weights)
    inner = sum((a * b).sum() for a, b in zip(found, directions, strict=True))
    step, values = 1e-6, []
    with torch.no_grad():
        for sign in (1, -2):
            for one, direction in zip(weights, directions, strict=True):
                one += sign * step * direction
            values.append(loss())
    torch.testing.assert_close((values[0] - values[1]) / (2 * step), inner, rtol=1e-6, atol=0)


def test_derivative_with_respect_to_the_image(rng):
    denoiser, x = small("gradient-step"), images(rng, 1, 1, 4, 5).requires_grad_()
    assert torch.autograd.gradcheck(lambda z: denoiser(z, 0.1), x)
    jacobian = torch.autograd.functional.jacobian(lambda z: denoiser(z, 0.1), x).reshape(20, 20)
    torch.testing.assert_close(jacobian, jacobian.T)  # as D is a gradient
    assert x.grad is None


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_denoising_without_gradients(context, rng):
    denoiser = small("gradient-step")
    noisy = images(rng, 2, 8, 8)
    expected = denoiser(noisy, 0.1).detach()
    with context():
        found = denoiser(noisy.clone(), 0.1)
        value, gradient = denoiser.regulariser(0.1).value_and_gradient(noisy.clone())
    for one in (found, value, gradient):
        assert not one.requires_grad
    torch.testing.assert_close(found, expected)
    assert not noisy.requires_grad


def test_gradient_step_regularisers_know_their_denoiser(rng):
    with pytest.raises(TypeError, match="expected a GradientStepDenoiser, got DnCNN"):
        tl.priors.GradientStepRegulariser(small("dncnn"), sigma=0.1)
    with pytest.raises(ValueError, match=r"sigma: expected a noise level in"):
        small("gradient-step").regulariser(0.5)
    g = small("gradient-step").regulariser(0.05)
    x = images(rng, 3, 8, 8)
    found = tl.methods.Variational(g, weight=0.1, tolerance=1e-8)(x, Identity((8, 8)))
    slope = found - x + 0.1 * g.gradient(found)
    assert float(slope.detach().abs().max()) < 1e-4


def test_red_of_a_linear_symmetric_denoiser_is_a_gradient(rng):
    # the proximal map of a quadratic function: linear, with a symmetric matrix
    red = RegularisationByDenoising(ProximalDenoiser(SquaredDifferences(), weight=20.0), sigma=0.3)
    x = images(rng, 2, 6, 7).requires_grad_()
    (expected,) = torch.autograd.grad(red.value(x).sum(), x)
    torch.testing.assert_close(red.gradient(x), expected)


def test_red_of_a_network_is_none(rng):
    red = RegularisationByDenoising(small("dncnn"))
    x = images(rng, 1, 4, 5).requires_grad_()
    jacobian = torch.autograd.functional.jacobian(red.gradient, x).reshape(20, 20)
    assert float((jacobian - jacobian.T).abs().max()) > 1e-2 * float(jacobian.abs().max())
    torch.testing.assert_close(red.gradient(x), x - red.denoiser(x))
    for wrong, error, message in [
        ((small("drunet"), 0.9), ValueError, "sigma: expected a noise level"),
        ((SquaredDifferences(), 0.1), TypeError, "expected a Denoiser, got SquaredDifferences"),
    ]:
        with pytest.raises(error, match=message):
            RegularisationByDenoising(wrong[0], sigma=wrong[1])


def test_denoisers_without_a_range_take_any_level(rng):
    denoise = SpectralDenoiser(depth=2, channels=2)
    assert denoise.noise_levels is None
    denoise(torch.rand(8, 8, generator=rng), 1e3)
