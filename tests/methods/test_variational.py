"""Variational reconstruction as a method: batches, reports, derivatives, what it refuses."""

import pickle

import numpy as np
import pytest
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
from tomolearn import ConvergenceWarning, DivergenceError, Variational, variational
from tomolearn.methods import History, method_from_dict
from tomolearn.priors import SquaredDifferences, TotalVariation


@pytest.fixture
def operator():
    return small_operator()


@pytest.fixture
def data(operator, rng):
    return noisy_data(operator, rng)


@pytest.mark.parametrize("algorithm", SMOOTH)
def test_images_of_a_batch_do_not_know_each_other(algorithm, operator, data):
    given = {"prior": SquaredDifferences(), "weight": 0.5, "algorithm": algorithm}
    for dtype, tolerance in ((torch.float64, 1e-8), (torch.float32, 1e-3)):
        x = variational(data.to(dtype), operator, iterations=20, **given)
        assert x.dtype == dtype
        for image, y in zip(x, data.to(dtype), strict=True):
            alone = variational(y, operator, iterations=20, **given)
            assert distance(image[None], alone[None]) < tolerance


@pytest.mark.parametrize("algorithm", ["fista", "nmapg", "lbfgs"])
def test_reported_objective_does_not_rise(algorithm, operator, data):
    history = History()
    prior = SquaredDifferences()
    x = variational(
        data,
        operator,
        prior=prior,
        weight=0.5,
        algorithm=algorithm,
        iterations=60,
        callback=history,
    )
    values = torch.stack([state.objective for state in history.states])
    expected = (operator(x) - data).square().sum((1, 2)) / 2 + 0.5 * prior.value(x)
    torch.testing.assert_close(values[-1], expected)
    if algorithm != "nmapg":
        assert (values[1:] <= values[:-1] * (1 + 1e-12)).all()
    assert (values <= values[0] * (1 + 1e-12)).all()


def test_duality_gap_bounds_the_objective(operator, data):
    history = History()
    given = {"prior": "total-variation", "weight": 0.2, "minimum": 0.0, "maximum": 40.0}
    for algorithm in ("chambolle-pock",):
        history = History()
        variational(data, operator, algorithm=algorithm, callback=history, iterations=1000, **given)
        exact = history.states[-1].objective
        gap = history.states[-1].gap
        assert (gap < 1e-3 * exact).all()
        for state in history.states[:200:20]:
            assert (state.objective - exact <= state.gap * (1 + 1e-9) + gap).all()


def test_it_is_written_down_and_read_again():
    method = Variational(TotalVariation(norm="anisotropic"), weight=0.3, algorithm="admm")
    assert method.prior == "total-variation(ndim=2, spacing=None, norm=anisotropic)"
    assert method_from_dict(method.to_dict()) == method
    assert pickle.loads(pickle.dumps(method)) == method
    text = "variational(prior=total-variation(norm=anisotropic), weight=0.3, algorithm=admm)"
    assert tl.get_method(text).prior == "total-variation(norm=anisotropic)"
    assert tl.get_method(f"variational(prior={method.prior}, weight=0.3, algorithm=admm)") == method
    own = Variational(Quartic(), weight=1.0)
    with pytest.raises(ValueError, match="prior: expected a name, or a regulariser without"):
        own.to_dict()


def test_image_scale_is_that_of_the_prior(operator, data):
    for prior, algorithm in (("total-variation", "chambolle-pock"), (Quartic(), "lbfgs")):
        given = {"prior": prior, "weight": 0.2, "algorithm": algorithm, "iterations": 300}
        x = variational(data[:1], operator, image_scale=5.0, **given)
        # data and images multiplied by one number
        scaled = variational(5 * data[:1], operator, **given) / 5
        assert distance(x, scaled) < 1e-4


def test_priors_of_fewer_axes_are_summed_over_the_others(rng):
    matrix = small_matrix(40, 60)
    operator = DenseOperator(matrix, (2, *SHAPE), (40,))
    y = operator(torch.rand(2, *SHAPE, generator=rng, dtype=torch.float64))
    flat = variational(y, operator, prior=SquaredDifferences(), weight=1.0, iterations=300)
    D = torch.block_diag(DIFFERENCES, DIFFERENCES)
    M = operator.matrix
    exact = torch.linalg.solve(M.T @ M + D.T @ D, M.T @ y)
    assert distance(flat.reshape(1, -1), exact[None]) < 1e-6
    # a name gets the operator's axes
    solid = variational(y, operator, prior="squared-differences", weight=1.0, iterations=300)
    D = matrix_of(tl.FiniteDifferences((2, *SHAPE)), (2, *SHAPE), torch.float64)
    exact = torch.linalg.solve(M.T @ M + D.T @ D, M.T @ y)
    assert distance(solid.reshape(1, -1), exact[None]) < 1e-6
    plane = DenseOperator(np.eye(30), SHAPE, (30,))
    with pytest.raises(ValueError, match="prior: expected one of at most 2 axes"):
        variational(y[:30], plane, prior=SquaredDifferences(ndim=3), weight=1.0)


def test_derivatives_of_the_minimiser_are_finite_differences(operator, data, rng):
    class Weighted(Quartic):
        def __init__(self):
            super().__init__()
            self.factor = torch.nn.Parameter(torch.tensor(1.3, dtype=torch.float64))

        @property
        def convexity(self):
            return 0.5

        def value(self, image):
            return self.factor * super().value(image) + image.square().sum((-2, -1)) / 4

        def gradient(self, image):
            return self.factor * super().gradient(image) + image / 2

    prior, y = Weighted(), data[:2].clone() / data[:2].abs().amax((1, 2), keepdim=True)
    weight = torch.tensor([0.4, 2.0], dtype=torch.float64)
    target = torch.rand(2, *SHAPE, generator=rng, dtype=torch.float64)

    def loss(y, weight, minimum=None):
        bound = {"minimum": minimum, "algorithm": "fista", "iterations": 300}
        free = {"algorithm": "lbfgs", "iterations": 150}
        x = variational(
            y,
            operator,
            prior=prior,
            weight=weight,
            differentiable=True,
            **(free if minimum is None else bound),
        )
        return (x * target).sum()

    for minimum in (None, 0.1):
        y, weight = y.detach().requires_grad_(), weight.detach().requires_grad_()
        slopes = torch.autograd.grad(loss(y, weight, minimum), (y, weight, prior.factor))
        along = torch.randn(2, 4, 6, generator=rng, dtype=torch.float64)
        step = 3e-5
        with torch.no_grad():
            pairs = [
                ((slopes[0] * along).sum(), [(y + s * step * along, weight) for s in (1, -1)]),
                (slopes[1].sum(), [(y, weight + s * step) for s in (1, -1)]),
            ]
            for slope, (up, down) in pairs:
                found = (loss(*up, minimum) - loss(*down, minimum)) / (2 * step)
                assert abs(slope - found) < 1e-6 * abs(found)
            values = []
            for s in (1, -1):
                prior.factor.add_(s * step)
                values.append(loss(y, weight, minimum))
                prior.factor.sub_(s * step)
            found = (values[0] - values[1]) / (2 * step)
            assert abs(slopes[2] - found) < 1e-6 * abs(found)


def test_what_is_not_differentiable_or_not_certified_is_said(operator, data):
    y = data[:1].requires_grad_()
    with pytest.warns(ConvergenceWarning, match="Quartic is certified to be convex only"):
        x = variational(y, operator, prior=Quartic(), weight=1.0, differentiable=True)
    assert x.requires_grad
    with pytest.raises(ValueError, match="differentiable: expected a prior with a gradient"):
        variational(y, operator, prior=Magnitudes(), weight=1.0, differentiable=True)
    single = Quartic()
    single.register_buffer("scale", torch.ones(()))
    with pytest.raises(ValueError, match=r"prior: expected its weights in torch.float64 on cpu"):
        variational(y, operator, prior=single, weight=1.0, differentiable=True)


def test_bad_input(operator, data):
    def call(**options):
        return variational(data, operator, **{"prior": "squared-differences", **options})

    cases = {
        "weight: expected a non-negative number, got -1": {"weight": -1.0},
        r"weight: expected finite numbers, not negative, got -2": {
            "weight": torch.tensor([1.0, -2.0, 1.0])
        },
        r"weight: expected shape \(\) or \(3,\), got \(2,\)": {"weight": torch.ones(2)},
        r"weights: expected shape \(4, 6\) or \(3, 4, 6\), got \(6, 4\)": {
            "weight": 1.0,
            "weights": torch.ones(6, 4),
        },
        "weights: expected finite numbers, not negative, got -1": {
            "weight": 1.0,
            "weights": -torch.ones(4, 6),
        },
        "support: expected a torch.Tensor of bool": {"weight": 1.0, "support": torch.ones(6, 5)},
        r"support: expected shape \(6, 5\)": {
            "weight": 1.0,
            "support": torch.ones(5, 6, dtype=torch.bool),
        },
        "algorithm: expected one of auto, .* did you mean fista": {
            "weight": 1.0,
            "algorithm": "fist",
        },
        "data: expected one of least-squares, ": {"weight": 1.0, "data": "gauss"},
        "maximum: expected at least the minimum 1, got 0": {
            "weight": 1.0,
            "minimum": 1.0,
            "maximum": 0.0,
        },
        "photons: expected the number of photons": {"weight": 1.0, "data": "poisson-transmission"},
        "prior: expected one of .* did you mean squared-differences": {
            "weight": 1.0,
            "prior": "squared-difference",
        },
        "arguments of squared-differences: expected one of ndim, spacing, got 'n'": {
            "weight": 1.0,
            "prior": "squared-differences(n=3)",
        },
        "prior: expected a regulariser, got 'spectral-denoiser'": {
            "weight": 1.0,
            "prior": "spectral-denoiser",
        },
        "prior: expected one that is certified to be convex .* nmapg or lbfgs or .* would do": {
            "weight": 1.0,
            "prior": Quartic(convex=False),
            "algorithm": "fista",
        },
        "expected a term whose gradient has a Lipschitz constant.*condat-vu": {
            "weight": 1.0,
            "algorithm": "condat-vu",
            "data": "poisson-transmission",
            "photons": 1e3,
        },
    }
    for message, options in cases.items():
        with pytest.raises(ValueError, match=message):
            call(**options)
    with pytest.raises(ValueError, match="sinogram: expected counts, not negative"):
        variational(
            -data, operator, prior="squared-differences", weight=1.0, data="poisson-emission"
        )
    with pytest.raises(TypeError, match="prior: expected a Regulariser, or the name of one, got i"):
        Variational(3, weight=1.0)
    # without a weight the prior does not matter
    assert call(weight=0.0).shape == (3, *SHAPE)


class WrongAdjoint(DenseOperator):
    adjoint_is_exact = False

    def _evaluate_adjoint(self, y):
        return -super()._evaluate_adjoint(y)


@pytest.mark.parametrize("algorithm", ["fista", "nmapg", "lbfgs"])
def test_divergence_is_an_error(algorithm, operator, data):
    wrong = WrongAdjoint(operator.matrix.numpy(), SHAPE, (4, 6))
    with pytest.raises(DivergenceError, match=r"variational: .* adjoint"):
        variational(
            data,
            wrong,
            prior=SquaredDifferences(),
            weight=0.1,
            algorithm=algorithm,
            iterations=200,
        )
