"""What all iterative methods share: stopping, reporting, batches and errors."""

import functools
import math
import warnings

import pytest
import torch
from autoencoders import small_autoencoder

from tomolearn import ConvergenceWarning, Grid, ParallelBeam, RayTransform, methods
from tomolearn.methods import (
    History,
    IterativeMethod,
    cgls,
    dip,
    generative,
    kaczmarz,
    landweber,
    mlem,
    pnp,
    sirt,
    tikhonov,
    total_variation,
    variational,
)

GRID = Grid((10, 8))
OPERATOR = RayTransform(GRID, ParallelBeam.covering(GRID, 9))
N_BINS = math.prod(OPERATOR.range_shape)
METHODS = {
    "landweber": landweber,
    "sirt": sirt,
    "kaczmarz": kaczmarz,
    "mlem": mlem,
    "cgls": cgls,
    "tikhonov": functools.partial(tikhonov, weight=0.5),
    "tv": functools.partial(total_variation, weight=0.5),
    "variational": functools.partial(variational, prior="squared-differences", weight=0.5),
    "dip": functools.partial(dip, channels=4, scales=2),
    "pnp": functools.partial(
        pnp, prior="gsd-ellipses", sigma=0.05, weight=10.0, inner_tolerance=1e-5
    ),
    "generative": functools.partial(generative, prior=small_autoencoder(), weight=0.01),
}
every_method = pytest.mark.parametrize("name", METHODS)


def test_every_iterative_method_of_the_table_is_tested_here():
    table = methods.METHODS.items()
    assert set(METHODS) == {name for name, kind in table if issubclass(kind, IterativeMethod)}


@pytest.fixture
def data(rng):
    x = torch.rand(3, *GRID.shape, generator=rng)
    y = OPERATOR(x)
    # not negative, as counts are
    return (y + 0.1 * torch.randn(y.shape, generator=rng)).clamp(min=0)


@every_method
def test_images_of_a_batch_do_not_know_each_other(name, data):
    # of very different size: a step length common to all would show
    data = data.double() * torch.tensor([1.0, 1000.0, 0.01])[:, None, None]
    images = METHODS[name](data, OPERATOR, iterations=15)
    assert images.shape == (3, *GRID.shape)
    for image, y in zip(images, data, strict=True):
        alone = METHODS[name](y, OPERATOR, iterations=15)
        # in single precision, denoisers make more of rounding than this, and a decoder that is
        # asked for images a thousand times as bright as its own most
        rtol = 1e-3 if name == "generative" else 1e-5
        torch.testing.assert_close(image, alone, rtol=rtol, atol=rtol * float(alone.abs().max()))


@every_method
def test_leading_dimensions_and_precision(name, data):
    images = METHODS[name](data[None, :, None], OPERATOR, iterations=5)
    assert images.shape == (1, 3, 1, *GRID.shape)
    assert images.dtype == torch.float32
    double = METHODS[name](data.double(), OPERATOR, iterations=5)
    assert double.dtype == torch.float64
    torch.testing.assert_close(images[0, :, 0].double(), double, rtol=1e-3, atol=1e-3)
    assert METHODS[name](data.bfloat16(), OPERATOR, iterations=1).dtype == torch.float32
    empty = METHODS[name](data[:0], OPERATOR, tolerance=1e-9, callback=print)
    assert empty.shape == (0, *GRID.shape)


@every_method
def test_arguments_are_left_alone_and_results_fresh(name, data):
    kept, x0 = data.clone(), torch.full(GRID.shape, 0.5)
    first = METHODS[name](data, OPERATOR, iterations=3, x0=x0)
    second = METHODS[name](data, OPERATOR, iterations=3, x0=x0)
    assert torch.equal(data, kept)
    assert (x0 == 0.5).all()
    assert torch.equal(first, second)
    assert first.data_ptr() != second.data_ptr()


@every_method
def test_each_image_starts_at_its_start(name, data, rng):
    starts = torch.rand(3, *GRID.shape, generator=rng) * torch.tensor([1, 50, 0])[:, None, None]
    images = METHODS[name](data, OPERATOR, iterations=1, x0=starts)
    for k, start in enumerate(starts):
        common = METHODS[name](data, OPERATOR, iterations=1, x0=start.double())
        torch.testing.assert_close(images[k], common[k], rtol=1e-3, atol=1e-3)
    plain = METHODS[name](data, OPERATOR, iterations=1)
    torch.testing.assert_close(images[2], plain[2], rtol=1e-4, atol=1e-4)
    assert (images[1] - plain[1]).abs().max() > 0.3


@every_method
def test_it_leaves_no_graph(name, data):
    assert not METHODS[name](data.requires_grad_(), OPERATOR, iterations=2).requires_grad


@every_method
def test_callback_sees_every_iteration_and_may_stop(name, data):
    states = []

    def callback(state):
        states.append(state)
        return state.iteration == 4

    x = METHODS[name](data, OPERATOR, iterations=50, callback=callback)
    assert [state.iteration for state in states] == [1, 2, 3, 4]
    assert torch.equal(states[-1].image, x)
    assert not torch.equal(states[0].image, states[1].image)
    for state in states:
        misfit = torch.linalg.vector_norm((OPERATOR(state.image) - data).flatten(1), dim=1)
        torch.testing.assert_close(state.residual, misfit, rtol=1e-3, atol=1e-3)
    if states[0].change is not None:
        step = torch.linalg.vector_norm((states[1].image - states[0].image).flatten(1), dim=1)
        length = torch.linalg.vector_norm(states[1].image.flatten(1), dim=1)
        torch.testing.assert_close(states[1].change, step / length, rtol=1e-4, atol=1e-6)


@every_method
def test_history(name, data):
    history = History(every=4)
    METHODS[name](data[None], OPERATOR, iterations=10, callback=history)
    assert [state.iteration for state in history.states] == [4, 8, 10]
    assert history.states[0].residual.shape == (1, 3)
    assert history.states[0].image.numel() == 0
    history = History(images=True)
    x = METHODS[name](data, OPERATOR, iterations=2, callback=history)
    assert torch.equal(history.states[-1].image, x)
    residuals = torch.stack([state.residual for state in history.states])
    assert (residuals[1] < residuals[0]).all()


@every_method
def test_tolerance_stops_or_warns(name, data):
    history = History()
    loose = 0.1 if name == "tv" else 0.02
    METHODS[name](data, OPERATOR, iterations=5000, tolerance=loose, callback=history)
    last = history.states[-1]
    assert 1 < last.iteration < 1000
    if name == "tv":
        assert (last.gap / last.objective).max() <= loose
    else:
        assert last.change.max() <= loose
        assert history.states[-2].change.max() > loose
    what = "relative (change|duality gap) [0-9.e-]+, asked for 1e-12, after 3 iterations"
    with pytest.warns(ConvergenceWarning, match=f"{name}: {what}") as caught:
        METHODS[name](data, OPERATOR, iterations=3, tolerance=1e-12)
    # it names the caller's line, not ours
    assert caught[0].filename == __file__


@every_method
def test_discrepancy_principle_stops_or_warns(name, data):
    history = History()
    x = METHODS[name](data, OPERATOR, iterations=500, noise_level=0.2, tau=1.5, callback=history)
    target = 1.5 * 0.2 * math.sqrt(N_BINS)
    residuals = [float(state.residual.max()) for state in history.states]
    assert residuals[-1] <= target
    if name != "tv":
        assert all(residual > target for residual in residuals[:-1])
    assert torch.linalg.vector_norm((OPERATOR(x) - data).flatten(1), dim=1).max() <= target * 1.001
    with pytest.warns(ConvergenceWarning, match=rf"{name}: residual .*, asked for 0, after 2 iter"):
        METHODS[name](data, OPERATOR, iterations=2, noise_level=0.0)


@every_method
def test_no_warning_if_nothing_was_asked_for(name, data):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        METHODS[name](data, OPERATOR, iterations=2)
        METHODS[name](data, OPERATOR, iterations=9, tolerance=1e-12, callback=lambda state: True)


@every_method
def test_progress_bar(name, data, capsys):
    METHODS[name](data, OPERATOR, iterations=2)
    assert capsys.readouterr().err == ""
    METHODS[name](data, OPERATOR, iterations=2, progress=True)
    shown = capsys.readouterr().err
    assert name in shown
    assert "2/2" in shown


def test_divergence_is_an_error_that_names_a_remedy(data):
    message = (
        r"landweber: .* not finite after \d+ iterations; choose a step below 2 / operator.norm"
    )
    with pytest.raises(FloatingPointError, match=message):
        landweber(data, OPERATOR, iterations=1000, step=1.0)
    # found at once where a number is looked at in every iteration
    with pytest.raises(FloatingPointError, match=r"after ([2-9]|1[0-9]) iterations"):
        landweber(data, OPERATOR, iterations=1000, step=1e3, tolerance=1e-3)
    huge = data / data.abs().max() * 3e38
    for name in ("sirt", "kaczmarz", "cgls", "tikhonov", "tv"):
        with pytest.raises(
            FloatingPointError, match=rf"{name}: .* not finite after \d+ iterations"
        ):
            METHODS[name](huge, OPERATOR, iterations=30, x0=torch.full(GRID.shape, 3e38))


@every_method
def test_shared_errors(name, data):
    method = METHODS[name]
    cases = {
        "iterations: expected an integer >= 1, got 0": {"iterations": 0},
        "tolerance: expected a positive number, got 0": {"tolerance": 0.0},
        "noise_level: expected a non-negative number, got -1": {"noise_level": -1.0},
        "tau: expected a positive number, got 0": {"tau": 0.0},
        r"x0: expected shape \(10, 8\) or \(3, 10, 8\), got \(8, 10\)": {"x0": torch.ones(8, 10)},
    }
    for message, options in cases.items():
        with pytest.raises(ValueError, match=message):
            method(data, OPERATOR, **options)
    bad = torch.ones(GRID.shape)
    bad[2, 3] = math.inf
    with pytest.raises(ValueError, match=r"x0: .*got 1 that are not, .* inf at index \(2, 3\)"):
        method(data, OPERATOR, x0=bad)
    types = {
        "iterations: expected an integer": {"iterations": 2.0},
        "progress: expected a bool": {"progress": 1},
        "callback: expected a callable, got int": {"callback": 3},
        "x0: expected a real floating-point tensor": {"x0": torch.ones(10, 8, dtype=torch.int64)},
    }
    for message, options in types.items():
        with pytest.raises(TypeError, match=message):
            method(data, OPERATOR, **options)
    with pytest.raises(
        TypeError, match=r"operator: expected a (LinearOperator|RayTransform), got s"
    ):
        method(data, "operator")
    with pytest.raises(ValueError, match=r"sinogram: expected shape \(\.\.\., 9, \d+\), got"):
        method(data[..., 1:], OPERATOR)
    data[1, 2, 3] = math.nan
    with pytest.raises(ValueError, match=r"sinogram: .*got 1 .* nan at index \(1, 2, 3\)"):
        method(data, OPERATOR)


@pytest.mark.parametrize("name", ["landweber", "sirt", "kaczmarz", "tv"])
def test_nonnegative(name, data):
    data = data - 3
    free = METHODS[name](data, OPERATOR, iterations=20)
    bound = METHODS[name](data, OPERATOR, iterations=20, nonnegative=True)
    assert free.min() < 0 <= bound.min()
    with pytest.raises(TypeError, match="nonnegative: expected a bool, got 1"):
        METHODS[name](data, OPERATOR, nonnegative=1)


def test_history_errors():
    with pytest.raises(ValueError, match="every: expected an integer >= 1, got 0"):
        History(every=0)
    with pytest.raises(TypeError, match="images: expected a bool, got 1"):
        History(images=1)
