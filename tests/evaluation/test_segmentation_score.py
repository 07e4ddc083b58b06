"""Dice's coefficient by counting, and scores of a network that segments."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from networks import small_network
from small_task import small_task

from tomolearn import TomolearnError
from tomolearn.data import NoduleCrops
from tomolearn.evaluation import segmentation_score
from tomolearn.metrics import dice, psnr
from tomolearn.models import LearnedPrimalDual
from tomolearn.tasks import TASKS, Split

TASK = replace(
    TASKS["chest-nodules"],
    splits={"test": Split(NoduleCrops(2), seed=1, size=3), "train": Split(NoduleCrops(2), seed=2)},
)


def test_dice_is_that_of_scikit_learn(rng):
    metrics = pytest.importorskip("sklearn.metrics")
    found, labels = torch.rand(4, 9, 7, generator=rng), torch.rand(4, 9, 7, generator=rng).round()
    expected = [
        metrics.f1_score(b.flatten() > 0.5, a.flatten() > 0.5)
        for a, b in zip(found, labels, strict=True)
    ]
    np.testing.assert_allclose(dice(found, labels), expected, rtol=1e-6)


def test_dice_of_equal_other_and_empty_regions():
    region = torch.zeros(4, 4)
    region[1:3] = 1
    empty = torch.zeros(4, 4)
    assert dice(region, region) == 1
    assert dice(region, 1 - region) == 0
    assert dice(empty, region) == 0
    assert dice(empty, empty) == 1


def test_errors_of_dice():
    with pytest.raises(TomolearnError, match=r"labels: expected the shape of found, \(4, 4\)"):
        dice(torch.zeros(4, 4), torch.zeros(4, 3))
    with pytest.raises(TomolearnError, match="found: expected rows and columns"):
        dice(torch.zeros(4), torch.zeros(4))


def test_scores_are_means_over_the_images():
    model = small_network("task-adapted_primal-dual")
    torch.nn.init.constant_(model.segmenter.last.bias, 0.3)
    found = segmentation_score(model, TASK, batch=2)
    assert found.images == 3
    assert model.training
    ratios, values = [], []
    model.eval()
    for y, x, labels in (TASK.pairs("test", labels=True)[k] for k in range(3)):
        with torch.no_grad():
            image, probability = model.segment(y, TASK.operator())
        ratios.append(float(psnr(image, x, data_range="reference-max")))
        values.append(float(dice(probability, labels)))
    assert found.psnr == pytest.approx(np.mean(ratios), abs=1e-3)
    assert found.dice == pytest.approx(np.mean(values), abs=1e-6)


def test_what_has_no_scores():
    model = small_network("task-adapted_primal-dual")
    with pytest.raises(TypeError, match="model: expected a TaskAdapted, got LearnedPrimalDual"):
        segmentation_score(LearnedPrimalDual(iterations=1), TASK)
    with pytest.raises(TomolearnError, match="images: expected a number, since train has no end"):
        segmentation_score(model, TASK, split="train")
    with pytest.raises(TomolearnError, match="labels: expected a source whose images have labels"):
        segmentation_score(model, small_task())
