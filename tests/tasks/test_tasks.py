"""The tasks' definitions against the publications' numbers."""

import json
import math

import pytest
import torch

from data_sim import shepp_logan
from tomolearn import fbp
from tomolearn.geometry import geometry_from_dict
from tomolearn.metrics import psnr
from tomolearn.tasks import TASKS, get_task


@pytest.fixture(params=TASKS)
def task(request):
    return TASKS[request.param]


def test_pairs_have_the_tasks_shapes(task):
    for split in ("train", "validation", "test"):
        sinogram, image = task.pairs(split)[0]
        assert sinogram.shape == (1, *task.scan.shape)
        assert image.shape == (1, *task.grid.shape)
        assert task.operator().range_shape == task.scan.shape


def test_splits_have_no_pair_in_common(task):
    seeds = [split.seed for split in task.splits.values()]
    assert len(set(seeds)) == 3
    first = [task.pairs(split)[0][1] for split in ("train", "validation", "test")]
    assert not torch.equal(first[0], first[1])
    assert not torch.equal(first[1], first[2])


def test_definition_fits_into_json(task):
    values = json.loads(json.dumps(task.to_dict()))
    assert values["name"] == task.name
    assert geometry_from_dict(values["scan"]) == task.scan
    assert geometry_from_dict(values["grid"]) == task.grid


def test_operator_is_made_once(task):
    assert task.operator() is task.operator()


def test_a_smaller_training_set_is_the_beginning_of_the_larger():
    task = TASKS["ellipses-dival"]
    small, large = task.pairs("train", size=32), task.pairs("train", size=320)
    assert (len(small), len(large), len(task.pairs("train"))) == (32, 320, 32_000)
    assert torch.equal(small[31][0], large[31][0])


def test_ellipses_is_the_set_up_of_adler_and_oktem():
    task = TASKS["ellipses"]
    assert task.grid.size == (128, 128)
    assert task.scan.shape == (30, 183)
    assert task.operator().norm() == pytest.approx(61.22, abs=0.02)
    sinogram, image = task.pairs("test")[0]
    assert torch.equal(image[0], torch.from_numpy(shepp_logan((128, 128), extent="centres")))
    clean = task.operator()(image)
    level = (sinogram - clean).std() / clean.abs().mean()
    assert level.item() == pytest.approx(0.05, rel=0.05)
    images = [task.pairs("train")[k][1] for k in range(40)]
    # Poisson(50) ellipses of value (U - 1/2) Exp(0.4): mean zero, so both signs occur
    assert min(i.min() for i in images) < -0.3
    assert max(i.max() for i in images) > 0.3


def test_dival_baseline_is_the_published_one():
    # FBP 24.18 dB on its first 100 test images, Hann 0.705 (dip-ct-benchmark); ours are other
    # draws of the same law
    task = TASKS["ellipses-dival"]
    assert task.noise.relative == 0.025
    values = []
    for sinogram, image in (task.pairs("test")[k] for k in range(60)):
        assert (image.min(), image.max()) == (0, 1)
        found = fbp(sinogram, task.operator(), oversampling=1, **task.baselines["fbp"])
        values.append(psnr(found, image, data_range="reference").item())
    spread = torch.tensor(values).std().item() / math.sqrt(len(values))
    assert sum(values) / len(values) == pytest.approx(24.18, abs=0.3 + 3 * spread)


def test_errors():
    with pytest.raises(ValueError, match="did you mean ellipses"):
        get_task("elipses")
    task = TASKS["ellipses-dival"]
    with pytest.raises(ValueError, match="split: expected one of train, validation, test"):
        task.pairs("training")
    with pytest.raises(ValueError, match="size: expected at most the 32000 pairs"):
        task.pairs("train", size=32_001)
    with pytest.raises(ValueError, match="size: expected an integer >= 1"):
        task.pairs("train", size=0)
