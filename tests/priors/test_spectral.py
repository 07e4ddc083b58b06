"""Norms of convolutions against matrices and singular values."""

import numpy as np
import pytest
import torch
from torch.nn.functional import conv2d

from tomolearn import DivergenceError
from tomolearn.priors import SpectralConv2d, spectral_norm_bound
from tomolearn.priors.lipschitz_networks import SpectralDnCNN, SpectralUNet


def convolution_matrix(kernel, shape):
    """The convolution with zero padding, written out column by column."""
    n_in = kernel.shape[1]
    basis = torch.eye(n_in * shape[0] * shape[1], dtype=kernel.dtype).reshape(-1, n_in, *shape)
    return conv2d(basis, kernel, padding=kernel.shape[-1] // 2).flatten(1).T


def layer(n_in=3, n_out=4, size=3, seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return SpectralConv2d(n_in, n_out, size).double()


@pytest.mark.parametrize("size", [1, 3, 5])
@pytest.mark.parametrize("shape", [(7, 7), (5, 9)])
def test_norm_is_the_largest_singular_value(size, shape):
    convolution = layer(size=size).eval()
    kernel = convolution.normalised(shape)
    matrix = convolution_matrix(kernel, shape).detach().numpy()
    # the error is the square of the residual, 1e-8
    assert np.linalg.norm(matrix, 2) == pytest.approx(1, abs=1e-12)
    # and the direction of the kernel is as it was
    ratio = kernel / convolution.weight
    torch.testing.assert_close(ratio, ratio.mean().expand_as(ratio))


def test_norm_of_the_flattened_kernel_is_another_one():
    convolution = layer().eval()
    flat = convolution.weight.detach().flatten(1).numpy()
    matrix = convolution_matrix(convolution.weight.detach(), (9, 9)).numpy()
    assert np.linalg.norm(matrix, 2) > 1.2 * np.linalg.norm(flat, 2)


def test_gradient_goes_through_the_norm(rng):
    convolution = layer()
    shape = convolution.weight.shape
    direction = torch.randn(shape, generator=rng, dtype=torch.float64)
    loss = (convolution.normalised((6, 6)) * direction).sum()
    (gradient,) = torch.autograd.grad(loss, convolution.weight)

    def value(weight):
        matrix = convolution_matrix(weight, (6, 6))
        return float((weight * direction).sum() / np.linalg.norm(matrix.numpy(), 2))

    with torch.no_grad():
        step = 1e-5 * torch.randn(shape, generator=rng, dtype=torch.float64)
        slope = value(convolution.weight + step) - value(convolution.weight - step)
    assert slope == pytest.approx(2 * float((gradient * step).sum()), rel=1e-6)


def test_training_follows_the_weights_with_one_iteration_per_change(monkeypatch):
    convolution = layer()
    counted = []
    iterate = SpectralConv2d._gram
    monkeypatch.setattr(
        SpectralConv2d,
        "_gram",
        lambda self, v: counted.append(1) or iterate(self, v),
    )
    convolution.normalised((8, 8))
    assert len(counted) > 3
    counted.clear()
    convolution.normalised((8, 8))
    assert counted == []  # same weights, same size
    generator = torch.Generator().manual_seed(1)
    for _ in range(30):
        with torch.no_grad():
            convolution.weight += 0.01 * torch.randn(
                convolution.weight.shape, generator=generator, dtype=torch.float64
            )
        kernel = convolution.normalised((8, 8))
    assert len(counted) == 30
    matrix = convolution_matrix(kernel.detach(), (8, 8)).numpy()
    assert np.linalg.norm(matrix, 2) == pytest.approx(1, abs=0.03)
    convolution.eval()
    kernel = convolution.normalised((8, 8))
    assert len(counted) > 33
    matrix = convolution_matrix(kernel.detach(), (8, 8)).numpy()
    assert np.linalg.norm(matrix, 2) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("size", [1, 3, 5])
@pytest.mark.parametrize("channels", [(1, 1), (3, 4), (4, 2)])
def test_bound_holds_for_images_of_all_sizes(size, channels, rng):
    kernel = torch.randn(channels[1], channels[0], size, size, generator=rng, dtype=torch.float64)
    bound = spectral_norm_bound(kernel)
    norms = [np.linalg.norm(convolution_matrix(kernel, (n, n)).numpy(), 2) for n in (3, 8, 14)]
    assert norms == sorted(norms)
    assert norms[-1] <= bound * (1 + 1e-12)
    assert norms[-1] > 0.9 * bound
    # between the frequencies of a coarse grid the norm is larger than on it
    assert spectral_norm_bound(kernel, samples=4096 // 64) <= spectral_norm_bound(kernel, 12)


def test_bound_of_a_difference_is_known():
    # x[i + 1] - x[i - 1] in one direction: 2 sin(w), at most 2
    kernel = torch.zeros(1, 1, 3, 3, dtype=torch.float64)
    kernel[0, 0, 0, 1], kernel[0, 0, 2, 1] = -1, 1
    assert 2 <= spectral_norm_bound(kernel, 7) < 3
    assert spectral_norm_bound(kernel) == pytest.approx(2, rel=0.0025)


@pytest.mark.parametrize(
    ("kernel", "samples", "message"),
    [
        (torch.ones(1, 1, 2, 2), 64, r"kernel: expected a square one of odd size, got \(1, 1, 2"),
        (torch.ones(1, 1, 3, 5), 64, "kernel: expected a square one"),
        (torch.ones(1, 1, 3, 3), 3, "samples: expected more than the kernel's size 3, got 3"),
    ],
)
def test_bad_kernels(kernel, samples, message):
    with pytest.raises(ValueError, match=message):
        spectral_norm_bound(kernel, samples)


def switched(first, second):
    """Two channels that do not meet, with these norms: 1x1 would do, 3x3 it is."""
    weight = torch.zeros(2, 2, 3, 3, dtype=torch.float64)
    weight[0, 0, 1, 1], weight[1, 1, 1, 1] = first, second
    return weight


@pytest.mark.parametrize("training", [False, True])
def test_another_singular_value_may_become_the_largest(training):
    convolution = layer(2, 2).train(training)
    for second in (1.0, 2.0, 4.0, 8.0, 9.0, *[9.0 + i / 100 for i in range(200)]):
        with torch.no_grad():
            convolution.weight.copy_(switched(3.0, second))
        kernel = convolution.normalised((6, 6))
    kernel = convolution.eval().normalised((6, 6)).detach()
    assert np.linalg.norm(convolution_matrix(kernel, (6, 6)).numpy(), 2) == pytest.approx(1)


def test_changes_that_autograd_does_not_see_are_seen():
    convolution = layer().eval()
    convolution.normalised((6, 6))
    convolution.weight.data.mul_(3.0).add_(0.5)
    kernel = convolution.normalised((6, 6)).detach()
    assert np.linalg.norm(convolution_matrix(kernel, (6, 6)).numpy(), 2) == pytest.approx(1)


def test_evaluation_in_inference_mode_and_then_training():
    convolution = layer().eval()
    with torch.inference_mode():
        convolution.normalised((6, 6))
    convolution.train().normalised((6, 6)).sum().backward()
    assert convolution.weight.grad.isfinite().all()


def test_zeros_stay_zeros_and_nothing_else_is_remembered():
    convolution = layer()
    with torch.no_grad():
        convolution.weight.zero_()
    assert not convolution.normalised((6, 6)).any()
    with torch.no_grad():
        convolution.weight.fill_(torch.nan)
    with pytest.raises(DivergenceError, match="weights of a convolution are not finite"):
        convolution.normalised((6, 6))
    with torch.no_grad():
        convolution.weight.fill_(1.0)
    kernel = convolution.eval().normalised((6, 6)).detach()
    assert np.linalg.norm(convolution_matrix(kernel, (6, 6)).numpy(), 2) == pytest.approx(1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 1), "n_in"),
        ((1, 0), "n_out"),
        ((1, 1, 2), "kernel_size: expected an odd number, got 2"),
    ],
)
def test_bad_convolutions(arguments, message):
    with pytest.raises(ValueError, match=message):
        SpectralConv2d(*arguments)


NETWORKS = {
    "dncnn": lambda: SpectralDnCNN(4, 6, bias=True, activation="relu"),
    "dncnn_maxmin": lambda: SpectralDnCNN(4, 6, bias=True, activation="maxmin"),
    "unet": lambda: SpectralUNet(3, 4, bias=True, activation="relu"),
    "unet_maxmin": lambda: SpectralUNet(2, 4, bias=True, activation="maxmin"),
}


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("shape", [(12, 12), (9, 13)])
def test_networks_keep_their_bound(name, shape, rng):
    torch.manual_seed(0)
    network = NETWORKS[name]().double().eval()
    with torch.no_grad():
        for convolution in network.layers:
            convolution.bias += 0.3 * torch.randn(
                convolution.bias.shape, generator=rng, dtype=torch.float64
            )
    kernels = network.kernels(shape)
    x = torch.randn(1, 1, *shape, generator=rng, dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(
        lambda x: network(x.reshape(1, 1, *shape), *kernels).flatten(), x.flatten()
    )
    found = float(torch.linalg.matrix_norm(jacobian, 2))
    assert 0 < found <= network.bound([1.0] * len(kernels)) * (1 + 1e-3)
    # a bound that doubles with each of its layers
    single = network.bound([1.0] * len(kernels))
    assert single == pytest.approx(1)
    doubled = network.bound([2.0] + [1.0] * (len(kernels) - 1))
    assert single < doubled <= 2 * single
    assert network(x, *kernels).shape == x.shape


@pytest.mark.parametrize("scales", [2, 3])
def test_unet_attains_its_bound(scales):
    network = SpectralUNet(scales, 4, bias=False, activation="relu").double()
    kernels = [torch.zeros_like(convolution.weight.detach()) for convolution in network.layers]
    for i, kernel in enumerate(kernels):
        kernel[0, 0, 1, 1] = 1
        if scales < i < 2 * scales:  # skipped and coarser channel, one half each
            kernel[0, 0, 1, 1] = kernel[0, kernel.shape[0], 1, 1] = 2**-0.5
    x = torch.ones(1, 1, 8, 8, dtype=torch.float64)
    assert float(network(x, *kernels).norm() / x.norm()) == pytest.approx(1, rel=1e-12)


def test_bound_of_a_unet_by_hand():
    network = SpectralUNet(2, 4, bias=False, activation="relu")
    # down, down, inner, up, last
    a, b, c, d, e = 2.0, 3.0, 0.5, 1.5, 0.7
    expected = ((a**2 + (a * b * c) ** 2) / 2) ** 0.5 * d * e
    assert network.bound([a, b, c, d, e]) == pytest.approx(expected)
