"""Deep-equilibrium networks against matrices, and the certificate of their convergence."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from networks import solved_exactly

from tomolearn import ConvergenceWarning, DivergenceError, Grid, ParallelBeam, RayTransform
from tomolearn.models import LearnedPrimal
from tomolearn.models.equilibrium import (
    DEGradient,
    DEProximal,
    contraction_report,
)
from tomolearn.models.equilibrium.certificate import jacobian_norm

GRID = Grid((8, 8))
RAYS = RayTransform(GRID, ParallelBeam.covering(GRID, 5))
MANY_RAYS = RayTransform(GRID, ParallelBeam.covering(GRID, 40))
each_kind = pytest.mark.parametrize("kind", [DEGradient, DEProximal])
SMALL = {"depth": 3, "channels": 6, "weight": 0.5}


def make(kind, **arguments):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        model = kind(**{**SMALL, **arguments}).double()
        with torch.no_grad():  # biases start at zero
            for name, weights in model.named_parameters():
                if name.endswith("bias"):
                    weights += 0.1 * torch.randn(weights.shape, dtype=torch.float64)
        return model


def sinograms(rng, n=2, operator=RAYS):
    return operator(torch.rand(n, 1, *operator.domain_shape, generator=rng, dtype=torch.float64))


def matrix(operator):
    """The operator divided by its norm."""
    basis = torch.eye(math.prod(operator.domain_shape), dtype=torch.float64)
    dense = operator(basis.reshape(-1, *operator.domain_shape)).flatten(1).T
    return dense / torch.linalg.matrix_norm(dense, 2)


@pytest.mark.parametrize("preconditioner", ["none", "circulant"])
def test_without_a_network_it_is_tikhonov(preconditioner, rng):
    # N = 0 and R = Id: (A^T A + weight) u = A^T y, with A and y divided by the norm of A
    model = make(DEGradient, lipschitz=1e-12, preconditioner=preconditioner, step=0.7).eval()
    y = sinograms(rng)
    found = solved_exactly(model)(y, RAYS)
    A = matrix(RAYS)
    right = A.T @ y.flatten(1).T / RAYS.norm()
    expected = torch.linalg.solve(A.T @ A + 0.5 * torch.eye(64, dtype=torch.float64), right)
    # norms are known to 1e-6
    torch.testing.assert_close(found.flatten(1).T, expected, rtol=1e-4, atol=1e-6)


def test_reconstructions_are_fixed_points_of_the_published_steps(rng):
    y = sinograms(rng)
    for kind in (DEGradient, DEProximal):
        model = solved_exactly(make(kind, lipschitz=2.0)).eval()
        u = model(y, RAYS)
        A, flat, y_flat = matrix(RAYS), u.flatten(1), y.flatten(1) / RAYS.norm()
        residual = ((y_flat - flat @ A.T) @ A).reshape(u.shape)
        kernels = model.network.kernels(GRID.shape)
        if kind is DEGradient:
            regulariser = u + 2.0 * model.network(u, *kernels)
            again = u + model.step * (residual - model.weight * regulariser)
        else:
            v = u + model.step * residual
            again = v - model.weight * (v + 2.0 * model.network(v, *kernels))
        torch.testing.assert_close(again, u, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("regulariser", ["dncnn", "unet"])
def test_preconditioner_changes_the_way_and_not_the_end(regulariser, rng):
    grid = Grid((24, 24))
    A = RayTransform(grid, ParallelBeam.covering(grid, 12))
    y = sinograms(rng, operator=A)
    options = {"regulariser": regulariser, "depth": 2, "weight": 0.02, "step": 0.8}
    plain = make(DEGradient, **options).eval()
    fast = make(DEGradient, **options, preconditioner="circulant").eval()
    far = {"tolerance": 1e-12, "max_iterations": 3000}
    ends = [model.solve(y, A, **far) for model in (plain, fast)]
    torch.testing.assert_close(ends[0].state, ends[1].state, rtol=0, atol=1e-8)
    few = {"tolerance": 0.0, "max_iterations": 25}
    errors = [
        float((model.solve(y, A, **few).state - ends[0].state).norm()) for model in (plain, fast)
    ]
    assert errors[1] < errors[0] / 10


@each_kind
def test_implicit_gradients_are_those_of_500_unrolled_steps(kind, rng):
    y = sinograms(rng, 1)
    target = torch.rand(1, 1, 8, 8, generator=rng, dtype=torch.float64)
    model = make(kind, bias=True, lipschitz=0.9)

    def gradient(**backward):
        model.backward = replace(model.backward, **backward)
        model.zero_grad()
        (model(y, RAYS) * target).sum().backward()
        return torch.cat([weights.grad.flatten() for weights in model.parameters()])

    model.max_iterations = 500
    expected = gradient(mode="unrolled")
    for forward, backward in itertools.product(
        ("picard", "anderson", "broyden"), ("picard", "anderson", "broyden", "gmres")
    ):
        model.solver, model.tolerance, model.max_iterations = forward, 1e-10, 500
        found = gradient(mode="implicit", solver=backward, tolerance=1e-10, max_iterations=500)
        error = float((found - expected).norm() / expected.norm())
        assert error < 1e-6, (forward, backward)


@each_kind
def test_gradcheck_of_the_whole_reconstruction(kind, rng):
    model = solved_exactly(make(kind, channels=2, depth=2, bias=True))
    y = sinograms(rng, 1).requires_grad_()
    assert torch.autograd.gradcheck(lambda y: model(y, RAYS), y, atol=1e-5)


def test_memory_of_a_step_does_not_grow_with_its_iterations(rng):
    y = sinograms(rng)

    def kept(iterations, **arguments):
        model = make(DEGradient, tolerance=0.0, max_iterations=iterations, **arguments)
        sizes = []
        with torch.autograd.graph.saved_tensors_hooks(
            lambda t: sizes.append(t.numel()) or t, lambda t: t
        ):
            model(y, RAYS)
        return sum(sizes)

    assert kept(200) == kept(20) > 0
    assert kept(200, backward="unrolled") > 9 * kept(20, backward="unrolled")


@each_kind
@pytest.mark.parametrize("solver", ["picard", "anderson"])
def test_certified_networks_converge_to_one_image_from_everywhere(kind, solver, rng):
    model = make(kind, lipschitz=0.8, solver=solver).eval()
    y = sinograms(rng, 1)
    assert contraction_report(model, RAYS, y).proven
    starts = [10 * torch.randn(1, 1, 8, 8, generator=rng, dtype=torch.float64) for _ in range(5)]
    ends = [
        model.solve(y, RAYS, start=start, tolerance=1e-8, max_iterations=2000) for start in starts
    ]
    assert all(end.converged.all() for end in ends)
    for end in ends[1:]:
        distance = (end.state - ends[0].state).norm() / ends[0].state.norm()
        assert float(distance) < 1e-6


@each_kind
@pytest.mark.parametrize("operator", [RAYS, MANY_RAYS], ids=["few", "many"])
def test_certificate_against_matrices(kind, operator, rng):
    model = make(kind, lipschitz=0.7, bias=True).eval()
    y = sinograms(rng, 1, operator)
    report = contraction_report(model, operator, y, iterations=300)

    A = matrix(operator)
    eigenvalues = torch.linalg.eigvalsh(A.T @ A)
    assert report.largest_eigenvalue == pytest.approx(float(eigenvalues[-1]), rel=1e-5)
    assert report.smallest_eigenvalue >= float(eigenvalues[0]) - 1e-12
    assert report.smallest_eigenvalue == pytest.approx(float(eigenvalues[0]), abs=0.01)

    u = model.solve(y, operator).state
    scaled, function = model.problem(y, operator)
    kernels = [kernel.detach() for kernel in model.network.kernels(GRID.shape)]

    def norm_of_jacobian(f):
        jacobian = torch.autograd.functional.jacobian(
            lambda x: f(x.reshape(u.shape)).flatten(), u.flatten()
        )
        return float(torch.linalg.matrix_norm(jacobian, 2))

    inner = norm_of_jacobian(lambda x: 0.7 * model.network(x, *kernels))
    assert report.lipschitz_found == pytest.approx(inner, rel=1e-3)
    assert inner <= report.lipschitz_bound <= 0.9
    outer = norm_of_jacobian(lambda x: function(x, scaled))
    assert report.jacobian_norm == pytest.approx(outer, rel=1e-3)
    assert outer <= report.factor < 1
    assert report.observed_rate <= report.factor
    assert "convergence is proven" in str(report)


def test_factor_of_the_theorem():
    # Gilton et al., theorem 1: weight one, step below 1 / (1 + L)
    model = make(DEGradient, weight=1.0, step=0.4)
    assert model.contraction_factor(0.3, 0.1, 1.0) == pytest.approx(
        1 - 0.4 * (1 + 0.1) + 0.4 * 0.3, rel=1e-6
    )
    # beyond that step, the largest eigenvalue counts
    model = make(DEGradient, weight=1.0, step=1.2)
    assert model.contraction_factor(0.3, 0.1, 1.0) == pytest.approx(1.4 + 1.2 * 0.3, rel=1e-6)
    model = make(DEProximal, weight=0.5, step=1.0)
    assert model.contraction_factor(0.3, 0.1, 1.0) == pytest.approx(0.9 * 0.65, rel=1e-6)


def test_what_is_not_proven_is_not_called_so(rng):
    y = sinograms(rng, 1)
    report = contraction_report(make(DEGradient, lipschitz=1.5), RAYS, y)
    assert not report.proven
    assert "convergence is not proven" in str(report)
    # a preconditioned step has the fixed points of a contraction, but need not converge to them
    fast = make(DEGradient, preconditioner="circulant", lipschitz=0.8, step=5.0)
    report = contraction_report(fast, RAYS, y)
    assert report.factor == math.inf
    assert report.unique
    assert not report.proven
    assert "convergence is not proven" in str(report)
    picard = fast.eval().solve(y, RAYS, solver="picard", max_iterations=60)
    assert not picard.converged.all()
    report = contraction_report(make(DEProximal, preconditioner="circulant"), RAYS, y)
    assert not report.proven
    assert not report.unique


def test_report_away_from_the_fixed_points_says_so(rng):
    model = make(DEGradient, lipschitz=0.8, max_iterations=1)
    report = contraction_report(model, RAYS, sinograms(rng, 1))
    assert not report.converged
    assert "away from the fixed points" in str(report)
    assert model.training  # as it was


def test_report_of_an_adjoint_that_is_not_exact(rng):
    class Unmatched(RayTransform):
        adjoint_is_exact = False

    operator = Unmatched(GRID, RAYS.scan)
    report = contraction_report(make(DEGradient, lipschitz=0.8), operator, sinograms(rng, 1))
    assert not report.proven
    assert not report.unique


def test_report_needs_no_data_but_a_deep_equilibrium():
    assert contraction_report(make(DEGradient, lipschitz=0.8).float(), RAYS).proven
    with pytest.raises(TypeError, match="model: expected a deep-equilibrium network, got Learned"):
        contraction_report(LearnedPrimal(iterations=1), RAYS)
    with pytest.raises(ValueError, match="sinogram: expected at least one, got shape"):
        contraction_report(make(DEGradient), RAYS, torch.zeros(0, *RAYS.range_shape))
    with pytest.raises(ValueError, match="iterations: expected"):
        contraction_report(make(DEGradient), RAYS, iterations=0)


def test_norm_of_a_known_jacobian(rng):
    M = torch.randn(5, 5, generator=rng, dtype=torch.float64)
    point = torch.randn(3, 5, generator=rng, dtype=torch.float64)
    start = torch.randn(3, 5, generator=rng, dtype=torch.float64)
    found = jacobian_norm(lambda x: torch.tanh(x) @ M.T, point, start, 300)
    expected = max(np.linalg.norm(M.numpy() * (1 - np.tanh(x.numpy()) ** 2), 2) for x in point)
    assert found == pytest.approx(expected, rel=1e-6)


def test_short_of_its_tolerance_it_says_so(rng):
    model = make(DEGradient, max_iterations=3).eval()
    y = sinograms(rng)
    with pytest.warns(
        ConvergenceWarning, match=r"DEGradient: 2 of 2 did not converge to the tolerance 0.0001"
    ):
        model(y, RAYS)
    assert model.diagnostics["converged"] == 0.0
    assert model.diagnostics["iterations"] == 3.0
    # training logs it instead
    model.train()
    model(y, RAYS).square().sum().backward()
    assert model.diagnostics["residual"] > 1e-4
    assert model.diagnostics["backward_converged"] == 1.0


def test_divergence_is_an_error(rng):
    model = make(DEGradient, step=50.0, solver="picard", max_iterations=500).eval()
    with pytest.raises(DivergenceError, match="not finite"):
        model(sinograms(rng), RAYS)


def test_denoiser_is_what_the_regulariser_leaves(rng):
    # without a step down the misfit the iteration of DEProximal, with weight one, is the denoiser
    model = make(DEProximal, weight=1.0, step=1e-12, lipschitz=0.7).eval()
    x = torch.rand(2, 1, 8, 8, generator=rng, dtype=torch.float64)
    y, function = model.problem(RAYS(x), RAYS)
    torch.testing.assert_close(model.denoiser()(x), function(x, y), rtol=0, atol=1e-10)
    assert model.denoiser().network is model.network


def test_solve_takes_another_start_and_other_limits(rng):
    model = make(DEGradient).eval()
    y = sinograms(rng)
    found = model.solve(y[:, 0], RAYS, tolerance=1e-9, max_iterations=1000)
    assert found.converged.all()
    again = model.solve(y, RAYS, start=found.state[:, 0], tolerance=1e-8)
    assert again.iterations.tolist() == [1, 1]
    assert model.solve(y, RAYS, solver="picard", max_iterations=2).iterations.tolist() == [2, 2]


@pytest.mark.parametrize(
    ("start", "error", "message"),
    [
        (torch.zeros(3, 8, 8), ValueError, "start: expected 2 images, got 3"),
        (torch.zeros(2, 8, 7), ValueError, "start"),
        (np.zeros((2, 8, 8)), TypeError, "start"),
    ],
)
def test_bad_starts(start, error, message, rng):
    with pytest.raises(error, match=message):
        make(DEGradient).solve(sinograms(rng), RAYS, start=start)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"regulariser": "vgg"}, "regulariser: expected one of"),
        ({"depth": 1}, "depth: expected"),
        ({"channels": 0}, "channels: expected"),
        ({"channels": 3, "activation": "maxmin"}, "channels: expected an even number"),
        ({"activation": "gelu"}, "activation: expected one of"),
        ({"lipschitz": 0.0}, "lipschitz: expected"),
        ({"step": -1.0}, "step: expected"),
        ({"weight": 0.0}, "weight: expected"),
        ({"preconditioner": "ilu"}, "preconditioner: expected one of"),
        ({"start": "random"}, "start: expected one of"),
        ({"solver": "newton"}, "solver: expected one of"),
        ({"tolerance": -1.0}, "tolerance: expected"),
        ({"max_iterations": 0}, "max_iterations: expected"),
        ({"backward": "exact"}, "backward: expected one of"),
        ({"backward_solver": "cg"}, "backward_solver: expected one of"),
        ({"backward_tolerance": -1.0}, "backward_tolerance: expected"),
        ({"backward_iterations": 0}, "backward_iterations: expected"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        DEGradient(**{**SMALL, **arguments})
