"""Learning without true images: what each objective is on average, and what it never looks at."""

import math

import numpy as np
import pytest
import torch
from builders import matrix_of
from networks import small_network
from torch import nn

import tomolearn as tl
from tomolearn.models.limited_angle_unet import turned
from tomolearn.operators import Identity
from tomolearn.training.config import with_overrides
from tomolearn.training.objectives import SURE, EquivariantImaging, Noise2Inverse, Supervised
from tomolearn.training.objectives.noise2inverse import split_views

GRID = tl.Grid((12, 12))
A = tl.RayTransform(GRID, tl.ParallelBeam.covering(GRID, 24))
ALL = {
    "noise2inverse": Noise2Inverse(),
    "equivariant-imaging": EquivariantImaging(),
    "equivariant-imaging_noise": EquivariantImaging(noise=0.05),
    "sure": SURE(),
}


class Linear(nn.Module):
    """``f(y) = B y``, whose errors have closed forms."""

    def __init__(self, matrix):
        super().__init__()
        self.matrix = nn.Parameter(matrix)

    def forward(self, sinogram, operator):
        return (sinogram.flatten(-2) @ self.matrix.T).reshape(*sinogram.shape[:-2], *GRID.shape)


@pytest.fixture
def images(rng):
    return torch.rand(3, 1, *GRID.shape, generator=rng, dtype=torch.float64)


@pytest.mark.parametrize("name", ALL)
def test_no_true_image_is_looked_at(name, rng):
    network = small_network("fbp-unet")
    y = A(torch.rand(2, 1, *GRID.shape, generator=rng))
    unknown = torch.full((2, 1, *GRID.shape), math.nan)
    loss = ALL[name].loss(network, (y, unknown), A, np.random.default_rng(0))
    loss.backward()
    assert bool(loss.isfinite())
    assert all(bool(p.grad.isfinite().all()) and bool(p.grad.any()) for p in network.parameters())
    again = ALL[name].loss(network, (y, unknown), A, np.random.default_rng(0))
    assert torch.equal(again, loss)
    made = with_overrides(
        {"model": "fbp-unet", "task": "ellipses-64", "objective": name.split("_")[0], "steps": 1},
        [],
    )
    assert type(made.make_objective()) is type(ALL[name])


def test_stein_is_the_true_risk_on_average_over_noise(images):
    matrix = matrix_of(A, GRID.shape, torch.float64)
    network = Linear(torch.linalg.solve(matrix.T @ matrix + 5 * torch.eye(144), matrix.T))
    clean = A(images[:1])
    level = 0.05 * float(clean.abs().mean())
    rng, found, true = np.random.default_rng(0), [], []
    for _ in range(300):
        y = clean + level * torch.from_numpy(rng.standard_normal(clean.shape))
        found.append(float(SURE(0.05).loss(network, (y, images), A, rng).detach()))
        true.append(float((A(network(y, A)) - clean).square().mean().detach()))
    # the difference of two means, by its own standard error; without Stein's term it is 20 of them
    difference = np.subtract(found, true)
    assert abs(difference.mean()) < 4 * difference.std() / math.sqrt(len(difference))
    # in closed form: bias and variance
    through = matrix @ network.matrix.detach()
    bias = through @ clean.flatten() - clean.flatten()
    expected = (bias.square().sum() + level**2 * through.square().sum()) / clean.numel()
    assert np.mean(true) == pytest.approx(float(expected), rel=0.05)


def test_noise2inverse_compares_disjoint_views(images):
    kept, out = split_views(A, 4, 1)
    assert kept.scan.n_angles == 18
    angles = np.sort(np.concatenate([kept.scan.view_angles, out.scan.view_angles]))
    np.testing.assert_allclose(angles, A.scan.view_angles)
    y, seen = A(images), []

    def network(sinogram, operator):
        seen.append((sinogram, operator))
        return torch.zeros(3, 1, *GRID.shape, dtype=torch.float64)

    loss = Noise2Inverse(4).loss(network, (y, images), A, np.random.default_rng(0))
    ((sinogram, operator),) = seen
    torch.testing.assert_close(sinogram, operator(images))
    # of an image of zeros: the squares of the part's filtered back-projection
    left = next(k for k in range(4) if split_views(A, 4, k)[0].scan == operator.scan)
    part = split_views(A, 4, left)[1]
    wanted = tl.fbp(part(images), part, oversampling=1).square().mean()
    torch.testing.assert_close(loss, wanted)


def test_equivariant_imaging_is_zero_for_what_inverts_and_not_for_what_does_not(images):
    matrix = matrix_of(A, GRID.shape, torch.float64)
    inverse = Linear(torch.linalg.pinv(matrix))
    for noise, limit in ((0.0, 1e-20), (1e-9, 1e-12)):
        objective = EquivariantImaging(noise=noise)
        loss = objective.loss(inverse, (A(images), images), A, np.random.default_rng(0))
        assert abs(float(loss.detach())) < limit
    # twice the image: misfit ||A x||^2, and 4 T x in place of 2 T x
    twice = Linear(2 * torch.linalg.pinv(matrix))
    found = EquivariantImaging(3.0).loss(twice, (A(images), images), A, np.random.default_rng(5))
    angle = float(np.random.default_rng(5).uniform(0, 2 * math.pi))
    moved = turned(2 * images, GRID, angle)
    misfit = A(images).square().sum() / A.norm() ** 2 / images.numel()
    torch.testing.assert_close(found, misfit + 3.0 * moved.square().mean(), rtol=1e-6, atol=0)


class Tikhonov(nn.Module):
    """``f(y) = (A^T A + exp(a))^-1 A^T y`` with a learned a."""

    def __init__(self):
        super().__init__()
        self.logarithm = nn.Parameter(torch.zeros((), dtype=torch.float64))
        self.matrix = matrix_of(A, GRID.shape, torch.float64)

    def forward(self, sinogram, operator):
        square = self.matrix.T @ self.matrix + self.logarithm.exp() * torch.eye(144)
        image = torch.linalg.solve(square, self.matrix.T @ sinogram.flatten(1).T)
        return image.T.reshape(-1, 1, *GRID.shape)


def test_stein_finds_the_best_weight_from_noisy_sinograms_alone():
    rng = np.random.default_rng(0)
    white = torch.from_numpy(rng.standard_normal((20, 1, 16, 16)))
    clean = A(torch.nn.functional.avg_pool2d(white, 5, 1))
    noise = 0.5 * clean.abs().mean((1, 2, 3), keepdim=True)
    y = clean + noise * torch.from_numpy(rng.standard_normal(clean.shape))
    # the noise counts in the mean absolute value of the data, too
    level = float((noise / y.abs().mean((1, 2, 3), keepdim=True)).mean())
    network = Tikhonov()

    def risk():
        return float((A(network(y, A)) - clean).square().mean().detach())

    before = risk()
    optimiser = torch.optim.Adam(network.parameters(), lr=0.1)
    for _ in range(80):
        optimiser.zero_grad()
        SURE(level).loss(network, (y, y * math.nan), A, rng).backward()
        optimiser.step()
    found, risks = risk(), []
    for logarithm in np.linspace(0, 8, 33):
        network.logarithm.data.fill_(logarithm)
        risks.append(risk())
    assert min(risks) < 0.8 * before
    assert found < 1.05 * min(risks)


def test_adaptation_takes_an_objective(images):
    network, y = small_network("fbp-unet"), A(images.float())
    found = tl.adapt(
        network, y, A, loss=Noise2Inverse(3), steps=4, check_every=2, learning_rate=1e-3
    )
    assert len(found.misfits) == 4
    with pytest.raises(tl.DivergenceError, match="or an objective without true images"):
        tl.adapt(network, y, A, loss=Supervised(), steps=1)


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        (Noise2Inverse, {"parts": 1}, "parts: expected an integer >= 2, got 1"),
        (SURE, {"noise": 0.0}, "noise: expected a positive number"),
        (EquivariantImaging, {"strength": -1.0}, "strength: expected a non-negative number"),
        (EquivariantImaging, {"noise": -1.0}, "noise: expected a non-negative number"),
    ],
)
def test_wrong_settings_are_told(kind, settings, message):
    with pytest.raises(ValueError, match=message):
        kind(**settings)


def test_scans_with_too_few_views_are_told(images):
    few = tl.RayTransform(GRID, tl.ParallelBeam.covering(GRID, 3))
    with pytest.raises(ValueError, match="of the plane with 4 views or more"):
        Noise2Inverse(4).loss(None, (few(images), images), few, np.random.default_rng(0))
    with pytest.raises(TypeError, match="RayTransform"):
        EquivariantImaging().loss(
            None, (images, images), Identity(GRID.shape), np.random.default_rng(0)
        )
