"""Bilevel learning of regularisers: hypergradients against finite differences in float64."""

import numpy as np
import pytest
import torch

import tomolearn as tl
from tomolearn.priors import ConvexRidge, FittedRegulariser, WeaklyConvexRidge
from tomolearn.training.config import with_overrides
from tomolearn.training.objectives import Bilevel
from tomolearn.training.run import train

GRID = tl.Grid((12, 11))


@pytest.fixture
def problem(rng):
    A = tl.RayTransform(GRID, tl.ParallelBeam.covering(GRID, 14)).double()
    truth = torch.rand(2, 1, *GRID.shape, generator=rng, dtype=torch.float64)
    noise = torch.randn(2, 1, *A.range_shape, generator=rng, dtype=torch.float64)
    return (A(truth) + 0.5 * noise, truth), A


def ridge(kind=ConvexRidge):
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return kind(channels=(3,), kernel_size=3, knee=0.2).double()


def hypergradient(objective, prior, batch, A):
    prior.zero_grad()
    loss = objective.loss(prior, batch, A, np.random.default_rng(0))
    loss.backward()
    return loss.item(), {name: w.grad.clone() for name, w in prior.named_parameters()}


def slope(objective, prior, batch, A, name, size=1e-4):
    weights = dict(prior.named_parameters())[name]
    errors = []
    for sign in (1, -1):
        with torch.no_grad():
            weights.view(-1)[0] += sign * size
            found = objective.estimate(prior, batch, A, np.random.default_rng(0))
            errors.append((found - batch[1]).square().mean().item())
            weights.view(-1)[0] -= sign * size
    return (errors[0] - errors[1]) / (2 * size)


@pytest.mark.parametrize("name", ["kernels.0", "log_excesses"])
@pytest.mark.parametrize("mode", ["implicit", "unrolled"])
def test_exact_hypergradients(mode, name, problem):
    batch, A = problem
    n = 120 if mode == "implicit" else 30
    objective = Bilevel(weight=20.0, hypergradient=mode, iterations=n)
    prior = ridge()
    loss, found = hypergradient(objective, prior, batch, A)
    expected = slope(objective, prior, batch, A, name)
    assert loss > 0
    # linear systems of the implicit mode are solved to one per cent
    tolerance = 0.02 if mode == "implicit" else 1e-5
    assert found[name].view(-1)[0].item() == pytest.approx(expected, rel=tolerance)


@pytest.mark.parametrize("kind", [ConvexRidge, WeaklyConvexRidge])
def test_jacobian_free_hypergradients_descend(kind, problem):
    batch, A = problem
    objective = Bilevel(weight=20.0, hypergradient="jfb", iterations=50, image_scale=0.5)
    prior = ridge(kind)
    loss, found = hypergradient(objective, prior, batch, A)
    with torch.no_grad():
        size = 1e-2 / torch.stack([g.norm() for g in found.values()]).norm()
        for name, weights in prior.named_parameters():
            weights -= size * found[name]
    after, _ = hypergradient(objective, prior, batch, A)
    assert after < loss


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"hypergradient": "exact"}, "hypergradient: expected one of implicit, jfb, unrolled"),
        ({"weight": -1.0}, "weight: expected a positive number"),
        ({"iterations": 0}, "iterations"),
    ],
)
def test_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        Bilevel(**arguments)


def test_two_numbers_are_fitted_and_nothing_else(tmp_path):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        inner = ConvexRidge(channels=(3,), kernel_size=3, knee=0.02)
    tl.save(inner, tmp_path / "inner")
    config = with_overrides(
        {
            "model": "fitted-regulariser",
            "model_arguments": {"prior": str(tmp_path / "inner")},
            "task": "chest-patches",
            "objective": "bilevel",
            "steps": 2,
            "batch_size": 1,
            "validation_size": 1,
            "learning_rate": 0.1,
        },
        [],
    )
    result = train(config, tmp_path / "run")
    found = tl.load(result.weights, kind="regulariser")
    assert found.arguments["regulariser"] == "convex-ridge"
    assert "prior" not in found.arguments
    for name, weights in inner.state_dict().items():
        assert torch.equal(found.regulariser.state_dict()[name], weights)
    assert found.log_weight.item() != 0
    image = torch.rand(2, 9, 9)
    w, s = found.log_weight.exp(), found.log_scale.exp()
    torch.testing.assert_close(found.value(image), w / s**2 * inner.value(s * image))
    assert found.lipschitz((9, 9)) == pytest.approx(w.item() * inner.lipschitz((9, 9)))


def test_fitted_arguments():
    with pytest.raises(ValueError, match="prior, regulariser: expected exactly one of them"):
        FittedRegulariser()
    with pytest.raises(ValueError, match="regulariser: expected the name of a regulariser"):
        FittedRegulariser(regulariser="spectral-denoiser")
