"""Ensembles and their posterior: moments, residuals, names, and every mistake."""

import math
import pickle

import pytest
import torch
from saved_networks import GRID, SCAN, put, tiny

import tomolearn as tl
from tomolearn.catalogue import Ensemble, get_method
from tomolearn.methods import Posterior
from tomolearn.simulation import PhotonNoise

OPERATOR = tl.RayTransform(GRID, SCAN)
MEMBERS = ("fbp", "fbp(filter=hann)", "sirt(iterations=3)")


@pytest.fixture
def sinogram(rng):
    return OPERATOR(torch.rand(2, 1, *GRID.shape, generator=rng))


def test_moments_and_residuals_are_those_of_the_members_images(sinogram):
    images = torch.stack([get_method(one)(sinogram, OPERATOR) for one in MEMBERS])
    ensemble = Ensemble(members=MEMBERS)
    found = ensemble.sample(sinogram, OPERATOR)
    torch.testing.assert_close(found.samples, images)
    torch.testing.assert_close(ensemble(sinogram, OPERATOR), images.sum(0) / 3)
    squares = (images - images.mean(0)).square().sum(0) / 2
    torch.testing.assert_close(found.standard_deviation, squares.sqrt())
    assert found.residuals.shape == (3, 2, 1)
    wanted = (OPERATOR(images[1, 0, 0]) - sinogram[0, 0]).norm()
    assert found.residuals[1, 0, 0].item() == pytest.approx(wanted.item(), rel=1e-4)
    assert found.seed is None


def test_scores_are_at_least_a_part_of_the_largest_value(sinogram):
    found = Ensemble(members=("fbp", "fbp")).sample(sinogram, OPERATOR)
    largest = found.mean.abs().amax((-2, -1), keepdim=True)
    torch.testing.assert_close(found.scores(0.1), (0.1 * largest).expand_as(found.mean))
    spread = Ensemble(members=MEMBERS).sample(sinogram, OPERATOR)
    torch.testing.assert_close(spread.scores(0.0), spread.standard_deviation)


def test_it_is_found_by_name_and_written_down(tmp_path):
    tl.save(tiny(), tmp_path / "net", grid=GRID, scan=SCAN)
    weights = str(tmp_path / "net.json")
    method = get_method(f"ensemble(members=[{weights}, fbp(filter=hann)])")
    assert method == Ensemble(members=[weights, "fbp(filter=hann)"])
    assert method == get_method(**method.to_dict()) == pickle.loads(pickle.dumps(method))
    digest = method.sha256
    put(tmp_path / "net", {name: 2 * t for name, t in tiny().state_dict().items()})
    assert get_method(**method.to_dict()).sha256 != digest


def test_members_know_the_noise():
    method = Ensemble(members=("tv", "fbp")).informed(PhotonNoise(1000))
    assert method.methods[0] == get_method("tv").informed(PhotonNoise(1000))


def test_weighting_is_that_of_all_members():
    weights = torch.ones(OPERATOR.range_shape)
    assert set(Ensemble(members=("sirt", "tv")).weighting(weights)) == {"weights"}
    with pytest.raises(ValueError, match="weights: expected members that take them alike"):
        Ensemble(members=("sirt", "fbp")).weighting(weights)


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ("fbp", "members: expected two methods or more"),
        ("[fbp,]", "members: expected two methods or more"),
        ("[fbp,fpb]", "did you mean fbp"),
    ],
)
def test_wrong_members_are_told(members, message):
    with pytest.raises(ValueError, match=message):
        Ensemble(members=members)


def test_wrong_samples_are_told(sinogram):
    images = torch.zeros(3, 2, 1, *GRID.shape)
    with pytest.raises(ValueError, match="samples: expected two or more of shape"):
        Posterior.of(images[:1], sinogram, OPERATOR)
    with pytest.raises(ValueError, match="samples: expected two or more of shape"):
        Posterior.of(images[:, 0], sinogram, OPERATOR)
    images[1, 0, 0, 0] = math.nan
    with pytest.raises(tl.DivergenceError, match=r"others in 1 of 3 \(number 1 first\)"):
        Posterior.of(images, sinogram, OPERATOR)
