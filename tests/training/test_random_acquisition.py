"""Training over scans of many numbers of views: what is measured, and what the card says of it."""

import warnings

import numpy as np
import pytest
import torch
from small_task import GRID, small_task

import tomolearn as tl
from tomolearn.data import RandomEllipses
from tomolearn.models import FBPUNet, LearnedPrimalDual
from tomolearn.operators import Identity
from tomolearn.simulation import Acquisition, GaussianNoise
from tomolearn.tasks import Split, get_task
from tomolearn.training.config import with_overrides
from tomolearn.training.objectives import RandomAcquisition
from tomolearn.training.run import train

A = small_task().operator()
VIEWS = (4, 9, 20)
QUIET = 1e-6


@pytest.fixture
def images(rng):
    return torch.rand(2, 1, *GRID.shape, generator=rng)


def scan_of(views):
    return tl.ParallelBeam.covering(GRID, views)


@pytest.mark.parametrize("seed", range(4))
def test_images_are_measured_by_one_of_the_scans(seed, images):
    objective = RandomAcquisition(VIEWS, noise=(QUIET, QUIET))
    y, operator = objective.measure(images, A, np.random.default_rng(seed))
    assert operator.scan in [scan_of(views) for views in VIEWS]
    clean = tl.RayTransform(GRID, operator.scan)(images)
    torch.testing.assert_close(y, clean, rtol=0, atol=10 * QUIET * float(clean.mean()))
    again, _ = objective.measure(images, A, np.random.default_rng(seed))
    assert torch.equal(y, again)


def test_all_scans_and_noise_levels_are_drawn(images):
    objective = RandomAcquisition(VIEWS, noise=(0.01, 0.16))
    views, levels = [], []
    for seed in range(40):
        y, operator = objective.measure(images, A, np.random.default_rng(seed))
        clean = operator(images)
        views.append(operator.scan.n_angles)
        levels.append(float((y - clean).std() / clean.mean()))
    assert set(views) == set(VIEWS)
    # from logarithms, the middle is the geometric mean; each level is measured to a few per cent
    assert min(levels) > 0.008
    assert max(levels) < 0.19
    assert 0.02 < np.median(levels) < 0.08


def test_loss_is_the_logarithm_of_the_mean_squared_error(images):
    objective, seen = RandomAcquisition((5,), noise=(0.02, 0.02)), []

    def network(sinogram, operator):
        seen.append((sinogram, operator))
        return tl.fbp(sinogram, operator)

    loss = objective.loss(network, (None, images), A, np.random.default_rng(3))
    (y, operator) = seen[0]
    assert y.shape == (2, 1, *scan_of(5).shape)
    error = (tl.fbp(y, operator) - images).square().mean()
    assert float(loss) == pytest.approx(float(error.log()))


def test_photons_are_counted_behind_the_images(images):
    # bins of k photons have line integrals with a variance of 1 / k
    unit, thin = 0.01, 0.05 * images
    objective = RandomAcquisition((200,), photons=(4e3, 4e3), attenuation=unit)
    y, operator = objective.measure(thin, A, np.random.default_rng(1))
    clean = operator(thin)
    reduced = (y - clean) * unit * (4e3 * torch.exp(-unit * clean)).sqrt()
    assert float(reduced.std()) == pytest.approx(1, abs=0.05)
    assert abs(float(reduced.mean())) < 0.05
    assert objective.trained_on() == {
        "views": [200, 200],
        "noise": {
            "type": "PhotonNoise",
            "photons": [4e3, 4e3],
            "attenuation": unit,
            "floor": None,
            "electronic_std": 0.0,
        },
    }


def test_heteroscedastic_networks_learn_the_size_of_errors(images):
    # errors of one known size everywhere: the loss is smallest where it is told
    objective = RandomAcquisition((5,), noise=(0.02, 0.02))
    network = FBPUNet(channels=(2,), normalisation="none", heteroscedastic=True)
    rng = np.random.default_rng
    image, _ = network.moments(*objective.measure(images, A, rng(0)))
    size = (image - images).square().mean().sqrt().item()
    for factor, sign in ((0.5, -1), (2.0, 1)):
        log_deviation = torch.tensor(float(np.log(factor * size)), requires_grad=True)

        def moments(sinogram, operator, value=log_deviation):
            return image.detach(), value.exp().expand(images.shape)

        network.moments = moments
        objective.loss(network, (None, images), A, rng(0)).backward()
        # (s^2 - r^2) / (s^2 + r^2)
        expected = (factor**2 - 1) / (factor**2 + 1)
        assert log_deviation.grad.item() == pytest.approx(expected, rel=1e-4)
        assert np.sign(expected) == sign


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"views": ()}, "views: expected at least one number of views, got none"),
        ({"views": 30}, "views: expected integers, got 30"),
        ({"views": (30, 0)}, "views: expected an integer >= 1, got 0"),
        ({"noise": (0.1, 0.05)}, "noise: expected the smallest and the largest level"),
        ({"noise": (0.0, 0.05)}, "both positive, got 0.0 and 0.05"),
        ({"photons": (1e4, 1e3)}, "photons: expected the smallest and the largest level"),
        ({"photons": (1e3, 1e4), "noise": (0.1, 0.2)}, "noise, photons: expected one of them"),
        ({"photons": (1e3, 1e4), "attenuation": 0.0}, "attenuation: expected a positive number"),
        ({"attenuation": 0.02}, "attenuation: expected with photons only, got 0.02"),
    ],
)
def test_wrong_settings_are_errors(settings, message):
    with pytest.raises((ValueError, TypeError), match=message):
        RandomAcquisition(**settings)


@pytest.mark.parametrize(
    ("operator", "message"),
    [
        (Identity(GRID.shape), "operator: expected a RayTransform, got Identity"),
        (
            tl.RayTransform(GRID, tl.ParallelBeam.covering(GRID, angles=[0.1, 0.5])),
            "scan: expected one of evenly spaced views, .* got ParallelBeam",
        ),
    ],
)
def test_tasks_need_a_scan_of_even_views(operator, message, images):
    with pytest.raises((ValueError, TypeError), match=message):
        RandomAcquisition(VIEWS).measure(images, operator, np.random.default_rng(0))


def test_card_says_what_was_trained_on_and_nothing_warns_there(tmp_path, images):
    ellipses = RandomEllipses()
    splits = {"train": Split(ellipses, seed=1), "validation": Split(ellipses, seed=2, size=2)}
    task = small_task(splits=splits)
    config = with_overrides(
        {
            "model": "learned-primal-dual",
            "model_arguments": {"iterations": 2, "channels": 4},
            "task": task,
            "objective": "random-acquisition",
            "objective_arguments": {"views": [6, 12, 24], "noise": [0.02, 0.1]},
            "steps": 4,
            "batch_size": 2,
            "validation_size": 2,
        },
        [],
    )
    result = train(config, tmp_path / "run")
    model = tl.load(result.weights)
    assert isinstance(model, LearnedPrimalDual)
    training = model.card["training"]
    assert training["views"] == [6, 24]
    assert "; measured anew by random-acquisition; data seed 1" in training["data"]
    assert training["noise"] == {"type": "GaussianNoise", "relative": [0.02, 0.1]}

    def told(views):
        operator = tl.RayTransform(GRID, scan_of(views))
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            tl.load(result.weights)(operator(images), operator)
        return [str(one.message) for one in caught if "trained for" in str(one.message)]

    assert told(6) == told(17) == told(24) == []
    (text,) = told(30)
    assert "with 6 to 24 views, not" in text
    provenance = model._watch.provenance

    def other_noise(level):
        noise = {"type": "GaussianNoise", "relative": level}
        return provenance.differences(noise=noise)

    assert other_noise(0.02) == other_noise(0.05) == []
    assert other_noise(0.2) == [
        "GaussianNoise(relative=0.02 to 0.1), not GaussianNoise(relative=0.2)"
    ]
    assert provenance.differences(noise={"type": "PhotonNoise", "photons": 100.0})


def test_image_values_are_scaled_for_the_network_and_saved_so(tmp_path, images):
    ellipses = RandomEllipses()
    splits = {"train": Split(ellipses, seed=1), "validation": Split(ellipses, seed=2, size=2)}
    task = small_task(splits=splits)
    config = {
        "model": "fbp-unet",
        "model_arguments": {"channels": [4], "normalisation": "none", "heteroscedastic": True},
        "task": task,
        "image_scale": 12.0,
        "objective": "random-acquisition",
        "objective_arguments": {"views": [6, 12], "photons": [1e3, 1e5], "attenuation": 0.02},
        "steps": 2,
        "batch_size": 2,
        "validation_size": 2,
    }
    result = train(with_overrides(config, []), tmp_path / "run")
    model = tl.load(result.weights)
    card, values = model.card, torch.stack([pair[1] for pair in task.pairs("validation")])
    assert model.image_scale == card["image_scale"] == 12
    expected = [12 * float(values.min()), 12 * float(values.max())]
    assert card["training"]["image_range"] == pytest.approx(expected)
    noise = card["training"]["noise"]
    assert (noise["type"], noise["photons"]) == ("PhotonNoise", [1e3, 1e5])
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # values of the training are not far from it
        model(A(values), A)


@pytest.mark.parametrize("views", [10, 37, 180])
def test_shipped_weights_serve_few_and_many_views(views):
    task = get_task("ellipses")
    truth = task.pairs("test", size=1)[0][1]
    acquisition = Acquisition(tl.ParallelBeam.covering(task.grid, views), GaussianNoise(0.05))
    operator = acquisition.operator(task.grid)
    y = acquisition.measure(truth, task.grid, np.random.default_rng(0))
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("error")
        image = tl.load("lpd-ellipses-any")(y, operator)
    found, plain = (
        tl.metrics.psnr(one, truth, data_range=1.0).item()
        for one in (image, tl.fbp(y, operator, filter="hann"))
    )
    assert found > plain + 5
