"""Plug-and-play: against variational methods, closed forms, and the law that objectives fall."""

import pytest
import torch

import tomolearn as tl
from tomolearn.methods import History, PlugAndPlay, pnp, total_variation
from tomolearn.operators import Identity, LinearOperator
from tomolearn.priors import (
    Denoiser,
    DnCNN,
    GradientStepDenoiser,
    NetworkDenoiser,
    ProximalDenoiser,
    SpectralDenoiser,
    SquaredDifferences,
    TotalVariation,
)

GRID = tl.Grid((12, 10))
OPERATOR = tl.RayTransform(GRID, tl.ParallelBeam.covering(GRID, 7))
UNPROVED = pytest.mark.filterwarnings("ignore::tomolearn.UnknownConvergenceWarning")
THREE = pytest.mark.parametrize("algorithm", ["pgd", "admm", "hqs"])


class Reflection(LinearOperator):
    """A reflection, which is orthogonal: exchange of rows."""

    def __init__(self, shape):
        super().__init__(shape, shape)

    def _evaluate(self, x):
        return x.flip(-2)

    _evaluate_adjoint = _evaluate


def network(seed=1, dtype=torch.float64, size=2.0, **arguments):
    """Return a gradient-step denoiser, its weights larger than those that are drawn."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        denoiser = GradientStepDenoiser(channels=[4, 6], **arguments).to(dtype)
    with torch.no_grad():
        for weights in denoiser.parameters():
            weights *= size
    return denoiser.eval()


@pytest.fixture
def data(rng):
    y = OPERATOR(torch.rand(2, *GRID.shape, generator=rng, dtype=torch.float64))
    return y + 0.1 * torch.randn(y.shape, generator=rng, dtype=torch.float64)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("inner_iterations", [1, 30])
def test_objective_of_gradient_steps_never_rises(seed, inner_iterations, data):
    denoiser, sigma, weight = network(seed), 0.1, 20.0
    history = History(images=True)
    method = PlugAndPlay(denoiser, sigma=sigma, weight=weight, inner_iterations=inner_iterations)
    method(data, OPERATOR, iterations=40, callback=history)
    g = denoiser.regulariser(sigma)
    objective = torch.stack([state.objective for state in history.states])
    for state in history.states[::13]:
        misfit = (OPERATOR(state.image) - data).flatten(1).square().sum(1) / 2
        expected = misfit + weight * g.value(state.image).detach()
        torch.testing.assert_close(state.objective, expected)
    assert bool((objective.diff(dim=0) <= 0).all())
    # the first steps are too long for some of these networks
    assert bool((objective[-1] < objective[0]).all())


@pytest.mark.parametrize("seed", range(4))
def test_weighted_objectives_of_gradient_steps_never_rise(seed, rng):
    # steps of single images are made shorter, which count their own weights then
    denoiser, sigma, weight = network(seed), 0.1, 20.0
    y = OPERATOR(torch.rand(3, *GRID.shape, generator=rng, dtype=torch.float64))
    y = y * torch.tensor([0.3, 1.0, 3.0])[:, None, None]
    weights = torch.rand(y.shape, generator=rng, dtype=torch.float64) + 0.01
    weights[1] *= 30
    history = History(images=True)
    method = PlugAndPlay(denoiser, sigma=sigma, weight=weight)
    images = method(y, OPERATOR, iterations=12, weights=weights, callback=history)
    objective = torch.stack([state.objective for state in history.states])
    assert bool((objective.diff(dim=0) <= 0).all())
    misfit = (weights * (OPERATOR(images) - y).square()).flatten(1).sum(1) / 2
    expected = misfit + weight * denoiser.regulariser(sigma).value(images).detach()
    torch.testing.assert_close(objective[-1], expected)
    for image, one, w in zip(images, y, weights, strict=True):
        alone = method(one, OPERATOR, iterations=12, weights=w)
        torch.testing.assert_close(image, alone, rtol=1e-4, atol=1e-5)


def test_gradient_steps_end_at_a_stationary_point(rng):
    denoiser, weight, operator = network(size=1.0), 0.5, Reflection((9, 7))
    y = torch.rand(2, 9, 7, generator=rng, dtype=torch.float64)
    x = pnp(y, operator, prior=denoiser, sigma=0.1, weight=weight, iterations=60)
    slope = operator.adjoint(operator(x) - y)
    slope = slope + weight * denoiser.regulariser(0.1).gradient(x).detach()
    assert float(slope.abs().max()) < 1e-6


@pytest.mark.parametrize("algorithm", ["pgd", "admm"])
def test_a_proximal_map_as_denoiser_is_the_variational_method(algorithm, data):
    sigma, weight = 0.2, 1.1 * OPERATOR.norm() ** 2
    x = pnp(
        data,
        OPERATOR,
        prior=ProximalDenoiser(TotalVariation(tolerance=1e-3), weight=0.5),
        sigma=sigma,
        weight=weight,
        algorithm=algorithm,
        iterations=40,
    )
    # which has no one half
    expected = total_variation(data, OPERATOR, weight=2 * weight * 0.5 * sigma**2, iterations=500)
    assert float((x - expected).norm() / expected.norm()) < 5e-3


def test_admm_with_a_quadratic_prior_against_a_dense_solve(data):
    weight, sigma = 3.0, 0.5
    prior = SquaredDifferences()
    x = pnp(
        data,
        OPERATOR,
        prior=ProximalDenoiser(prior, weight=8.0),
        sigma=sigma,
        weight=weight,
        inner_iterations=30,
        inner_tolerance=1e-6,
        iterations=80,
    )
    n = GRID.shape[0] * GRID.shape[1]
    basis = torch.eye(n, dtype=torch.float64).reshape(n, *GRID.shape)
    A = OPERATOR(basis).reshape(n, -1).T
    Q = prior.gradient(basis).reshape(n, n)
    y = data.reshape(2, -1).T
    expected = torch.linalg.solve(A.T @ A + weight * 8.0 * sigma**2 * Q, A.T @ y)
    torch.testing.assert_close(x, expected.T.reshape(x.shape), rtol=0, atol=1e-4)


@UNPROVED
@THREE
def test_without_denoising_data_are_fitted(algorithm, data):
    operator, y = Reflection((6, 5)), torch.rand(2, 6, 5, dtype=torch.float64)
    nothing = NetworkDenoiser(torch.nn.Identity())
    x = pnp(
        y,
        operator,
        prior=nothing,
        sigma=0.1,
        weight=2.0,
        algorithm=algorithm,
        iterations=60,
        **({"sigma_start": 0.1} if algorithm == "hqs" else {}),
    )
    torch.testing.assert_close(x, y.flip(-2), rtol=0, atol=1e-6)


class Halving(Denoiser):
    """Multiplies by a number that depends on the noise level."""

    ndim = 2

    def __init__(self):
        super().__init__({})

    def denoise(self, image, sigma):
        return image / (1 + sigma)


@UNPROVED
def test_one_iteration_of_each_in_closed_form_for_an_orthogonal_operator(rng):
    operator, y = Reflection((6, 5)), torch.rand(3, 6, 5, generator=rng, dtype=torch.float64)
    x0 = torch.rand(3, 6, 5, generator=rng, dtype=torch.float64)
    back, w, sigma = y.flip(-2), 1.7, 0.25

    def run(algorithm, iterations, **settings):
        return pnp(
            y,
            operator,
            prior=Halving(),
            sigma=sigma,
            weight=w,
            algorithm=algorithm,
            iterations=iterations,
            x0=x0,
            **settings,
        )

    torch.testing.assert_close(run("pgd", 1), (x0 + (back - x0) / w) / 1.25)
    first = (back + w * x0) / (1 + w)
    z = first / 1.25
    torch.testing.assert_close(run("admm", 1), z)
    u = first - z
    second = (back + w * (z - u)) / (1 + w)
    torch.testing.assert_close(run("admm", 2), (second + u) / 1.25)
    # levels 1, 1/2, 1/4 with weights w / 16, w / 4, w
    z = x0
    for level in (1.0, 0.5, 0.25):
        v = w * (sigma / level) ** 2
        z = (back + v * z) / (1 + v) / (1 + level)
    torch.testing.assert_close(run("hqs", 3, sigma_start=1.0), z)


def test_what_is_not_proved_is_warned_of(data):
    def begin(prior, algorithm):
        method = PlugAndPlay(prior, sigma=0.1, weight=1e6, algorithm=algorithm)
        return method.iterate(data, OPERATOR, torch.zeros(2, *GRID.shape, dtype=torch.float64))

    blind = DnCNN(layers=2, channels=2)
    contraction = SpectralDenoiser(depth=2, channels=2, lipschitz=0.9)
    expansive = SpectralDenoiser(depth=2, channels=2, lipschitz=1.5)
    step = network(dtype=torch.float32)
    proximal = ProximalDenoiser(TotalVariation(), weight=1.0)
    warned = [
        *[(blind, one) for one in ("pgd", "admm", "hqs")],
        *[(step, one) for one in ("pgd", "admm", "hqs")],
        (contraction, "admm"),
        *[(expansive, one) for one in ("pgd", "hqs")],
    ]
    for prior, algorithm in warned:
        with pytest.warns(tl.UnknownConvergenceWarning, match=f"convergence of {algorithm} with"):
            begin(prior, algorithm)
    for prior, algorithm in [
        *[(contraction, one) for one in ("pgd", "hqs")],
        *[(proximal, one) for one in ("pgd", "hqs", "admm")],
        (step, "gradient-step"),
        (step, "auto"),
        (proximal, "auto"),
    ]:
        begin(prior, algorithm)


@UNPROVED
@pytest.mark.parametrize("algorithm", ["gradient-step", "admm", "hqs"])
def test_scale_is_that_of_the_denoiser(algorithm, data):
    class Scaled(GradientStepDenoiser):
        def potential(self, image, sigma):
            return super().potential(image * 3, sigma * 3) / 9

    own = network(size=0.5)
    settings = {"sigma": 0.05, "weight": 15.0, "algorithm": algorithm, "iterations": 5}
    if algorithm == "hqs":
        settings["sigma_start"] = 0.06
    x = pnp(data, OPERATOR, prior=own, image_scale=3.0, **settings)
    other = Scaled(channels=[4, 6]).double().eval()
    other.load_state_dict(own.state_dict())
    torch.testing.assert_close(x, pnp(data, OPERATOR, prior=other, **settings))


def test_denoisers_of_fewer_axes_and_other_precisions_are_taken(rng):
    shape = (3, 8, 6)
    y = torch.rand(2, *shape, generator=rng, dtype=torch.float64)
    single = network(dtype=torch.float32)
    x = pnp(y, Identity(shape), prior=single, sigma=0.1, weight=0.5, iterations=3)
    assert x.dtype == torch.float64
    assert next(single.parameters()).dtype == torch.float32
    slices = pnp(y, Identity(shape[1:]), prior=single, sigma=0.1, weight=0.5, iterations=3)
    assert x.shape == slices.shape
    # one step for all slices of a volume, so that they agree at the end only
    ends = [
        pnp(y, Identity(one), prior=single, sigma=0.1, weight=0.02, iterations=60)
        for one in (shape, shape[1:])
    ]
    torch.testing.assert_close(*ends, rtol=0, atol=1e-4)


def test_method_is_written_down_with_the_weights(tmp_path, data):
    denoiser = network(dtype=torch.float32)
    tl.save(denoiser, tmp_path / "gsd")
    path = str(tmp_path / "gsd")
    method = PlugAndPlay(path, sigma=0.1, weight=20.0, iterations=3)
    again = tl.methods.method_from_dict(method.to_dict())
    assert again == method
    given = PlugAndPlay(denoiser, sigma=0.1, weight=20.0, iterations=3)
    torch.testing.assert_close(again(data, OPERATOR), given(data, OPERATOR))
    with pytest.raises(ValueError, match="prior: expected the name or path of weights in a method"):
        given.to_dict()
    noisy = torch.rand(2, 1, 9, 9)
    torch.testing.assert_close(given.denoiser(2.0)(noisy), 2 * denoiser(noisy / 2, 0.1).detach())


def test_wrong_arguments(tmp_path, data):
    tl.save(SquaredDifferences(), tmp_path / "smooth")
    step, blind = network(noise_levels=(0.01, 0.1)), DnCNN(layers=2, channels=2)
    good = {"prior": step, "sigma": 0.05, "weight": 2.0}
    for given, error, message in [
        ({"prior": TotalVariation()}, TypeError, "prior: expected a Denoiser, or .* TotalVariat"),
        ({"prior": str(tmp_path / "smooth")}, TypeError, "prior: expected weights of a denoiser"),
        ({"sigma": 0.2}, ValueError, r"sigma: expected a noise level in \[0.01, 0.1\]"),
        ({"sigma": 0.05, "image_scale": 3}, ValueError, "sigma: expected a noise level"),
        ({"sigma": 0}, ValueError, "sigma: expected a positive number"),
        ({"weight": -1.0}, ValueError, "weight: expected a positive number"),
        ({"algorithm": "pgd"}, ValueError, r"weight: expected one above norm\(A\)\^2 / 2 = "),
        ({"algorithm": "fista"}, ValueError, "algorithm: expected one of auto, gradient-step"),
        (
            {"prior": blind, "algorithm": "gradient-step"},
            ValueError,
            "algorithm: expected pgd, admm or hqs with .*, got gradient-step with DnCNN",
        ),
        ({"algorithm": "hqs", "sigma_start": 0.01}, ValueError, "sigma_start: expected at least"),
        ({"algorithm": "hqs", "sigma_start": 0.5}, ValueError, "sigma_start: expected a noise l"),
        (
            {"algorithm": "hqs", "prior": SpectralDenoiser(depth=2, channels=2, lipschitz=0.5)},
            ValueError,
            "sigma_start: expected a first noise level for hqs",
        ),
        ({"prior": network(ndim=3)}, ValueError, "prior: expected one of at most 2 spatial axes"),
    ]:
        with pytest.raises(error, match=message):
            _quiet(data, good | given)


def _quiet(data, settings):
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", tl.UnknownConvergenceWarning)
        return pnp(data, OPERATOR, iterations=2, **settings)
