"""Verdicts about variational problems, against eigenvalues of dense ones and gradient steps."""

import pytest
import torch

from tomolearn.methods import convergence_report
from tomolearn.operators import Identity, LinearOperator
from tomolearn.priors import (
    AdversarialRegulariser,
    InputConvexRegulariser,
    Regulariser,
    SquaredDifferences,
    TotalDeepVariation,
    TotalVariation,
)


class Quadratic(Regulariser):
    """A quadratic function with a given Hessian, a multiple of the identity."""

    def __init__(self, factor):
        super().__init__({"factor": factor})
        self.factor = factor

    @property
    def convexity(self):
        return self.factor

    def lipschitz(self, shape):
        return abs(self.factor)

    def value(self, image):
        return self.factor / 2 * image.square().sum((-2, -1))

    def gradient(self, image):
        return self.factor * image


class Matrix(LinearOperator):
    """A matrix, applied to images."""

    def __init__(self, matrix, shape):
        super().__init__(shape, (len(matrix),))
        self.register_buffer("matrix", matrix)

    def _evaluate(self, x):
        return x.flatten(-2) @ self.matrix.T.to(x.dtype)

    def _evaluate_adjoint(self, y):
        return (y @ self.matrix.to(y.dtype)).reshape(*y.shape[:-1], *self.domain_shape)


SHAPE = (9, 10)


def matrix(rng, rows, smallest=0.5):
    """A matrix of known singular values."""
    n = SHAPE[0] * SHAPE[1]
    u, _ = torch.linalg.qr(torch.randn(n, n, generator=rng, dtype=torch.float64))
    v, _ = torch.linalg.qr(torch.randn(n, n, generator=rng, dtype=torch.float64))
    values = torch.linspace(smallest, 2.0, n, dtype=torch.float64)
    return Matrix(((u * values) @ v)[:rows], SHAPE)


def small(kind, **arguments):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return kind(channels=[2, 3], strides=[1, 2], kernel_size=3, **arguments).double()


def hessian(prior, A, weight, x):
    n = x.numel()
    bend = torch.autograd.functional.hessian(prior.value, x).reshape(n, n)
    return A.matrix.T @ A.matrix + weight * bend


@pytest.mark.parametrize("rows", [90, 40])
def test_eigenvalues_of_the_objective_lie_between_the_constants(rows, rng):
    prior, A, weight = small(InputConvexRegulariser, convexity=0.2), matrix(rng, rows), 0.7
    report = convergence_report(prior, A, weight)
    assert report.unique
    assert report.converges
    # fewer rows than pixels: only the prior makes it strongly convex
    known = 0.25 if rows == 90 else 0.0
    assert report.convexity == pytest.approx(known + 0.7 * 0.2)
    assert report.largest_eigenvalue == pytest.approx(
        float(torch.linalg.eigvalsh(A.matrix @ A.matrix.T)[-1]), rel=1e-5
    )
    for _ in range(3):
        x = torch.randn(*SHAPE, generator=rng, dtype=torch.float64)
        values = torch.linalg.eigvalsh(hessian(prior, A, weight, x))
        assert report.convexity <= float(values[0]) * (1 + 1e-9)
        assert float(values[-1]) <= report.lipschitz


def test_gradient_steps_contract_as_proven(rng):
    prior, A = small(InputConvexRegulariser, convexity=0.5), matrix(rng, 40)
    report = convergence_report(prior, A, 2.0, "gradient")
    y = torch.randn(40, generator=rng, dtype=torch.float64)
    a, b = torch.randn(2, *SHAPE, generator=rng, dtype=torch.float64)
    with torch.no_grad():
        for _ in range(20):
            before = float((a - b).norm())
            a, b = (
                x - (A.adjoint(A(x) - y) + 2.0 * prior.gradient(x)) / report.lipschitz
                for x in (a, b)
            )
            assert float((a - b).norm()) <= report.factor * before * (1 + 1e-12)


@pytest.mark.parametrize("weight", [0.9, 1.1])
def test_weakly_convex_prior_beside_a_strongly_convex_data_term(weight, rng):
    prior, A = Quadratic(-0.25), matrix(rng, 90)
    report = convergence_report(prior, A, weight, "nmapg")
    x = torch.zeros(*SHAPE, dtype=torch.float64)
    smallest = float(torch.linalg.eigvalsh(hessian(prior, A, weight, x))[0])
    assert report.unique == (smallest > 0) == (weight < 1)
    assert report.convexity == pytest.approx(smallest, abs=1e-9)
    assert report.conclusion == ("minimiser" if weight < 1 else "stationary")
    assert convergence_report(prior, A, weight, "chambolle-pock").conclusion == "none"


def test_curvatures_that_were_found(rng):
    prior, A = small(AdversarialRegulariser, hidden=4), matrix(rng, 40)
    x = torch.randn(*SHAPE, generator=rng, dtype=torch.float64)
    report = convergence_report(prior, A, 1.0, "nmapg", image=x)
    values = torch.linalg.eigvalsh(hessian(prior, A, 1.0, x) - A.matrix.T @ A.matrix)
    assert report.curvatures == pytest.approx((float(values[0]), float(values[-1])), rel=0.05)
    assert report.curvatures[0] < 0
    assert report.prior_convexity is None
    assert not report.unique
    assert report.factor is None
    assert report.conclusion == "stationary"
    text = str(report)
    assert "one minimiser is not proven; nmapg: limits are stationary points" in text
    assert "it is not convex" in text
    assert "convexity unknown" in text


@pytest.mark.parametrize(
    ("prior", "algorithm", "conclusion"),
    [
        (SquaredDifferences(), "gradient", "minimiser"),
        (SquaredDifferences(), "fista", "minimiser"),
        (SquaredDifferences(), "lbfgs", "none"),
        (TotalVariation(), "fista", "minimiser"),
        (TotalVariation(), "gradient", "none"),
        (TotalVariation(), "chambolle-pock", "minimiser"),
        (TotalVariation(), "admm", "minimiser"),
        (TotalDeepVariation(channels=2), "nmapg", "none"),
        (TotalDeepVariation(channels=2), "fista", "none"),
    ],
)
def test_convex_problems_with_many_solutions(prior, algorithm, conclusion, rng):
    report = convergence_report(prior, matrix(rng, 40), 0.1, algorithm)
    assert report.conclusion == conclusion
    assert not report.unique


def test_one_minimiser_in_words(rng):
    report = convergence_report(small(InputConvexRegulariser, convexity=0.5), matrix(rng, 40), 2.0)
    assert str(report).startswith(
        "exactly one minimiser; fista: converges to a minimiser from every start\n"
        "  objective: convexity 1, Lipschitz"
    )
    assert "a plain gradient step multiplies the distance by at most 0." in str(report)


def test_denoising_is_strongly_convex():
    report = convergence_report(SquaredDifferences(), Identity(SHAPE), 0.3, "lbfgs")
    assert (report.smallest_eigenvalue, report.largest_eigenvalue) == (1.0, 1.0)
    assert report.unique
    assert report.converges


def test_nothing_is_proven_with_an_inexact_adjoint(rng):
    A = matrix(rng, 40)
    A.adjoint_is_exact = False
    report = convergence_report(small(InputConvexRegulariser, convexity=0.5), A, 2.0)
    assert not report.unique
    assert report.conclusion == "none"
    assert "adjoint is not its transpose" in str(report)


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({"prior": abs}, TypeError, "prior: expected a Regulariser, got builtin"),
        ({"operator": abs}, TypeError, "operator: expected a LinearOperator"),
        ({"weight": -1.0}, ValueError, "weight: expected a non-negative number"),
        ({"algorithm": "fistaa"}, ValueError, "algorithm: expected one of .* did you mean fista"),
        ({"prior": SquaredDifferences(ndim=3)}, ValueError, "operator: expected images of 3 axes"),
    ],
)
def test_errors(change, error, match):
    settings = {
        "prior": SquaredDifferences(),
        "operator": Identity(SHAPE),
        "weight": 1.0,
        "algorithm": "fista",
    }
    with pytest.raises(error, match=match):
        convergence_report(**settings | change)
