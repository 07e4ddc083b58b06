"""Algorithms of variational reconstruction against independent solutions of one problem."""

import math

import numpy as np
import pytest
import scipy.optimize
import torch
from builders import DenseOperator, matrix_of
from variational_problem import (
    DIFFERENCES,
    SHAPE,
    SMOOTH,
    Magnitudes,
    Quartic,
    distance,
    noisy_data,
    small_matrix,
    small_operator,
)

import tomolearn as tl
from tomolearn import variational
from tomolearn.methods import History
from tomolearn.methods.variational.data_terms import (
    LeastSquares,
    PoissonEmission,
    PoissonTransmission,
)
from tomolearn.methods.variational.tables import ALGORITHMS
from tomolearn.priors import SquaredDifferences, TotalVariation

ANY_DATA = ("fista", "nmapg", "chambolle-pock", "admm")
SPLITTING = ("chambolle-pock", "admm", "condat-vu")


@pytest.fixture
def operator():
    return small_operator()


@pytest.fixture
def data(operator, rng):
    return noisy_data(operator, rng)


def test_every_algorithm_of_the_table_is_tested_here():
    others = {"bregman", "data-proximal", "fixed-step"}
    assert set(ALGORITHMS) == {*SMOOTH, *ANY_DATA, *SPLITTING, *others}


@pytest.mark.parametrize("algorithm", [*SMOOTH, "data-proximal", "auto"])
def test_quadratic_problem_against_the_normal_equations(algorithm, operator, data):
    M, D = operator.matrix, DIFFERENCES
    weight = torch.tensor([0.3, 2.0, 1.0], dtype=torch.float64)
    weights = torch.linspace(0.5, 2, 24, dtype=torch.float64)
    weights[7] = 0.0
    W = torch.diag(weights)
    exact = [
        torch.linalg.solve(M.T @ W @ M + t * D.T @ D, M.T @ W @ y.flatten())
        for t, y in zip(weight, data, strict=True)
    ]
    x = variational(
        data,
        operator,
        prior=SquaredDifferences(),
        weight=weight,
        algorithm=algorithm,
        weights=weights.reshape(4, 6),
        iterations=200,
    )
    assert distance(x, torch.stack(exact).reshape(-1, *SHAPE)) < 1e-3


def test_a_certificate_that_is_far_too_large_does_not_slow_nmapg_down(operator, data):
    class Loose(SquaredDifferences):
        def lipschitz(self, shape):
            return 1e12

    settings = {"weight": 1.0, "algorithm": "nmapg", "iterations": 200}
    x, exact = (
        variational(data, operator, prior=prior, **settings)
        for prior in (Loose(), SquaredDifferences())
    )
    assert distance(x, exact) < 1e-3


def test_fixed_steps_are_those_of_the_data_term(operator, data):
    M, D = operator.matrix, DIFFERENCES
    x, y = torch.zeros(3, 30, dtype=torch.float64), data.flatten(1)
    for _ in range(7):
        slope = (x @ M.T - y) @ M + 0.1 * x @ D.T @ D
        x = x - slope / torch.linalg.matrix_norm(M, 2) ** 2
    settings = {"algorithm": "fixed-step", "prior": SquaredDifferences()}
    found = variational(data, operator, weight=0.1, iterations=7, **settings)
    assert distance(found, x.reshape(-1, *SHAPE)) < 1e-6
    with pytest.raises(FloatingPointError, match="variational: the objective of image 0 has risen"):
        variational(data, operator, weight=30.0, iterations=7, **settings)


def test_fixed_steps_with_a_proximal_map_are_soft_thresholds(operator, data):
    M, weight = operator.matrix, 0.2
    x, y = torch.zeros(3, 30, dtype=torch.float64), data.flatten(1)
    step = torch.linalg.matrix_norm(M, 2) ** -2
    for _ in range(7):
        x = x - step * (x @ M.T - y) @ M
        x = x.sign() * (x.abs() - step * weight).clamp(min=0)
    settings = {"algorithm": "fixed-step", "prior": Magnitudes()}
    found = variational(data, operator, weight=weight, iterations=7, **settings)
    assert distance(found, x.reshape(-1, *SHAPE)) < 1e-5


def test_data_proximal_agrees_with_lbfgs_on_a_prior_without_certificate(operator, data):
    settings = {"prior": Quartic(), "weight": 2.0}
    x = variational(data, operator, algorithm="data-proximal", iterations=300, **settings)
    exact = variational(data, operator, algorithm="lbfgs", iterations=300, **settings)
    assert distance(x, exact) < 1e-4


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"prior": TotalVariation()}, "prior: expected one with a gradient, got TotalVariation"),
        ({"prior": Quartic(), "minimum": 0.0}, "minimum, maximum, support: expected none"),
        (
            {"prior": Quartic(), "data": "poisson-transmission", "photons": 1e4},
            "data: expected least-squares",
        ),
    ],
)
def test_data_proximal_refuses(settings, message, operator, data):
    with pytest.raises(ValueError, match=message):
        variational(data, operator, weight=1.0, algorithm="data-proximal", **settings)


# admm takes long where many bounds hold; `test_box_and_support` has it
@pytest.mark.parametrize("algorithm", [one for one in SMOOTH if one not in ("lbfgs", "admm")])
def test_nonnegative_least_squares_against_scipy(algorithm, operator, data):
    data = data - data.mean((1, 2), keepdim=True)
    x = variational(
        data,
        operator,
        prior=SquaredDifferences(),
        weight=0.5,
        algorithm=algorithm,
        minimum=0.0,
        iterations=300,
    )
    stacked = torch.cat((operator.matrix, math.sqrt(0.5) * DIFFERENCES)).numpy()
    for image, y in zip(x, data, strict=True):
        right = np.concatenate((y.flatten().numpy(), np.zeros(len(DIFFERENCES))))
        exact, _ = scipy.optimize.nnls(stacked, right)
        assert (exact == 0).any()
        error = np.linalg.norm(image.flatten().numpy() - exact) / np.linalg.norm(exact)
        assert error < 1e-5


@pytest.mark.parametrize("algorithm", SMOOTH)
def test_box_and_support(algorithm, operator, data):
    support = torch.ones(SHAPE, dtype=torch.bool)
    support[1, 2:] = False
    given = {"prior": SquaredDifferences(), "weight": 0.5, "algorithm": algorithm}
    box = {"minimum": 0.2, "maximum": 0.6}
    if algorithm == "lbfgs":
        with pytest.raises(
            ValueError, match=r"minimum, maximum and support: expected none.*; fista or .* would do"
        ):
            variational(data, operator, support=support, **given)
        return
    x = variational(data[:1], operator, iterations=300, **box, **given)
    stacked = torch.cat((operator.matrix, math.sqrt(0.5) * DIFFERENCES)).numpy()
    right = np.concatenate((data[0].flatten().numpy(), np.zeros(len(DIFFERENCES))))
    exact = scipy.optimize.lsq_linear(stacked, right, (0.2, 0.6), tol=1e-14).x
    assert np.linalg.norm(x.flatten().numpy() - exact) / np.linalg.norm(exact) < 1e-5
    x = variational(data[:1], operator, iterations=300, support=support, **given)
    inside = support.flatten()
    exact = np.linalg.lstsq(stacked[:, inside.numpy()], right, rcond=None)[0]
    assert (x[0][~support] == 0).all()
    error = np.linalg.norm(x[0][support].numpy() - exact) / np.linalg.norm(exact)
    assert error < 1e-5


@pytest.mark.parametrize("algorithm", SPLITTING)
def test_total_variation_is_that_of_the_method_tv(algorithm, operator, data):
    for nonnegative in (False, True):
        exact = tl.total_variation(
            data, operator, weight=0.4, iterations=1000, nonnegative=nonnegative
        )
        x = variational(
            data,
            operator,
            prior="total-variation",
            weight=0.2,
            minimum=0.0 if nonnegative else None,
            algorithm=algorithm,
            iterations=300,
        )
        assert distance(x, exact) < (0.2 if algorithm == "condat-vu" else 1e-3)


def test_sparse_images_by_all_that_take_a_proximal_map(operator, data):
    def optimal(x):
        """Largest violation of the optimality conditions of the lasso."""
        slope = operator.adjoint(operator(x) - data)
        size = slope.flatten(1).norm(dim=1)[:, None, None]
        violation = torch.where(x == 0, (slope.abs() - 1.0).clamp(min=0), slope + x.sign())
        return float((violation.abs() / (1 + size)).max())

    found = {
        algorithm: variational(
            data, operator, prior=Magnitudes(), weight=1.0, algorithm=algorithm, iterations=600
        )
        for algorithm in ("fista", "nmapg", "chambolle-pock", "admm")
    }
    assert optimal(found["fista"]) < 1e-4
    for algorithm, x in found.items():
        assert distance(x, found["fista"]) < 1e-3, algorithm
    with pytest.raises(ValueError, match="prior: expected one with a gradient beside a constraint"):
        variational(data, operator, prior=Magnitudes(), weight=1.0, algorithm="fista", minimum=0.0)
    with pytest.raises(
        ValueError, match=r"expected one with a gradient, got Magnitudes.*chambolle-pock"
    ):
        variational(data, operator, prior=Magnitudes(), weight=1.0, algorithm="lbfgs")


@pytest.mark.parametrize("algorithm", ["fista", "nmapg", "lbfgs"])
def test_smooth_priors_without_certificates_against_scipy(algorithm, operator, data):
    x = variational(
        data[:1], operator, prior=Quartic(), weight=3.0, algorithm=algorithm, iterations=300
    )

    def objective(z):
        r = operator.matrix.numpy() @ z - data[0].flatten().numpy()
        return r @ r / 2 + 3 * np.sum(z**4) / 4, operator.matrix.numpy().T @ r + 3 * z**3

    exact = scipy.optimize.minimize(
        objective, np.zeros(30), jac=True, method="BFGS", options={"gtol": 1e-10}
    ).x
    assert np.linalg.norm(x.flatten().numpy() - exact) / np.linalg.norm(exact) < 1e-5


@pytest.mark.parametrize("algorithm", ANY_DATA)
@pytest.mark.parametrize("term", ["poisson-transmission", "poisson-emission"])
def test_photon_likelihoods_against_scipy(term, algorithm, operator, data, rng):
    y = data[:1].clamp(min=0) / 3
    if term == "poisson-emission":
        y = torch.poisson(4 * y, generator=rng).double()
    w = torch.ones(24, dtype=torch.float64)
    w[3] = 0.0
    settings = {"photons": 50.0, "attenuation": 0.7, "background": 0.3}
    x = variational(
        y,
        operator,
        prior=SquaredDifferences(),
        weight=2.0,
        data=term,
        algorithm=algorithm,
        weights=w.reshape(4, 6),
        minimum=0.0,
        iterations=300,
        **settings,
    )
    A, b = operator.matrix.numpy(), y.flatten().numpy()
    D = DIFFERENCES.numpy()

    def objective(z):
        u = A @ z
        if term == "poisson-transmission":
            value = 50 * (np.exp(-0.7 * u) + np.exp(-0.7 * b) * 0.7 * u)
            slope = 50 * 0.7 * (np.exp(-0.7 * b) - np.exp(-0.7 * u))
        else:
            value, slope = u - b * np.log(u + 0.3), 1 - b / (u + 0.3)
        d = D @ z
        return w.numpy() @ value + d @ d, A.T @ (w.numpy() * slope) + 2 * D.T @ d

    exact = scipy.optimize.minimize(
        objective,
        np.full(30, 0.5),
        jac=True,
        method="L-BFGS-B",
        bounds=[(0, None)] * 30,
        options={"maxiter": 5000, "maxfun": 20000, "ftol": 1e-15, "gtol": 1e-10, "maxcor": 30},
    )
    found = objective(x.flatten().numpy())[0]
    assert abs(found - exact.fun) < 1e-7 * abs(exact.fun)
    assert np.linalg.norm(x.flatten().numpy() - exact.x) / np.linalg.norm(exact.x) < 1e-3


class Settings:
    photons, attenuation, background = 40.0, 0.8, 0.3


@pytest.mark.parametrize("kind", [LeastSquares, PoissonTransmission, PoissonEmission])
def test_data_terms_agree_with_themselves(kind, rng):
    y = torch.rand(2, 6, generator=rng, dtype=torch.float64) * 3
    if kind is PoissonEmission:
        y[0, 1] = 0.0
    weights = torch.rand(2, 6, generator=rng, dtype=torch.float64) + 0.2
    weights[1, 2] = 0.0
    for w in (None, weights):
        term = kind(y, w, Settings())
        u = (y + torch.rand(2, 6, generator=rng, dtype=torch.float64)).requires_grad_()
        (slope,) = torch.autograd.grad(term.value(u).sum(), u)
        torch.testing.assert_close(term.gradient(u).detach(), slope)
        # Fenchel's equality, h(u) + h*(p) = <u, p>, holds at p = h'(u) alone
        p = slope
        product = (u * p).sum(1).detach()
        torch.testing.assert_close(term.conjugate(p) + term.value(u).detach(), product)
        other = (0.7 * p).where(p < 0, 0.3 * p)
        rest = term.conjugate(other) + term.value(u).detach() - (u * other).sum(1).detach()
        assert (rest > 1e-6).all()
        # Moreau: u' = (p - q) / step is where the slope of h is q
        step = torch.tensor([[0.4], [3.0]], dtype=torch.float64)
        q = term.conjugate_proximal(u.detach(), step)
        at = (u.detach() - q) / step
        # where nothing was counted, u may lie on the border of the domain
        inside = at + 0.3 > 1e-9 if kind is PoissonEmission else at == at
        torch.testing.assert_close(term.gradient(at)[inside], q[inside])


def test_poisson_terms_do_not_overflow():
    y = torch.tensor([[0.0, 5.0, 30.0]])
    term = PoissonTransmission(y, None, Settings())
    for p in (-1e6, -1.0, 0.0, 1.0, 1e6):
        q = term.conjugate_proximal(torch.full((1, 3), p), torch.full((1, 1), 1e-3))
        assert q.isfinite().all()
        assert (q <= 40 * 0.8 * torch.exp(-0.8 * y) * (1 + 1e-5)).all()


def test_linearised_bregman_tends_to_the_data(operator, data):
    # min ||u||^2 / 2 + 2 |u|_1 with A u = y: the dual is maximised by scipy
    prior, y = Magnitudes(), data[:1]
    x = variational(y, operator, prior=prior, weight=2.0, algorithm="bregman", iterations=300)
    A, b = operator.matrix.numpy(), y.flatten().numpy()

    def dual(p):
        v = A.T @ p
        u = np.sign(v) * np.maximum(np.abs(v) - 2, 0)
        return u @ u / 2 - b @ p, A @ u - b

    p = scipy.optimize.minimize(dual, np.zeros(24), jac=True, method="BFGS").x
    v = A.T @ p
    exact = np.sign(v) * np.maximum(np.abs(v) - 2, 0)
    assert np.linalg.norm(x.flatten().numpy() - exact) / np.linalg.norm(exact) < 1e-2
    history = History()
    noise = 0.3
    variational(
        y,
        operator,
        prior=prior,
        weight=2.0,
        algorithm="bregman",
        noise_level=noise,
        iterations=5000,
        callback=history,
    )
    assert history.states[-1].residual.item() <= noise * math.sqrt(24)
    assert history.states[-2].residual.item() > noise * math.sqrt(24)


def test_wavelet_fista_against_scipy(rng):
    """In the coefficients it is the lasso, which bounds on their two signs make smooth."""
    shape = (8, 8)
    prior = tl.priors.Wavelets(wavelet="db2", levels=2)
    analysis = prior.analysis(shape)
    W = matrix_of(analysis, shape, torch.float64)
    torch.testing.assert_close(W.T @ W, torch.eye(64, dtype=torch.float64))
    costs = torch.stack(
        [prior.analysis_value(e.reshape(analysis.range_shape)) for e in torch.eye(64)]
    )
    operator = DenseOperator(small_matrix(40, 64), shape, (40,))
    y = operator(torch.rand(shape, generator=rng, dtype=torch.float64))
    M = (operator.matrix @ W.T).numpy()
    weight, right, slope = 0.3, y.numpy(), np.tile(0.3 * costs.double().numpy(), 2)

    def objective(c):
        residual = M @ (c[:64] - c[64:]) - right
        gradient = M.T @ residual
        return residual @ residual / 2 + slope @ c, np.concatenate((gradient, -gradient)) + slope

    found = scipy.optimize.minimize(
        objective,
        np.zeros(128),
        jac=True,
        method="L-BFGS-B",
        bounds=[(0, None)] * 128,
        options={"maxiter": 20_000, "maxfun": 100_000, "ftol": 1e-15, "gtol": 1e-10},
    )
    exact = W.T @ torch.from_numpy(found.x[:64] - found.x[64:])
    x = variational(y, operator, prior=prior, weight=weight, algorithm="fista", iterations=3000)
    assert float((x.flatten() - exact).norm() / exact.norm()) < 1e-5


def test_a_convex_ridge_has_one_minimiser_from_five_starts(rng):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        prior = tl.priors.ConvexRidge(channels=(3, 6), kernel_size=3, knee=0.1).double()
    grid = tl.Grid((12, 12))
    A = tl.RayTransform(grid, tl.ParallelBeam.covering(grid, 20))
    y = A(torch.rand(1, *grid.shape, generator=rng, dtype=torch.float64)).expand(5, -1, -1)
    starts = torch.rand(5, *grid.shape, generator=rng, dtype=torch.float64)
    for algorithm in ("data-proximal", "fista"):
        x = variational(
            y, A, prior=prior, weight=1.0, algorithm=algorithm, iterations=500, x0=starts
        )
        assert distance(x[1:], x[:1].expand(4, -1, -1)) < 1e-4
