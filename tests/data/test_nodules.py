"""Labelled parts of chests, and pairs that have labels."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from tomolearn import TomolearnError
from tomolearn.data import NoduleCrops, RandomEllipses, SimulatedPairs, StoredPairs, store_pairs
from tomolearn.simulation import Acquisition, Refinement, independent_streams
from tomolearn.tasks import TASKS

TASK = replace(TASKS["chest-nodules"], name="few")
SOURCE = NoduleCrops(3)
WATER = (1000 + 1.001) / (3071 + 1001.001)  # in LoDoPaB-CT's values, to 1e-6


def test_labels_are_where_the_nodules_are():
    inside, around = [], []
    for seed in range(12):
        image, labels = SOURCE.labelled((64, 64), np.random.default_rng(seed))
        assert image.shape == labels.shape == (64, 64)
        assert set(np.unique(labels)) == {0.0, 1.0}
        rows, columns = np.nonzero(labels)
        box = np.s_[
            max(rows.min() - 3, 0) : rows.max() + 4, max(columns.min() - 3, 0) : columns.max() + 4
        ]
        inside.append(np.median(image[labels > 0]))
        around.append(np.median(image[box][labels[box] == 0]))
    # lungs are at most -600 HU, nodules denser by at least 200
    assert np.median(inside) > np.median(around) + 0.05
    assert max(inside) < WATER + 0.05


def test_a_call_returns_the_labelled_image():
    image = SOURCE((48, 48), np.random.default_rng(5))
    again, _ = SOURCE.labelled((48, 48), np.random.default_rng(5))
    assert np.array_equal(image, again)


def test_splits_have_different_patients():
    ranges = [
        range(split.source.first, split.source.first + split.source.slices)
        for split in TASK.splits.values()
    ]
    assert len(set().union(*ranges)) == sum(map(len, ranges))


@pytest.mark.parametrize("shape", [(8, 8), (300, 300), (32, 48), (32, 32, 32)])
def test_shapes_that_do_not_fit(shape):
    with pytest.raises(TomolearnError, match="shape: expected two equal sides of 16 to 224 pixels"):
        SOURCE(shape, np.random.default_rng(0))


def few():
    return SimulatedPairs(SOURCE, TASK.grid, TASK.acquisition, seed=3, labels=True)


def test_pairs_with_labels_are_those_without():
    labelled = few()
    plain = SimulatedPairs(SOURCE, TASK.grid, TASK.acquisition, seed=3)
    for index in (0, 4):
        assert len(plain[index]) == 2
        assert all(
            torch.equal(a, b) for a, b in zip(plain[index], labelled[index][:2], strict=True)
        )
        assert labelled[index][2].shape == labelled[index][1].shape


def test_labels_of_finer_images_are_those_of_half_of_their_parts():
    acquisition = Acquisition(TASK.scan, refinement=Refinement("average", factor=2))
    data = SimulatedPairs(SOURCE, TASK.grid, acquisition, seed=3, labels=True)
    halves = 0
    for index in range(4):
        _, image, labels = data[index]
        fine, marks = SOURCE.labelled((96, 96), independent_streams(3, index).image)
        parts = torch.from_numpy(marks).reshape(48, 2, 48, 2).sum((1, 3))
        halves += int((parts == 2).sum())
        assert torch.equal(labels[0], (parts >= 2).float())
        means = torch.from_numpy(fine).reshape(48, 2, 48, 2).mean((1, 3))
        torch.testing.assert_close(image[0], means)
    assert halves > 0


def test_a_source_without_labels_is_refused():
    with pytest.raises(TomolearnError, match="labels: expected a source whose images have labels"):
        SimulatedPairs(RandomEllipses(), TASK.grid, TASK.acquisition, labels=True)
    with pytest.raises(TomolearnError, match=r"labels: .* such as NoduleCrops, got RandomEllipses"):
        TASKS["ellipses"].pairs("train", labels=True)


def test_labels_are_stored(tmp_path):
    store_pairs(few(), tmp_path / "pairs.h5", 3, batch_size=2)
    stored = StoredPairs(tmp_path / "pairs.h5", labels=True)
    for index in range(3):
        pairs = zip(stored[index], few()[index], strict=True)
        assert all(torch.allclose(a, b, atol=1e-6) for a, b in pairs)
    assert len(StoredPairs(tmp_path / "pairs.h5")[0]) == 2
    assert len(TASK.pairs("train", data=tmp_path / "pairs.h5", labels=True)[0]) == 3


class Pairs:
    """Files of pairs that have no labels."""

    hint = "anything"

    def open(self, path, split, shape):
        return SimulatedPairs(SOURCE, TASK.grid, TASK.acquisition, size=1)

    def to_dict(self):
        return {}


def test_files_without_labels_are_refused(tmp_path):
    with pytest.raises(TomolearnError, match="labels: expected images that have labels, and those"):
        replace(TASK, files=Pairs()).pairs("train", data=tmp_path, labels=True)
    plain = SimulatedPairs(SOURCE, TASK.grid, TASK.acquisition, seed=3)
    store_pairs(plain, tmp_path / "pairs.h5", 2)
    with pytest.raises(TomolearnError, match="labels: expected a data set labels of the shape of"):
        TASK.pairs("train", data=tmp_path / "pairs.h5", labels=True)
