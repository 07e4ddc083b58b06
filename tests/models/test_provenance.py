"""Weights that are used elsewhere than they were trained: told by every entry, once, in full."""

import copy
import json
import pickle
import warnings

import pytest
import torch
from small_task import small_task

import tomolearn as tl
from tomolearn.catalogue import TrainedElsewhereWarning, get_method
from tomolearn.evaluation import compare
from tomolearn.models import LearnedPrimalDual
from tomolearn.simulation import Acquisition, GaussianNoise
from tomolearn.tasks import get_task
from tomolearn.training import shipped

TASK = get_task("ellipses")
GRID, SCAN = TASK.grid, TASK.scan


@pytest.fixture(scope="module")
def pair():
    return TASK.pairs("test")[0]


def parallel(views=30, factor=1):
    bins, size = SCAN.n_detectors // factor + 1, SCAN.detector_spacing * factor
    return tl.ParallelBeam(n_angles=views, n_detectors=bins, detector_spacing=size)


def called(how, sinogram, operator):
    """Return image or error, and the warnings of two calls."""
    with warnings.catch_warnings(record=True) as caught, torch.no_grad():
        warnings.simplefilter("always")
        network = tl.load("lpd-ellipses") if how == "load" else get_method("lpd-ellipses")
        try:
            network(sinogram, operator)
            found = network(sinogram, operator)
        except tl.DivergenceError as error:
            found = error
    kinds = [str(one.message) for one in caught if one.category is TrainedElsewhereWarning]
    assert len(kinds) == len(caught)
    assert all(one.filename == __file__ for one in caught)
    return found, kinds


@pytest.mark.parametrize("how", ["load", "get_method"])
def test_where_they_were_trained_there_is_nothing_to_tell(pair, how):
    found, told = called(how, pair[0], TASK.operator())
    assert told == []
    assert tl.metrics.psnr(found, pair[1], data_range=1.0).item() > 36
    # the same rays, written otherwise
    listed = tl.ParallelBeam(
        angles=tuple(SCAN.view_angles),
        n_detectors=SCAN.n_detectors,
        detector_spacing=SCAN.detector_spacing * (1 + 1e-9),
    )
    assert called(how, pair[0], tl.RayTransform(GRID, listed))[1] == []


@pytest.mark.parametrize("how", ["load", "get_method"])
@pytest.mark.parametrize(
    ("views", "factor", "scale", "words"),
    [
        (15, 1, 1, ["n_angles=15"]),
        (60, 1, 1, ["n_angles=60"]),
        (30, 2, 1, ["n_detectors=92"]),
        (30, 1, 1 / 50, ["up to 1.1, not values up to about 0.02", "image_scale="]),
        (60, 1, 30, ["n_angles=60", "up to about"]),
    ],
)
def test_all_differences_come_once(pair, how, views, factor, scale, words):
    A = tl.RayTransform(GRID, parallel(views, factor))
    told = [text for text in called(how, A(pair[1]) * scale, A)[1] if "contradicts" not in text]
    assert len(told) == 1
    for word in words:
        assert word in told[0]


@pytest.mark.parametrize(("views", "factor"), [(10, 1), (30, 4)])
def test_nonsense_is_no_image(pair, views, factor):
    A = tl.RayTransform(GRID, parallel(views, factor))
    image, told = called("load", A(pair[1]), A)
    assert float(image.abs().max()) > 1e3
    assert "the image contradicts its data" in told[1]
    error, told = called("get_method", A(pair[1]), A)
    assert isinstance(error, tl.DivergenceError)
    assert len(told) == 1


@pytest.mark.parametrize("name", ["lpd-ellipses", "lgd-ellipses", "unet-ellipses"])
def test_the_scale_that_is_told_is_a_remedy(pair, name):
    y, A = pair[0] / 50, TASK.operator()
    with torch.no_grad(), pytest.warns(TrainedElsewhereWarning, match="image_scale=") as caught:
        tl.load(name)(y, A)
    scale = float(str(caught[0].message).partition("image_scale=")[2].split()[0])
    assert 25 < scale < 100
    with torch.no_grad():
        good = tl.load(name, image_scale=50.0)(y, A)
        expected = tl.load(name)(pair[0], A) / 50
    torch.testing.assert_close(good, expected, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(get_method(name, image_scale=50.0)(y, A), good)


def test_scale_is_saved_with_weights(tmp_path, pair):
    """A network that was tuned at 25 times the values gives the same image by its path."""
    y, A = pair[0] / 25, TASK.operator()
    by_attribute = tl.load("lpd-ellipses", image_scale=25.0)
    by_hand = tl.load("lpd-ellipses")
    for network in (by_attribute, by_hand):
        network.train()
        torch.nn.init.normal_(next(network.parameters()), std=0.01, generator=torch.manual_seed(0))
    with torch.no_grad():
        expected = by_hand(25 * y, A) / 25
    tl.save(by_attribute, tmp_path / "attribute", grid=GRID, scan=SCAN)
    tl.save(by_hand, tmp_path / "hand", grid=GRID, scan=SCAN, image_scale=25.0)
    for name in ("attribute", "hand"):
        path = str(tmp_path / name)
        with torch.no_grad():
            torch.testing.assert_close(tl.load(path)(y, A), expected)
        torch.testing.assert_close(get_method(path)(y, A), expected)
        assert "25" in tl.training.weights.read_card(path)[1]["image_scale"].__repr__()
        # and again
        tl.save(tl.load(path), tmp_path / "again", overwrite=True)
        with torch.no_grad():
            torch.testing.assert_close(tl.load(tmp_path / "again")(y, A), expected)


@pytest.mark.parametrize("scale", [0, -1.0, float("nan"), "2"])
def test_scale_is_positive(tmp_path, scale):
    with pytest.raises(ValueError, match="image_scale: expected a positive number"):
        tl.load("lpd-ellipses", image_scale=scale)
    with pytest.raises(ValueError, match="image_scale: expected a positive number"):
        tl.save(tl.load("lgd-ellipses"), tmp_path / "net", image_scale=scale)


def test_cards_of_before_have_scale_one_and_damaged_ones_are_told(tmp_path):
    tl.save(LearnedPrimalDual(iterations=1, channels=4), tmp_path / "net")
    path = tmp_path / "net.json"
    card = json.loads(path.read_text())
    del card["image_scale"]
    path.write_text(json.dumps(card))
    assert tl.load(path).image_scale == 1.0
    for value in (0, -2.0, "1", True):
        path.write_text(json.dumps(card | {"image_scale": value}))
        with pytest.raises(ValueError, match="image_scale: expected a"):
            tl.load(path)


def test_every_card_of_the_package_knows_all_that_is_compared():
    for name, card in shipped().items():
        assert card["scan"], name
        assert card["grid"], name
        assert {"noise", "image_range"} <= set(card["training"]), name


def test_copies_compare_and_training_is_told_once(pair):
    A = tl.RayTransform(GRID, parallel(29))
    y = A(pair[1])
    for network in (copy.deepcopy(tl.load("lgd-ellipses")), get_method("lgd-ellipses")):
        twin = pickle.loads(pickle.dumps(network))
        with pytest.warns(TrainedElsewhereWarning, match="n_angles=29"), torch.no_grad():
            twin(y, A)
    tuned = tl.load("lgd-ellipses").train()
    with pytest.warns(TrainedElsewhereWarning, match="n_angles=29"):
        tuned(y, A)
    # from now on the weights are others than the card speaks of
    B = tl.RayTransform(GRID, parallel(28))
    tuned(B(pair[1]), B)
    tuned.eval()(B(pair[1]), B)


def test_comparisons_tell_task_noise_and_values_together(tmp_path):
    task = small_task()
    torch.manual_seed(0)
    model = LearnedPrimalDual(iterations=1, n_primal=2, n_dual=2, channels=4)
    training = {"noise": GaussianNoise(0.1).to_dict(), "image_range": [0.0, 100.0]}
    other = tl.ParallelBeam.covering(task.grid, 13)
    path = tl.save(model, tmp_path / "n", task="x", grid=task.grid, scan=other, training=training)
    with pytest.warns(TrainedElsewhereWarning) as caught:
        compare(task, [str(path)], images=2)
    assert len(caught) == 1
    text = str(caught[0].message)
    for words in ("task x, not small", "n_angles=13", "relative=0.1", "values up to 1e+02"):
        assert words in text
    same = small_task(acquisition=Acquisition(other, GaussianNoise(0.1)), name="x")
    tl.save(
        model, tmp_path / "m", task="x", grid=task.grid, scan=other,
        training=training | {"image_range": [0.0, 1.0]},
    )  # fmt: skip
    compare(same, [str(tmp_path / "m.json")], images=1)


def test_an_image_of_nonsense_costs_itself_in_a_comparison(pair):
    task = small_task(grid=GRID, acquisition=Acquisition(parallel(10)), baselines={})
    with pytest.warns((TrainedElsewhereWarning, tl.SkippedImagesWarning)) as caught:
        network, fbp = compare(task, ["lpd-ellipses", "fbp"], images=1).rows
    assert (network.n, fbp.n) == (0, 1)
    assert "the image contradicts its data" in network.failures[0]
    assert sum(one.category is TrainedElsewhereWarning for one in caught) == 1


def test_operators_without_filtered_back_projection_are_compared_too(pair):
    mask = tl.operators.OperatorLayer(lambda x: x, lambda y: y, SCAN.shape, SCAN.shape)
    A = mask @ TASK.operator()
    network = tl.load("lpd-ellipses")
    with torch.no_grad(), pytest.warns(TrainedElsewhereWarning, match="values up to"):
        network(pair[0] / 50, A)
