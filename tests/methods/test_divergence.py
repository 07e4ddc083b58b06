"""Iterations that run on and on: they stay where they have converged, or say that they diverge."""

import functools
import itertools
import math
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from autoencoders import small_autoencoder
from builders import PLANE, DenseOperator, matrix_of
from typer.testing import CliRunner

from tomolearn import ConvergenceWarning, FiniteDifferences, Grid, ParallelBeam, RayTransform
from tomolearn.cli import app
from tomolearn.geometry import save_geometry
from tomolearn.methods import (
    METHODS,
    History,
    IterativeMethod,
    cgls,
    kaczmarz,
    landweber,
    sirt,
    tikhonov,
    total_variation,
)
from tomolearn.methods.iterative import kaczmarz as kaczmarz_module
from tomolearn.methods.stopping import Iterate
from tomolearn.priors import ProximalDenoiser, SquaredDifferences

SCANS = [
    "parallel_even",
    "parallel_limited",
    "parallel_single_view",
    "parallel_one_pixel",
    "parallel_anisotropic",
    "fan_short",
    "fan_curved_shifted",
    "views_fan",
]
# in units of the squared norm
WEIGHTS = {
    "tikhonov": (0.03, 0.1, 0.4),
    "tv": (0.1,),
    "variational": (0.1,),
    "pnp": (0.1,),
    "generative": (0.1,),
}
# a prior whose minimiser has the unit of the data, as those of the others have
NEEDED = {
    "variational": {"prior": SquaredDifferences()},
    "pnp": {"prior": ProximalDenoiser(SquaredDifferences(), weight=1.0), "sigma": 0.5},
    "generative": {"prior": small_autoencoder()},
}
ITERATIVE = {
    name: functools.partial(kind, **NEEDED.get(name, {}))
    for name, kind in METHODS.items()
    # a fit of a network goes another way in each precision
    if issubclass(kind, IterativeMethod) and name != "dip"
}
# conjugate gradients end soon, others take long
CASES_OF = {
    "cgls": SCANS,
    "tikhonov": SCANS,
    "tv": ["fan_short"],
    "variational": ["parallel_even"],
    "pnp": ["fan_short"],
    # its objective is not convex: roundings choose between minima
    "generative": [],
}
CASES = [
    (name, weight, scan)
    for name in ITERATIVE
    for weight in WEIGHTS.get(name, (None,))
    for scan in CASES_OF.get(name, SCANS[::2])
]
GRID = Grid((10, 8))
OPERATOR = RayTransform(GRID, ParallelBeam.covering(GRID, 9))


def problem(operator, batch=2, noise=0.1):
    """Noisy data in float32, of images of very different size."""
    rng = torch.Generator().manual_seed(0)
    size = torch.tensor([1.0, 300.0][:batch]).reshape(-1, *(1,) * len(operator.domain_shape))
    y = operator(size * torch.rand(batch, *operator.domain_shape, generator=rng))
    scale = y.abs().amax(tuple(range(1, y.ndim)), keepdim=True)
    return y + noise * scale * torch.randn(y.shape, generator=rng)


def suited(name, values):
    """Return values that a method takes: those of counts are not negative."""
    return values.clamp(min=0) if name == "mlem" else values


def distance(x, expected):
    """Largest distance of the images of a batch, relative to their size."""
    difference = (x.double() - expected).flatten(1).norm(dim=1)
    return float((difference / expected.flatten(1).norm(dim=1)).max())


@pytest.mark.filterwarnings("ignore::tomolearn.CoverageWarning")
@pytest.mark.parametrize(("name", "weight", "scan"), CASES)
def test_ten_times_the_default_iterations_are_those_in_double_precision(name, weight, scan):
    operator = RayTransform(*PLANE[scan])
    kind, y = ITERATIVE[name], suited(name, problem(operator))
    settings = {} if weight is None else {"weight": weight * operator.norm() ** 2}
    method = kind(iterations=10 * kind.func.iterations, **settings)
    x, exact = method(y, operator), method(y.double(), operator)
    misfit, exact_misfit = (
        (operator(image.double()) - y).flatten(1).norm(dim=1) for image in (x, exact)
    )
    risen = (misfit - exact_misfit) / y.double().flatten(1).norm(dim=1)
    if name == "cgls":  # until it has converged, roundings delay it by some iterations
        assert risen.max() < 2e-2
    else:
        assert risen.abs().max() < 1e-4
        assert distance(x, exact) < (2e-3 if name == "tv" else 3e-4)


@pytest.mark.filterwarnings("ignore::tomolearn.CoverageWarning")
@pytest.mark.parametrize("iterations", [100, 1000])
@pytest.mark.parametrize("penalty", ["identity", "differences"])
@pytest.mark.parametrize("scan", ["parallel_even", "parallel_limited", "fan_short", "views_fan"])
def test_tikhonov_stays_at_the_solution_of_the_normal_equations(scan, penalty, iterations):
    operator = RayTransform(*PLANE[scan])
    y, shape = problem(operator), operator.domain_shape
    L = FiniteDifferences(shape) if penalty == "differences" else None
    matrix = matrix_of(operator, shape, torch.float64)
    square = torch.eye(math.prod(shape), dtype=torch.float64)
    if L is not None:
        square = (rows := matrix_of(L, shape, torch.float64)).T @ rows
    for part in (0.01, 0.03, 0.1, 0.4):
        weight = part * operator.norm() ** 2
        expected = torch.linalg.solve(
            matrix.T @ matrix + weight * square, matrix.T @ y.double().flatten(1).T
        )
        x = tikhonov(y, operator, weight=weight, regularizer=L, iterations=iterations)
        assert distance(x, expected.T.unflatten(1, shape)) < 1e-5


@pytest.mark.parametrize(
    ("dtype", "size", "batch", "iterations"),
    [(torch.float64, 8, 8, 3200), (torch.float32, 24, 1, 5000)],
)
def test_cgls_stays_at_the_least_squares_solution(dtype, size, batch, iterations):
    grid = Grid((size, size))
    scan = ParallelBeam(n_angles=40, n_detectors=size * 3 // 2, detector_spacing=1.0)
    operator = RayTransform(grid, scan)
    rng = torch.Generator().manual_seed(0)
    y = operator(torch.rand(batch, *grid.shape, generator=rng, dtype=torch.float64))
    y = (y + 0.1 * y.max() * torch.randn(y.shape, generator=rng, dtype=torch.float64)).to(dtype)
    matrix = matrix_of(operator, grid.shape, torch.float64)
    expected = torch.linalg.lstsq(matrix, y.double().flatten(1).T).solution.T
    x = cgls(y, operator, iterations=iterations).flatten(1)
    # steps that presume conjugate directions end 1e37 and 1e8 times the image off
    assert distance(x, expected) < 30 * torch.linalg.cond(matrix) * torch.finfo(dtype).eps


def test_an_image_that_has_converged_is_left_alone_while_others_go_on():
    # the first is solved by one step, as all its singular values are one; the second needs all
    values = np.concatenate([np.ones(20), np.geomspace(1, 1e-2, 20)])
    operator = DenseOperator(np.diag(values))
    y = torch.full((2, 40), -1.0, dtype=torch.float64)
    y[0, 20:] = 0
    history = History(images=True)
    cgls(y, operator, iterations=15, callback=history)
    images = [state.image for state in history.states]
    settled = [torch.equal(image[0], images[2][0]) for image in images]
    assert all(settled[2:])
    assert all(not torch.equal(a[1], b[1]) for a, b in itertools.pairwise(images))


def test_it_ends_when_nothing_changes_any_more():
    history = History()
    cgls(problem(OPERATOR).double(), OPERATOR, iterations=100_000, callback=history)
    assert history.states[-1].iteration < 500
    assert history.states[-1].change.max() == 0


def test_a_rule_that_is_not_met_is_said_where_it_ends_before_its_last_iteration():
    y = problem(OPERATOR)
    with pytest.warns(ConvergenceWarning, match=r"cgls: residual .* asked for .* after \d\d\d "):
        x = cgls(y, OPERATOR, iterations=100_000, noise_level=1e-6)
    assert torch.equal(x, cgls(y, OPERATOR, iterations=100_000))


@pytest.mark.parametrize("unit", [2.0**-40, 2.0**30])
@pytest.mark.parametrize("name", [name for name in ITERATIVE if name != "generative"])
def test_the_unit_of_length_does_not_matter(name, unit):
    images = []
    # not of a density of images, which has their unit
    for length in (1.0, unit):
        grid = Grid((10, 8), length)
        operator = RayTransform(grid, ParallelBeam.covering(grid, 9))
        weight = {"tv": 0.5 * length}.get(name, 3.0 * length**2 if name in WEIGHTS else None)
        method = ITERATIVE[name](**({} if weight is None else {"weight": weight}))
        images.append(length * method(suited(name, problem(OPERATOR)), operator))
    assert distance(images[1], images[0].double()) < 1e-3


def steep(norm):
    """An operator that believes its norm to be `norm` times what it is."""

    class Steep(DenseOperator):
        def norm(self, **options):
            return norm * super().norm(**options)

    return Steep(np.random.default_rng(0).random((12, 9)), (3, 3), (12,))


def of_two_signs():
    """An operator whose sums over rows and columns say nothing of its size."""
    matrix = np.random.default_rng(1).choice([-1.0, 1.0], (40, 9)) + 0.02
    return DenseOperator(matrix, (3, 3), (40,))


@pytest.mark.parametrize("iterations", [1, 2, 5, 100])
@pytest.mark.parametrize("steps", [3.0, 1e3])
@pytest.mark.parametrize("nonnegative", [False, True])
def test_landweber_with_too_long_a_step_is_an_error(steps, iterations, nonnegative):
    y = problem(OPERATOR, noise=0)
    step = steps / OPERATOR.norm() ** 2
    if nonnegative and iterations < 100:
        iterations = 2 if steps > 3 else 5  # the first image is within bounds, the second zero
    options = {"iterations": iterations, "nonnegative": nonnegative}
    message = (
        r"landweber: the (misfit of image \d has risen from [\d.e+]+ to [\d.e+]+|image is not "
        r"finite) after \d+ iterations; choose a step below 2 / operator.norm\(\)\*\*2"
    )
    with pytest.raises(FloatingPointError, match=message):
        landweber(y, OPERATOR, step=step, **options)
    landweber(y, OPERATOR, step=1.99 / OPERATOR.norm() ** 2, **options)


def test_a_rise_is_found_wherever_it_begins():
    # the part that diverges begins at rounding level
    operator = DenseOperator(np.diag([1.0, 2.0]))
    y = torch.tensor([1.0, 0.0], dtype=torch.float64)
    x0 = torch.tensor([0.0, 1e-9], dtype=torch.float64)
    with pytest.raises(FloatingPointError, match=r"landweber: the misfit has risen from .* after"):
        landweber(y, operator, x0=x0, step=0.55, iterations=500)


@pytest.mark.parametrize(
    ("name", "run"),
    [
        ("sirt", lambda: sirt(torch.ones(40), of_two_signs())),
        ("tv", lambda: total_variation(torch.ones(12), steep(0.3), weight=0.1)),
        ("landweber", lambda: landweber(torch.ones(12), steep(0.3))),
    ],
)
def test_a_wrong_operator_is_an_error(name, run):
    with pytest.raises(FloatingPointError, match=rf"{name}: the (misfit|change|image) .*; "):
        run()


def test_kaczmarz_with_too_long_steps_is_an_error(monkeypatch):
    y = problem(OPERATOR)
    kaczmarz(y, OPERATOR, relaxation=1.9)
    plain = kaczmarz_module.inverse_sums
    monkeypatch.setattr(kaczmarz_module, "inverse_sums", lambda *a: [1.6 * v for v in plain(*a)])
    message = r"kaczmarz: the change per pass of image \d has risen .* smaller relaxation"
    with pytest.raises(FloatingPointError, match=message):
        kaczmarz(y, OPERATOR)


@pytest.mark.filterwarnings("ignore::tomolearn.CoverageWarning")
@pytest.mark.parametrize(("n_angles", "n_detectors", "spacing"), [(20, 5, 1.0), (13, 6, 4.0)])
def test_kaczmarz_with_one_view_at_a_time_where_rays_graze_pixels(n_angles, n_detectors, spacing):
    # of pixels that the outermost rays hardly meet: with steps as long as the inverse of what
    # each view sees of them, a pass makes distances up to 1.1 times larger
    grid = Grid((7, 7))
    scan = ParallelBeam(n_angles=n_angles, n_detectors=n_detectors, detector_spacing=spacing)
    operator = RayTransform(grid, scan)
    y = problem(operator, noise=0).double()
    options = {"subsets": n_angles, "order": "sequential"}
    few, many = (kaczmarz(y, operator, iterations=n, **options) for n in (10, 200))
    misfits = [(operator(x) - y).flatten(1).norm(dim=1) for x in (few, many)]
    assert (misfits[1] < 0.5 * misfits[0]).all()


def test_the_image_is_named_by_its_place_in_the_batch():
    y = torch.zeros(2, 3, *OPERATOR.range_shape)
    y[1, 2] = 1
    with pytest.raises(FloatingPointError, match=r"misfit of image 1, 2 has risen from "):
        landweber(y, OPERATOR, step=1.0, iterations=1)


def test_an_iteration_of_another_package_ends_no_worse_than_it_began():
    @dataclass(frozen=True, kw_only=True)
    class Ascent(IterativeMethod):
        name: ClassVar[str] = "ascent"
        sign: ClassVar[float] = 1e-3

        def iterate(self, sinogram, operator, image):
            while True:
                residual = operator(image) - sinogram
                image = image + self.sign * operator.adjoint(residual)
                yield Iterate(image, lambda x=image: operator(x) - sinogram)

    class Descent(Ascent):
        sign = -1e-3

    y = problem(OPERATOR, batch=1)
    with pytest.raises(FloatingPointError, match=r"ascent: the misfit has risen .*; check that"):
        Ascent(iterations=3)(y, OPERATOR)
    far = torch.full(GRID.shape, 1e3)
    for start in (None, far):
        Descent(iterations=3)(y, OPERATOR, x0=start)
    with pytest.raises(FloatingPointError, match="ascent: the misfit has risen"):
        Ascent(iterations=3)(y, OPERATOR, x0=far)


@pytest.mark.parametrize("name", ITERATIVE)
@pytest.mark.parametrize("start", ["solution", "noise", "far", "negative"])
def test_no_start_is_taken_for_divergence(name, start):
    # also pure noise, which no image explains, in both precisions
    rng = torch.Generator().manual_seed(2)
    settings = {"weight": 1.0} if name in WEIGHTS else {}
    options = [{"nonnegative": flag} for flag in (False, True)]
    if name == "variational":
        options = [{}, {"minimum": 0.0}]
    elif name in ("cgls", "tikhonov", "mlem", "pnp", "generative"):
        options = [{}]
    for y in (problem(OPERATOR), torch.randn(2, *OPERATOR.range_shape, generator=rng)):
        x0 = {
            "solution": cgls(y, OPERATOR, iterations=200),
            "noise": torch.randn(GRID.shape, generator=rng),
            "far": torch.full(GRID.shape, 1e4),
            "negative": torch.full(GRID.shape, -1e4),
        }[start]
        for chosen in options:
            for iterations in (1, 2, 27):
                method = functools.partial(ITERATIVE[name], iterations=iterations)
                found = method(**settings, **chosen)
                x = found(suited(name, y), OPERATOR, x0=suited(name, x0))
                assert torch.isfinite(x).all()


def test_command_line(tmp_path: Path):
    save_geometry(tmp_path / "scan.json", GRID, OPERATOR.scan)
    np.save(tmp_path / "y.npy", problem(OPERATOR, batch=1)[0].numpy())
    arguments = ["reconstruct", str(tmp_path / "y.npy"), "--scan", str(tmp_path / "scan.json")]
    arguments += ["--out", str(tmp_path / "x.npy"), "--method", "landweber", "--step", "1"]
    result = CliRunner().invoke(app, [*arguments, "--iterations", "5"])
    assert result.exit_code not in (0, None)
    assert "landweber: the misfit has risen from" in " ".join(result.output.split())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["scan.json", "y.npy"]
