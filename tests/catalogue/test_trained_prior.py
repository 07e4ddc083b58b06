"""Weights of regularisers and denoisers as methods: their problem, units, noise and use."""

import dataclasses
import pickle
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from saved_networks import edit

import tomolearn as tl
from tomolearn.catalogue import (
    TrainedElsewhereWarning,
    TrainedPrior,
    get_clinical_method,
    get_method,
    method_kind,
)
from tomolearn.methods.variational.noise_levels import column_norm, photon_noise_level
from tomolearn.priors import ConvexRidge, SpectralDenoiser, SquaredDifferences
from tomolearn.simulation import GaussianNoise, PhotonNoise

GRID = tl.Grid((8, 8), 1.0)
A = tl.RayTransform(GRID, tl.ParallelBeam.covering(GRID, 10))
RECIPE = {"weight": 3.0, "scale": 2.0, "noise": 0.1, "backprojected_noise": 0.5}


def saved(path, prior=None, *, training=None, recipe=RECIPE, **card):
    training = {"reconstruction": recipe} | (training or {})
    tl.save(SquaredDifferences() if prior is None else prior, path, training=training, **card)
    return str(path)


def ridge():
    """Return a regulariser that is not homogeneous, so that units matter to it."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return ConvexRidge(channels=(4,), kernel_size=3, knee=1.0)


@pytest.fixture
def smooth(tmp_path):
    return saved(tmp_path / "smooth")


@pytest.fixture
def y(rng):
    return A(torch.rand(8, 8, generator=rng, dtype=torch.float64))


def matrix(operator):
    columns = operator(torch.eye(64, dtype=torch.float64).reshape(64, 8, 8))
    return columns.flatten(1).T


def test_a_descent_that_ends_early_begins_where_the_card_says(tmp_path, y):
    settings = {"algorithm": "fixed-step", "iterations": 2}
    paths = [
        saved(tmp_path / start, ridge(), recipe={**RECIPE, **settings, "start": start})
        for start in ("zero", "fbp")
    ]
    from_zero, from_fbp = (get_method(path)(y, A) for path in paths)
    expected = get_method(paths[0])(y, A, x0=tl.fbp(y, A, filter="hann"))
    assert torch.equal(from_fbp, expected)
    assert not torch.allclose(from_zero, from_fbp)
    assert torch.equal(get_method(paths[1])(y, A, x0=torch.zeros(8, 8)), from_zero)
    with pytest.raises(ValueError, match=r"reconstruction.start: .* zero, fbp, got 'p"):
        get_method(saved(tmp_path / "bad", recipe={**RECIPE, "start": "psychic"}))(y, A)


def test_it_is_a_method_like_any_other(smooth, y):
    method = get_method(f"{smooth}(weight=2, iterations=50)")
    assert method_kind(smooth) is TrainedPrior
    assert method == TrainedPrior(weights=smooth, weight=2.0, iterations=50)
    assert get_method(**method.to_dict()) == method == pickle.loads(pickle.dumps(method))
    assert method.sha256 == method.card["sha256"]
    edit(Path(smooth), lambda card: card.update(sha256="0" * 64))
    with pytest.raises(ValueError, match=r"expected weights with SHA-256 .* have changed"):
        get_method(**method.to_dict())


def test_it_is_the_minimiser_of_the_problem_of_the_card(smooth, y):
    M, D = matrix(A), matrix(tl.FiniteDifferences((8, 8)))
    found = get_method(smooth, tolerance=1e-9, iterations=3000)(y, A)
    # the energy is quadratic: a scale does not change it
    exact = torch.linalg.solve(M.T @ M + 3 * D.T @ D, M.T @ y.flatten()).reshape(8, 8)
    # steps of 1e-9 with a contraction no slower than that of 3000 iterations
    torch.testing.assert_close(found, exact, rtol=0, atol=1e-6)


def test_iterations_are_those_of_the_card(tmp_path, y):
    few = get_method(saved(tmp_path / "few", recipe=RECIPE | {"iterations": 3}))
    one, other = few.method(3.0), dataclasses.replace(few, iterations=7).method(3.0)
    assert (one.iterations, one.tolerance, few.side_by_side) == (3, None, True)
    assert (other.iterations, other.tolerance) == (7, None)
    until = get_method(saved(tmp_path / "until"))
    assert (until.method(3.0).tolerance, until.side_by_side) == (1e-4, False)


def test_scales_multiply_and_leave_the_weight(tmp_path, y):
    prior = ridge()
    name = saved(tmp_path / "ridge", prior)
    x = get_method(name, image_scale=5, tolerance=None, iterations=300)(y, A)
    # the gradient of ||A x - y||^2 / 2 + 3 R(2 * 5 x) / (2 * 5)^2 vanishes
    prior = prior.double()
    slope = 3 * prior.gradient(10 * x) / 10
    torch.testing.assert_close(A.T(y - A(x)), slope, rtol=0, atol=0.02)
    assert slope.abs().max() > 0.1


def test_column_norm_is_that_of_the_matrix():
    exact = matrix(A).square().sum(0).mean().sqrt()
    # relative standard deviation of a trace of four random quadratic forms, measured: 3 %
    assert column_norm(A) == pytest.approx(float(exact), rel=0.1)
    assert column_norm(2 * A) == pytest.approx(2 * column_norm(A))


def test_photon_noise_is_measured(numpy_rng):
    lines = numpy_rng.random((60, 50)) * 3
    noise = PhotonNoise(2e4, attenuation=0.5, electronic_std=5.0)
    measured = np.std([noise(lines, numpy_rng) - lines for _ in range(20)])
    # 60,000 values, whose variances differ by a factor of a few
    assert noise.level(lines) == pytest.approx(float(measured), rel=0.02)
    level = photon_noise_level(torch.from_numpy(lines) / 2, photons=2e4, electronic_std=5.0)
    assert float(level) == pytest.approx(noise.level(lines) / 2)


@pytest.mark.parametrize(
    ("settings", "noise", "level"),
    [
        ({"noise_level": 0.3}, None, 0.3),
        ({}, GaussianNoise(std=0.2), 0.2),
        ({}, GaussianNoise(0.1), None),
        ({"noise_level": 0.3}, GaussianNoise(0.1), 0.3),
    ],
)
def test_the_weight_follows_the_noise(smooth, y, settings, noise, level):
    method = get_method(smooth, image_scale=4, **settings)
    if noise is not None:
        method = method.informed(noise)
    level = 0.1 * float(y.abs().mean()) if level is None else level
    expected = 3 * 4 * level * column_norm(A) / 0.5
    assert float(method.weight_of(y, A)) == pytest.approx(expected)
    assert float(dataclasses.replace(method, weight=7.0).weight_of(y, A)) == 7
    twice = dataclasses.replace(method, weight_factor=2.0)
    assert float(twice.weight_of(y, A)) == pytest.approx(2 * expected)
    with pytest.raises(ValueError, match="weight_factor: expected it or a weight, got both"):
        dataclasses.replace(twice, weight=7.0)


def test_each_image_has_the_weight_of_its_photons(smooth, y):
    both = torch.stack([y, y / 2])
    method = get_method(smooth, image_scale=4, photons=1e4)
    weights = method.weight_of(both, A)
    levels = [PhotonNoise(1e4).level(one.numpy()) for one in both]
    assert weights.tolist() == pytest.approx([24 * n * column_norm(A) for n in levels])
    informed = get_method(smooth, image_scale=4).informed(PhotonNoise(1e4))
    torch.testing.assert_close(informed.weight_of(both, A), weights)
    images = method(both, A)
    for n, image in enumerate(images):
        torch.testing.assert_close(image, method(both[n], A), rtol=0, atol=1e-12)


def test_units_of_images_and_pixels_do_not_matter(tmp_path, y):
    """A scan on pixels of 0.25 mm and images in 1/mm is the scan in the units of training."""
    name = saved(tmp_path / "ridge", ridge())
    control = {"tolerance": None, "iterations": 100}
    expected = get_method(name, noise_level=0.1, **control)(y, A)
    fine = tl.Grid((8, 8), 0.25)
    B = tl.RayTransform(fine, tl.ParallelBeam.covering(fine, 10))
    unit = 50.0  # images in 1/mm are multiplied by it
    found = get_method(name, image_scale=unit, noise_level=0.1 * 0.25 / unit, **control)(
        y * 0.25 / unit, B
    )
    # the same iterates, but for rounding
    torch.testing.assert_close(found * unit, expected, rtol=0, atol=1e-6)


def test_without_noise_the_weight_is_the_cards_and_differences_are_told_once(tmp_path, y):
    scan = tl.ParallelBeam.covering(GRID, 99)
    training = {"image_range": [0.0, 1.0], "noise": GaussianNoise(0.5).to_dict()}
    name = saved(tmp_path / "smooth", training=training, grid=GRID, scan=scan)
    method = get_method(name, iterations=2, tolerance=None)
    with pytest.warns(TrainedElsewhereWarning, match="smooth: trained for ParallelBeam") as told:
        method(y, A)
    assert len(told) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        method(y, A)
        # a prior knows no scanner: with its noise, or a weight, it is at home
        for at_home in (
            method.informed(GaussianNoise(0.01)),
            dataclasses.replace(method, weight=1.0),
            dataclasses.replace(method, noise_level=0.1),
        ):
            at_home(y, A)
    with pytest.warns(TrainedElsewhereWarning, match="images with values up to 1, not"):
        dataclasses.replace(method, weight=1.0)(100 * y, A)
    with pytest.warns(TrainedElsewhereWarning, match="not no noise"):
        get_method(name, iterations=2, tolerance=None).informed(None)(y, A)


def test_image_domain_is_the_proximal_map(smooth, rng):
    noisy = torch.rand(2, 1, 8, 8, generator=rng, dtype=torch.float64)
    unit, level = 0.02, 3.0
    method = get_method(smooth, noise_level=level, tolerance=1e-10, image_scale=4)
    weight = 3 * 4 * level * unit / 0.5
    expected = SquaredDifferences().proximal(noisy, weight)
    torch.testing.assert_close(method.denoiser(unit)(noisy), expected, rtol=0, atol=1e-7)
    expected = SquaredDifferences().proximal(noisy, 0.5)
    found = get_method(smooth, weight=0.5, tolerance=1e-10).denoiser(unit)(noisy)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-7)
    with pytest.raises(ValueError, match="noise_level: expected that of the images"):
        get_method(smooth).denoiser()


def test_blind_denoiser_in_the_image_domain(tmp_path, rng):
    denoiser = SpectralDenoiser(depth=3, channels=4)
    name = saved(tmp_path / "clean", denoiser, recipe={"scale": 1.0})
    noisy = torch.rand(2, 1, 8, 8, generator=rng)
    found = get_method(name, image_scale=4).denoiser(0.02)(noisy)
    with torch.no_grad():
        expected = denoiser.eval()(4 * noisy) / 4
    torch.testing.assert_close(found, expected)


def test_clinical_scale_comes_with_the_card(tmp_path):
    name = saved(tmp_path / "smooth", training={"value_per_attenuation": 50.0})
    assert get_clinical_method(name).image_scale == 50.0


@pytest.mark.parametrize(
    ("recipe", "settings", "message"),
    [
        ({}, {}, "weight: expected a number with .*, whose card has none"),
        ({"weight": 1.0}, {"noise_level": 0.1}, "whose card does not know for which noise"),
        ({"weight": 1.0}, {"photons": 1e4}, "photons: expected none with"),
        ({"weight": 1.0, "iterations": 0}, {}, "iterations: expected an integer >= 1"),
        ({"weight": -1.0}, {}, r"reconstruction.weight: expected a positive"),
        (RECIPE, {"noise_level": 0.1, "photons": 1e3}, "noise_level: expected it or photons"),
        (RECIPE, {"weight": -1.0}, "weight: expected a non-negative"),
        (RECIPE, {"algorithm": "fisto"}, "did you mean fista"),
        (RECIPE, {"wieght": 1.0}, "did you mean weight"),
    ],
)
def test_mistakes(tmp_path, y, recipe, settings, message):
    name = saved(tmp_path / "smooth", recipe=recipe)
    with pytest.raises(ValueError, match=message):
        get_method(name, **settings)(y, A)


def test_a_denoiser_has_no_bounds(tmp_path):
    name = saved(tmp_path / "clean", SpectralDenoiser(depth=3, channels=4))
    with pytest.raises(ValueError, match=r"nonnegative: expected false with .*, a denoiser"):
        get_method(name, nonnegative=True)
    with pytest.raises(ValueError, match="expected weights of a regulariser or a denoiser, got"):
        TrainedPrior(weights="lpd-ellipses")
