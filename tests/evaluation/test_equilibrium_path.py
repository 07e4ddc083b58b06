"""Equilibria without a network are Tikhonov's images, whose theory is known in closed form."""

import math

import pytest
import torch

import tomolearn as tl
from tomolearn.evaluation import equilibrium_path, equilibrium_study
from tomolearn.models import DEGradient, DEProximal

GRID = tl.Grid((8, 8))
OPERATOR = tl.RayTransform(GRID, tl.ParallelBeam.covering(GRID, 12))


@pytest.fixture
def model():
    """A network so small that R is the identity: A^T (A x - y) + alpha x = 0."""
    made = DEGradient(depth=2, channels=2, lipschitz=1e-9, step=0.9, start="zero", tolerance=1e-7)
    return made.double().eval()


@pytest.fixture
def matrix():
    basis = torch.eye(64, dtype=torch.float64).reshape(64, 8, 8)
    return OPERATOR(basis).flatten(1).T / OPERATOR.norm()


def tikhonov(matrix, y, alpha):
    normal = matrix.T @ matrix + alpha * torch.eye(64, dtype=torch.float64)
    return torch.linalg.solve(normal, matrix.T @ y)


def test_path_is_that_of_tikhonov(model, matrix, rng):
    y = torch.rand(2, *OPERATOR.range_shape, generator=rng, dtype=torch.float64)
    before = model.weight
    alphas = (0.05, 0.5, 0.1)  # in any order
    path = equilibrium_path(model, y, OPERATOR, alphas, max_iterations=2000)
    assert all(path.converged)
    for alpha, images, residual in zip(alphas, path.images, path.residuals, strict=True):
        wanted = torch.stack(
            [tikhonov(matrix, one.flatten() / OPERATOR.norm(), alpha) for one in y]
        )
        torch.testing.assert_close(images.reshape(2, 64), wanted, rtol=1e-4, atol=1e-6)
        misfit = (OPERATOR(images[:, 0]) - y).norm().item()
        assert residual == pytest.approx(misfit, rel=1e-6)
    assert model.weight == before


def test_study_is_linear_at_fixed_weight_and_converges_along_c_delta(model, matrix, rng):
    truth = torch.rand(8, 8, generator=rng, dtype=torch.float64)
    deltas = (0.1, 0.03, 0.01)
    found = equilibrium_study(
        model, truth, OPERATOR, deltas, alpha=0.2, constant=1.0, max_iterations=5000
    )
    assert found.converged
    # an affine map of the data
    for one, delta in zip(found.fixed, deltas, strict=True):
        assert one / found.fixed[0] == pytest.approx(delta / deltas[0], rel=1e-3)
    assert found.chosen[0] > found.chosen[1] > found.chosen[2]
    assert found.errors[0] > found.errors[2]
    # the same noise, in closed form
    noise = torch.randn(1, 1, *OPERATOR.range_shape, generator=torch.Generator().manual_seed(0))
    noise = noise.double().flatten()
    exact = matrix @ truth.flatten()
    noise = noise * (exact.norm() / noise.norm())
    limit = tikhonov(matrix, exact, 0.01)
    distance = (tikhonov(matrix, exact + 0.1 * noise, 0.1) - limit).norm() / limit.norm()
    assert found.chosen[0] == pytest.approx(distance.item(), rel=1e-3)


def test_what_is_not_solved_is_told(model):
    y = torch.ones(OPERATOR.range_shape, dtype=torch.float64)
    with pytest.warns(
        tl.ConvergenceWarning, match=r"not solved to the tolerance for alpha = 0\.01"
    ):
        path = equilibrium_path(model, y, OPERATOR, [0.01], max_iterations=3)
    assert path.converged == (False,)


def test_figure_has_the_three_curves(model):
    truth = torch.ones(8, 8, dtype=torch.float64)
    found = equilibrium_study(model, truth, OPERATOR, (0.2, 0.1), alpha=0.5, max_iterations=2000)
    assert len(found.draw().axes[0].lines) == 3
    assert set(found.to_dict()) >= {"deltas", "fixed", "chosen", "errors", "converged"}


def test_mistakes_are_told(model):
    y = torch.ones(OPERATOR.range_shape, dtype=torch.float64)
    other = DEProximal(depth=2, channels=2)
    with pytest.raises(TypeError, match="model: expected a DEGradient, got DEProximal"):
        equilibrium_path(other, y, OPERATOR, [0.1])
    with pytest.raises(ValueError, match="alphas: expected positive numbers, got -1"):
        equilibrium_path(model, y, OPERATOR, [0.1, -1])
    with pytest.raises(ValueError, match="deltas: expected positive numbers, got 0"):
        equilibrium_study(model, torch.ones(8, 8), OPERATOR, [0.0])
    with pytest.raises(ValueError, match="truth: expected one image of shape"):
        equilibrium_study(model, torch.ones(2, 8, 8), OPERATOR, [math.pi])
