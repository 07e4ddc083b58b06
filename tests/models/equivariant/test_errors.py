"""Measured equivariance, under turns by 45 degrees among others."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from tomolearn.models.equivariant import GroupConv2d, equivariance_errors, get_group
from tomolearn.models.equivariant.equivariant_proximal import ProximalBlock


def smooth_images(numpy_rng, channels=4, size=48):
    noise = numpy_rng.standard_normal((1, channels, size, size))
    images = ndimage.gaussian_filter(noise, (0, 0, 2, 2))
    return torch.from_numpy(images / images.std()).float()


def block(name, size=3, activation="leaky-relu", seed=0):
    """Make a block that has no small weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        group = get_group(name)
        network = ProximalBlock(
            group, 4, 3, 24 // group.order, kernel_size=size, activation=activation
        )
        for layer in network.modules():
            if isinstance(layer, GroupConv2d):
                layer.reset_parameters(1.0)
                torch.nn.init.uniform_(layer.bias, -0.1, 0.1)
    return network


def error_under_45_degrees(network, images):
    """Relative error of a network from images to images, without the code under test."""

    def turned(images):
        array = ndimage.rotate(
            images.double().numpy(), 45, axes=(-1, -2), reshape=False, order=5, mode="nearest"
        )
        return torch.from_numpy(array).float()

    with torch.no_grad():
        expected, result = turned(network(images)), network(turned(images))
    size = images.shape[-1]
    distance = (np.arange(size) - (size - 1) / 2) ** 2
    inside = torch.from_numpy(distance[:, None] + distance <= (size / 4) ** 2)
    difference = (result - expected)[..., inside]
    return float(difference.norm() / expected[..., inside].norm())


@pytest.mark.parametrize("size", [3, 5])
@pytest.mark.parametrize("activation", ["leaky-relu", "norm"])
def test_turns_by_45_degrees(size, activation, numpy_rng):
    images = smooth_images(numpy_rng)
    errors = {
        name: np.mean(
            [
                error_under_45_degrees(block(name, size, activation, seed), images)
                for seed in range(5)
            ]
        )
        for name in ("C1", "C4", "D4", "C8")
    }
    # what remains is due to filters on a grid, interpolation and the kinks of the activation
    assert errors["C8"] < 0.025
    assert errors["C4"] > 3 * errors["C8"]
    assert errors["D4"] > 3 * errors["C8"]
    assert errors["C1"] > 10 * errors["C8"]


@pytest.mark.parametrize("name", ["C4", "D4", "C8"])
@pytest.mark.parametrize("activation", ["leaky-relu", "norm"])
def test_errors_of_every_layer(name, activation, numpy_rng):
    group, network = get_group(name), block(name, 3, activation)
    images = smooth_images(numpy_rng)
    errors = equivariance_errors(network, group, images)
    assert list(errors) == [
        "layers.0",
        "layers.1",
        "layers.2.convolution",
        "layers.2.activation",
        "layers.2",
        "layers.3",
        "output",
    ]
    for layer, values in errors.items():
        assert len(values) == group.order
        for e, error in enumerate(values):
            # under 45 degrees, kinks of activations are the roughest
            assert error < (1e-5 if group.is_exact(e) else 0.1), (layer, e)
    if name == "C8":
        found = errors["output"][1]
        assert found == pytest.approx(error_under_45_degrees(network, images), rel=1e-3)


def test_errors_of_a_network_that_is_not_equivariant(numpy_rng):
    network, images = block("C4"), smooth_images(numpy_rng)
    network.layers.insert(2, torch.nn.Conv2d(24, 24, 3, padding=1))
    errors = equivariance_errors(network, get_group("C4"), images[..., :20, :])
    names = list(errors)
    first = names.index("layers.2")
    assert max(max(errors[name]) for name in names[:first]) < 1e-5
    for name in names[first:]:
        # turned by nothing it agrees
        assert errors[name][0] == 0
        assert min(errors[name][1:]) > 1e-2
    # nothing stays behind
    assert not any(layer._forward_hooks for layer in network.modules())


def test_refused():
    network, group, images = block("C4"), get_group("C4"), torch.zeros(1, 4, 8, 8)
    with pytest.raises(TypeError, match=r"network: expected a torch.nn.Module, got function"):
        equivariance_errors(smooth_images, group, images)
    with pytest.raises(TypeError, match="group: expected a Group, see get_group, got str"):
        equivariance_errors(network, "C4", images)
    with pytest.raises(TypeError, match=r"images: expected a torch\.Tensor, got ndarray"):
        equivariance_errors(network, group, images.numpy())
    with pytest.raises(ValueError, match=r"images: expected shape \(batch, .* got \(4, 8, 8\)"):
        equivariance_errors(network, group, images[0])
    with pytest.raises(ValueError, match=r"group: expected C4, that of layer 'layers\.0', got D4"):
        equivariance_errors(network, get_group("D4"), images)
