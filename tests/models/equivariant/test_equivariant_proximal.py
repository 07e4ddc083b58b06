"""The equivariant learned proximal gradient method as a whole."""

import copy
import math

import pytest
import torch
from torch import nn
from torch.nn.functional import leaky_relu

from tomolearn import Grid, ParallelBeam, RayTransform
from tomolearn.models import EquivariantProximal
from tomolearn.models.equivariant import get_group

GRID = Grid((12, 12))
# views all around, which quarter turns and flips permute
SYMMETRIC = RayTransform(
    GRID, ParallelBeam(12, 19, 1.0, angular_range=2 * math.pi, start_angle=math.pi / 12)
)
LIMITED = RayTransform(GRID, ParallelBeam(6, 19, 1.0, angular_range=math.pi / 2))
SMALL = {"iterations": 3, "memory": 2, "channels": 16}
DOUBLE = torch.float64


@pytest.fixture(autouse=True)
def initial_weights():
    """Weights before training, torch's own draws, are the same in whichever order tests run."""
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(0)
        yield


def randomised(model, rng):
    model = model.double()
    with torch.no_grad():
        for weights in model.parameters():
            weights += 0.1 * torch.randn(weights.shape, generator=rng, dtype=DOUBLE)
    return model


def worst_error(model, operator, group, rng):
    x = torch.rand(2, 1, 12, 12, generator=rng, dtype=DOUBLE)
    with torch.no_grad():
        still = model(operator(x), operator)
        errors = []
        for e in range(group.order):
            if group.is_exact(e):
                expected = group.act(e, still)
                turned = model(operator(group.act(e, x)), operator)
                errors.append(float((turned - expected).norm() / expected.norm()))
    return max(errors)


@pytest.mark.parametrize("group", ["C4", "D4", "C8"])
@pytest.mark.parametrize("activation", ["leaky-relu", "norm"])
def test_turned_sinograms_give_turned_images(group, activation, rng):
    model = randomised(EquivariantProximal(group=group, activation=activation, **SMALL), rng)
    # rounding, and three steps of weights that enlarge it
    assert worst_error(model, SYMMETRIC, get_group(group), rng) < 1e-10


def test_a_quarter_turn_moves_the_views(rng):
    # hence the images of the test above belong to sinograms whose views are shifted
    x = torch.rand(12, 12, generator=rng, dtype=DOUBLE)
    turned = SYMMETRIC(torch.rot90(x, 1, (-2, -1)))
    shifts = [torch.roll(SYMMETRIC(x), shift, -2) for shift in (3, -3)]
    assert min(float((turned - y).abs().max()) for y in shifts) < 1e-12


def test_which_is_not_so_for_ordinary_networks_or_scanners(rng):
    C4 = get_group("C4")
    ordinary = randomised(EquivariantProximal(group="C1", **SMALL), rng)
    assert worst_error(ordinary, SYMMETRIC, C4, rng) > 1e-2
    equivariant = randomised(EquivariantProximal(group="C4", **SMALL), rng)
    assert worst_error(equivariant, LIMITED, C4, rng) > 1e-2
    # no more symmetric than its group: in 60 draws of the weights at least 1e-3, and at most 1e-14
    # for turns of its group
    assert worst_error(equivariant, SYMMETRIC, get_group("D4"), rng) > 1e-6


class Published(nn.Module):
    """One block of the ordinary network, of torch's own layers."""

    def __init__(self, memory, channels):
        super().__init__()
        options = {"kernel_size": 3, "padding": 1, "padding_mode": "replicate"}
        self.first = nn.Conv2d(memory + 2, channels, **options)
        self.middle = nn.Conv2d(channels, channels, **options)
        self.last = nn.Conv2d(channels, memory + 1, **options)

    def forward(self, z):
        z = leaky_relu(self.first(z), 0.01)
        return self.last(z + leaky_relu(self.middle(z), 0.01))


def count(model):
    return sum(weights.numel() for weights in model.parameters())


def test_number_of_parameters():
    published = 8 * count(Published(5, 96))
    assert EquivariantProximal(group="C1").n_parameters == published == 754_992
    lifting, residual, projection = (7 * 9 + 1) * 24, (24 * 4 * 9 + 1) * 24, (24 * 9 + 1 / 4) * 6
    # the last layer has a bias per image
    expected = 8 * (lifting + residual + projection + 6 * 3 / 4)
    assert EquivariantProximal().n_parameters == expected == 188_784
    # frequencies up to 2 are six of nine filters
    filters = 7 * 12 + 12 * 12 * 8 + 12 * 6
    assert EquivariantProximal(group="C8").n_parameters == 8 * (6 * filters + 12 + 12 + 6)


def test_trivial_group_is_the_ordinary_network(rng):
    model = randomised(EquivariantProximal(group="C1", **SMALL), rng)
    A, norm = SYMMETRIC, SYMMETRIC.norm()
    y = A(torch.rand(2, 1, 12, 12, generator=rng, dtype=DOUBLE))
    x, s = torch.zeros(2, 1, 12, 12).double(), torch.zeros(2, 2, 12, 12).double()
    for proximal in model.proximals:
        block = Published(2, 16).double()
        layers = proximal.layers
        sources = (layers[0], layers[2].convolution, layers[3])
        with torch.no_grad():
            for own, source in zip((block.first, block.middle, block.last), sources, strict=True):
                own.weight.copy_(source.weight.view_as(own.weight))
                own.bias.copy_(source.bias)
        gradient = A.T(A(x) - y) / norm**2
        change = block(torch.cat([x, gradient, s], 1))
        x, s = x - gradient + change[:, :1], s + change[:, 1:]
    torch.testing.assert_close(model(y, A), x, rtol=1e-10, atol=1e-10)


def test_starts_close_to_gradient_descent(rng):
    model = EquivariantProximal(iterations=4, channels=32).double()
    A, norm = SYMMETRIC, SYMMETRIC.norm()
    y = A(torch.rand(1, 1, 12, 12, generator=rng, dtype=DOUBLE))
    x = torch.zeros(1, 1, 12, 12).double()
    for _ in range(4):
        x = x - A.T(A(x) - y) / norm**2
    found = model(y, A).detach()
    assert 0 < float((found - x).norm() / x.norm()) < 0.2
    # and with networks that return zero it is
    for proximal in model.proximals:
        proximal.layers[-1].reset_parameters(0.0)
    torch.testing.assert_close(model(y, A), x, rtol=1e-10, atol=1e-10)


def test_names_of_weights_stay():
    names = ("0.weight", "0.bias", "2.convolution.weight", "2.convolution.bias")
    for activation, more in (("leaky-relu", ()), ("norm", ("1.bias", "2.activation.bias"))):
        model = EquivariantProximal(activation=activation, iterations=2)
        assert set(model.state_dict()) == {
            f"proximals.{k}.layers.{name}"
            for k in range(2)
            for name in (*names, *more, "3.weight", "3.bias")
        }


def test_residual_blocks_and_larger_filters(rng):
    model = EquivariantProximal(
        group="C8", kernel_size=5, residual_blocks=2, activation="norm", **SMALL
    )
    assert len(model.proximals[0].layers) == 2 + 2 + 1
    model = randomised(model, rng)
    assert worst_error(model, SYMMETRIC, get_group("C8"), rng) < 1e-10


def test_learned_weights_keep_the_symmetry(rng):
    model = EquivariantProximal(**SMALL)
    before = copy.deepcopy(model.state_dict())
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    x = torch.rand(1, 1, 12, 12, generator=rng)
    for _ in range(5):
        optimizer.zero_grad()
        (model(SYMMETRIC(x), SYMMETRIC) - x).square().mean().backward()
        optimizer.step()
    assert all(not torch.equal(before[name], w) for name, w in model.state_dict().items())
    assert worst_error(model.double(), SYMMETRIC, get_group("C4"), rng) < 1e-10


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"group": "C3"}, ValueError, "group: expected one of C1, C4, D4, C8, got 'C3'"),
        ({"group": 4}, TypeError, "group: expected a name, got 4"),
        ({"channels": 30}, ValueError, "channels: expected a multiple of 4, .* C4, got 30"),
        ({"group": "D4", "channels": 12}, ValueError, "a multiple of 8, the order of D4, got 12"),
        ({"channels": 0}, ValueError, "channels: expected an integer >= 1"),
        ({"iterations": 0}, ValueError, "iterations: expected an integer >= 1"),
        ({"memory": 0}, ValueError, "memory: expected an integer >= 1"),
        ({"kernel_size": 2}, ValueError, "kernel_size: expected an odd number, got 2"),
        ({"kernel_size": 3.0}, TypeError, "kernel_size: expected an integer"),
        ({"residual_blocks": -1}, ValueError, "residual_blocks: expected an integer >= 0"),
        ({"activation": "relu"}, ValueError, "activation: expected one of leaky-relu, norm, got"),
    ],
)
def test_arguments(arguments, error, message):
    with pytest.raises(error, match=message):
        EquivariantProximal(**arguments)
