"""Networks against their papers: numbers of parameters, and the formulas written out in float64.

The formulas take a matrix for the operator and `conv2d` for a network's layers; what they share
with the package is the weights alone.
"""

import itertools
import math

import pytest
import torch
from builders import DenseOperator, matrix_of
from torch.nn.functional import conv2d, prelu, relu

from tomolearn import Grid, ParallelBeam, RayTransform, fbp
from tomolearn.models import (
    FBPUNet,
    LearnedGradient,
    LearnedPDHG,
    LearnedPrimal,
    LearnedPrimalDual,
    LearnedProximal,
    VariationalNetwork,
)
from tomolearn.models.variational_network import FieldsOfExperts
from tomolearn.numerics import gaussian_sum
from tomolearn.priors.unet import UNet

GRID = Grid((12, 12))
RAYS = RayTransform(GRID, ParallelBeam.covering(GRID, 7))
DOUBLE = torch.float64


@pytest.fixture(scope="module")
def matrix():
    return matrix_of(RAYS, GRID.shape, DOUBLE)


class Plain:
    """A / ||A|| and its transpose, as products with a matrix."""

    def __init__(self, matrix):
        self.norm = float(torch.linalg.matrix_norm(matrix, 2))
        self.matrix = matrix / self.norm

    def __call__(self, x):
        return (x.flatten(1) @ self.matrix.T).reshape(-1, 1, *RAYS.range_shape)

    def adjoint(self, y):
        return (y.flatten(1) @ self.matrix).reshape(-1, 1, *RAYS.domain_shape)


def layers(state, name, *inputs):
    """Three convolutions and two rectifiers of the weights below `name`."""
    x = torch.cat(inputs, 1)
    for k in (0, 2, 4):
        x = conv2d(
            x, state[f"{name}.layers.{k}.weight"], state[f"{name}.layers.{k}.bias"], padding=1
        )
        if k < 4:
            slope = state.get(f"{name}.layers.{k + 1}.weight")
            x = relu(x) if slope is None else prelu(x, slope)
    return x


def randomised(model, rng):
    """Give every weight, zero biases and slopes among them, a value of its own."""
    model = model.double()
    with torch.no_grad():
        for weights in model.parameters():
            weights += 0.1 * torch.randn(weights.shape, generator=rng, dtype=DOUBLE)
    return model


def images(rng, *shape):
    return torch.rand(*shape, generator=rng, dtype=DOUBLE)


def agrees(image, expected):
    # the norm of the operator is found to 1e-6 by one, to rounding by the other
    return bool((image - expected).norm() < 2e-5 * expected.norm())


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (LearnedPrimalDual, 253_220),  # the paper's
        (LearnedPrimal, 125_170),
        (LearnedPDHG, 20_133),
        (LearnedGradient, 13_318),
        (LearnedProximal, 10 * (1 + (9 + 1) * 32 + (9 * 32 + 1) * 32 + 9 * 32 + 1)),
        (VariationalNetwork, 10 * (24 * 11**2 + 24 * 31 + 1)),
    ],
)
def test_number_of_parameters(model, expected):
    assert model().n_parameters == expected


def unet_parameters(channels, first):
    """Convolutions without bias, each with the two numbers of its batch normalisation."""
    count = 9 * channels[0] + 2 * channels[0]
    count += (first - 1) * (9 * channels[0] ** 2 + 2 * channels[0])
    for fine, coarse in itertools.pairwise(channels):
        down = 9 * fine * coarse + 9 * coarse**2 + 4 * coarse
        double = 9 * coarse * fine + 2 * fine
        up = 9 * (2 * fine) * fine + 9 * fine**2 + 4 * fine
        count += down + double + up
    return count + channels[0] + 1


def test_number_of_parameters_of_unets():
    channels = (64, 128, 256, 512, 1024)
    assert FBPUNet().n_parameters == unet_parameters(channels, 3) == 34_556_033
    # with 2x2 in place of 3x3 in the doubling, and two convolutions at first, it would be the
    # 31.0 million of Ronneberger's network
    pairs = 64 * 128 + 128 * 256 + 256 * 512 + 512 * 1024
    assert FBPUNet().n_parameters - 5 * pairs - 9 * 64**2 == pytest.approx(31.04e6, rel=1e-3)


def test_small_unet_is_small():
    # float32 weights stay below 3 MB
    assert FBPUNet.small().n_parameters == 570_145 <= 740_000


def test_names_of_learned_primal_dual_weights_stay():
    kinds = (
        "0.weight",
        "0.bias",
        "1.weight",
        "2.weight",
        "2.bias",
        "3.weight",
        "4.weight",
        "4.bias",
    )
    assert list(LearnedPrimalDual(iterations=2).state_dict()) == [
        f"{part}.{k}.layers.{kind}"
        for part in ("dual_updates", "primal_updates")
        for k in range(2)
        for kind in kinds
    ]


def test_learned_primal_dual(rng, matrix):
    model = randomised(LearnedPrimalDual(iterations=3, n_primal=3, n_dual=2, channels=4), rng)
    A, state = Plain(matrix), model.state_dict()
    y = images(rng, 2, 1, *RAYS.range_shape)
    primal, dual = torch.zeros(2, 3, 12, 12).double(), torch.zeros(2, 2, *RAYS.range_shape).double()
    for k in range(3):
        dual = dual + layers(state, f"dual_updates.{k}", dual, A(primal[:, 1]), y / A.norm)
        primal = primal + layers(state, f"primal_updates.{k}", primal, A.adjoint(dual[:, 0]))
    assert agrees(model(y, RAYS), primal[:, :1])


def test_any_operator_gives_the_same(rng, matrix):
    model = randomised(LearnedPrimalDual(iterations=2, channels=4), rng)
    dense = DenseOperator(matrix.numpy(), RAYS.domain_shape, RAYS.range_shape)
    y = images(rng, 2, 1, *RAYS.range_shape)
    assert agrees(model(y, RAYS), model(y, dense))


def test_learned_primal(rng, matrix):
    model = randomised(LearnedPrimal(iterations=3, n_primal=3, channels=4), rng)
    A, state = Plain(matrix), model.state_dict()
    y = images(rng, 2, 1, *RAYS.range_shape)
    primal = torch.zeros(2, 3, 12, 12).double()
    for k in range(3):
        gradient = A.adjoint(A(primal[:, 1]) - y / A.norm)
        primal = primal + layers(state, f"updates.{k}", primal, gradient)
    assert agrees(model(y, RAYS), primal[:, :1])


def test_learned_pdhg(rng, matrix):
    model = LearnedPDHG(iterations=3, channels=4)
    assert [p.item() for p in (model.sigma, model.tau, model.theta)] == [0.5, 0.5, 1.0]
    model = randomised(model, rng)
    torch.nn.init.constant_(model.theta, 3.0)  # its effect is small
    A, state = Plain(matrix), model.state_dict()
    y = images(rng, 2, 1, *RAYS.range_shape)
    x = bar = torch.zeros(2, 1, 12, 12).double()
    dual = torch.zeros_like(y)
    for _ in range(3):
        dual = dual + layers(state, "dual_update", dual + state["sigma"] * A(bar), y / A.norm)
        change = layers(state, "primal_update", x - state["tau"] * A.adjoint(dual))
        x = x + change
        bar = x + state["theta"] * change
    assert agrees(model(y, RAYS), x)


def test_learned_proximal(rng, matrix):
    model = randomised(LearnedProximal(iterations=3, channels=4), rng)
    A, state = Plain(matrix), model.state_dict()
    y = images(rng, 2, 1, *RAYS.range_shape)
    x = torch.zeros(2, 1, 12, 12).double()
    for k in range(3):
        v = x - state["steps"][k] * A.adjoint(A(x) - y / A.norm)
        x = v + layers(state, f"proximals.{k}", v)
    assert agrees(model(y, RAYS), x)


def test_learned_gradient(rng, matrix):
    model = randomised(LearnedGradient(iterations=3, memory=2, channels=4), rng)
    A, state = Plain(matrix), model.state_dict()
    y = images(rng, 2, 1, *RAYS.range_shape)
    x, s = fbp(y, RAYS, filter="ram-lak", oversampling=1), torch.zeros(2, 2, 12, 12).double()
    for _ in range(3):
        variable = x.clone().requires_grad_()
        energy = sum(variable.diff(dim=d).square().sum() for d in (-1, -2)) / 2
        (smooth,) = torch.autograd.grad(energy, variable)
        u = layers(state, "update", x, A.adjoint(A(x) - y / A.norm), smooth, s)
        x, s = x + u[:, :1], relu(u[:, 1:])
    assert agrees(model(y, RAYS), x)


@pytest.mark.parametrize("oversampling", [1, 2])
def test_unet_starts_from_filtered_back_projection(rng, oversampling):
    options = {"filter": "hann", "frequency_scaling": 0.7, "oversampling": oversampling}
    y = images(rng, 2, 1, *RAYS.range_shape)
    for residual in (True, False):
        model = FBPUNet(channels=(4, 4), residual=residual, **options).double()
        torch.nn.init.zeros_(model.unet.last.weight)
        torch.nn.init.constant_(model.unet.last.bias, 0.25)
        expected = fbp(y, RAYS, **options) * residual + 0.25
        torch.testing.assert_close(model(y, RAYS), expected)


@pytest.mark.parametrize("shape", [(8, 8), (7, 9), (1, 1), (5, 2)])
def test_unet_puts_images_of_any_size_back_in_place(rng, shape):
    # all weights zero but for a straight way through the finest scale
    unet = UNet(
        (1, 1, 1),
        skip_channels=None,
        first_convolutions=1,
        normalisation="none",
        negative_slope=0.0,
        down="max-pool",
        up="bilinear",
        residual=False,
    ).double()
    with torch.no_grad():
        for weights in unet.parameters():
            weights.zero_()
        unet.encoders[0][0].weight[0, 0, 1, 1] = 1
        unet.decoders[0][0].weight[0, 1, 1, 1] = 1  # the second channel is the one that crosses
        unet.decoders[0][2].weight[0, 0, 1, 1] = 1
        unet.last.weight.fill_(1)
    x = images(rng, 2, 1, *shape)
    assert torch.equal(unet(x), x)


def test_unet_sees_an_image_that_continues_by_its_border(rng):
    unet = FBPUNet(channels=(4, 4, 4), normalisation="none").unet.double()
    x = images(rng, 1, 1, 9, 12)
    by_hand = torch.cat([x[..., :1, :], x, x[..., -1:, :], x[..., -1:, :]], -2)
    torch.testing.assert_close(unet(x), unet(by_hand)[..., 1:-2, :])


@pytest.mark.parametrize("count", [2, 9, 12, 31])
def test_sum_of_gaussians(rng, count):
    z = (3 * torch.randn(2, 3, 4, 5, generator=rng, dtype=DOUBLE)).requires_grad_()
    weights = torch.randn(3, count, generator=rng, dtype=DOUBLE, requires_grad=True)
    distance = 2 / (count - 1)
    centres = torch.linspace(-1, 1, count, dtype=DOUBLE)
    bells = torch.exp(-(((z[..., None] - centres) / distance) ** 2) / 2)
    expected = (bells * weights[:, None, None]).sum(-1)
    result = gaussian_sum(z, weights, -1.0, distance)
    torch.testing.assert_close(result, expected, rtol=1e-12, atol=1e-14)
    seed = torch.randn(2, 3, 4, 5, generator=rng, dtype=DOUBLE)
    for found, wanted in zip(
        torch.autograd.grad(result, (z, weights), seed),
        torch.autograd.grad(expected, (z, weights), seed),
        strict=True,
    ):
        torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-13)


def test_sum_of_gaussians_in_float32_far_away():
    z = torch.tensor([-1e30, -40.0, 40.0, 1e30]).reshape(1, 1, 1, 4).requires_grad_()
    weights = torch.ones(1, 31, requires_grad=True)
    result = gaussian_sum(z, weights, -1.0, 2 / 30)
    result.sum().backward()
    for values in (result, z.grad, weights.grad):
        assert values.detach().abs().max() < 1e-12  # and not NaN


@pytest.mark.parametrize("shape", [(12, 9), (3, 1)])
def test_penalty_is_the_gradient_of_its_energy(rng, shape):
    penalty = randomised(FieldsOfExperts(4, 5, 7, 1.0), rng)
    x = images(rng, 2, 1, *shape).requires_grad_()
    larger = x
    for dim in (-2, -1):  # mirrored as often as five pixels' reach needs
        larger = torch.cat([larger.flip(dim), larger, larger.flip(dim)], dim)
        larger = torch.cat([larger.flip(dim), larger, larger.flip(dim)], dim)
        middle = 4 * x.shape[dim] - 2
        larger = larger.narrow(dim, middle, x.shape[dim] + 4)
    z = conv2d(larger, penalty.filters)
    distance = 2 / 6
    centres = torch.linspace(-1, 1, 7, dtype=DOUBLE)
    integral = torch.erf((z[..., None] - centres) / distance / math.sqrt(2))
    integral = integral * distance * math.sqrt(math.pi / 2)
    energy = (integral * penalty.weights[:, None, None]).sum() / 4
    (expected,) = torch.autograd.grad(energy, x)
    torch.testing.assert_close(penalty(x), expected, rtol=1e-10, atol=1e-12)


def test_variational_network(rng, matrix):
    for start in ("fbp", "adjoint"):
        model = VariationalNetwork(stages=2, filters=3, filter_size=3, gaussians=5, start=start)
        torch.testing.assert_close(model.data_weights, torch.ones(2))
        model = randomised(model, rng)
        A = Plain(matrix)
        y = images(rng, 2, 1, *RAYS.range_shape)
        x = fbp(y, RAYS, oversampling=1) if start == "fbp" else A.adjoint(y / A.norm)
        for k in range(2):
            misfit = A.adjoint(A(x) - y / A.norm)
            x = x - model.penalties[k](x) - model.data_weights[k] * misfit
        assert agrees(model(y, RAYS), x)


def test_constraints_of_variational_network_hold_after_any_step(rng):
    model = VariationalNetwork(stages=2, filters=3, filter_size=5, gaussians=5)
    for scale in (0.0, 1e-3, 1.0, 1e4):
        with torch.no_grad():
            for weights in model.parameters():
                weights.copy_(scale * torch.randn(weights.shape, generator=rng))
        assert (model.data_weights >= 0).all()
        for penalty in model.penalties:
            filters = penalty.filters
            assert filters.sum((-2, -1)).abs().max() < 1e-5
            assert filters.square().sum((-2, -1)).max() < 1 + 1e-5
            # shorter ones are left alone but for their mean
            if scale == 1e-3:
                raw = penalty.raw_filters
                assert torch.equal(filters, raw - raw.mean((-2, -1), keepdim=True))
