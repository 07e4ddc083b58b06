"""Heteroscedastic networks: their likelihood, training, cards and what methods make of them."""

import math

import numpy as np
import pytest
import torch
from networks import small_network
from small_task import small_task

import tomolearn as tl
from tomolearn.catalogue import TrainedHeteroscedastic, get_method, method_kind
from tomolearn.data import RandomEllipses
from tomolearn.evaluation import calibrate_uncertainty
from tomolearn.models import FBPUNet, LearnedPrimalDual
from tomolearn.tasks import Split
from tomolearn.training.config import with_overrides
from tomolearn.training.objectives import Likelihood
from tomolearn.training.run import train

TASK = small_task(
    splits={
        "train": Split(RandomEllipses(), seed=1),
        "validation": Split(RandomEllipses(), seed=2, size=60),
        "test": Split(RandomEllipses(), seed=3, size=12),
    }
)
A = TASK.operator()
NETWORK = {
    "channels": [8, 16],
    "first_convolutions": 1,
    "normalisation": "none",
    "heteroscedastic": True,
}


@pytest.fixture
def batch(rng):
    image = torch.rand(2, 1, *A.domain_shape, generator=rng)
    return A(image), image


@pytest.fixture
def network():
    return small_network("fbp-unet_two_heads")


@pytest.mark.parametrize("distribution", ["gaussian", "laplace"])
def test_loss_is_the_likelihood_of_torchs_distributions(distribution, batch, network):
    image, deviation = network.moments(batch[0], A)
    if distribution == "gaussian":
        law, constant = torch.distributions.Normal(image, deviation), math.log(2 * math.pi) / 2
    else:
        law = torch.distributions.Laplace(image, deviation / math.sqrt(2))
        constant = math.log(math.sqrt(2))
    wanted = -law.log_prob(batch[1]).mean() - constant
    found = Likelihood(distribution, beta=0.0).loss(network, batch, A, np.random.default_rng(0))
    # of some thousand pixels, in single precision
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("distribution", "power"), [("gaussian", 2), ("laplace", 1)])
def test_with_beta_one_images_learn_as_from_plain_errors(distribution, power, batch, network):
    def gradient(loss):
        return torch.autograd.grad(loss, bias)[0][0]

    bias = network.unet.last.bias
    image, _ = network.moments(batch[0], A)
    # r^2 / 2, and sqrt(2) |r|
    plain = (image - batch[1]).abs().pow(power).mean() * (0.5 if power == 2 else math.sqrt(2))
    wanted = gradient(plain)
    loss = Likelihood(distribution, beta=1.0).loss(network, batch, A, np.random.default_rng(0))
    torch.testing.assert_close(gradient(loss), wanted, rtol=1e-5, atol=1e-7)


def test_moments_are_positive_in_the_images_unit_and_one_by_one(batch, network):
    sinogram = batch[0]
    image, deviation = network.moments(sinogram, A)
    torch.testing.assert_close(image, network(sinogram, A))
    assert image.shape == deviation.shape == batch[1].shape
    assert bool((deviation > 0).all())
    alone = network.moments(sinogram[1, 0], A)
    torch.testing.assert_close(alone[1], deviation[1, 0], rtol=1e-5, atol=1e-6)
    network.image_scale = 50.0
    for one, other in zip(network.moments(sinogram / 50, A), (image, deviation), strict=True):
        torch.testing.assert_close(50 * one, other, rtol=1e-4, atol=1e-4)
    empty = network.moments(sinogram[:0], A)
    assert empty[0].shape == empty[1].shape == (0, 1, *A.domain_shape)
    assert network.denoiser()(batch[1]).shape == batch[1].shape


def test_one_head_is_an_error(batch):
    plain, dual = small_network("fbp-unet"), LearnedPrimalDual(iterations=1, channels=4)
    for one in (plain, dual):
        with pytest.raises(ValueError, match=r"model: expected a network with a head for standard"):
            one.moments(batch[0], A)
        with pytest.raises(ValueError, match="such as fbp-unet with heteroscedastic=true"):
            Likelihood().loss(one, batch, A, np.random.default_rng(0))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"distribution": "cauchy"}, "distribution: expected one of gaussian, laplace"),
        ({"beta": 1.5}, r"beta: expected a number in \[0, 1\], got 1.5"),
    ],
)
def test_wrong_settings_are_told(settings, message):
    with pytest.raises(ValueError, match=message):
        Likelihood(**settings)


def test_supervised_learning_would_leave_the_head_as_it_is():
    given = {"model": "fbp-unet", "task": TASK, "model_arguments": NETWORK, "steps": 1}
    with pytest.raises(ValueError, match="objective likelihood trains both"):
        with_overrides(given, [])


def test_training_learns_where_errors_are_and_the_weights_tell_it(tmp_path, batch):
    given = {
        "model": "fbp-unet",
        "task": TASK,
        "model_arguments": NETWORK,
        "objective": "likelihood",
        "metric": "objective",
        "steps": 60,
        "batch_size": 4,
        "learning_rate": 1e-2,
        "validation_every": 30,
        "validation_size": 4,
    }
    result = train(with_overrides(given, []), tmp_path / "run")
    name = str(result.weights)
    assert method_kind(name) is TrainedHeteroscedastic
    method = get_method(name)
    assert method == get_method(**method.to_dict())
    sinogram, _ = TASK.pairs("validation")[0]
    found = method.moments(sinogram[None], A)
    torch.testing.assert_close(found.mean, method(sinogram[None], A))
    model = tl.load(name)
    assert isinstance(model, FBPUNet)
    assert model.heteroscedastic
    torch.testing.assert_close(found.standard_deviation, model.moments(sinogram[None], A)[1])
    # the head began at one, ten times as much as these errors
    pairs = TASK.pairs("validation", size=12)
    ratios = []
    for y, x in (pairs[k] for k in range(12)):
        one = method.moments(y[None], A)
        ratios.append((one.mean - x[None]) / one.standard_deviation)
    assert 0.5 < float(torch.stack(ratios).square().mean().sqrt()) < 2.0
    scaled = get_method(name, image_scale=2.0).moments(sinogram[None] / 2, A)
    torch.testing.assert_close(2 * scaled.standard_deviation, found.standard_deviation)

    report = calibrate_uncertainty(name, TASK, images=12).reports["held out"]
    at_90 = report.levels[4]
    assert at_90.level == 0.9
    assert at_90.coverage == pytest.approx(0.9, abs=0.08)
