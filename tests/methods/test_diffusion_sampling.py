"""DPS, DDS, DiffPIR and their loop, against Gaussian posteriors, dense matrices and DDIM."""

import dataclasses
import math
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import numpy as np
import pytest
import torch

import tomolearn as tl
from tomolearn import DivergenceError, Grid, ParallelBeam, RayTransform, TrainedElsewhereWarning
from tomolearn.methods import DDS, DPS, DiffPIR, DiffusionSampling
from tomolearn.methods.sampling.diffusion import Estimate
from tomolearn.methods.sampling.diffusion_steps import Measured, Normals, _first_image
from tomolearn.methods.sampling.schedules import SCHEDULES, noise_schedule
from tomolearn.methods.variational.noise_levels import column_norm
from tomolearn.methods.variational.plug_and_play_steps import ScaledDenoiser
from tomolearn.priors import Denoiser, DiffusionPrior
from tomolearn.simulation import GaussianNoise

GRID = Grid((5, 4))
A = RayTransform(GRID, ParallelBeam.covering(GRID, 3))
N = math.prod(GRID.shape)
MATRIX = A(torch.eye(N, dtype=torch.float64).reshape(N, *GRID.shape)).flatten(1).T
STD, NOISE = 1.5, 0.6
KINDS = {"dds": DDS, "dps": DPS, "diffpir": DiffPIR}
every_kind = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)


class Gaussian(Denoiser):
    """The best denoiser of white images of standard deviation STD."""

    def __init__(self):
        super().__init__({})

    def denoise(self, image, sigma):
        return image * STD**2 / (STD**2 + sigma**2)


class Spoiled(Gaussian):
    """One that fails at small noise levels."""

    def denoise(self, image, sigma):
        return super().denoise(image, sigma) / (sigma > 0.1)


@dataclass(frozen=True, kw_only=True)
class Exact(DiffusionSampling):
    """What is exact for white Gaussian images: E[x | noisy, y], and ancestral noise."""

    name: ClassVar[str] = "exact"
    fresh: float = 1.0

    def estimate(self, noisy, sigma, data):
        w = torch.ones_like(data.sinogram) if data.weights is None else data.weights
        prior = 1 / STD**2 + 1 / sigma**2
        precision = MATRIX.T @ (w.reshape(-1, 1) * MATRIX) / NOISE**2 + prior * torch.eye(
            len(MATRIX.T)
        )
        right = MATRIX.T @ (w * data.sinogram).flatten() / NOISE**2 + noisy.flatten(1) / sigma**2
        found = torch.linalg.solve(precision, right.T).T.reshape(noisy.shape)
        return Estimate(found, noisy, found)

    def renewed(self, sigma, following):
        return self.fresh**2 * (1 - (following / sigma) ** 2)


def measured(rng, batch=()):
    x = STD * torch.randn(*batch, *GRID.shape, generator=rng, dtype=torch.float64)
    y = A(x)
    return x, y + NOISE * torch.randn(y.shape, generator=rng, dtype=torch.float64)


def data_of(y, weights=None):
    norm = column_norm(A if weights is None else tl.Diagonal(weights.sqrt()) @ A)
    return Measured(y, A, ScaledDenoiser(Gaussian(), 1.0, y), NOISE, weights, norm)


@pytest.mark.parametrize(
    ("schedule", "weighted"), [("karras", False), ("exploding", True), ("preserving", True)]
)
def test_loop_samples_the_posterior_of_gaussian_images(schedule, weighted, rng):
    _, y = measured(rng)
    w = torch.rand(A.range_shape, generator=rng, dtype=torch.float64).add(0.2)
    w[1, 2] = 0
    w = w if weighted else torch.ones_like(w)
    M = MATRIX
    precision = M.T @ (w.reshape(-1, 1) * M) / NOISE**2 + torch.eye(M.shape[1]) / STD**2
    covariance = precision.inverse()
    expected = covariance @ M.T @ (w * y).flatten() / NOISE**2
    n = 500
    method = Exact(
        Gaussian(),
        samples=n,
        steps=150,
        noise_level=NOISE,
        schedule=schedule,
        sigma_start=30.0,
        sigma_end=0.01,
    )
    y[w == 0] = math.nan
    found = method.sample(y, A, **({"weights": w} if weighted else {}))
    samples = found.samples.flatten(1)
    deviation = covariance.diagonal().sqrt()
    # five standard errors of a mean; steps bias variances by a few per cent
    assert bool(((samples.mean(0) - expected).abs() < 5 * deviation / n**0.5 + 0.02).all())
    whitened = torch.linalg.solve_triangular(
        torch.linalg.cholesky(covariance), (samples - samples.mean(0)).T, upper=False
    )
    variances = whitened.square().mean(1)
    # six standard errors of a variance
    assert 0.6 < float(variances.min()) <= float(variances.max()) < 1.4
    assert float(variances.mean()) == pytest.approx(1, abs=0.12)


@pytest.mark.parametrize("eta", [0.0, 0.7, 1.0])
def test_exploding_loop_is_ddim_of_the_preserving_diffusion(eta, rng):
    _, y = measured(rng)
    method = Exact(
        Gaussian(),
        samples=2,
        steps=12,
        seed=5,
        noise_level=NOISE,
        schedule="preserving",
        sigma_start=4.0,
        sigma_end=0.05,
        fresh=eta,
    )
    data, normals = data_of(y), Normals(5, 0, 2)
    like = torch.empty(2, *GRID.shape, dtype=torch.float64)
    levels = noise_schedule("preserving", 4.0, 0.05, 12)
    kept = [1 / (1 + s**2) for s in levels]  # alpha-bar
    start = _first_image(data)
    x = math.sqrt(kept[0]) * start + math.sqrt(1 - kept[0]) * normals.draw(like)
    for k, a in enumerate(kept):
        found = method.estimate(x / math.sqrt(a), levels[k], data).image
        if k + 1 == len(kept):
            break
        b = kept[k + 1]
        # equations 12 and 16 of Song, Meng, Ermon (arXiv:2010.02502)
        fresh = eta * math.sqrt((1 - b) / (1 - a)) * math.sqrt(1 - a / b)
        direction = (x - math.sqrt(a) * found) / math.sqrt(1 - a)
        x = math.sqrt(b) * found + math.sqrt(1 - b - fresh**2) * direction
        if fresh:
            x = x + fresh * normals.draw(like)
    torch.testing.assert_close(method.sample(y, A).samples, found)


def test_preserving_schedule_is_that_of_a_thousand_small_steps():
    kept = np.cumprod(1 - np.linspace(1e-4, 0.02, 1000))
    levels = np.sqrt(1 / kept - 1)
    found = noise_schedule("preserving", levels[899], levels[99], 9)
    np.testing.assert_allclose(found, levels[899:98:-100], rtol=0.02)


@pytest.mark.parametrize("kind", SCHEDULES)
def test_schedules_fall_from_the_first_to_the_last(kind):
    levels = noise_schedule(kind, 3.0, 0.01, 8)
    assert levels[0] == pytest.approx(3.0)
    assert levels[-1] == pytest.approx(0.01)
    assert all(b < a for a, b in pairwise(levels))
    with pytest.raises(ValueError, match="sigma_end: expected a positive level, at most the first"):
        noise_schedule(kind, 0.1, 0.2, 3)
    with pytest.raises(ValueError, match="schedule: expected one of karras, exploding, preserving"):
        noise_schedule("linear", 0.2, 0.1, 3)


def test_step_of_diffpir_against_a_dense_solution(rng):
    _, y = measured(rng)
    noisy = torch.randn(3, *GRID.shape, generator=rng, dtype=torch.float64)
    method = DiffPIR(Gaussian(), trust=2.0, products=80)
    found = method.estimate(noisy, 0.8, data_of(y))
    M, clean = MATRIX, noisy.flatten(1) * STD**2 / (STD**2 + 0.8**2)
    system = M.T @ M / NOISE**2 + 2.0 / 0.8**2 * torch.eye(M.shape[1])
    right = M.T @ y.flatten() / NOISE**2 + 2.0 / 0.8**2 * clean
    expected = torch.linalg.solve(system, right.T).T
    # conjugate gradients end at a relative residual of 1e-3
    torch.testing.assert_close(found.image.flatten(1), expected, rtol=0, atol=2e-2)


def test_step_of_dds_is_a_krylov_step(rng):
    _, y = measured(rng)
    noisy = torch.randn(2, *GRID.shape, generator=rng, dtype=torch.float64)
    found = DDS(Gaussian(), gamma=0.7, products=2).estimate(noisy, 0.8, data_of(y))
    M, clean = MATRIX, noisy.flatten(1) * STD**2 / (STD**2 + 0.8**2)
    system = 0.7 * M.T @ M + torch.eye(M.shape[1])
    for one, z in zip(found.image.flatten(1), clean, strict=True):
        r = 0.7 * M.T @ (y.flatten() - M @ z)
        basis = torch.stack([r, system @ r], 1)
        # the best in the energy norm of all in the Krylov space
        small = torch.linalg.solve(basis.T @ system @ basis, basis.T @ r)
        torch.testing.assert_close(one, z + basis @ small)
    torch.testing.assert_close(found.origin.flatten(1), clean)


def test_variance_that_explains_a_misfit(rng):
    x = torch.randn(GRID.shape, generator=rng, dtype=torch.float64)
    w = torch.rand(A.range_shape, generator=rng, dtype=torch.float64)
    noise = torch.randn(A.range_shape, generator=rng, dtype=torch.float64)
    noise *= NOISE * math.sqrt(w.numel()) / (w.sqrt() * noise).norm()
    errors = 0.3 * torch.randn(2000, *GRID.shape, generator=rng, dtype=torch.float64)
    data = data_of(A(x) + noise, w)
    size = float((w.reshape(-1, 1) * MATRIX**2).sum())
    exact = dataclasses.replace(data, column_norm=math.sqrt(size / N))
    assert float(exact.excess(x + errors).mean()) == pytest.approx(0.09, rel=0.1)


def test_step_of_dps_by_finite_differences(rng):
    _, y = measured(rng)
    data, zeta = data_of(y), 0.3
    noisy = torch.randn(1, *GRID.shape, generator=rng, dtype=torch.float64)
    found = DPS(Gaussian(), zeta=zeta).estimate(noisy, 0.8, data)
    step, moved = 1e-5, found.origin - found.image

    def size(x):
        return float((A(data.denoise(x, 0.8)) - y).norm())

    for k in range(0, noisy.numel(), 3):
        unit = torch.zeros_like(noisy).flatten()
        unit[k] = step
        unit = unit.reshape(noisy.shape)
        slope = (size(noisy + unit) - size(noisy - unit)) / (2 * step)
        assert float(moved.flatten()[k]) == pytest.approx(zeta / A.norm() * slope, rel=1e-5)


@every_kind
def test_samples_fit_the_data_and_their_mean_is_better(kind, rng):
    x, y = measured(rng)
    more = {"zeta": 2.0} if kind is DPS else {"trust": 1.0} if kind is DiffPIR else {}
    found = kind(Gaussian(), samples=20, steps=30, noise_level=NOISE, **more).sample(y, A)
    assert found.samples.shape == (20, *GRID.shape)
    expected = NOISE * math.sqrt(y.numel())
    assert float(found.residuals.mean()) < 1.5 * expected
    errors = (found.samples - x).flatten(1).norm(dim=1)
    assert float((found.mean - x).norm()) < float(errors.mean())
    assert bool((found.standard_deviation > 0).all())


@every_kind
def test_same_seed_same_samples_whatever_the_batch(kind, rng):
    _, y = measured(rng, (3,))
    method = kind(Gaussian(), samples=3, steps=5, noise_level=NOISE, seed=4)
    found = method.sample(y, A)
    assert found.samples.shape == (3, 3, *GRID.shape)
    assert found.seed == 4
    assert torch.equal(found.samples, method.sample(y, A).samples)
    assert torch.equal(found.samples[:, :2], method.sample(y[:2], A).samples)
    more = dataclasses.replace(method, samples=5).sample(y, A).samples
    torch.testing.assert_close(more[:3], found.samples)
    others = dataclasses.replace(method, seed=5).sample(y, A).samples
    assert float((others - found.samples).abs().amin((-1, -2)).min()) < 1
    assert not bool(torch.isclose(others, found.samples).all(-1).any())
    # the global generator is nobody's business
    torch.manual_seed(1)
    before = torch.get_rng_state()
    method.sample(y, A)
    assert torch.equal(before, torch.get_rng_state())


@every_kind
def test_image_scale_is_a_change_of_units(kind, rng):
    _, y = measured(rng)
    method = kind(Gaussian(), samples=2, steps=6, noise_level=NOISE)
    here = method.sample(y, A).samples
    there = dataclasses.replace(method, noise_level=NOISE / 50, image_scale=50.0).sample(y / 50, A)
    torch.testing.assert_close(50 * there.samples, here)


@every_kind
def test_what_cannot_be_sampled(kind, rng):
    _, y = measured(rng)
    method = kind(Gaussian(), samples=2, steps=6)
    with pytest.raises(ValueError, match="noise_level: expected the standard deviation"):
        method.sample(y, A)
    informed = method.informed(GaussianNoise(relative=0.05))
    assert torch.isfinite(informed(y, A)).all()
    with pytest.raises(DivergenceError, match=r"samples: .* 2 of 2 at the noise level"):
        dataclasses.replace(informed, prior=Spoiled())(y, A)
    with pytest.raises(ValueError, match="sigma_start: expected a noise level where the data are"):
        kind(Gaussian(), noise_level=1.0)(0 * y, A)
    with pytest.raises(TypeError, match="prior: expected a Denoiser, or the name"):
        kind(3)
    with pytest.raises(ValueError, match="prior: expected the name or path of weights"):
        method.to_dict()
    blind = tl.priors.DnCNN(layers=3, channels=4)
    with pytest.raises(ValueError, match="prior: expected a denoiser that is told the noise"):
        kind(blind, noise_level=1.0)(y.float(), A)
    narrow = tl.priors.DRUNet(channels=[2, 3], noise_levels=(0.01, 0.5))
    with pytest.raises(ValueError, match=r"sigma_start: .* \[0.01, 0.5\]"):
        kind(narrow, noise_level=1.0, sigma_start=0.6)(y.float(), A)
    volumes = tl.priors.DRUNet(channels=[2, 3], ndim=3)
    with pytest.raises(ValueError, match="prior: expected one of at most 2 spatial axes"):
        kind(volumes, noise_level=1.0)(y.float(), A)


@every_kind
def test_images_of_another_size_than_the_training_are_warned_of(kind, rng):
    _, y = measured(rng)
    prior = Gaussian()
    prior.card = {"training": {"image_range": [-1.0, 3.0]}}
    kind(prior, noise_level=NOISE, samples=2, steps=3)(y, A)
    for data, scale in ((y / 100, 1.0), (y, 30.0)):
        method = kind(prior, noise_level=NOISE, samples=2, steps=3, image_scale=scale)
        with pytest.warns(
            TrainedElsewhereWarning, match=r"image_scale: .* up to 3, .*image_scale="
        ):
            method(data, A)


def test_samples_of_a_gaussian_prior_without_data():
    class Bounded(Gaussian):
        noise_levels = (0.01, 80.0)

    for schedule in SCHEDULES:
        found = tl.sample_prior(Bounded(), (20, 20), samples=20, steps=40, schedule=schedule)
        # 8,000 values: the standard deviation is known to one per cent
        assert float(found.std()) == pytest.approx(STD, rel=0.05)
    with pytest.raises(ValueError, match="prior: expected a diffusion prior"):
        tl.sample_prior(Gaussian(), (4, 4))
    torch.manual_seed(0)
    network = DiffusionPrior(channels=[4, 4], patch=1).eval()
    drawn = tl.sample_prior(network, (9, 6), samples=2, steps=3, seed=1)
    assert drawn.shape == (2, 9, 6)
    assert torch.equal(drawn, tl.sample_prior(network, (9, 6), samples=2, steps=3, seed=1))
