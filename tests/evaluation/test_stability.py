"""Lipschitz estimates against singular values of dense matrices, and traces of iterations."""

import pytest
import torch

import tomolearn as tl
from tomolearn.catalogue import Trained
from tomolearn.evaluation import draw_traces, stability, trace
from tomolearn.methods import FBP, Tikhonov
from tomolearn.models import LearnedPrimalDual

GRID = tl.Grid((8, 8))
A = tl.RayTransform(GRID, tl.ParallelBeam.covering(GRID, 10))


@pytest.fixture
def y(rng):
    return A(torch.rand(8, 8, generator=rng, dtype=torch.float64))


def largest_singular_value(method):
    size = A.range_shape[0] * A.range_shape[1]
    unit = torch.eye(size, dtype=torch.float64).reshape(size, *A.range_shape)
    return float(torch.linalg.matrix_norm(method(unit, A).flatten(1), 2))


def linear(sinogram, operator):
    """Reconstruct by a Tikhonov solution that torch can differentiate."""
    columns = A(torch.eye(64, dtype=torch.float64).reshape(64, 8, 8)).flatten(1)
    inverse = torch.linalg.solve(columns @ columns.T + 0.1 * torch.eye(64), columns)
    return (sinogram.flatten(-2) @ inverse.T.to(sinogram)).unflatten(-1, (8, 8))


def test_power_iteration_reaches_the_norm_of_what_torch_differentiates(y):
    found = stability(linear, y, A, rounds=8)
    exact = largest_singular_value(linear)
    assert found.constant <= exact * (1 + 1e-9)
    # the gap of the largest two singular values, to the power of eight rounds
    assert found.constant > 0.98 * exact
    change = linear(found.direction, A).norm() / found.direction.norm()
    assert float(change) == pytest.approx(found.constant, rel=1e-6)
    assert found.relative == pytest.approx(
        found.constant * float(y.norm()) / float(linear(y, A).norm())
    )


@pytest.mark.parametrize("method", [FBP(), Tikhonov(weight=1.0, iterations=20)], ids=str)
def test_bound_of_other_methods_is_a_lower_one_and_not_far(method, y):
    found = stability(method, y, A, rounds=4, directions=6)
    exact = largest_singular_value(method)
    assert found.constant <= exact * (1 + 1e-6)
    assert found.constant > 0.5 * exact


def test_networks_too(y):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = LearnedPrimalDual(iterations=1, n_primal=2, n_dual=2, channels=4).double()
    found = stability(network, y, A)
    assert found.constant > 0
    trained = Trained(weights="lpd-ellipses", image_scale=2.0)
    assert stability(trained, y.float(), A, rounds=1).constant > 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"size": 0.0}, "size: expected a positive"),
        ({"rounds": 0}, "rounds: expected"),
        ({"sinogram": torch.zeros(A.range_shape)}, "sinogram: expected one that is not zero"),
        ({"sinogram": torch.ones(2, *A.range_shape)}, "sinogram: expected one of shape"),
    ],
)
def test_mistakes(y, change, message):
    with pytest.raises(ValueError, match=message):
        stability(FBP(), change.pop("sinogram", y), A, **change)


def test_trace_has_what_the_images_say(y, rng):
    truth = torch.rand(8, 8, generator=rng, dtype=torch.float64)
    method = tl.get_method("variational(prior=squared-differences, weight=0.5, iterations=20)")
    found = trace(method, y, A, truth, every=5)
    assert found.iterations == (5, 10, 15, 20)
    x = method(y, A)
    D = tl.FiniteDifferences((8, 8))
    objective = (A(x) - y).square().sum() / 2 + 0.5 * D(x).square().sum() / 2
    assert found.objective[-1] == pytest.approx(float(objective))
    assert found.residual[-1] == pytest.approx(float((A(x) - y).norm()))
    assert found.error[-1] == pytest.approx(float((x - truth).norm() / truth.norm()))
    without = trace(tl.cgls, y, A, iterations=3)
    assert without.objective is None or len(without.objective) == 3
    assert without.error is None
    assert without.to_dict()["iterations"] == [1, 2, 3]
    objective, error = draw_traces({"smooth": found, "cgls": without}).axes
    assert error.get_xscale() == "log"
    assert len(error.lines) == 2


def test_trace_of_what_does_not_iterate(y):
    with pytest.raises(ValueError, match=r"method: expected one that iterates .*, got 'fbp'"):
        trace(FBP(), y, A)
    with pytest.raises(ValueError, match=r"truth: expected shape \(8, 8\), got \(4, 4\)"):
        trace(tl.cgls, y, A, torch.ones(4, 4))
    with pytest.raises(ValueError, match="traces: expected at least one"):
        draw_traces({})
