"""Variational autoencoders and their covariances, against dense Gaussians in double precision."""

import math

import numpy as np
import pytest
import torch
from autoencoders import small_autoencoder as autoencoder
from scipy.stats import multivariate_normal

from tomolearn.priors import StructuredGaussian
from tomolearn.priors.structured_gaussian import stencil
from tomolearn.training.objectives import EvidenceLowerBound

SHAPE = (5, 7)
N = math.prod(SHAPE)
every_covariance = pytest.mark.parametrize("covariance", ["constant", "diagonal", "structured"])


def gaussian(rng, radius, batch=2):
    n = len(stencil(radius))
    return StructuredGaussian(
        torch.randn(batch, 1, *SHAPE, generator=rng, dtype=torch.float64),
        0.3 * torch.randn(batch, 1, *SHAPE, generator=rng, dtype=torch.float64),
        0.3 * torch.randn(batch, n, *SHAPE, generator=rng, dtype=torch.float64),
        radius,
    )


def factor(given, b):
    """L as a dense matrix, entry by entry."""
    rows, columns = SHAPE
    found = np.zeros((N, N))
    for i in range(rows):
        for j in range(columns):
            root = math.exp(float(given.log_diagonal[b, 0, i, j]))
            found[i * columns + j, i * columns + j] = root
            for k, (down, right) in enumerate(stencil(given.radius)):
                if i + down < rows and 0 <= j + right < columns:
                    place = (i + down) * columns + j + right
                    found[place, i * columns + j] = root * float(given.couplings[b, k, i, j])
    return found


def test_stencil_has_the_pixels_after_the_middle_one():
    assert stencil(0) == ()
    assert stencil(1) == ((0, 1), (1, -1), (1, 0), (1, 1))
    assert [len(stencil(r)) for r in (2, 3)] == [12, 24]
    # with their mirror images and the middle all of a square
    both = {*stencil(2), *((-i, -j) for i, j in stencil(2)), (0, 0)}
    assert both == {(i, j) for i in range(-2, 3) for j in range(-2, 3)}


@pytest.mark.parametrize("radius", [0, 1, 2, 3])
def test_density_is_that_of_a_dense_gaussian(radius, rng):
    given = gaussian(rng, radius)
    x = torch.randn(2, 1, *SHAPE, generator=rng, dtype=torch.float64)
    found = given.log_density(x)
    for b in range(2):
        low = factor(given, b)
        assert np.allclose(low, np.tril(low))
        covariance = np.linalg.inv(low @ low.T)
        dense = multivariate_normal(
            given.mean[b].flatten().numpy(), (covariance + covariance.T) / 2
        )
        assert float(found[b]) == pytest.approx(dense.logpdf(x[b].flatten().numpy()), rel=1e-10)


@pytest.mark.parametrize("radius", [0, 2])
def test_factor_and_precision_are_their_matrices(radius, rng):
    given = gaussian(rng, radius)
    r = torch.randn(2, 1, *SHAPE, generator=rng, dtype=torch.float64)
    for b in range(2):
        low, v = factor(given, b), r[b].flatten().numpy()
        for found, expected in (
            (given.whitened(r), low.T @ v),
            (given.coloured(r), low @ v),
            (given.precision(r), low @ low.T @ v),
        ):
            np.testing.assert_allclose(found[b].flatten().numpy(), expected, atol=1e-12)


@pytest.mark.parametrize("radius", [0, 2])
def test_gradient_of_the_density_against_differences(radius, rng):
    given = gaussian(rng, radius, batch=1)
    parts = [given.mean, given.log_diagonal, given.couplings]
    x = torch.randn(1, 1, *SHAPE, generator=rng, dtype=torch.float64)

    def value(*parts):
        return StructuredGaussian(*parts, radius).log_density(x).sum()

    assert torch.autograd.gradcheck(value, [part.requires_grad_() for part in parts])


@pytest.mark.parametrize("radius", [0, 2])
def test_samples_whiten(radius, rng):
    given = gaussian(rng, radius)
    away = given.sample(np.random.default_rng(3)) - given.mean
    white = np.random.default_rng(3).standard_normal((2, N))
    np.testing.assert_allclose(given.whitened(away).reshape(2, N).numpy(), white, atol=1e-9)


def test_samples_have_the_covariance(rng):
    given = gaussian(rng, 1, batch=1)
    many = StructuredGaussian(
        *(
            one.expand(4000, -1, -1, -1)
            for one in (given.mean, given.log_diagonal, given.couplings)
        ),
        1,
    )
    found = np.cov(many.sample(np.random.default_rng(0)).reshape(4000, N).numpy().T)
    low = factor(given, 0)
    expected = np.linalg.inv(low @ low.T)
    # the standard error of a covariance is about sqrt(2 / 4000) of the variances
    spread = np.sqrt(np.outer(np.diag(expected), np.diag(expected)))
    assert float(np.abs((found - expected) / spread).max()) < 5 * math.sqrt(2 / 4000)


@every_covariance
def test_value_is_the_joint_density_at_the_encoders_mean(covariance, rng):
    prior = autoencoder(covariance)
    x = torch.rand(2, *SHAPE, generator=rng, dtype=torch.float64)
    z, _ = prior.encode(x[:, None])
    given = prior.decode(z, SHAPE)
    for b in range(2):
        low = factor(given, b)
        residual = low.T @ (x[b] - given.mean[b, 0]).flatten().numpy()
        expected = (
            residual @ residual / 2
            - np.linalg.slogdet(low)[1]
            + N / 2 * math.log(2 * math.pi)
            + float(z[b].square().sum()) / 2
        )
        assert float(prior(x)[b]) == pytest.approx(expected, rel=1e-10)


@every_covariance
def test_covariances_are_what_they_are_called(covariance, rng):
    prior = autoencoder(covariance)
    z = torch.randn(2, *prior.latent_shape(SHAPE), generator=rng, dtype=torch.float64)
    given = prior.decode(z, SHAPE)
    spread = float(given.log_diagonal.std())
    assert (spread < 1e-12) == (covariance == "constant")
    assert bool(given.couplings.any()) == (covariance == "structured")


def test_deviations_are_not_below_the_floor(rng):
    prior = autoencoder("diagonal", floor=0.1)
    with torch.no_grad():
        prior.decoder.last.bias[1] = 1e4
    z = torch.randn(1, *prior.latent_shape(SHAPE), generator=rng, dtype=torch.float64)
    deviation = torch.exp(-prior.decode(z, SHAPE).log_diagonal)
    torch.testing.assert_close(deviation, torch.full_like(deviation, 0.1))


@every_covariance
def test_bound_is_below_the_evidence(covariance):
    # of one pixel and one latent number the evidence is an integral over z
    prior = autoencoder(covariance, latent_channels=1, channels=(2, 2))
    x = torch.tensor([[[[0.3]]]], dtype=torch.float64)
    z = torch.linspace(-8, 8, 4001, dtype=torch.float64).reshape(-1, 1, 1, 1)
    given = prior.decode(z, (1, 1))
    joint = given.log_density(x.expand(len(z), -1, -1, -1)) - z.flatten() ** 2 / 2
    evidence = torch.logsumexp(joint, 0) + math.log(16 / 4000) - math.log(2 * math.pi) / 2
    many, rng = x.expand(20_000, -1, -1, -1), np.random.default_rng(0)
    bound = -EvidenceLowerBound().loss(prior, (many, many), None, rng)
    # and their difference is the encoder's divergence from the posterior
    posterior = joint - torch.logsumexp(joint, 0) - math.log(16 / 4000)
    mean, log_deviation = (float(one) for one in prior.encode(x))
    encoder = torch.distributions.Normal(mean, math.exp(log_deviation)).log_prob(z.flatten())
    divergence = (encoder.exp() * (encoder - posterior)).sum() * 16 / 4000
    assert float(divergence) > 0
    assert float(evidence - bound) == pytest.approx(float(divergence), rel=0.1)


def test_objective_learns(rng):
    prior = autoencoder("structured").requires_grad_()
    x = torch.rand(8, 1, 12, 12, generator=rng, dtype=torch.float64).cumsum(-1) / 12
    objective, draws = EvidenceLowerBound(noise=0.01), np.random.default_rng(0)
    objective.check(prior)
    optimizer = torch.optim.Adam(prior.parameters(), 1e-2)
    losses = []
    for _ in range(20):
        optimizer.zero_grad()
        loss = objective.loss(prior, (x, x), None, draws)
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0] - 0.5
    assert all(weights.grad is not None for weights in prior.parameters())
    found = objective.estimate(prior, (x, x), None, draws)
    assert found.shape == x.shape


def test_samples_are_images():
    images, means = autoencoder().sample(3, (9, 6), np.random.default_rng(0))
    assert images.shape == means.shape == (3, 9, 6)
    assert bool(images.isfinite().all())
    assert not torch.equal(images, means)


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda: autoencoder("full"), ValueError, "covariance: expected one of constant, diag"),
        (lambda: autoencoder(radius=0), ValueError, "radius: expected an integer >= 1, got 0"),
        (lambda: autoencoder(channels=(4,)), ValueError, "channels: expected two numbers or more"),
        (lambda: autoencoder(channels=(4, 0)), ValueError, r"channels\[1\]: expected an integer"),
        (lambda: autoencoder(scale=0.0), ValueError, "scale: expected a positive number"),
        (lambda: autoencoder(floor=-1.0), ValueError, "floor: expected a positive number"),
        (
            lambda: autoencoder().decode(torch.zeros(1, 2, 3, 3).double(), SHAPE),
            ValueError,
            r"latent: expected shape \(batch, 2, 2, 2\) for images \(5, 7\), got \(1, 2, 3, 3\)",
        ),
        (
            lambda: StructuredGaussian(*[torch.zeros(1, 1, 3, 3)] * 3, radius=1),
            ValueError,
            r"couplings: expected shape \(1, 4, 3, 3\), got \(1, 1, 3, 3\)",
        ),
        (lambda: autoencoder().sample(1, SHAPE, None), TypeError, "rng: expected a numpy.random"),
        (lambda: EvidenceLowerBound(noise=-1.0), ValueError, "noise: expected a non-negative"),
        (
            lambda: EvidenceLowerBound(latent_weight=-1.0),
            ValueError,
            "latent_weight: expected a non-negative number",
        ),
        (
            lambda: EvidenceLowerBound().check(object()),
            ValueError,
            "model: expected a variational-autoencoder, got object",
        ),
    ],
)
def test_errors(call, error, match):
    with pytest.raises(error, match=match):
        call()
