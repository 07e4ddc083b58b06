"""Adversarial training of regularisers: its loss, and runs of it."""

import numpy as np
import pytest
import torch

import tomolearn as tl
from tomolearn.operators import Identity
from tomolearn.priors import (
    AdversarialRegulariser,
    InputConvexRegulariser,
    Regulariser,
    SquaredDifferences,
)
from tomolearn.training.config import with_overrides
from tomolearn.training.objectives import Adversarial
from tomolearn.training.run import train

pytestmark = pytest.mark.filterwarnings("ignore:.*GPU.*", "ignore:.*isinstance.treespec.*")

SMALL = {"channels": [3, 4], "strides": [1, 2], "kernel_size": 3}
SETTINGS = {
    "model": "input-convex",
    "model_arguments": {**SMALL, "convexity": 0.1},
    "task": "ellipses-64",
    "objective": "adversarial",
    "objective_arguments": {"window": 24, "windows": 2},
    "metric": "objective",
    "batch_size": 2,
    "learning_rate": 0.01,
    "final_learning_rate": 0.01,
    "validation_size": 4,
    "validation_every": 40,
}


class Linear(Regulariser):
    """Inner product with a learned image."""

    def __init__(self, slope):
        super().__init__({})
        self.slope = torch.nn.Parameter(slope)

    def value(self, image):
        return (image * self.slope).sum((-2, -1))

    def gradient(self, image):
        return self.slope.expand_as(image)


@pytest.fixture
def batch(rng):
    truth = torch.rand(3, 1, 12, 14, generator=rng, dtype=torch.float64)
    noise = torch.randn(truth.shape, generator=rng, dtype=torch.float64)
    return truth + 0.1 * noise, truth


def test_loss_of_a_linear_critic(batch, rng):
    noisy, truth = batch
    slope = torch.randn(12, 14, generator=rng, dtype=torch.float64)
    found = Adversarial(penalty=7.0).loss(
        Linear(slope), batch, Identity((12, 14)), np.random.default_rng(0)
    )
    error = (noisy - truth).square().mean().sqrt()
    size = slope.square().mean().sqrt()
    distance = ((truth - noisy) * slope).sum((-2, -1)).mean() / (12 * 14 * error)
    expected = distance + 7.0 * torch.relu(size - 1) ** 2
    torch.testing.assert_close(found, expected)


def test_no_critic_of_small_gradient_gets_below_minus_one(batch):
    # one pair, and the slope of norm one along its error: the bound is attained
    noisy, truth = (part[:1] for part in batch)
    error = noisy - truth
    best = Linear((error / error.square().mean().sqrt())[0, 0])
    found = Adversarial().loss(best, (noisy, truth), Identity((12, 14)), np.random.default_rng(0))
    assert float(found) == pytest.approx(-1, abs=1e-9)


@pytest.mark.parametrize("kind", [AdversarialRegulariser, InputConvexRegulariser])
def test_loss_is_differentiated_twice_rightly(kind, batch, rng):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        critic = kind(**SMALL).double()
    with torch.no_grad():  # so steep that the penalty counts
        for weight in critic.parameters():
            weight *= 3
    objective = Adversarial(window=9, windows=2)

    def loss():
        return objective.loss(critic, batch, Identity((12, 14)), np.random.default_rng(1))

    assert float(loss().detach()) > 1
    weights = list(critic.parameters())
    slopes = torch.autograd.grad(loss(), weights, allow_unused=True)
    h = 1e-6
    for weight, slope in zip(weights, slopes, strict=True):
        direction = torch.randn(weight.shape, generator=rng, dtype=torch.float64)
        values = []
        for step in (h, -2 * h):
            with torch.no_grad():
                weight += step * direction
            values.append(float(loss().detach()))
        with torch.no_grad():
            weight += h * direction
        found = float((slope * direction).sum())
        scale = 1e-4 * float(slope.norm() * direction.norm())
        assert found == pytest.approx((values[0] - values[1]) / (2 * h), rel=1e-5, abs=scale)


def test_naive_images_are_filtered_back_projections(rng):
    grid = tl.Grid((20, 20))
    A = tl.RayTransform(grid, tl.ParallelBeam.covering(grid, 12))
    truth = torch.rand(2, 1, 20, 20, generator=rng)
    y = A(truth) + 0.1 * torch.randn(2, 1, *A.range_shape, generator=rng)
    critic = SquaredDifferences()
    objective = Adversarial(penalty=1e-9, frequency_scaling=(0.6, 0.6))
    found = objective.loss(critic, (y, truth), A, np.random.default_rng(0))
    naive = tl.fbp(y, A, filter="hann", frequency_scaling=0.6)
    error = (naive - truth).square().mean().sqrt()
    expected = (critic(truth) - critic(naive)).mean() / (400 * error)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_it_learns_and_resumes(tmp_path):
    run = {**SETTINGS, "steps": 40}
    whole = train(with_overrides(run, []), tmp_path / "whole")
    assert whole.validation < -0.1
    train(with_overrides({**run, "steps": 17}, []), tmp_path / "part")
    resumed = train(with_overrides(run, []), tmp_path / "part", resume=True)
    assert resumed.validation == whole.validation
    critics = [tl.load(one.weights, kind="regulariser") for one in (whole, resumed)]
    assert critics[0].convexity == 0.1
    states = [critic.state_dict() for critic in critics]
    for name, tensor in states[0].items():
        assert torch.equal(tensor, states[1][name])


def test_an_autoencoder_learns_as_a_denoiser(tmp_path):
    settings = {
        "model": "network-tikhonov",
        "model_arguments": {"channels": 2, "scales": 1},
        "task": "ellipses-64",
        "objective": "denoising",
        "objective_arguments": {"noise_levels": [0.0, 0.1]},
        "steps": 2,
        "validation_size": 2,
    }
    result = train(with_overrides(settings, []), tmp_path / "run")
    assert tl.load(result.weights, kind="regulariser").arguments["channels"] == 2


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda: Adversarial(penalty=0.0), ValueError, "penalty: expected a positive number"),
        (
            lambda: Adversarial(frequency_scaling=(0.9, 0.5)),
            ValueError,
            "frequency_scaling: .* 0.9",
        ),
        (lambda: Adversarial(frequency_scaling=(0.5, 1.5)), ValueError, "frequency_scaling: exp"),
        (lambda: Adversarial(window=0), ValueError, "window: expected an integer >= 1"),
        (lambda: Adversarial(windows=0), ValueError, "windows: expected an integer >= 1"),
        (
            lambda: with_overrides(
                {**SETTINGS, "model": "spectral-denoiser", "model_arguments": {}}, []
            ),
            ValueError,
            "expected a regulariser",
        ),
    ],
)
def test_errors(call, error, match):
    with pytest.raises(error, match=match):
        call()
