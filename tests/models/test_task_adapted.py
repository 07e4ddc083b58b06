"""Segmentation of what a network reconstructs: by hand, its errors, joint and sequential losses."""

import pytest
import torch
from networks import small_network
from torch.nn.functional import binary_cross_entropy

import tomolearn as tl
from tomolearn import Grid, ParallelBeam, RayTransform, TomolearnError
from tomolearn.models import LearnedPrimalDual, TaskAdapted
from tomolearn.training.objectives import JointSegmentation, make_objective

GRID = Grid((12, 12))
A = RayTransform(GRID, ParallelBeam.covering(GRID, 7))


@pytest.fixture
def model():
    return small_network("task-adapted_primal-dual")


@pytest.fixture
def batch(rng):
    x = torch.rand(3, 1, 12, 12, generator=rng)
    return A(x), x, (x > 0.8).float()


def loss(model, batch, **settings):
    return JointSegmentation(**settings).loss(model, batch, A, None)


def test_it_reconstructs_as_its_first_network_and_segments_that(model, batch):
    image, probability = model.eval().segment(batch[0], A)
    assert torch.equal(image, model.network.eval()(batch[0], A))
    assert probability.shape == image.shape
    odds = model.segmenter(image).exp()
    torch.testing.assert_close(probability, odds / (1 + odds))
    one, alone = model.segment(batch[0][1, 0], A)
    torch.testing.assert_close((one, alone), (image[1, 0], probability[1, 0]))
    assert model.segment(batch[0][:0], A)[1].shape == (0, 1, 12, 12)


def test_images_in_another_unit_are_segmented_alike(model, batch):
    _, probability = model.eval().segment(batch[0], A)
    model.image_scale = 50.0
    torch.testing.assert_close(model.segment(batch[0] / 50, A)[1], probability)


def test_weights_that_are_loaded_segment(model, batch, tmp_path):
    tl.save(model.eval(), tmp_path / "weights")
    again = tl.load(tmp_path / "weights")
    assert torch.equal(again.segment(batch[0], A)[1], model.segment(batch[0], A)[1])


@pytest.mark.parametrize("c", [0.0, 0.3, 1.0])
def test_loss_is_the_weighted_sum(model, batch, c):
    y, x, labels = batch
    image, probability = model.segment(y, A)
    error = (image - x).square().sum() / x.square().sum()
    expected = (1 - c) * error + c * binary_cross_entropy(probability, labels)
    torch.testing.assert_close(loss(model, batch, task_weight=c), expected)


def trained(model, batch, **settings):
    """Return which of both networks get gradients."""
    model.zero_grad()
    loss(model, batch, **settings).backward()
    parts = model.network, model.segmenter
    return tuple(any(w.grad is not None and w.grad.any() for w in p.parameters()) for p in parts)


def test_which_networks_learn(model, batch):
    assert trained(model, batch, task_weight=0.0) == (True, False)
    assert trained(model, batch, task_weight=0.5) == (True, True)
    assert trained(model, batch, task_weight=1.0) == (True, True)
    assert trained(model, batch, task_weight=1.0, freeze_reconstruction=True) == (False, True)


def test_errors_of_settings(model, batch):
    with pytest.raises(TomolearnError, match=r"task_weight: expected a number from 0 to 1, got 2"):
        make_objective("joint-segmentation", {"task_weight": 2})
    with pytest.raises(TomolearnError, match="expected 1, since the reconstruction is frozen"):
        JointSegmentation(task_weight=0.5, freeze_reconstruction=True)
    with pytest.raises(TomolearnError, match="model: expected task-adapted, which segments, got L"):
        JointSegmentation().check(LearnedPrimalDual(iterations=1))
    with pytest.raises(TypeError, match="network: expected a name, got LearnedPrimalDual"):
        TaskAdapted(network=LearnedPrimalDual(iterations=1))
    with pytest.raises(TypeError, match="network_arguments: expected a mapping, got list"):
        TaskAdapted(network_arguments=[3])
    with pytest.raises(TomolearnError, match=r"network: expected one of the plane, got .* ndim=3"):
        TaskAdapted(network_arguments={"ndim": 3})
