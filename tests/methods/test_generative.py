"""Generative regularisation against dense linear algebra in double precision."""

import math

import numpy as np
import pytest
import torch
from autoencoders import saved_autoencoder, small_autoencoder
from builders import matrix_of

import tomolearn as tl
from tomolearn.methods import Generative, History, generative
from tomolearn.methods.variational.generative_steps import SPLITTINGS
from tomolearn.operators import Identity

GRID = tl.Grid((7, 6))
OPERATOR = tl.RayTransform(GRID, tl.ParallelBeam.covering(GRID, 5))
A = matrix_of(OPERATOR, GRID.shape, torch.float64)
every_constraint = pytest.mark.parametrize("constraint", ["relaxed", "hard", "sparse"])
every_covariance = pytest.mark.parametrize("covariance", ["constant", "diagonal", "structured"])


def settings(constraint):
    return {"constraint": constraint, "sparsity": 2.0 if constraint == "sparse" else None}


@pytest.fixture
def data(rng):
    y = OPERATOR(torch.rand(2, *GRID.shape, generator=rng, dtype=torch.float64))
    return y + 0.1 * torch.randn(y.shape, generator=rng, dtype=torch.float64)


@pytest.fixture
def latent(rng):
    shape = small_autoencoder().latent_shape(GRID.shape)
    return torch.randn(2, *shape, generator=rng, dtype=torch.float64)


def splitting(data, prior, constraint="relaxed", weight=0.05, weights=None, **changes):
    method = Generative(
        prior, weight=weight, inner_tolerance=1e-12, **settings(constraint), **changes
    )
    return SPLITTINGS[constraint](data, OPERATOR, prior, method, weights)


def precision_of(given):
    """The dense precision of the first distribution, column by column."""
    n = math.prod(GRID.shape)
    basis = torch.eye(n, dtype=torch.float64).reshape(n, 1, *GRID.shape)
    parts = (given.mean, given.log_diagonal, given.couplings)
    many = type(given)(*(one[:1].expand(n, -1, -1, -1) for one in parts), given.radius)
    return many.precision(basis).reshape(n, n)


@every_covariance
def test_image_of_a_latent_image_is_the_posterior_mean(covariance, data, latent, rng):
    prior, weight = small_autoencoder(covariance), 0.05
    weights = torch.rand(data.shape, generator=rng, dtype=torch.float64)
    problem = splitting(data, prior, weight=weight, weights=weights)
    given = problem.decoded(latent)
    found = problem.fitted(torch.zeros_like(given.mean), given, 500)[0].flatten()
    # by Woodbury's identity, with the covariance and not its inverse
    covariance_matrix = torch.linalg.inv(precision_of(given))
    mean, y = given.mean[0].flatten(), data[0].flatten()
    noise = torch.diag(weight / weights[0].flatten())
    gain = covariance_matrix @ A.T @ torch.linalg.inv(A @ covariance_matrix @ A.T + noise)
    torch.testing.assert_close(found, mean + gain @ (y - A @ mean), rtol=1e-7, atol=1e-8)


@every_covariance
def test_relaxed_objective_is_minus_the_logarithm_of_the_posterior(covariance, data, latent, rng):
    prior, variance = small_autoencoder(covariance), 0.3
    problem = splitting(data, prior, weight=variance)
    given = problem.decoded(latent)
    x = torch.rand(2, 1, *GRID.shape, generator=rng, dtype=torch.float64)
    expected = []
    for b in range(2):
        noise = torch.distributions.Normal(A @ x[b].flatten(), math.sqrt(variance))
        bits = torch.distributions.Normal(0.0, 1.0).log_prob(latent[b]).sum()
        expected.append(-noise.log_prob(data[b].flatten()).sum() - bits)
    constant = (data[0].numel() * math.log(2 * math.pi * variance)) / 2
    constant += latent[0].numel() * math.log(2 * math.pi) / 2
    expected = torch.stack(expected) - constant - given.log_density(x)
    torch.testing.assert_close(problem.objective(x, latent) / variance, expected)


@every_constraint
def test_gradient_by_the_latent_image_against_differences(constraint, data, latent):
    problem = splitting(data, small_autoencoder(), constraint)
    v = 0.1 * torch.ones(2, 1, *GRID.shape, dtype=torch.float64)
    if constraint == "hard":
        v = torch.zeros_like(v)
    along = problem.along(v)
    assert torch.autograd.gradcheck(lambda z: along(z).sum(), latent.clone().requires_grad_())


def test_hard_is_the_limit_of_relaxed(data, latent):
    prior, weight = small_autoencoder("constant", floor=1e-9), 0.05
    hard = splitting(data, prior, "hard", weight=weight)
    expected = hard.objective(hard.begin(latent.new_zeros(2, 1, *GRID.shape)), latent)
    n, away = math.prod(GRID.shape), []
    for deviation in (1e-2, 1e-3, 1e-4):
        most = -math.log(prior.floor)
        with torch.no_grad():  # the inverse of what the decoder does with it
            raw = math.log(math.expm1(most + math.log(deviation)))
            prior.spread.fill_(most - math.log(3 * prior.scale) - raw)
        relaxed = splitting(data, prior, weight=weight)
        given = relaxed.decoded(latent)
        torch.testing.assert_close(
            given.log_diagonal, torch.full_like(given.log_diagonal, -math.log(deviation))
        )
        x = relaxed.fitted(given.mean, given, 500)
        # without the determinant, which does not depend on z
        constant = n * math.log(deviation) + n / 2 * math.log(2 * math.pi)
        found = relaxed.objective(x, latent) - weight * constant
        residual = (data - OPERATOR(given.mean[:, 0])).flatten(1)
        spread = torch.eye(len(A), dtype=torch.float64) + deviation**2 / weight * A @ A.T
        least = (residual @ torch.linalg.inv(spread) * residual).sum(1) / 2
        least = least + weight * latent.square().flatten(1).sum(1) / 2
        torch.testing.assert_close(found, least, rtol=1e-6, atol=1e-8)
        away.append(float((expected - found).abs().max()))
    # the difference is of second order in the deviation
    assert away[2] < 1e-3 * float(expected.max())
    assert away[1] / away[2] == pytest.approx(100, rel=0.05)


@every_constraint
@every_covariance
def test_objective_never_rises(constraint, covariance, data):
    history = History()
    generative(
        data,
        OPERATOR,
        prior=small_autoencoder(covariance),
        weight=0.05,
        iterations=12,
        callback=history,
        **settings(constraint),
    )
    values = torch.stack([state.objective for state in history.states])
    assert bool((values[1:] <= values[:-1] + 1e-9 * values.abs().max()).all())
    assert bool((values[-1] < values[0]).all())


def test_relaxed_ends_where_the_slope_is_small(data):
    prior = small_autoencoder()
    problem = splitting(data, prior, latent_steps=20, inner_iterations=100)
    start = torch.zeros(2, *GRID.shape, dtype=torch.float64)
    x, z, step = start[:, None], prior.encode(start[:, None])[0], torch.ones(2)

    def slope(x, z):
        point = z.clone().requires_grad_()
        (found,) = torch.autograd.grad(problem.objective(x, point).sum(), point)
        return float(found.norm())

    first = slope(problem.image_step(x, z), z)
    for _ in range(60):
        x = problem.image_step(x, z)
        z, step = problem._descended(x, z, step)
    assert slope(problem.image_step(x, z), z) < 1e-3 * first


def test_hard_images_are_in_the_range(data):
    prior = small_autoencoder()
    with torch.no_grad():
        wanted = torch.randn(1, *prior.latent_shape(GRID.shape), dtype=torch.float64)
        truth = prior.decode(wanted, GRID.shape).mean[:, 0]
    y = OPERATOR(truth)
    x = generative(y, OPERATOR, prior=prior, weight=1e-8, constraint="hard", iterations=100)
    start = generative(y, OPERATOR, prior=prior, weight=1e-8, constraint="hard", iterations=1)
    # data of an image in the range are explained, up to the latent image's weight
    assert float((OPERATOR(x) - y).norm()) < 0.1 * float((OPERATOR(start) - y).norm())


def test_sparse_deviations_are_optimal(data, latent):
    weight, sparsity = 0.05, 2.0
    problem = splitting(data, small_autoencoder(), "sparse", weight=weight, inner_iterations=4000)
    v = problem.image_step(torch.zeros(2, 1, *GRID.shape, dtype=torch.float64), latent)
    slope = OPERATOR.adjoint(problem.residual(problem.image(v, latent)))[:, None]
    threshold = weight * sparsity
    assert bool((slope.abs() <= threshold * (1 + 1e-3)).all())
    moved = v.abs() > 1e-6
    assert 0 < int(moved.sum()) < moved.numel()
    torch.testing.assert_close(
        slope[moved], -threshold * v[moved].sign(), rtol=1e-3, atol=1e-3 * threshold
    )


def test_sparse_without_deviations_is_hard(data):
    common = {"prior": small_autoencoder(), "weight": 0.05, "iterations": 5}
    hard = generative(data, OPERATOR, constraint="hard", **common)
    sparse = generative(data, OPERATOR, constraint="sparse", sparsity=1e9, **common)
    torch.testing.assert_close(sparse, hard)


@every_constraint
def test_images_in_another_unit_need_another_scale(constraint, data):
    common = {"prior": small_autoencoder(), "weight": 0.05, "iterations": 4}
    x = generative(data, OPERATOR, **common, **settings(constraint))
    # exactly, by a power of two
    small = generative(data / 16, OPERATOR, image_scale=16.0, **common, **settings(constraint))
    torch.testing.assert_close(small * 16, x)


@every_constraint
def test_dead_bins_are_not_looked_at(constraint, data):
    weights = torch.ones_like(data)
    weights[:, 2] = 0
    common = {"prior": small_autoencoder(), "weight": 0.05, "iterations": 3, "weights": weights}
    x = generative(data, OPERATOR, **common, **settings(constraint))
    data[:, 2] = math.nan
    assert torch.equal(generative(data, OPERATOR, **common, **settings(constraint)), x)


def test_a_file_is_as_good_as_the_autoencoder(data):
    path = saved_autoencoder()
    loaded = tl.load(path, kind="regulariser")
    method = Generative(path, weight=0.05, iterations=2)
    given = Generative(loaded, weight=0.05, iterations=2)
    assert torch.equal(method(data, OPERATOR), given(data, OPERATOR))
    with pytest.raises(ValueError, match=r"prior: expected the name or path .* tomolearn.save"):
        given.to_dict()


@pytest.mark.parametrize(
    ("changes", "error", "match"),
    [
        ({"weight": 0.0}, ValueError, "weight: expected a positive number, got 0"),
        ({"weight": -1.0}, ValueError, "weight: expected a positive number, got -1"),
        ({"constraint": "soft"}, ValueError, "constraint: expected one of relaxed, hard, sparse"),
        ({"constraint": "sparse"}, ValueError, "sparsity: expected a positive number with const"),
        ({"sparsity": 1.0}, ValueError, "sparsity: expected none with constraint relaxed, got 1"),
        ({"image_scale": 0.0}, ValueError, "image_scale: expected a positive number"),
        ({"latent_steps": 0}, ValueError, "latent_steps: expected an integer >= 1"),
        ({"prior": tl.priors.SquaredNorm()}, TypeError, "prior: expected a VariationalAuto.*Norm"),
        ({"prior": "wcrr-chest"}, TypeError, "prior: expected a VariationalAutoencoder, or the"),
    ],
)
def test_errors(changes, error, match, data):
    with pytest.raises(error, match=match):
        generative(data, OPERATOR, **{"prior": small_autoencoder(), "weight": 0.05, **changes})


def test_volumes_are_refused():
    y = torch.zeros(3, 4, 5)
    with pytest.raises(ValueError, match=r"prior: expected one of 3 spatial axes, .* got one of 2"):
        generative(y, Identity((3, 4, 5)), prior=small_autoencoder(), weight=0.05)


def test_the_weight_follows_the_noise(tmp_path, data):
    recipe = {"algorithm": "generative", "weight": 0.02, "noise": 0.1, "iterations": 2}
    training = {"reconstruction": {**recipe, "start": "fbp"}}
    tl.save(small_autoencoder().float(), tmp_path / "prior", grid=GRID, training=training)
    path = str(tmp_path / "prior.json")
    method = tl.get_method(path)
    assert isinstance(method.method(0.02), Generative)
    assert method.weight_of(data, OPERATOR).tolist() == [0.02, 0.02]
    # the weight is that of the variance, whatever the views
    for level, weight in ((0.1, 0.02), (0.2, 0.08)):
        known = tl.get_method(path, noise_level=level)
        np.testing.assert_allclose(known.weight_of(data, OPERATOR).numpy(), weight, rtol=1e-12)
    scaled = tl.get_method(path, noise_level=0.1, image_scale=3.0)
    np.testing.assert_allclose(scaled.weight_of(data, OPERATOR).numpy(), 9 * 0.02, rtol=1e-12)
    expected = generative(
        data,
        OPERATOR,
        prior=tl.load(path, kind="regulariser"),
        weight=0.08,
        iterations=2,
        x0=tl.fbp(data, OPERATOR, filter="hann"),
    )
    found = tl.get_method(path, noise_level=0.2)(data, OPERATOR)
    torch.testing.assert_close(found, expected)
    image = torch.rand(1, 1, *GRID.shape)
    cleaned = tl.get_method(path, noise_level=0.1).denoiser()(image)
    again = generative(image, Identity((7, 6)), prior=path, weight=0.02, iterations=2, x0=image)
    torch.testing.assert_close(cleaned, again)
    with pytest.raises(ValueError, match=r"nonnegative: expected false with .* generative"):
        tl.get_method(path, nonnegative=True)(data, OPERATOR)
